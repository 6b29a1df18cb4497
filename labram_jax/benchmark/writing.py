"""The results of a benchmark as files: results.json, results.csv, and what is made of the first to be read."""

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

from labram_jax.benchmark.page import JSON, write_page
from labram_jax.benchmark.results import Results, Scored
from labram_jax.jsonfile import write_json, write_text
from labram_jax.protocol import named
from labram_jax.tables import Spread

CSV = "results.csv"
ALL_FOLDS = "all folds"


def write_results(results: Results, out: Path) -> Path:
    """Writes everything into a folder; returns the path of the page."""
    write_json(out / JSON, as_plain(results))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("of", "seed", "fold", "metric", "value"))
    writer.writerows(_lines(results))
    write_text(out / CSV, file.getvalue())
    return write_page(out)


def as_plain(results: Results) -> dict:
    """All results as plain data for JSON."""
    protocol = results.protocol
    return {
        "protocol": protocol.name,
        "title": protocol.title,
        "told": [*_told(results)],
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
