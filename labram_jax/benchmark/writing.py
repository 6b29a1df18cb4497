"""The results of a benchmark as files: results.json, results.csv, and a page with tables and a figure."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labram_jax.benchmark.results import LEVEL, Results, Scored
from labram_jax.evaluation import bootstrap
from labram_jax.jsonfile import write_json
from labram_jax.protocol import named
from labram_jax.reporting.figures.benchmark import beside_published
from labram_jax.reporting.page import Page
from labram_jax.tables import Spread, cell, metric_name, text_table

JSON, CSV, PAGE = "results.json", "results.csv", "results.html"
ALL_FOLDS = "all folds"


def write_results(results: Results, out: Path) -> Path:
    """Writes everything into a folder; returns the path of the page."""
    write_json(out / JSON, as_plain(results))
    part = out / f"{CSV}.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("of", "seed", "fold", "metric", "value"))
        writer.writerows(_lines(results))
    part.replace(out / CSV)
    return _page(results, out)


def as_text(results: Results) -> str:
    """The scores and what must stand beside them, for a terminal."""
    return "\n".join([results.protocol.name, text_table(*_scores(results, _metrics(results))), *_told(results)])


def as_plain(results: Results) -> dict:
    """All results as plain data for JSON."""
    protocol = results.protocol
    return {
        "protocol": protocol.name,
        "corpus": results.corpus.address,
        "checkpoint": results.checkpoint,
        "size": results.size,
        "split": str(protocol.split),
        "changed_hyperparameters": dict(results.changed),
        "missing_subjects": list(results.missing),
        "withheld": results.withheld(),
        "seen": results.seen and results.seen.plain(),
        "notes": [*protocol.differences, *results.notes],
        "folds": {
            fold: {"windows": results.windows[fold], **dataclasses.asdict(own)} for fold, own in results.company.items()
        },
        "metrics": list(protocol.metrics),
        "modes": {
            mode: {
                **_as_plain(scored),
                "seconds": [cost.seconds for cost in results.costs[mode]],
                "trained_parameters": results.costs[mode][0].parameters,
            }
            for mode, scored in results.modes.items()
        },
        "beside": {name: _as_plain(scored) for name, scored in results.beside.items()},
        "published": [dataclasses.asdict(one) for one in results.published],
        "compared": [dataclasses.asdict(one) for one in results.compared()],
    }


def _as_plain(scored: Scored) -> dict:
    over = scored.over_seeds()
    return {
        "mean": {name: value.mean if isinstance(value, Spread) else value for name, value in over.items()},
        "std": {name: value.std for name, value in over.items() if isinstance(value, Spread)},
        "intervals": {name: [own.low, own.high] for name, own in scored.intervals.items()},
        "seeds": {str(seed): dict(own) for seed, own in scored.pooled.items()},
        "folds": {str(seed): {fold: dict(one) for fold, one in own.items()} for seed, own in scored.folds.items()},
    }


def _lines(results: Results) -> Iterator[tuple]:
    for name, scored in {**results.modes, **results.beside}.items():
        for seed, folds in scored.folds.items():
            for fold, values in {**folds, ALL_FOLDS: scored.pooled[seed]}.items():
                for metric, value in values.items():
                    yield name, seed if name in results.modes else "", fold, metric, repr(value)


def _page(results: Results, out: Path) -> Path:
    protocol, page = results.protocol, Page(out, f"Benchmark {results.protocol.name}", PAGE)
    page.text(f"{protocol.title}; {protocol.split}.")
    for sentence in _told(results):
        page.text(sentence)
    metrics = _metrics(results)
    several = len(results.windows) > 1
    page.heading("Scores")
    if several:
        page.text(f"Of the predictions of all {len(results.windows)} folds together; of chance, the mean of the folds.")
    drawn = f"in brackets {bootstrap.LEVEL:.0%} intervals over {bootstrap.RESAMPLES:,} resamples of the test subjects, "
    bounded = any(own.intervals for own in results.modes.values())
    told = f"{drawn}of the first seed" if bounded else "no intervals, since all test windows are of one subject"
    page.text(f"Mean and standard deviation over seeds; {told}.")
    page.table(*_scores(results, metrics))
    page.figure("scores", _figure(results, metrics), _caption(results, several))
    if results.published:
        _compared(page, results)
    page.heading("Every seed")
    rows = [
        [mode, str(seed), *(own.get(name) for name in metrics)]
        for mode, scored in results.modes.items()
        for seed, own in scored.pooled.items()
    ]
    page.table(["mode", "seed", *map(metric_name, metrics)], rows)
    if several:
        _folds(page, results, metrics)
    if others := (*protocol.differences, *results.notes):
        page.heading("Notes")
        for sentence in others:
            page.text(f"{sentence[0].upper()}{sentence[1:]}.")
    return page.write()


def _metrics(results: Results) -> list[str]:
    """The protocol's metrics that have a value."""
    found = [scored.over_seeds() for scored in results.modes.values()]
    return [name for name in results.protocol.metrics if any(name in own for own in found)]


def _told(results: Results) -> Iterator[str]:
    """What must stand beside the scores."""
    start = f"from {results.checkpoint}" if results.checkpoint else "from scratch"
    windows = sum(results.windows.values())
    yield f"{windows:,} test windows of {results.corpus.address}; models start {start}."
    tested = {subject for own in results.company.values() for subject in own.tests}
    shared = {subject for own in results.company.values() for subject in own.tests_and_trains}
    if shared:
        yield f"Within subjects: {len(shared)} of the {len(tested)} who test are in the training of the same fold."
    else:
        yield f"No subject who tests trains in the same fold ({len(tested)} test)."
    if results.seen is not None:
        yield from (f"What runs start from: {sentence}." for sentence in results.seen.told())
    if leaked := sorted({subject for own in results.company.values() for subject in own.validates_and_trains} - shared):
        yield f"Who validates also trains, so that the best checkpoint is chosen within subjects: {named(leaked)}."
    if alone := [fold for fold, own in results.company.items() if not own.validates]:
        yield f"Nobody validates in {named(alone)}, so that the last checkpoint is scored there."
    if results.changed:
        changed = ", ".join(f"{name} {value}" for name, value in results.changed.items())
        yield f"With changed hyperparameters, not the protocol's: {changed}."
    yield from (f"{reason[0].upper()}{reason[1:]}." for reason in results.withheld())


def _scores(results: Results, metrics: list[str]) -> tuple[list[str], list[list[object]]]:
    rows = []
    for mode, scored in results.modes.items():
        costs = results.costs[mode]
        seconds = float(np.mean([cost.seconds for cost in costs]))
        rows.append([mode, *_cells(scored, metrics), costs[0].parameters, f"{seconds:.0f} s"])
    for name, scored in results.beside.items():
        rows.append([name, *_cells(scored, metrics), None, None])
    for one in results.published:
        rows.append([one.model, *(one.scores.get(metric) for metric in metrics), None, None])
    return ["", *map(metric_name, metrics), "trained parameters", "a run took"], rows


def _cells(scored: Scored, metrics: list[str]) -> list[str]:
    """Each score with its interval, if it has one."""
    over, cells = scored.over_seeds(), []
    for name in metrics:
        shown = (over.get(name), scored.intervals.get(name))
        cells.append(" ".join(cell(value) for value in shown if value is not None) or "-")
    return cells


def _compared(page: Page, results: Results) -> None:
    page.heading("Beside what is published")
    page.text(
        "Inside: our mean lies within their mean ± standard deviation. Welch's t test takes both means, standard "
        f"deviations and numbers of seeds; below {LEVEL:g} the difference is more than seeds explain."
    )
    rows = [
        [own.mode, own.published, metric_name(own.metric), own.ours, own.theirs, "yes" if own.inside else "no", own.p]
        for own in results.compared()
    ]
    page.table(["mode", "published", "metric", "ours", "theirs", "inside", "Welch's p"], rows)
    rows = [
        [one.model, metric_name(metric), " ".join(f"{value:.4f}" for value in values)]
        for one in results.published
        for metric, values in one.by_seed.items()
    ]
    if rows:
        page.table(["published", "metric", "each seed"], rows)
    for source in dict.fromkeys(f"{one.model}: {one.source}." for one in results.published):
        page.text(source)


def _folds(page: Page, results: Results, metrics: list[str]) -> None:
    columns = {**results.modes, **results.beside}
    page.heading("Mean of the folds' own scores, over seeds")
    means = {name: scored.over_folds() for name, scored in columns.items()}
    page.table(["", *map(metric_name, metrics)], [[name, *map(own.get, metrics)] for name, own in means.items()])
    page.heading(f"Every fold: {metric_name(metrics[0])}, mean over seeds")
    rows: list[list[object]] = []
    for fold, count in results.windows.items():
        scores = (scored.of_fold(fold).get(metrics[0]) for scored in columns.values())
        rows.append([fold, named(results.company[fold].tests, 4), count, *scores])
    page.table(["fold", "who tests", "windows", *columns], rows)


def _figure(results: Results, metrics: list[str]):
    folds = len(results.windows) > 1
    return beside_published(
        metrics,
        {mode: list(scored.pooled.values()) for mode, scored in results.modes.items()},
        {mode: [one for own in scored.folds.values() for one in own.values()] if folds else []
         for mode, scored in results.modes.items()},
        {name: scored.over_seeds() for name, scored in results.beside.items()},
        {one.model: one.scores for one in results.published},
    )  # fmt: skip


def _caption(results: Results, several: bool) -> str:
    folds = " Small: every fold of every seed." if several else ""
    published = " Bands: published mean ± standard deviation." if results.published else ""
    return f"Each point is a seed, each stroke the mean over seeds.{folds}{published}"
