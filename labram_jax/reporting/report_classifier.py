"""The classifier's part of a report: test scores beside the band-power baseline's and the paper's."""

from collections.abc import Sequence

import numpy as np

from labram_jax import metrics
from labram_jax.config import ClassifierConfig, base_encoder, huge_encoder, large_encoder
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import Windows
from labram_jax.errors import DamageError, InputError, refusal_in
from labram_jax.evaluation.baseline import BANDS_HZ, Baseline, band_power_baseline
from labram_jax.evaluation.heldout import predict
from labram_jax.evaluation.published import published_for
from labram_jax.inference import load
from labram_jax.reporting.figures import scalp, scores
from labram_jax.reporting.page import Page
from labram_jax.reporting.runlog import Run
from labram_jax.tables import score_rows

MODEL, BASELINE = "fine-tuned", "band powers"
_LOSSES = frozenset({"log_loss", "rmse", "loss"})  # not on the scale of the bars
_MOST_MAPS = 6


def describe_classifier(page: Page, run: Run, corpora: Sequence[Corpus]) -> None:
    """Adds test scores, confusion matrix or ROC curve, and the classes' alpha power on the head to the page."""
    split = run.config.data.test_split
    windows = windows_of(run.config.data, corpora, split)
    predictions, labels = read_predictions(run, split) or predict(load(run.path), windows)
    model, task = run.config.model, _task(run.config.model)
    scored = metrics.scorer(task)(predictions, labels)
    columns = {MODEL: scored.values}
    baseline = _baseline(page, run, corpora, windows)
    if baseline is not None:
        columns[BASELINE] = baseline.scores
    elif "baseline" in run.scores:
        columns[BASELINE] = run.scores["baseline"]
    page.heading(f"Scores on the {split} split")
    page.text(f"{len(labels):,} windows. {_baseline_sentence(baseline)}")
    columns |= _published(page, corpora, model)
    page.table(*score_rows(columns))
    for metric, reason in scored.undefined.items():
        page.note(f"{metric}: {reason}, so that it has no value.")
    _figures(page, task, predictions, labels, model, columns, baseline)


def read_predictions(run: Run, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns predictions [N, outputs] and labels [N] as an evaluation left them in the run; None if none did."""
    path = run.path / f"predictions-{split}.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path) as arrays:
            predictions, labels = arrays["probabilities"], arrays["labels"]
        if predictions.shape[:1] != labels.shape[:1] or predictions.ndim != 2 or not np.isfinite(predictions).all():
            raise ValueError(f"shapes {predictions.shape} and {labels.shape}")
    except Exception as error:  # NumPy has no one exception for what it cannot open
        if refusal := refusal_in(error):
            raise refusal from error
        reason = " ".join(str(error).split())[:200]
        raise DamageError(f"{path} is damaged ({reason})", "delete it and evaluate the run again") from error
    return predictions, labels


def _baseline(page: Page, run: Run, corpora: Sequence[Corpus], test: Sequence[Windows]) -> Baseline | None:
    model = run.config.model
    classes = 0 if model.task == "regression" else max(2, model.outputs)
    try:
        train = windows_of(run.config.data, corpora, run.config.data.train_split)
        return band_power_baseline(train, test, classes)
    except InputError as error:
        page.note(f"Band-power baseline: {error}")
        return None


def _baseline_sentence(baseline: Baseline | None) -> str:
    if baseline is None:
        return ""
    return (
        f"The baseline, a logistic or ridge regression on {len(BANDS_HZ)} log band powers of "
        f"{len(baseline.electrodes)} electrodes, is fitted to {baseline.train_windows:,} windows of the training split."
    )


def _published(page: Page, corpora: Sequence[Corpus], model: ClassifierConfig) -> dict[str, dict]:
    """The paper's columns where the one corpus is one of its benchmarks."""
    results = published_for(corpora[0].name) if len(corpora) == 1 else {}
    sizes = {"base": base_encoder(), "large": large_encoder(), "huge": huge_encoder()}
    own = (model.encoder.width, model.encoder.depth)
    same = [name for name, size in sizes.items() if (size.width, size.depth) == own]
    chosen = {name: results[name] for name in same or ("base",) if name in results}
    if chosen:
        page.text(f"Published: {next(iter(chosen.values())).source}.")
    return {f"paper, {name}": result.scores for name, result in chosen.items()}


def _task(model: ClassifierConfig) -> metrics.Task:
    return metrics.task_of(model.outputs, model.task == "regression")


def _figures(page: Page, task: metrics.Task, predictions, labels, model: ClassifierConfig, columns, baseline) -> None:
    bars = {
        name: {metric: value for metric, value in scores_.items() if metric not in _LOSSES}
        for name, scores_ in columns.items()
    }
    page.figure("scores", scores.score_bars(bars, _chance(task, labels)), "Scores beside the baseline's and guessing.")
    if task == "regression":
        return
    classes = model.classes or tuple(str(index) for index in range(max(2, model.outputs)))
    predicted = (predictions.reshape(-1) >= 0.5).astype(int) if task == "binary" else predictions.argmax(axis=1)
    page.figure(
        "confusion", scores.confusion(labels, predicted, classes),
        "Confusion matrix: windows, and their share of the true class.",
    )  # fmt: skip
    if task == "binary" and len(np.unique(labels)) == 2:
        curves = {MODEL: (labels, predictions.reshape(-1))}
        if baseline is not None:
            curves[BASELINE] = (baseline.labels, baseline.predictions.reshape(-1))
        page.figure("roc", scores.roc(curves), f"ROC curve for {classes[1]!r} against {classes[0]!r}.")
    if baseline is not None:
        _alpha_maps(page, baseline, classes)


def _chance(task: metrics.Task, labels: np.ndarray) -> dict[str, float]:
    if task == "regression":
        return {"pearson_r": 0.0, "r2": 0.0}
    if task == "binary":
        return {"balanced_accuracy": 0.5, "auroc": 0.5, "auc_pr": float(np.mean(labels == 1))}
    return {"balanced_accuracy": 1 / len(np.unique(labels)), "cohen_kappa": 0.0}


def _alpha_maps(page: Page, baseline: Baseline, classes: Sequence[str]) -> None:
    """Alpha power of each class against the others, in dB: what of the classes a person could see."""
    present = [index for index in range(len(classes)) if (baseline.labels == index).any()]
    if reason := scalp.too_few(baseline.electrodes):
        page.note(f"Scalp map: {reason}.")
        return
    if len(present) < 2:
        page.note("Scalp map: the test windows have one class alone.")
        return
    bands = [index for index, name in enumerate(BANDS_HZ) if "alpha" in name]
    decibel = 10 / np.log(10) * baseline.powers[:, :, bands].mean(axis=-1)  # NaN for bad electrodes
    maps = {}
    for index in present[1:] if len(present) == 2 else present[:_MOST_MAPS]:
        own = baseline.labels == index
        against = classes[present[0]] if len(present) == 2 else "rest"
        maps[f"{classes[index]} − {against}"] = np.nanmean(decibel[own], axis=0) - np.nanmean(decibel[~own], axis=0)
    page.figure(
        "scalp", scalp.scalp_maps(maps, baseline.electrodes, "alpha power, 8-13 Hz (dB)", diverging=True),
        "Difference of alpha power between the classes on the test windows: the data, not the model.",
    )  # fmt: skip
