"""The whole way in one go: simulated recordings, a corpus, three stages, scores, figures."""

import math
import time
from pathlib import Path

from data_prep.corpora.simulated import Options, Simulation, simulate
from data_prep.prepare import prepare
from labram_jax.config import AnyStageConfig, replace
from labram_jax.configfile import load_file
from labram_jax.data.corpus import Corpus
from labram_jax.data.describe import describe
from labram_jax.data.schema import CORPUS_FILE
from labram_jax.errors import InputError
from labram_jax.evaluation.evaluate import Evaluation, evaluate
from labram_jax.reporting.report import write_report
from labram_jax.reporting.runlog import Run
from labram_jax.runs import keep_compiled, train
from labram_jax.tables import text_table

STAGES = ("tokenizer", "pretraining", "finetuning")


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
    evaluation = evaluate(out / "finetuning", corpus)
    reports = [write_report(out / stage) for stage in STAGES]
    print(f"\n{_table(out, corpus, evaluation)}\n\n{evaluation}\n")
    for report in reports:
        figures = sorted((report.parent / "figures").glob("*.png"))
        print(f"{report}  with {len(figures)} figures in {report.parent / 'figures'}")
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
    changes = {"run": str(out / stage), "data.corpora": (str(corpus),), "loop.seed": seed}
    if stage == "pretraining":
        changes["tokenizer"] = str(out / "tokenizer")
    if stage == "finetuning":
        changes["encoder"] = str(out / "pretraining")
    config = replace(load_file(f"demo_{stage}"), **changes)
    if not short:
        return config
    config = replace(config, **{"loop.epochs": 3.0, "loop.log_every": 2, "optimizer.warmup_epochs": 1.0})
    if stage == "tokenizer":
        config = replace(config, **{"codebook.bypass_epochs": 1.0, "codebook.commitment_warmup_epochs": 1.0})
    return config


def _table(out: Path, corpus: Path, evaluation: Evaluation) -> str:
    """What each stage reached on held-out windows, beside what guessing would."""
    tokenizer, encoder = (evaluate(out / stage, corpus).columns for stage in ("tokenizer", "pretraining"))
    codes = tokenizer["tokenizer"]
    classifier = evaluation.columns["fine-tuned"]
    rows = [
        ["tokenizer", "amplitude loss", codes["amplitude_loss"], "1 (predicting the mean)"],
        ["tokenizer", "phase loss", codes["phase_loss"], "1 (predicting the mean)"],
        ["tokenizer", "share of codes in use", codes["codes_used"], ""],
        ["pretraining", "masked cross-entropy", encoder["pretraining"]["cross_entropy"], _guessing(out)],
        *(["fine-tuning", metric, value, _chance(metric)] for metric, value in classifier.items()),
    ]
    return text_table(["stage", "on the test split", "value", "guessing"], rows)


def _guessing(out: Path) -> str:
    codes = Run.open(out / "pretraining").config.model.codes
    return f"{math.log(codes):.3f} (ln {codes})"


def _chance(metric: str) -> str:
    return {"balanced_accuracy": "0.5", "auroc": "0.5"}.get(metric, "")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)
