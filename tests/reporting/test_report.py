"""The report of hand-made runs: what a stage has is shown, what is gone is named, what is no run is refused."""

import base64
import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from flax.linen import meta
from pages import text_of
from sentences import refuses

from labram_jax.config import (
    ClassifierConfig,
    DataConfig,
    EncoderConfig,
    FinetuningStageConfig,
    LoopConfig,
    MaskedModelConfig,
    PretrainingStageConfig,
    QuantizerConfig,
    TokenizerConfig,
    TokenizerStageConfig,
)
from labram_jax.configfile import to_dict
from labram_jax.data.corpus import open_corpus
from labram_jax.errors import InputError
from labram_jax.evaluation.predictions import PredictionTable, listed
from labram_jax.inference import Tokenizer
from labram_jax.protocol import Published
from labram_jax.reporting import report, report_classifier, report_tokenizer
from labram_jax.reporting.figures import scalp, style
from labram_jax.reporting.report import write_report
from labram_jax.reporting.runlog import Run
from labram_jax.stages.tokenizer import TokenizerStage

TINY = EncoderConfig(width=100, depth=1, heads=5, temporal_channels=4)


@pytest.fixture
def make_run(tmp_path):
    """Writes the directory of a run: configuration, a log of `points` steps with `metrics`, the best step."""

    def make(config, points: int, metrics: dict[str, float], best: str = "loss"):
        run = tmp_path / "run"
        run.mkdir()
        (run / "config.json").write_text(json.dumps(to_dict(config)))
        common = {"learning_rate": 1e-4, "grad_norm": 1.0, "patches_per_second": 1234.0}
        lines = []
        for step in range(1, points + 1):
            values = {name: value / step for name, value in metrics.items()}
            lines.append({"step": step, "epoch": step / 10, "split": "train", **values, **common})
            lines.append({"step": step, "epoch": step / 10, "split": "validation", **values})
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 9, "spl')
        (run / "best.json").write_text(json.dumps({"step": 2, "metric": best, "value": metrics[best] / 2}))
        return run

    return make


def shown(run):
    """The page's text, with its tables as `| a | b |`."""
    return text_of((run / "report.html").read_text())


def figures(run):
    """Names of the figures that the page shows, each of which must be a picture in it, with words beside."""
    page = (run / "report.html").read_text()
    found = re.findall(r'<figure id="figure-([\w-]+)".*?<img src="data:image/png;base64,(.*?)" .*?alt="(.*?)">', page)
    assert len(found) == page.count("<img") and [path.name for path in run.glob("report*")] == ["report.html"]
    for name, picture, words in found:
        assert base64.b64decode(picture).startswith(b"\x89PNG") and len(picture) > 5000 and len(words) > len(name)
    return [name for name, _, _ in found]


def test_pretraining_shows_guessing_beside_the_cross_entropy(make_run):
    config = PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY, codes=512), tokenizer="t")
    run = make_run(config, 3, {"loss": 12.0, "cross_entropy": 6.0, "accuracy": 0.1})
    assert write_report(run) == run / "report.html"
    page = shown(run)
    assert "ln 512 = 6.238" in page
    assert "| cross-entropy | 2.0000 | 3.0000 | 2.0000 |" in page  # last of train, best and last of validation
    assert "1,234 patches a second" in page
    assert figures(run) == ["training"]


def test_what_was_trained_is_all_of_it_though_the_best_step_is_evaluated_last(make_run):
    config = PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY), loop=LoopConfig(epochs=4))
    run = make_run(config, 3, {"loss": 2.0})
    with (run / "metrics.jsonl").open("a") as log:
        log.write('\n{"step": 2, "epoch": 0.2, "split": "test", "loss": 1.0}\n')
    write_report(run)
    assert "| trained | 3 steps, 0.3 of 4 epochs |" in shown(run)


def left(run, corpus, outputs, task="binary"):
    """What an evaluation leaves of the test windows in a run."""
    table = PredictionTable.of(listed([corpus.windows("test", None)]), outputs, task, corpus.classes or ())
    table.write(run / "predictions-test.npz")


def classifier_config(corpus):
    model = ClassifierConfig(encoder=TINY, classes=("open", "closed"))
    return FinetuningStageConfig(run="r", model=model, data=DataConfig(corpora=(str(corpus),)), encoder="e")


def test_classifier_stands_beside_the_baseline(make_run, alpha_corpus):
    corpus = alpha_corpus()
    run = make_run(classifier_config(corpus.path), 3, {"loss": 0.7, "auroc": 0.9}, best="auroc")
    left(run, corpus, np.linspace(0.1, 0.9, 12)[:, None])
    write_report(run)
    page = shown(run)
    assert "| metric | fine-tuned | band powers | chance |" in page
    assert re.search(r"\| AUROC \| 0\.5833 \| (1\.0000|0\.9\d+) \| 0\.5000 \|", page)
    assert "12 windows of eyes, test." in page and "No intervals: all windows are of one subject." in page
    assert set(figures(run)) == {"training", "scores", "confusion", "roc", "scalp"}


def test_names_from_files_are_text(make_run, alpha_corpus):
    """Those of classes and corpora, on the page, in figures and in the figures' file names."""
    classes = ("<img src=x onerror=alert(1)>", "a|b `c`\n\n# $\\d$")
    corpus = alpha_corpus("..!(x)")
    dataclasses.replace(corpus.info, classes=classes).with_digests(corpus.info.digests).write(corpus.path)
    model = ClassifierConfig(encoder=TINY, classes=classes)
    config = FinetuningStageConfig(run="r", model=model, data=DataConfig(corpora=(str(corpus.path),)))
    run = make_run(config, 3, {"loss": 0.7})
    left(run, open_corpus(corpus.path), np.full((12, 1), 0.5))
    write_report(run)
    page, text = (run / "report.html").read_text(), shown(run)
    assert "ROC curve for" in text and "<img src=x onerror=alert(1)>" in text and "a|b `c`" in text
    assert "<img src=x" not in page and page.count("<img") == 5
    assert set(figures(run)) == {"training", "scores", "confusion", "roc", "scalp"}


def test_regressor_stands_beside_ridge_regression(make_run, alpha_corpus):
    corpus = alpha_corpus("reach", label="vector")
    model = ClassifierConfig(encoder=TINY, outputs=2, task="regression")
    config = FinetuningStageConfig(run="r", model=model, data=DataConfig(corpora=(str(corpus.path),)))
    run = make_run(config, 2, {"loss": 0.7, "r2": 0.1})
    targets = np.stack([window.label for window in corpus.windows("test", 2)])
    left(run, corpus, targets + 1, "regression")
    write_report(run)
    page = shown(run)
    assert "| Pearson's r | 1.0000 | 0.9" in page
    assert "| RMSE | 1.0000 |" in page
    assert set(figures(run)) == {"training", "scores"}


def test_a_published_benchmark_is_quoted_where_the_split_is_the_published_one(make_run, alpha_corpus, monkeypatch):
    corpus = alpha_corpus("tuab")
    run = make_run(classifier_config(corpus.path), 2, {"loss": 0.7})
    left(run, corpus, np.full((12, 1), 0.5))
    write_report(run)
    page = shown(run)
    assert "0.9022" not in page and "what is published of 409,455 windows is not shown, since this corpus has" in page
    monkeypatch.setattr(Published, "is_of", lambda own, windows: windows == 42)
    write_report(run)
    assert "0.9022 ± 0.0009" in shown(run)


def test_predictions_are_made_where_none_were_saved(make_run, alpha_corpus, monkeypatch):
    config = classifier_config(alpha_corpus().path)
    run = make_run(config, 2, {"loss": 0.7})

    def predictions(config, variables, windows):
        eeg = np.stack([window.eeg for own in windows for window in own])
        outputs = 1 / (1 + np.exp(11.0 - eeg.std(axis=(1, 2))[:, None]))
        return PredictionTable.of(listed(windows), outputs, "binary", config.model.classes)

    monkeypatch.setattr(report_classifier, "load_model", lambda path: ({}, to_dict(config)))
    monkeypatch.setattr(report_classifier, "predictions", predictions)
    write_report(run)
    assert "| AUROC | 1.0000 |" in shown(run)


@pytest.mark.parametrize("stage", ["tokenizer", "pretraining"])
def test_curves_stand_beside_what_an_evaluation_left(stage, make_run):
    if stage == "tokenizer":
        config = TokenizerStageConfig(run="r", model=TokenizerConfig(encoder=TINY, decoder=TINY))
        metrics, references = {"amplitude_loss": 0.6, "phase_loss": 0.9}, {"mean spectrum": {"amplitude_loss": 0.509}}
    else:
        config = PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY, codes=64), tokenizer="t")
        metrics = {"cross_entropy": 2.79, "accuracy": 0.2}
        references = {"code frequencies of each electrode": {"cross_entropy": 2.9, "accuracy": 0.15}}
        references["code frequencies"] = {"cross_entropy": 2.92, "accuracy": 0.14}
    run = make_run(config, 3, {"loss": 2.0, **metrics})
    (run / "scores.json").write_text(json.dumps({"test": {stage: metrics, **references}}))
    write_report(run)
    page = shown(run)
    value = next(iter(next(iter(references.values())).values()))
    assert f"| metric | {stage} | {' | '.join(references)} |" in page and f"| {value:.4f} |" in page
    lines, said = report._references(Run.open(run))
    assert lines[next(iter(metrics))][0] == value and said.startswith(" Dashed: ")


def test_tokenizer_shows_codes_and_spectra_of_held_out_windows(make_run, alpha_corpus, monkeypatch):
    plain = dataclasses.replace(TINY, qkv_bias=True, qk_norm=False, layer_scale=0.0)
    model = TokenizerConfig(encoder=plain, decoder=plain, quantizer=QuantizerConfig(codes=16, dimension=8))
    corpus = alpha_corpus("rest", (("FP1", "FP2", "C3", "C4", "O1", "O2"), ("CZ", "T7", "T8", "T3", "T1", "T2")))
    config = TokenizerStageConfig(run="r", model=model, data=DataConfig(corpora=(str(corpus.path),)))
    metrics = {"loss": 2.0, "amplitude_loss": 1.0, "phase_loss": 1.0, "codes_used": 0.5, "perplexity": 8.0}
    run = make_run(config, 3, metrics)
    # Any weights will do, and drawing them is faster than compiling the initialisation.
    shapes = meta.unbox(jax.eval_shape(TokenizerStage(config, 1).init, jax.random.key(0)))
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes)
    monkeypatch.setattr(report_tokenizer, "load", lambda path: Tokenizer(variables, model))
    heads, draw = [], scalp.scalp_maps
    monkeypatch.setattr(scalp, "scalp_maps", lambda *maps, **look: heads.append(draw(*maps, **look)) or heads[-1])
    write_report(run)
    (image,) = heads[-1].axes[0].images
    assert sum(image.get_clim()) == 0 and image.get_cmap().name == style.DIVERGING  # correlations have signs
    page = shown(run)
    assert "Held-out windows (validation split)" in page
    assert "| rest, 6ch | 6 | 6 |" in page and "| rest, 6ch-2 | 6 | 6 |" in page
    assert "Scalp map of rest, 6ch: only 3 of 6 electrodes can be placed" in page
    assert set(figures(run)) == {
        *("training", "codebook", "codes", "topography-rest-6ch-2", "scalp-rest-6ch-2"),
        *(f"{kind}-rest-6ch{number}" for kind in ("spectra", "fidelity") for number in ("", "-2")),
    }


def test_what_is_gone_is_named_and_the_rest_is_shown(make_run, tmp_path):
    run = make_run(classifier_config(tmp_path / "moved"), 2, {"loss": 0.7})
    write_report(run)
    page = shown(run)
    assert "Left out\n" in page and "There is no corpus" in page
    assert figures(run) == ["training"]


def test_what_is_no_run_is_refused_and_left_untouched(tmp_path, make_run):
    with pytest.raises(InputError, match="There is no run"):
        write_report(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        write_report(tmp_path / "folder")
    config = PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY), loop=LoopConfig(epochs=2))
    run = make_run(config, 1, {"loss": 1.0})
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="has no lines yet"):
        write_report(run)
    (run / "config.json").write_text("{")
    with pytest.raises(InputError, match="is damaged, since it is no JSON"):
        write_report(run)
    (run / "config.json").write_text(json.dumps(to_dict(config.model)))
    with pytest.raises(InputError, match="no training run"):
        write_report(run)
    assert not list(run.glob("report*"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("best.json", '{"step": "2", "metric": "loss", "value": 1.0}', "names no checkpoint and its score: delete it"),
        ("best.json", '{"step": 2, "metric": "loss", "value": NaN}', "names no checkpoint and its score"),
        ("scores.json", '{"test": [1]}', "something else than scores: delete it and evaluate"),
    ],
)
def test_what_was_changed_to_what_cannot_be_is_refused(make_run, name, content, sentence):
    run = make_run(PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY)), 2, {"loss": 1.0})
    (run / name).write_text(content)
    with refuses(sentence):
        write_report(run)


def test_a_damaged_log_is_shown_as_far_as_it_can_be(make_run):
    run = make_run(PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY)), 2, {"loss": 1.0})
    log = run / "metrics.jsonl"
    whole = log.read_bytes().splitlines(keepends=True)
    whole[0] = whole[0].replace(b'"loss": 1.0', b'"loss": "one"').replace(b"1234.0", b"[]")
    damaged = (b"5\n", b"null\n", b'{"step": 1}\n', b'{"step": "1", "split": "train"}\n', b'{"step": 1, "split": []}\n')
    log.write_bytes(b"".join((*damaged, b"\xff{\n", b"[" * 100_000 + b"\n", *whole)))
    opened = Run.open(run)
    assert opened.series("train", "loss")[0].tolist() == [2] and "patches_per_second" not in opened.lines[0]
    assert len(opened.lines) == 4
    write_report(run)


def test_damaged_predictions_are_refused(tmp_path):
    path = tmp_path / "predictions-test.npz"
    np.savez(path, probabilities=np.full((12, 1), 0.5), labels=np.zeros(11, int))
    for content in (path.read_bytes(), path.read_bytes()[:300], b"PK\x03\x04", b""):
        path.write_bytes(content)
        with refuses(r"predictions-test\.npz is damaged .*: delete it and evaluate the run again"):
            PredictionTable.read(path)


def test_values_that_were_not_finite_are_left_out_of_curves(make_run):
    config = PretrainingStageConfig(run="r", model=MaskedModelConfig(encoder=TINY))
    run = make_run(config, 2, {"loss": 1.0})
    with (run / "metrics.jsonl").open("w") as log:
        for step, loss in ((1, 2.0), (2, None), (3, 1.0)):
            log.write(json.dumps({"step": step, "epoch": 0.1, "split": "train", "loss": loss}) + "\n")
    steps, values = Run.open(run).series("train", "loss")
    assert steps.tolist() == [1, 3] and values.tolist() == [2, 1]
    assert Run.open(run).series("validation", "loss") is None
