"""The runs of a benchmark: one for each mode, fold and seed, each a folder that `labram-jax train` could have made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from labram_jax.adaptation.probe import draws_nothing
from labram_jax.benchmark.modes import changes_of
from labram_jax.checkpoints.models import load_model
from labram_jax.config import DataConfig, FinetuningStageConfig, replace
from labram_jax.configfile import from_dict
from labram_jax.data.corpus import Corpus
from labram_jax.data.splits import with_splits
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.evaluation.evaluate import BASELINE, MODEL, PREDICTIONS, stand_beside
from labram_jax.evaluation.predict import predictions, probe_predictions
from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.evaluation.references import CHANCE
from labram_jax.jsonfile import read_json, write_json
from labram_jax.protocol import Fold
from labram_jax.runs import train
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.program import Programs

COST = "cost.json"
_TEST = "test"


@dataclass(frozen=True)
class Cost:
    """What a run took: seconds of training on this machine, and parameters that it trained."""

    seconds: float
    parameters: int


@dataclass(frozen=True)
class Company:
    """Who tests and validates in a fold, and who of them trains as well."""

    tests: tuple[str, ...]
    validates: tuple[str, ...]
    tests_and_trains: tuple[str, ...]
    validates_and_trains: tuple[str, ...]


@dataclass(frozen=True)
class Tables:
    """Predictions of the test windows: of each mode by seed and fold, of baseline and chance by fold."""

    modes: Mapping[str, Mapping[int, Mapping[str, PredictionTable]]]
    beside: Mapping[str, Mapping[str, PredictionTable]]


@dataclass
class Benchmark:
    """All runs below a folder, from the checkpoint of each fold; those that are done are not run again.

    `notes` and `costs` (by mode, of every run) are gathered while `tables` works, and what is compiled in `programs`.
    """

    corpus: Corpus
    config: FinetuningStageConfig
    checkpoints: Mapping[str, str]
    folds: Sequence[Fold]
    out: Path
    notes: list[str] = field(default_factory=list)
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    programs: Programs = field(default_factory=Programs)

    def tables(self, modes: Sequence[str], seeds: Iterable[int]) -> Tables | None:
        """Predictions of all test windows by all modes and seeds, and beside them; None where it was asked to stop.

        Raises InputError, before anything is trained, where a mode cannot be.
        """
        drawn = {mode: self._drawn(mode, list(seeds)) for mode in modes}
        found = {mode: {seed: {} for seed in own} for mode, own in drawn.items()}
        total, number = sum(map(len, drawn.values())) * len(self.folds), 0
        # Fold by fold within a seed, so that a benchmark that was stopped has whole seeds.
        for mode in modes:
            for seed in drawn[mode]:
                for fold in self.folds:
                    number += 1
                    print(f"\n== run {number} of {total}: {mode}, seed {seed}, {fold.name}", flush=True)
                    table = self._predicted(mode, seed, fold)
                    if table is None:
                        return None
                    found[mode][seed][fold.name] = table
        any_run = next(iter(found[modes[0]].values()))
        return Tables(found, self._beside(any_run))

    def _drawn(self, mode: str, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds of a mode's runs: the first alone where nothing is drawn, since all others would give the same."""
        return seeds[:1] if draws_nothing(self.configured(mode, seeds[0], self.folds[0])) else seeds

    def company(self) -> dict[str, Company]:
        """Who tests and validates in each fold."""
        found = {}
        for fold in self.folds:
            corpus = with_splits(replace(self.config.data, **fold.data), self.corpus)
            train, tests, validates = (corpus.subjects(split) for split in ("train", _TEST, "validation"))
            sets = (tests, validates, tests & train, validates & train)
            found[fold.name] = Company(*(tuple(sorted(own)) for own in sets))
        return found

    def configured(self, mode: str, seed: int, fold: Fold) -> FinetuningStageConfig:
        """The configuration of one run."""
        run = self.out / mode / fold.name / f"seed-{seed}"
        split = {f"data.{name}": value for name, value in fold.data.items()}
        corpora, encoder = (self.corpus.address,), self.checkpoints[fold.name]
        own = {"run": str(run), "encoder": encoder, "data.corpora": corpora, "loop.seed": seed}
        return replace(self.config, **own, **split, **changes_of(mode))

    def _predicted(self, mode: str, seed: int, fold: Fold) -> PredictionTable | None:
        """Predictions of a fold's test windows by a run, which is trained unless it is done."""
        config = self.configured(mode, seed, fold)
        run = Path(config.run)
        path = run / f"{PREDICTIONS[MODEL]}-{_TEST}.npz"
        # Of a run that is still training, `evaluate` may have left predictions too.
        if not (path.is_file() and (run / COST).is_file()):
            windows = self._windows(config.data, _TEST)
            if not len(windows):
                raise InputError(f"{fold.name} of {self.corpus.address} has no windows to test: prepare more of it.")
            if not train(config, programs=self.programs).finished:
                return None
            variables, values = load_model(run)
            trained = from_dict(values, str(run))
            assert isinstance(trained, FinetuningStageConfig)
            write_json(run / COST, {"seconds": _seconds(run), "parameters": _trained_parameters(trained, variables)})
            if trained.trainable == "probe":
                table = probe_predictions(trained, variables, windows)
            else:
                table = predictions(trained, variables, [windows], self.programs)
            table.write(path)
        self.costs.setdefault(mode, []).append(Cost(**read_json(run / COST)))
        return PredictionTable.read(path)

    def _beside(self, tables: Mapping[str, PredictionTable]) -> dict[str, dict[str, PredictionTable]]:
        """The baseline and chance on the rows of every fold; a baseline is fitted once."""
        found: dict[str, dict[str, PredictionTable]] = {BASELINE: {}, CHANCE: {}}
        (self.out / PREDICTIONS[BASELINE]).mkdir(exist_ok=True)
        for fold in self.folds:
            data, own = replace(self.config.data, **fold.data), tables[fold.name]
            kept = self.out / PREDICTIONS[BASELINE] / f"{fold.name}.npz"
            if kept.is_file() and (table := PredictionTable.read(kept)).stands_on(own):
                found[BASELINE][fold.name] = table
            wanted = [name for name in found if fold.name not in found[name]]
            windows, training, validating = (self._windows(data, split) for split in (_TEST, "train", "validation"))
            made, notes = stand_beside(own, [windows], [training], [validating], wanted)
            self.notes += [note for note in notes if note not in self.notes]
            for name, table in made.items():
                found[name][fold.name] = table
            if BASELINE in made:
                made[BASELINE].write(kept)
        return {name: own for name, own in found.items() if len(own) == len(self.folds)}

    def _windows(self, data: DataConfig, split: str) -> SplitWindows:
        return with_splits(data, self.corpus).windows(split, data.window_seconds, data.stride_seconds)


def _seconds(run: Path) -> float:
    """How long a run trained, over all its starts."""
    return max((line["seconds"] for line in read_metrics(run)), default=0.0)


def _trained_parameters(config: FinetuningStageConfig, variables: Mapping) -> int:
    params = variables["params"]
    trained = FinetuningStage(config, None).trainable(params)
    if trained is None:
        return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))
    return sum(
        jax.tree.leaves(jax.tree.map(lambda leaf, own: int(np.broadcast_to(own, leaf.shape).sum()), params, trained))
    )
