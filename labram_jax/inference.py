"""What a user calls: a Tokenizer, Encoder or Classifier over arrays of EEG in microvolts."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.models import save_model
from labram_jax.config import ClassifierConfig, ComputeConfig, MaskedModelConfig, TokenizerConfig
from labram_jax.configfile import to_dict
from labram_jax.data import stream
from labram_jax.data.schema import RATE_HZ, SAMPLES
from labram_jax.errors import InputError
from labram_jax.models import ClassifierModel, MaskedModel, PatchBatch, TokenizerModel, dense_batch
from labram_jax.models.patches import model_units
from labram_jax.models.segments import segment_mean
from labram_jax.montage import normalise, ordered
from labram_jax.weights import read_ledger, read_model

Pooling = Literal["mean", "class_token", "none"]
Eeg = Float[np.ndarray, "N C samples"]
Bads = Sequence[str] | Bool[np.ndarray, "N C"] | None


def load(
    path: str | Path, compute: ComputeConfig = ComputeConfig(), weights: str | None = None
) -> "Tokenizer | Encoder | Classifier":
    """Loads a model from a run (its best checkpoint), a checkpoint, or an exported model, or imports one.

    What can be imported: a .pth file of PyTorch, a .safetensors file, a folder of braindecode, a known name such as
    "labram-base", an address on the Hub ("hf://owner/name"). Of a file that holds several models, `weights` says which
    (such as "model_ema"). Raises InputError where there is none of these, or where it is damaged.
    """
    variables, config = read_model(path, weights)
    face = {TokenizerConfig: Tokenizer, MaskedModelConfig: Encoder, ClassifierConfig: Classifier}[type(config)]
    return face(variables, config, compute, read_ledger(path))


class Model:
    """Variables and their configuration; windows go through in batches of one shape, so each shape compiles once."""

    module: ClassVar[type]
    batch_windows = 32

    def __init__(
        self, variables: dict, config: Any, compute: ComputeConfig = ComputeConfig(), seen: Ledger | None = None
    ):
        self.variables, self.config, self.compute, self.seen = variables, config, compute, seen
        self._network = self.module(config, compute)
        self._compiled: dict[str, Callable] = {}

    def save(self, path: str | Path) -> None:
        """Writes variables, configuration and whom the model saw to a new directory that `labram_jax.load` reads."""
        save_model(path, self.variables, to_dict(self.config), self.seen)

    def _run(self, name: str, function: Callable, windows: "_Checked", per_patch: bool, mask=None) -> list[np.ndarray]:
        """Applies a function of (network, batch) to all windows; returns its outputs, one array each.

        Outputs `per_patch` [B, L, ...] come back as [N, C, A, ...], where those of bad electrodes are NaN, or -1 if
        they are whole numbers.
        """
        if name not in self._compiled:
            self._compiled[name] = jax.jit(lambda v, b: self._network.apply(v, b, method=function))
        parts = []
        for batch, order, count in self._batches(windows, mask):
            outputs = jax.device_get(jax.tree.leaves(self._compiled[name](self.variables, batch)))
            if per_patch and order is not None:
                outputs = [_put_back(out, order, batch.segment_ids) for out in outputs]
            parts.append([out[:count] for out in outputs])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        shape = (len(windows.eeg), len(windows.electrodes), -1)
        return [out.reshape(*shape, *out.shape[2:]) for out in columns] if per_patch else columns

    def _batches(self, windows: "_Checked", mask) -> Iterator[tuple[PatchBatch, np.ndarray | None, int]]:
        """Yields batches of one shape, the order of their slots if it is not the patches', and their windows."""
        (count, channels, samples), good = windows.eeg.shape, windows.good
        seconds = samples // SAMPLES
        if mask is not None:
            mask, expected = np.asarray(mask), (count, channels, seconds)
            if mask.dtype != bool or mask.shape != expected:
                raise InputError(f"The mask is {mask.dtype} {mask.shape}: give booleans [N, C, A] = {expected}.")
            mask = mask.reshape(count, -1)
        size = min(self.batch_windows, count)
        ids = stream.addresses(windows.electrodes, seconds)
        for start in range(0, count, size):
            own = slice(start, min(start + size, count))
            fill = size - (own.stop - own.start)
            patches = stream.patches(_filled(windows.eeg[own], fill))
            hidden = None if mask is None else _filled(mask[own], fill)
            order = None
            if good is None:
                batch = dense_batch(model_units(jnp.asarray(patches)), ids.electrode_ids[::seconds], mask=hidden)
            else:
                # Patches of good electrodes come first, and the others' slots are padding.
                taken = np.repeat(_filled(good[own], fill), seconds, axis=1)
                order = np.argsort(~taken, axis=1, kind="stable")
                batch = PatchBatch(
                    patches=model_units(jnp.asarray(np.take_along_axis(patches, order[..., None], axis=1))),
                    electrode_ids=ids.electrode_ids[order],
                    time_ids=ids.time_ids[order],
                    segment_ids=np.take_along_axis(taken, order, axis=1).astype(np.int32),
                    mask=None if hidden is None else np.take_along_axis(hidden, order, axis=1),
                )
            yield batch, order, own.stop - own.start


class Tokenizer(Model):
    """The neural tokenizer: windows to codes, and to the spectra that their codes stand for."""

    module = TokenizerModel
    config: TokenizerConfig

    def encode(
        self, eeg: Eeg, electrodes: Sequence[str], *, rate: float = RATE_HZ, bads: Bads = None
    ) -> Int[np.ndarray, "N C A"]:
        """Codes of all patches, -1 where the electrode is bad.

        Args:
            eeg: microvolts [N, C, samples], whole seconds, 1 to 16.
            electrodes: C names in any usual spelling.
            rate: sampling rate in Hz; anything but 200 is resampled.
            bads: electrodes that are left out: some of `electrodes`, or booleans [N, C] for each window.
        """
        windows = check_eeg(eeg, electrodes, rate, bads)
        (codes,) = self._run("encode", TokenizerModel.encode, windows, per_patch=True)
        return codes

    def reconstruct(
        self, eeg: Eeg, electrodes: Sequence[str], *, rate: float = RATE_HZ, bads: Bads = None
    ) -> tuple[Float[np.ndarray, "N C A 200"], Float[np.ndarray, "N C A 200"]]:
        """Amplitude and phase spectra predicted from the codes, standardised per window like the targets.

        Those of bad electrodes are NaN; arguments as in `encode`.
        """

        def both(network: TokenizerModel, batch: PatchBatch):
            output = network(batch)
            return output.amplitude, output.phase

        windows = check_eeg(eeg, electrodes, rate, bads)
        amplitude, phase = self._run("reconstruct", both, windows, per_patch=True)
        return amplitude, phase


class Encoder(Model):
    """The pretrained transformer: windows to features, and to scores of the codes of hidden patches."""

    module = MaskedModel
    config: MaskedModelConfig

    def features(
        self, eeg: Eeg, electrodes: Sequence[str], *, pool: Pooling = "mean", rate: float = RATE_HZ, bads: Bads = None
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C A D"]:
        """Features of windows, or of their patches (pool "none"); arguments as in `Tokenizer.encode`.

        "mean" takes the mean over patches before the final norm, as the reference does; "class_token" and "none"
        are normed tokens. Patches of bad electrodes take part in nothing and are NaN.
        """
        return _features(self, check_eeg(eeg, electrodes, rate, bads), pool)

    def code_logits(
        self,
        eeg: Eeg,
        electrodes: Sequence[str],
        mask: Bool[np.ndarray, "N C A"] | None = None,
        *,
        rate: float = RATE_HZ,
        bads: Bads = None,
    ) -> Float[np.ndarray, "N C A K"]:
        """Scores of all codes for every patch, NaN for bad electrodes; `mask` hides patches (True) from the model."""

        def logits(network: MaskedModel, batch: PatchBatch):
            return network.logits(network.features(batch, batch.mask)[1])

        name = "logits" if mask is None else "masked logits"
        windows = check_eeg(eeg, electrodes, rate, bads)
        (values,) = self._run(name, logits, windows, per_patch=True, mask=mask)
        return values


class Classifier(Model):
    """The fine-tuned model: windows to logits; class names are in `config.classes`."""

    module = ClassifierModel
    config: ClassifierConfig

    def predict_logits(
        self, eeg: Eeg, electrodes: Sequence[str], *, rate: float = RATE_HZ, bads: Bads = None
    ) -> Float[np.ndarray, "N outputs"]:
        """Logits (one output: of class 1), or the values of a regressor; arguments as in `Tokenizer.encode`."""
        windows = check_eeg(eeg, electrodes, rate, bads)
        (logits,) = self._run("logits", ClassifierModel.__call__, windows, per_patch=False)
        return logits[:, 0]

    def features(
        self, eeg: Eeg, electrodes: Sequence[str], *, pool: Pooling = "mean", rate: float = RATE_HZ, bads: Bads = None
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C A D"]:
        """Features, see `Encoder.features`."""
        return _features(self, check_eeg(eeg, electrodes, rate, bads), pool)


def _features(model: Encoder | Classifier, windows: "_Checked", pool: Pooling):
    if pool not in ("mean", "class_token", "none"):
        raise InputError(f"pool is {pool!r}: choose 'mean', 'class_token' or 'none'.")

    def pooled(network: MaskedModel | ClassifierModel, batch: PatchBatch):
        classes, tokens = network.tokens(batch)
        if pool == "mean":
            return network.norm(segment_mean(tokens, batch.membership))
        return network.norm(classes if pool == "class_token" else tokens)

    (values,) = model._run(f"features {pool}", pooled, windows, per_patch=pool == "none")
    return values if pool == "none" else values[:, 0]


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    """The array with so many more rows, like its last: their results are thrown away."""
    return np.concatenate([array, np.repeat(array[-1:], rows, axis=0)]) if rows else array


def _put_back(values: np.ndarray, order: np.ndarray, segment_ids: np.ndarray) -> np.ndarray:
    """From the order of slots to that of patches; what belongs to a bad electrode is NaN, or -1."""
    nothing = np.nan if np.issubdtype(values.dtype, np.floating) else -1
    place = (slice(None), slice(None), *[None] * (values.ndim - 2))
    values = np.where(np.asarray(segment_ids)[place] > 0, values, np.asarray(nothing, values.dtype))
    result = np.empty_like(values)
    np.put_along_axis(result, np.broadcast_to(order[place], values.shape), values, axis=1)
    return result


class _Checked(NamedTuple):
    """Windows that the models can take; `good` says which electrodes take part in each, None: all."""

    eeg: Eeg
    electrodes: tuple[str, ...]
    good: Bool[np.ndarray, "N C"] | None


def check_eeg(eeg: Eeg, electrodes: Sequence[str], rate: float = RATE_HZ, bads: Bads = None) -> _Checked:
    """EEG that the models can take: float [N, C, samples], finite, in microvolts, at 200 Hz after resampling.

    Raises InputError for another shape, for NaN and infinities at good electrodes, and for windows without a good
    electrode; warns where the amplitude is that of volts.
    """
    eeg, electrodes = np.asarray(eeg), ordered(electrodes)
    if not rate > 0:
        raise InputError(f"The EEG has a rate of {rate:g} Hz: give the samples per second of an electrode.")
    if eeg.ndim != 3 or not np.issubdtype(eeg.dtype, np.floating):
        raise InputError(
            f"The EEG is {eeg.dtype} {eeg.shape}: give floats [windows, electrodes, samples] in microvolts."
        )
    if eeg.shape[1] != len(electrodes):
        raise InputError(f"The EEG has {eeg.shape[1]} channels, but {len(electrodes)} electrodes are named: name each.")
    if not len(eeg):
        raise InputError("The EEG has no windows: give at least one.")
    good = _good(bads, electrodes, len(eeg))
    if good is not None:
        eeg = np.where(good[..., None], eeg, np.zeros((), eeg.dtype))
    if not np.isfinite(eeg).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(eeg))[0])
        raise InputError(
            f"The EEG is not finite at [window, electrode, sample] {where}: drop or repair such windows, or name the "
            "electrode in bads."
        )
    if rate != RATE_HZ:
        import mne  # takes a second to import, and most calls are at 200 Hz

        eeg = mne.filter.resample(eeg.astype(np.float64), up=RATE_HZ, down=rate, verbose="ERROR")
    typical = float(np.median(np.abs(eeg if good is None else eeg[good])))
    if 0 < typical < 1e-2:
        warnings.warn(
            f"the EEG's median amplitude is {typical:.2g} microvolts: it may be in volts (times 1e6) or in units of "
            "100 microvolts",
            stacklevel=3,
        )
    return _Checked(eeg, electrodes, good)


def _good(bads: Bads, electrodes: tuple[str, ...], windows: int) -> Bool[np.ndarray, "N C"] | None:
    """Which electrodes take part in each window; None where all do in all."""
    if bads is None:
        return None
    if isinstance(bads, str):
        raise InputError(f"bads is one text, {bads!r}: give a list of names.")
    bad = np.asarray(bads)
    if bad.dtype == bool:
        if bad.shape != (windows, len(electrodes)):
            raise InputError(f"bads has the shape {bad.shape}: give booleans [N, C] = {(windows, len(electrodes))}.")
    else:
        own = {normalise(name): number for number, name in enumerate(electrodes)}
        bad = np.zeros((windows, len(electrodes)), bool)
        for name in bads:
            if normalise(name) not in own:
                raise InputError(f"The bad electrode {name!r} is none of those given: leave it out of bads.")
            bad[:, own[normalise(name)]] = True
    if (nothing := np.flatnonzero(bad.all(axis=1))).size:
        raise InputError(f"Window {nothing[0]} has no good electrode: leave such windows out.")
    return ~bad if bad.any() else None
