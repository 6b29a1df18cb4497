"""The whole way in one go: simulated recordings, a corpus, three stages, scores, figures."""

import time
from collections.abc import Mapping
from pathlib import Path

from labram_jax.config import AnyStageConfig, replace
from labram_jax.configfile import load_file
from labram_jax.data.corpus import Corpus
from labram_jax.data.describe import describe
from labram_jax.data.schema import CORPUS_FILE
from labram_jax.data_prep.corpora.simulated import Options, Simulation, simulate
from labram_jax.data_prep.prepare import prepare
from labram_jax.errors import InputError
from labram_jax.evaluation.evaluate import Evaluation, evaluate
from labram_jax.reporting.report import write_report
from labram_jax.runs import keep_compiled, train
from labram_jax.tables import cell, metric_name, text_table

STAGES = ("tokenizer", "pretraining", "finetuning")
# What so few windows take beyond the configurations: more steps, and larger ones. With those of the configurations the
# tokenizer has learned no more than the mean spectrum of all electrodes when its codes begin.
_CHANGES = {
    "tokenizer": {
        "data.batch_rows": 4,
        "optimizer.learning_rate": 4e-3,
        "codebook.bypass_epochs": 5.0,
        "loop.epochs": 14.0,
    },
    "pretraining": {"data.batch_rows": 4, "optimizer.learning_rate": 3e-3, "loop.epochs": 12.0},
}
# Of each stage, the metrics that its table shows; none given: all.
_SHOWN = {
    "tokenizer": ("amplitude_loss", "phase_loss", "codes_used"),
    "pretraining": ("cross_entropy", "accuracy"),
    "finetuning": (),
}


def run(out: Path, *, short: bool = False, seed: int = 0) -> None:
    """Runs what is not there yet below `out`, and prints the scores and where the figures are.

    `short` trains a few steps only. Raises InputError if `out` holds something else.
    """
    began = time.monotonic()
    keep_compiled()
    if out.exists() and any(out.iterdir()) and not (out / "recordings").is_dir():
        raise InputError(f"{out} is not empty and holds no demo: give another folder with --out.")
    corpus = _prepare(out, short, seed)
    for number, stage in enumerate(STAGES, start=2):
        _say(f"{number}/5 {stage}")
        if not train(_config(stage, out, corpus, short, seed)).finished:
            raise InputError(f"The demo was stopped: the same command goes on from {out}.")
    _say("5/5 scores and figures")
    evaluations = {stage: evaluate(out / stage, corpus) for stage in STAGES}
    reports = [write_report(out / stage) for stage in STAGES]
    print(f"\n{_table(evaluations, Corpus.open(corpus))}\n\n{evaluations['finetuning']}\n")
    print("With figures, to open in a browser:", *reports, sep="\n")
    print(f"\nThe demo took {time.monotonic() - began:.0f} s; everything is in {out.resolve()}")


def _prepare(out: Path, short: bool, seed: int) -> Path:
    _say("1/5 recordings and corpus")
    corpus, recordings = out / "corpus", out / "recordings"
    if not (corpus / CORPUS_FILE).is_file():
        simulate(recordings, Simulation(seed=seed, subjects=12, seconds=20.0 if short else 60.0))
        print(prepare("simulated", recordings, corpus, Options(seed=seed)))
    print(describe(Corpus.open(corpus)))
    return corpus


def _config(stage: str, out: Path, corpus: Path, short: bool, seed: int) -> AnyStageConfig:
    changes = _CHANGES.get(stage, {}) | {"run": str(out / stage), "data.corpora": (str(corpus),), "loop.seed": seed}
    if stage == "pretraining":
        changes["tokenizer"] = changes["start_from"] = str(out / "tokenizer")
    if stage == "finetuning":
        changes["encoder"] = str(out / "pretraining")
    config = replace(load_file(f"demo_{stage}"), **changes)
    if not short:
        return config
    config = replace(config, **{"loop.epochs": 3.0, "loop.log_every": 2, "optimizer.warmup_epochs": 1.0})
    if stage == "tokenizer":
        config = replace(config, **{"codebook.bypass_epochs": 1.0, "codebook.commitment_warmup_epochs": 1.0})
    return config


def _table(evaluations: Mapping[str, Evaluation], corpus: Corpus) -> str:
    """What each stage reached on held-out windows, beside what is reached without it."""
    rows = []
    for stage, own in _SHOWN.items():
        columns = evaluations[stage].columns
        model, *beside = columns
        for metric in own or columns[model]:
            references = [f"{cell(columns[name][metric])} {name}" for name in beside if metric in columns[name]]
            rows.append([stage, metric_name(metric), columns[model].get(metric), ", ".join(references)])
    return text_table(["stage", f"on {corpus.told('test')}", "value", "without it"], rows)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)
