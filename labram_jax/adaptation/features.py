"""Features of a frozen encoder: what the head of a classifier sees of the windows of corpora."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from labram_jax.adaptation.band_powers import read_powers
from labram_jax.adaptation.linear import Block
from labram_jax.checkpoints.digests import model_digest
from labram_jax.config import ELECTRODE_ROWS, ClassifierConfig, DataConfig, FinetuningStageConfig, replace
from labram_jax.configfile import to_dict
from labram_jax.data import features, pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import SplitWindows, labelled
from labram_jax.errors import InputError
from labram_jax.models import ClassifierModel
from labram_jax.models.readout import Readout
from labram_jax.montage import electrode_ids
from labram_jax.parallel.sharding import put_batch, put_like, row_devices
from labram_jax.progress import Progress
from labram_jax.stages.finetuning import HEADS, labelled_windows
from labram_jax.stages.reading import ReadingStage
from labram_jax.stages.stage import Statistics
from labram_jax.training.evaluating import HostBatches, collect
from labram_jax.training.program import Program, prepare
from labram_jax.training.readback import Readback

PyTree = Any
# Windows whose features go through the heads at one time.
_TOGETHER = 256
# Patch slots of a batch, over all devices.
_SLOTS = 4096


class Features(NamedTuple):
    """What the head sees of the labelled windows of a split, and how they are labelled."""

    blocks: list[Block]
    labels: np.ndarray


class FrozenFeatures:
    """Features of all windows of some corpora, which are kept or read once; splits choose among them.

    Windows lie in rows of one layout and in the order of their corpus' tables, whatever the splits, and are read from
    disk whether they are kept or not: who asks for which split gets the same bits. In rows of another layout, or on
    another kind of device, they would differ by rounding.

    Args:
        config: of the classifier, with the windows, and with `kept_features`.
        mesh: devices.
        params: parameters of the classifier, on the mesh or on the host.
        corpora: with the splits that the configuration makes.
        say: takes what there is to tell.

    Raises InputError for features that are not finite.
    """

    def __init__(
        self,
        config: FinetuningStageConfig,
        mesh: Mesh,
        params: Mapping[str, PyTree],
        corpora: Sequence[Corpus],
        say: Callable[[str], None],
    ):
        self.config, self.rows = config, electrode_rows(corpora)
        self._corpora, self._mesh, self._say = corpora, mesh, say
        self._seen = {name: part for name, part in params.items() if name not in HEADS}
        self._kept = [self._of_corpus(corpus) for corpus in corpora]

    def labelled(self, split: str) -> Features | None:
        """Features of the labelled windows of a split; None where it is not asked for or no corpus has it."""
        windows = windows_of(self.config.data, self._corpora, split) if split else []
        if not any(map(len, windows)):
            return None
        numbers, labels = [], []
        for kept, own in zip(self._kept, windows, strict=True):
            found = kept.numbers(own)
            known = own.labels() if len(own) else found  # of none, there is none
            chosen = kept.there[found] & labelled(known)
            numbers.append(found[chosen])
            labels += [known[chosen]] if len(own) else []
        if not sum(map(len, labels)):
            raise InputError("A split has no labelled window: prepare the corpus with labels.")
        return Features(self._blocks(numbers), np.concatenate(labels))

    def blocks(self, windows: Sequence[SplitWindows]) -> list[Block]:
        """Features of all windows of each corpus, in their order."""
        return self._blocks([kept.numbers(own) for kept, own in zip(self._kept, windows, strict=True)])

    def _blocks(self, numbers: Sequence[np.ndarray]) -> list[Block]:
        """Features of the windows of these numbers in each corpus."""

        def column(name: str, at_rows: bool) -> np.ndarray:
            parts = []
            for corpus, kept, own in zip(self._corpora, self._kept, numbers, strict=True):
                part, rows = kept.arrays[name][own], electrode_rows([corpus])
                if at_rows and rows != self.rows:
                    whole = np.zeros((len(part), len(self.rows), *part.shape[2:]), part.dtype)
                    whole[:, np.searchsorted(self.rows, rows)] = part
                    part = whole
                parts.append(part)
            return np.concatenate(parts) if len(parts) > 1 else parts[0]

        by_electrode = self.config.model.pooling == "electrodes"
        kinds = self._kept[0].arrays
        return blocks_of({name: column(name, by_electrode or name != "pooled") for name in kinds}, by_electrode)

    def _of_corpus(self, corpus: Corpus) -> features.WindowFeatures:
        config, rows = self.config, electrode_rows([corpus])
        windows, model = features.all_windows(corpus, config.data), config.model
        by_electrode, width = model.pooling == "electrodes", model.encoder.width
        kinds: dict[str, tuple[tuple[int, ...], type]] = {}
        kinds["pooled"] = ((len(rows), width) if by_electrode else (width,), np.float32)
        if by_electrode or model.amplitude or model.filters:
            kinds["present"] = ((len(rows),), np.bool_)
        if model.amplitude:
            kinds["amplitude"] = ((len(rows),), np.float32)
        if model.filters:
            kinds["filters"] = ((len(rows), model.encoder.filters), np.float32)

        def read() -> features.Parts:
            return self._read(windows, rows)

        if config.kept_features == "never":
            return features.read_alone(windows, kinds, read)
        # What a fine-tuning draws changes no feature.
        encoder = to_dict(replace(model, **{"encoder.drop_path": 0.0}))
        known = {name: encoder[name] for name in ("encoder", "pooling", "amplitude", "filters")}
        digest = model_digest({"params": self._seen}, known)
        beside = (name for name in ("amplitude", "filters") if getattr(model, name))
        readout = "+".join((model.pooling, *beside))
        info = features.info_of(windows, config.data, digest, readout, config.compute.dtype)
        return features.kept_or_read(windows, info, kinds, read, self._say)

    def _read(self, windows: SplitWindows, rows: Sequence[int]) -> features.Parts:
        """Yields numbers and features of all windows of a corpus, some at a time."""
        data = _rows(self.config.data, windows, row_devices(self._mesh))
        reading = ReadingStage(dataclasses.replace(self.config, data=data), rows)
        program = prepare(reading, self._mesh, total_steps=1, steps_per_epoch=1)
        seen = {"params": put_like(self._seen, program.abstract.params)}
        shape = {"batch_rows": data.batch_rows, "patch_slots": data.patch_slots, "segments": data.segments}
        dataset = pipeline.evaluation([windows], **shape, damaged_share=data.damaged_share)
        readback = Readback()
        with Progress("reading features", len(windows)) as progress:

            def taken(results: list[tuple[int, Statistics]]) -> features.Parts:
                for _, found in results:
                    there = found.rows["window_ids"] >= 0
                    own = {name: values[there] for name, values in found.rows.items()}
                    _check_finite(own["pooled"])
                    yield own["window_ids"], own
                    progress.update(len(own["window_ids"]))

            for number, batch in enumerate(pipeline.batches(dataset, 0, data.threads, data.prefetch)):
                yield from taken(readback.add(number, program.evaluate_batch(seen, {}, put_batch(batch, program.mesh))))
            yield from taken(readback.rest())


def _rows(data: DataConfig, windows: SplitWindows, devices: int) -> DataConfig:
    """`data` with rows of the longest window: over several in longer ones attention would take more."""
    lengths = [montage.patches for montage in windows.montages]
    slots = max(lengths)
    rows = -(-max(1, _SLOTS // slots) // devices) * devices
    return dataclasses.replace(data, batch_rows=rows, patch_slots=slots, segments=max(1, slots // min(lengths)))


def read_features(
    program: Program,
    params: Mapping[str, PyTree],
    batches: Callable[[], HostBatches],
    stopping: Callable[[], bool] = lambda: False,
) -> Features | None:
    """The features of all labelled windows of some batches, by the program of a `ReadingStage`; None if it was stopped.

    They are in memory, and kept nowhere. `params` has those of the readout, and may have others. `stopping` as for
    `collect`.
    """
    seen = {"params": {name: params[name] for name in program.abstract.params}}
    collected = collect(program, seen, {}, batches(), stopping)
    if collected is None:
        return None
    rows = labelled_windows(collected)
    if not len(rows["labels"]):
        raise InputError("A split has no labelled window: prepare the corpus with labels.")
    return Features(blocks_of(rows, program.stage.config.model.pooling == "electrodes"), rows["labels"])


def blocks_of(rows: Mapping[str, np.ndarray], by_electrode: bool) -> list[Block]:
    """The kinds of features among what a `ReadingStage` found in some windows; InputError where they are not finite."""
    _check_finite(rows["pooled"])
    present = rows["present"] > 0 if "present" in rows else None
    blocks = [Block(rows["pooled"], present[..., None] if by_electrode else None)]
    if "amplitude" in rows:
        blocks.append(Block(rows["amplitude"], present))
    if "filters" in rows:
        blocks.append(Block(rows["filters"], present[..., None]))
    return blocks


def power_features(windows: SplitWindows, electrodes: tuple[str, ...]) -> Features:
    """Log band powers of some electrodes instead, of the same windows in their order; bad electrodes have none."""
    powers, labels = read_powers([windows], electrodes)
    known = np.isfinite(powers)
    return Features([Block(np.where(known, powers, 0), known)], labels)


def _check_finite(pooled: Float[np.ndarray, "N *F"]) -> None:
    if not np.isfinite(pooled).all():
        raise InputError(
            "the encoder's features of some windows are not finite, though their EEG is: its training has diverged, so "
            "use an earlier checkpoint, or lower optimizer.learning_rate."
        )


def electrode_rows(corpora: Iterable[Corpus]) -> list[int]:
    """Rows of the electrode vocabulary that any window of some corpora has, ascending."""
    electrodes = {name for corpus in corpora for montage in corpus.montages for name in montage.electrodes}
    return sorted(electrode_ids(sorted(electrodes)).tolist())


def outputs_of(
    config: FinetuningStageConfig, params: Mapping[str, PyTree], blocks: Sequence[Block], rows: Sequence[int]
) -> Float[np.ndarray, "N outputs"]:
    """What the heads of a classifier (its `params`) give of features of the electrodes `rows`."""
    heads = {name: jax.device_get(part) for name, part in params.items() if name in HEADS}
    model = ClassifierModel(config.model, config.compute)
    apply = jax.jit(lambda seen: model.apply({"params": heads}, seen, method=ClassifierModel.heads))
    found = []
    for start in range(0, len(blocks[0].values), _TOGETHER):
        some = [Block(*(own if own is None else own[start : start + _TOGETHER] for own in block)) for block in blocks]
        seen = _readout(some, rows, config.model)
        found.append(np.asarray(apply(seen))[0, : len(some[0].values)])
    return np.concatenate(found)


def _readout(blocks: Sequence[Block], rows: Sequence[int], model: ClassifierConfig) -> Readout:
    """Features of at most `_TOGETHER` windows as those of the segments of one row, whose other places are zeros."""

    def segments(values: np.ndarray, at_rows: bool = True) -> Float[np.ndarray, "1 S ..."]:
        shape = (ELECTRODE_ROWS, *values.shape[2:]) if at_rows else values.shape[1:]
        whole = np.zeros((1, _TOGETHER, *shape), np.float32)
        whole[0, : len(values)][:, list(rows) if at_rows else slice(None)] = values
        return whole

    kinds = iter(blocks)  # as `blocks_of` has them
    pooled, by_electrode = next(kinds), model.pooling == "electrodes"
    amplitude = next(kinds) if model.amplitude else None
    filters = next(kinds) if model.filters else None
    present = next((own.present for own in blocks if own.present is not None), None)
    return Readout(
        segments(pooled.values, by_electrode),
        segments(amplitude.values) if amplitude else None,
        segments(filters.values) if filters else None,
        None if present is None else segments(present.reshape(present.shape[:2])),
    )
