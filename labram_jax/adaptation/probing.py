"""Probing while pretraining: how well a linear map reads labels off the encoder as it is now, and off band powers."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jax.sharding import Mesh

from labram_jax.adaptation.band_powers import shared_electrodes
from labram_jax.adaptation.features import Features, electrode_rows, power_features, read_features
from labram_jax.adaptation.labels import with_labels
from labram_jax.adaptation.probe import check_classes, choose
from labram_jax.checkpoints.ledger import Entry, Ledger
from labram_jax.config import ClassifierConfig, DataConfig, FinetuningStageConfig, PretrainingStageConfig
from labram_jax.data import pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.reader import evaluation_rows, open_corpora, windows_of
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.parallel.processes import told_by_first
from labram_jax.parallel.sharding import process_rows, row_devices
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.reading import ReadingStage
from labram_jax.training.evaluating import HostBatches
from labram_jax.training.probing import BAND_POWERS, PROBE, Probe, PyTree, Scores
from labram_jax.training.program import Program, prepare

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class ProbedCorpus:
    """A labelled corpus, ready to be probed: which of its windows fit and choose, and the program that reads features.

    `powers`: the electrodes whose band powers stand beside the features; none where its montages share none.
    """

    corpus: Corpus
    stage: FinetuningStage
    windows: Mapping[str, SplitWindows]
    batches: Mapping[str, Callable[[], HostBatches]]
    program: Program
    powers: tuple[str, ...]

    @property
    def split(self) -> str:
        """What the log calls its scores."""
        return f"{PROBE}{self.corpus.name}"

    def told(self, every_epochs: float) -> str:
        """What to tell before: how often, on which windows, by what."""
        train, validation = (f"{len(own):,}" for own in self.windows.values())
        lacking = "" if self.powers else "; its montages share no electrode whose band powers could stand beside it"
        return (
            f"a probe every {every_epochs:g} epochs: {train} windows fit a map of the features, {validation} choose "
            f"its penalty and score it by {self.stage.selection[0]}, of {self.corpus.told(VALIDATION, TRAIN)}{lacking}"
        )

    def read(self, params: PyTree, stopping: Callable[[], bool]) -> list[Features] | None:
        """Features of the windows that fit and of those that choose; None if it was stopped."""
        found = []
        for batches in self.batches.values():
            features = read_features(self.program, params, batches, stopping)
            if features is None or stopping():
                return None
            found.append(features)
        return found

    def read_powers(self) -> list[Features]:
        """Band powers instead, of the same windows."""
        return [power_features(own, self.powers) for own in self.windows.values()]

    def scores(self, features: list[Features]) -> dict[str, float]:
        """Scores of the map of features that is best on those that choose, and its penalty."""
        chosen = choose(self.stage, *features, say=lambda _: None)
        return {**chosen.scores, "penalty": chosen.fit.penalty}


@dataclass(frozen=True)
class Probing:
    """What a pretraining with probes needs: the probe, what may select by it and where, and what to tell before."""

    probe: Probe
    selection: tuple[str, Literal["max", "min"]]
    selecting: Corpus
    notes: list[str]

    def seen(self, stage: str) -> Ledger:
        """Whoever chooses the checkpoint of `stage` if the probe selects: some fit the map, others score it."""
        corpus = self.selecting
        subjects, recordings = (of(TRAIN) | of(VALIDATION) for of in (corpus.subjects, corpus.recordings))
        digest = told_by_first(functools.partial(corpus_digest, corpus))
        return Ledger((Entry.of(corpus.name, digest, "validation", stage, subjects, recordings),))


def make_probing(config: PretrainingStageConfig, mesh: Mesh) -> Probing:
    """Opens the corpora that `config.probe` names, and prepares what reads features of the encoder on the mesh.

    Raises InputError for corpora that cannot be probed: without labels, without a validation split, or of one name.
    """
    probed = [_probed(config, path, mesh) for path in config.probe.corpora]
    names = [own.corpus.name for own in probed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"probe.corpora names two corpora that are called {twice[0]}: give one of them.")

    def scores(params: PyTree, stopping: Callable[[], bool]) -> Scores | None:
        found = {}
        for own in probed:
            features = own.read(params, stopping)
            if features is None:
                return None
            found[own.split] = told_by_first(functools.partial(own.scores, features))
        return found

    with_powers = {f"{own.split}/{BAND_POWERS}": own for own in probed if own.powers}

    def references() -> Scores:
        return told_by_first(lambda: {split: own.scores(own.read_powers()) for split, own in with_powers.items()})

    metrics = {own.split: own.stage.selection[0] for own in probed}
    probe = Probe(config.probe.every_epochs, metrics, scores, references, tuple(with_powers))
    metric, mode = probed[0].stage.selection
    notes = [own.told(config.probe.every_epochs) for own in probed]
    return Probing(probe, (f"{probed[0].split}/{metric}", mode), probed[0].corpus, notes)


def _probed(config: PretrainingStageConfig, path: str, mesh: Mesh) -> ProbedCorpus:
    options, seed = config.probe, config.loop.seed
    read = {"threads": config.data.threads, "prefetch": config.data.prefetch}
    data = DataConfig((path,), window_seconds=options.window_seconds, **read)
    (corpus,) = corpora = open_corpora(data)
    # As the encoder is fine-tuned: the class token has its own row of the electrode embedding.
    encoder = dataclasses.replace(config.model.encoder, class_position="class_row", drop_path=0.0)
    finetuning = FinetuningStageConfig(
        run=config.run,
        data=data,
        model=ClassifierConfig(encoder, pooling=options.pooling, amplitude=options.amplitude, filters=options.filters),
        trainable="probe",
        penalties=options.penalties,
        compute=config.compute,
    )
    finetuning = dataclasses.replace(finetuning, model=with_labels(finetuning, corpora))
    windows = {}
    for split in (TRAIN, VALIDATION):
        (own,) = windows_of(data, corpora, split)
        windows[split] = own.labelled_sample(options.most_windows, seed)
        if not len(windows[split]):
            raise InputError(
                f"The corpus {path} cannot be probed, since it has no labelled window in the split {split!r}: prepare "
                "it with one, or leave it out of probe.corpora."
            )
    if finetuning.model.task == "classification":
        check_classes(finetuning.model, windows[TRAIN].labels(), f"The training split of {path}")
    stage, _ = FinetuningStage(finetuning, None).selecting_on(windows[VALIDATION].labels())
    shaped = evaluation_rows(data, list(windows.values()), row_devices(mesh))
    rows = process_rows(mesh, shaped.batch_rows)
    reading = ReadingStage(dataclasses.replace(finetuning, data=shaped), electrode_rows(corpora))
    program = prepare(reading, mesh, total_steps=1, steps_per_epoch=1)
    batches = {split: _batches(own, shaped, rows) for split, own in windows.items()}
    return ProbedCorpus(corpus, stage, windows, batches, program, _shared(windows))


def _shared(windows: Mapping[str, SplitWindows]) -> tuple[str, ...]:
    """The electrodes that all montages have, if there are any."""
    try:
        return shared_electrodes(list(windows.values()))
    except InputError:
        return ()


def _batches(windows: SplitWindows, data: DataConfig, rows: np.ndarray) -> Callable[[], HostBatches]:
    """One pass over some windows."""
    shape = {"batch_rows": data.batch_rows, "patch_slots": data.patch_slots, "segments": data.segments}
    dataset = pipeline.evaluation([windows], rows=rows, **shape)
    return functools.partial(pipeline.batches, dataset, 0, data.threads, data.prefetch)
