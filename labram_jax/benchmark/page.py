"""What results.json of a benchmark says as a page: tables, a figure, what must stand beside; and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from labram_jax.benchmark.results import LEVEL, Comparison, Scored
from labram_jax.errors import DamageError
from labram_jax.evaluation import bootstrap
from labram_jax.jsonfile import read_json, write_text
from labram_jax.protocol import Published, named
from labram_jax.reporting.figures.benchmark import beside_published
from labram_jax.reporting.page import Page
from labram_jax.tables import Interval, Spread, as_markdown, cell, markdown_table, metric_name, text_table

JSON, PAGE, MARKDOWN = "results.json", "results.html", "results.md"
_ADVICE = "give the command `benchmark` again, which makes it anew from the runs that are there"


@dataclass(frozen=True)
class Summary:
    """What results.json says, as far as it is shown.

    Attributes:
        protocol, title, split: of the benchmark, for a person.
        told: what must stand beside the scores; `notes`, what else there is to say.
        metrics: those of the protocol that have a value.
        modes, beside: scores of the modes, and of baseline and chance.
        seconds, parameters: of every mode, what a run took on average, and how many parameters it trained.
        windows, tests: of every fold, how many test windows it has, and who tests.
    """

    protocol: str
    title: str
    split: str
    told: tuple[str, ...]
    notes: tuple[str, ...]
    metrics: tuple[str, ...]
    modes: Mapping[str, Scored]
    beside: Mapping[str, Scored]
    seconds: Mapping[str, float]
    parameters: Mapping[str, int]
    windows: Mapping[str, int]
    tests: Mapping[str, tuple[str, ...]]
    published: tuple[Published, ...]
    compared: tuple[Comparison, ...]

    @classmethod
    def read(cls, folder: Path) -> "Summary":
        """Reads the results in a benchmark's folder; raises DamageError where they are not what a benchmark writes."""
        path = folder / JSON
        plain = read_json(path, _ADVICE)
        try:
            return cls._of(plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamageError(f"{path} is damaged, or of an earlier version ({error!r})", _ADVICE) from error

    @classmethod
    def _of(cls, plain: Mapping[str, Any]) -> "Summary":
        modes, folds = plain["modes"], plain["folds"]
        scored = {mode: _scored(own) for mode, own in modes.items()}
        found = [own.over_seeds() for own in scored.values()]
        return cls(
            protocol=str(plain["protocol"]),
            title=str(plain["title"]),
            split=str(plain["split"]),
            told=tuple(map(str, plain["told"])),
            notes=tuple(map(str, plain["notes"])),
            metrics=tuple(name for name in plain["metrics"] if any(name in own for own in found)),
            modes=scored,
            beside={name: _scored(own) for name, own in plain["beside"].items()},
            seconds={mode: float(np.mean(own["seconds"])) for mode, own in modes.items()},
            parameters={mode: int(own["trained_parameters"]) for mode, own in modes.items()},
            windows={fold: int(own["windows"]) for fold, own in folds.items()},
            tests={fold: tuple(map(str, own["tests"])) for fold, own in folds.items()},
            published=tuple(_published(own) for own in plain["published"]),
            compared=tuple(Comparison(**{**own, "ours": _value(own["ours"]), "theirs": _value(own["theirs"])})
                           for own in plain["compared"]),
        )  # fmt: skip

    def scores(self) -> tuple[list[str], list[list[object]]]:
        """Headers and rows of the table of all scores."""
        rows: list[list[object]] = [
            [mode, *_cells(scored, self.metrics), self.parameters[mode], f"{self.seconds[mode]:.0f} s"]
            for mode, scored in self.modes.items()
        ]
        rows += [[name, *_cells(scored, self.metrics), None, None] for name, scored in self.beside.items()]
        rows += [[one.model, *(one.scores.get(name) for name in self.metrics), None, None] for one in self.published]
        return ["", *map(metric_name, self.metrics), "trained parameters", "a run took"], rows

    def seeds(self) -> tuple[list[str], list[list[object]]]:
        """Headers and rows of the table of every seed."""
        rows: list[list[object]] = [
            [mode, str(seed), *(own.get(name) for name in self.metrics)]
            for mode, scored in self.modes.items()
            for seed, own in scored.pooled.items()
        ]
        return ["mode", "seed", *map(metric_name, self.metrics)], rows

    def sources(self) -> list[str]:
        """Where the published values stand."""
        return list(dict.fromkeys(f"{one.model}: {one.source}." for one in self.published))

    def __str__(self) -> str:
        """The scores and what must stand beside them, for a terminal."""
        return "\n".join([self.protocol, text_table(*self.scores()), *self.told])

    def markdown(self) -> str:
        """The same, every seed, and where the published values stand, to be pasted into a document."""
        beside = "\n".join(f"- {as_markdown(line)}" for line in [f"{self.split}.", *self.told, *self.sources()])
        tables = markdown_table(*self.scores()), markdown_table(*self.seeds())
        return f"# {as_markdown(f'{self.protocol}: {self.title}')}\n\n{tables[0]}\n\n{beside}\n\n{tables[1]}\n"


def write_page(folder: Path) -> Path:
    """Writes the page of the results in a benchmark's folder, and Markdown beside it; returns the path of the page."""
    results = Summary.read(folder)
    write_text(folder / MARKDOWN, results.markdown())
    page = Page(folder, f"Benchmark {results.protocol}", PAGE)
    page.text(f"{results.title}; {results.split}.")
    for sentence in results.told:
        page.text(sentence)
    several = len(results.windows) > 1
    page.heading("Scores")
    if several:
        page.text(f"Of the predictions of all {len(results.windows)} folds together; of chance, the mean of the folds.")
    drawn = f"in brackets {bootstrap.LEVEL:.0%} intervals over {bootstrap.RESAMPLES:,} resamples of the test subjects, "
    bounded = any(own.intervals for own in results.modes.values())
    told = f"{drawn}of the first seed" if bounded else "no intervals, since all test windows are of one subject"
    page.text(f"Mean and standard deviation over seeds; {told}.")
    page.table(*results.scores())
    page.figure("scores", _figure(results), _caption(results, several))
    if results.published:
        _compared(page, results)
    page.heading("Every seed")
    page.table(*results.seeds())
    if several:
        _folds(page, results)
    if results.notes:
        page.heading("Notes")
        for sentence in results.notes:
            page.text(f"{sentence[0].upper()}{sentence[1:]}.")
    return page.write()


def _scored(plain: Mapping[str, Any]) -> Scored:
    return Scored(
        {int(seed): own for seed, own in plain["seeds"].items()},
        {int(seed): own for seed, own in plain["folds"].items()},
        {name: Interval(*own) for name, own in plain["intervals"].items()},
    )


def _published(plain: Mapping[str, Any]) -> Published:
    return Published(**{**plain, "scores": {name: Spread(**own) for name, own in plain["scores"].items()}})


def _value(plain: Mapping[str, Any] | float) -> Spread | float:
    return Spread(**plain) if isinstance(plain, Mapping) else plain


def _cells(scored: Scored, metrics: tuple[str, ...]) -> list[str]:
    """Each score with its interval, if it has one."""
    over, cells = scored.over_seeds(), []
    for name in metrics:
        shown = (over.get(name), scored.intervals.get(name))
        cells.append(" ".join(cell(value) for value in shown if value is not None) or "-")
    return cells


def _compared(page: Page, results: Summary) -> None:
    page.heading("Beside what is published")
    page.text(
        "Inside: our mean lies within their mean ± standard deviation. Welch's t test takes both means, standard "
        f"deviations and numbers of seeds; below {LEVEL:g} the difference is more than seeds explain."
    )
    rows = [
        [own.mode, own.published, metric_name(own.metric), own.ours, own.theirs, "yes" if own.inside else "no", own.p]
        for own in results.compared
    ]
    page.table(["mode", "published", "metric", "ours", "theirs", "inside", "Welch's p"], rows)
    rows = [
        [one.model, metric_name(metric), " ".join(f"{value:.4f}" for value in values)]
        for one in results.published
        for metric, values in one.by_seed.items()
    ]
    if rows:
        page.table(["published", "metric", "each seed"], rows)
    for source in results.sources():
        page.text(source)


def _folds(page: Page, results: Summary) -> None:
    columns, metrics = {**results.modes, **results.beside}, results.metrics
    page.heading("Mean of the folds' own scores, over seeds")
    means = {name: scored.over_folds() for name, scored in columns.items()}
    page.table(["", *map(metric_name, metrics)], [[name, *map(own.get, metrics)] for name, own in means.items()])
    page.heading(f"Every fold: {metric_name(metrics[0])}, mean over seeds")
    rows: list[list[object]] = []
    for fold, count in results.windows.items():
        scores = (scored.of_fold(fold).get(metrics[0]) for scored in columns.values())
        rows.append([fold, named(results.tests[fold], 4), count, *scores])
    page.table(["fold", "who tests", "windows", *columns], rows)


def _figure(results: Summary) -> Figure:
    folds = len(results.windows) > 1
    return beside_published(
        results.metrics,
        {mode: list(scored.pooled.values()) for mode, scored in results.modes.items()},
        {mode: [one for own in scored.folds.values() for one in own.values()] if folds else []
         for mode, scored in results.modes.items()},
        {name: scored.over_seeds() for name, scored in results.beside.items()},
        {one.model: one.scores for one in results.published},
    )  # fmt: skip


def _caption(results: Summary, several: bool) -> str:
    folds = " Small: every fold of every seed." if several else ""
    published = " Bands: published mean ± standard deviation." if results.published else ""
    return f"Each point is a seed, each stroke the mean over seeds.{folds}{published}"
