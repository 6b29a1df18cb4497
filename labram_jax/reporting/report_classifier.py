"""The classifier's part of a report: test scores beside the band-power baseline's, those of chance and the paper's."""

from collections.abc import Mapping, Sequence

import numpy as np

from labram_jax.adaptation.band_powers import BANDS_HZ, read_powers, shared_electrodes
from labram_jax.checkpoints.models import load_model
from labram_jax.config import FinetuningStageConfig, size_of
from labram_jax.configfile import from_dict
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.evaluation.evaluate import BASELINE, MODEL, PREDICTIONS, stand_beside
from labram_jax.evaluation.predict import predictions
from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.evaluation.published import COLUMN, comparable
from labram_jax.evaluation.references import CHANCE
from labram_jax.evaluation.scoring import score_levels
from labram_jax.reporting.figures import scalp, scores
from labram_jax.reporting.page import Page
from labram_jax.reporting.runlog import Run
from labram_jax.tables import Interval, score_rows

_LOSSES = frozenset({"log_loss", "rmse", "loss", "brier", "calibration_error"})  # not on the scale of the bars
_MOST_MAPS = 6
_MOST_WINDOWS = 2000  # of which band powers are shown on the head


def describe_classifier(page: Page, run: Run, corpora: Sequence[Corpus]) -> None:
    """Adds test scores, confusion matrix or ROC curve, and the classes' alpha power on the head to the page.

    Predictions are those that an evaluation left in the run, or are made.
    """
    data = run.config.data
    split = data.test_split
    tables, windows = _tables(page, run, corpora)
    levels, notes = score_levels(tables, run.config.loop.seed)
    page.heading(f"Scores on the {split} split")
    told = "; ".join(own.corpus.told(split, data.train_split) for own in windows)
    page.text(f"{levels[0].units:,} windows of {told}.")
    published = _published(page, corpora, run.config)
    for level in levels:
        if level.unit != "window":
            page.text(f"Per {level.unit} ({level.units:,}), by the mean of its windows' outputs:")
        page.table(*score_rows(level.shown() | (published if level.unit == "window" else {})))
        for metric, reason in level.undefined.items():
            page.note(f"{metric}: {reason}, so that it has no value.")
    for note in notes:
        page.text(f"{note[0].upper()}{note[1:].rstrip('.')}.")
    _figures(page, tables, {**levels[0].columns, **published}, levels[0].intervals)
    if tables[MODEL].task != "regression":
        page.attempt("Scalp map", lambda: _alpha_maps(page, windows, tables[MODEL].classes))


def _tables(page: Page, run: Run, corpora: Sequence[Corpus]) -> tuple[dict[str, PredictionTable], list[SplitWindows]]:
    """Predictions by the run's model and what stands beside them, and the windows that they are for."""
    data, split = run.config.data, run.config.data.test_split
    splits = split, data.train_split, data.validation_split
    windows, train, validation = (windows_of(data, corpora, name) for name in splits)
    paths = {name: run.path / f"{stem}-{split}.npz" for name, stem in PREDICTIONS.items()}
    kept = {name: PredictionTable.read(path) for name, path in paths.items() if path.is_file()}
    if MODEL in kept:
        # An evaluation is of one corpus.
        names = set(kept[MODEL].frame["corpus"])
        windows = [own for own in windows if own.corpus.name in names and len(own)]
        if not windows:
            raise InputError(
                f"{paths[MODEL]} is of {', '.join(sorted(names))}, which the run does not name: delete it and evaluate "
                "the run again."
            )
    else:
        variables, values = load_model(run.path)
        kept = {MODEL: predictions(from_dict(values, str(run.path)), variables, windows)}
    wanted = [name for name in (BASELINE, CHANCE) if name not in kept]
    beside, notes = stand_beside(kept[MODEL], windows, train, validation, wanted)
    for note in notes:
        page.note(note)
    return {name: table for name in (MODEL, BASELINE, CHANCE) if (table := {**kept, **beside}.get(name))}, windows


def _published(page: Page, corpora: Sequence[Corpus], config: FinetuningStageConfig) -> dict[str, dict]:
    """The paper's columns where the one corpus is one of its benchmarks, and the split the published one."""
    if len(corpora) != 1:
        return {}
    results, withheld = comparable(corpora[0], config.data, config.data.test_split, not config.data.resplits)
    for reason in withheld:
        page.note(f"Published scores: {reason}.")
    size = size_of(config.model.encoder) or "base"
    chosen = {name: result for name, result in results.items() if result.size == size}
    for source in dict.fromkeys(result.source for result in chosen.values()):
        page.text(f"Published: {source}.")
    return {f"{COLUMN}{name}": result.scores for name, result in chosen.items()}


def _figures(
    page: Page,
    tables: Mapping[str, PredictionTable],
    columns: Mapping[str, Mapping[str, object]],
    intervals: Mapping[str, Mapping[str, Interval]],
) -> None:
    bars = {
        name: {metric: value for metric, value in own.items() if metric not in _LOSSES}
        for name, own in columns.items()
        if name != CHANCE
    }
    strokes = " Strokes: intervals, as in brackets above; of what is published, standard deviations over seeds."
    page.figure(
        "scores", scores.score_bars(bars, columns.get(CHANCE), intervals),
        f"Scores beside the baseline's and those of chance.{strokes if any(intervals.values()) else ''}",
    )  # fmt: skip
    table = tables[MODEL].labelled()
    if table.task == "regression":
        return
    predicted = table.outputs.argmax(axis=1) if table.task == "multiclass" else table.outputs[:, 1] >= 0.5
    page.figure(
        "confusion", scores.confusion(table.labels, predicted.astype(int), table.classes),
        "Confusion matrix: windows, and their share of the true class.",
    )  # fmt: skip
    if table.task == "binary" and len(np.unique(table.labels)) == 2:
        own = {name: one.labelled() for name, one in tables.items() if name != CHANCE}
        curves = {name: (one.labels, one.outputs[:, 1]) for name, one in own.items()}
        one, other = table.classes
        page.figure("roc", scores.roc(curves), f"ROC curve for {other!r} against {one!r}.")


def _alpha_maps(page: Page, windows: Sequence[SplitWindows], classes: Sequence[str]) -> None:
    """Alpha power of each class against the others, in dB: what of the classes a person could see."""
    electrodes = shared_electrodes(windows)
    if reason := scalp.too_few(electrodes):
        page.note(f"Scalp map: {reason}.")
        return
    powers, labels = read_powers(windows, electrodes, _MOST_WINDOWS)
    present = [index for index in range(len(classes)) if (labels == index).any()]
    if len(present) < 2:
        page.note("Scalp map: the test windows have one class alone.")
        return
    powers, labels = powers[labels >= 0], labels[labels >= 0]
    bands = [index for index, name in enumerate(BANDS_HZ) if "alpha" in name]
    decibel = 10 / np.log(10) * powers[:, :, bands].mean(axis=-1)  # NaN for bad electrodes
    maps = {}
    for index in present[1:] if len(present) == 2 else present[:_MOST_MAPS]:
        own = labels == index
        against = classes[present[0]] if len(present) == 2 else "rest"
        maps[f"{classes[index]} − {against}"] = np.nanmean(decibel[own], axis=0) - np.nanmean(decibel[~own], axis=0)
    page.figure(
        "scalp", scalp.scalp_maps(maps, electrodes, "alpha power, 8-13 Hz (dB)", diverging=True),
        "Difference of alpha power between the classes on the test windows: the data, not the model.",
    )  # fmt: skip
