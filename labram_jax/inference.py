"""What a user calls: a Tokenizer, Encoder or Classifier over arrays of EEG in microvolts."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from labram_jax.config import ClassifierConfig, ComputeConfig, MaskedModelConfig, TokenizerConfig
from labram_jax.configfile import to_dict
from labram_jax.convert.command import read_model
from labram_jax.data import stream
from labram_jax.data.schema import RATE_HZ, SAMPLES
from labram_jax.errors import InputError
from labram_jax.models import ClassifierModel, MaskedModel, PatchBatch, TokenizerModel, dense_batch
from labram_jax.models.segments import segment_mean
from labram_jax.training.checkpoints import save_model

Pooling = Literal["mean", "class_token", "none"]
Eeg = Float[np.ndarray, "N C samples"]


def load(path: str | Path, compute: ComputeConfig = ComputeConfig()) -> "Tokenizer | Encoder | Classifier":
    """Loads a model from a run (its best checkpoint), a checkpoint, or an exported model, or imports one.

    What can be imported: a .pth file of PyTorch, a .safetensors file, a folder of braindecode. Raises InputError where
    there is none of these, or where it is damaged.
    """
    variables, config = read_model(path)
    face = {TokenizerConfig: Tokenizer, MaskedModelConfig: Encoder, ClassifierConfig: Classifier}[type(config)]
    return face(variables, config, compute)


class Model:
    """Variables and their configuration; windows go through in batches of one shape, so each shape compiles once."""

    module: ClassVar[type]
    batch_windows = 32

    def __init__(self, variables: dict, config: Any, compute: ComputeConfig = ComputeConfig()):
        self.variables, self.config, self.compute = variables, config, compute
        self._network = self.module(config, compute)
        self._compiled: dict[str, Callable] = {}

    def save(self, path: str | Path) -> None:
        """Writes variables and configuration to a new directory that `labram_jax.load` reads."""
        save_model(path, self.variables, to_dict(self.config))

    def _run(
        self, name: str, function: Callable, eeg: Eeg, electrodes: Sequence[str], rate: float, mask=None
    ) -> list[np.ndarray]:
        """Applies a function of (network, batch) to all windows; returns its outputs, one array each."""
        if name not in self._compiled:
            self._compiled[name] = jax.jit(lambda v, b: self._network.apply(v, b, method=function))
        parts = [
            [np.asarray(out)[:count] for out in jax.tree.leaves(self._compiled[name](self.variables, batch))]
            for batch, count in self._batches(check_eeg(eeg, electrodes, rate), electrodes, mask)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _batches(self, eeg: Eeg, electrodes: Sequence[str], mask) -> Iterator[tuple[PatchBatch, int]]:
        windows, channels, samples = eeg.shape
        if mask is not None:
            mask, expected = np.asarray(mask), (windows, channels, samples // SAMPLES)
            if mask.dtype != bool or mask.shape != expected:
                raise InputError(f"The mask is {mask.dtype} {mask.shape}: give booleans [N, C, A] = {expected}.")
        size = min(self.batch_windows, windows)
        ids = stream.addresses(electrodes, samples // SAMPLES).electrode_ids.reshape(channels, -1)[:, 0]
        for start in range(0, windows, size):
            part = eeg[start : start + size]
            count = len(part)
            fill = ((0, size - count), (0, 0), (0, 0))
            hidden = None if mask is None else jnp.asarray(np.pad(mask[start : start + size], fill).reshape(size, -1))
            yield dense_batch(jnp.asarray(stream.patches(np.pad(part, fill))), ids, mask=hidden), count

    @staticmethod
    def _by_electrode(values: np.ndarray, electrodes: Sequence[str]) -> np.ndarray:
        """[N, L, ...] to [N, C, A, ...]."""
        return values.reshape(len(values), len(electrodes), -1, *values.shape[2:])


class Tokenizer(Model):
    """The neural tokenizer: windows to codes, and to the spectra that their codes stand for."""

    module = TokenizerModel
    config: TokenizerConfig

    def encode(self, eeg: Eeg, electrodes: Sequence[str], *, rate: float = RATE_HZ) -> Int[np.ndarray, "N C A"]:
        """Codes of all patches.

        Args:
            eeg: microvolts [N, C, samples], whole seconds, 1 to 16.
            electrodes: C names in any usual spelling.
            rate: sampling rate in Hz; anything but 200 is resampled.
        """
        (codes,) = self._run("encode", TokenizerModel.encode, eeg, electrodes, rate)
        return self._by_electrode(codes, electrodes)

    def reconstruct(
        self, eeg: Eeg, electrodes: Sequence[str], *, rate: float = RATE_HZ
    ) -> tuple[Float[np.ndarray, "N C A 200"], Float[np.ndarray, "N C A 200"]]:
        """Amplitude and phase spectra predicted from the codes, standardised per window like the targets."""

        def both(network: TokenizerModel, batch: PatchBatch):
            output = network(batch)
            return output.amplitude, output.phase

        outputs = self._run("reconstruct", both, eeg, electrodes, rate)
        amplitude, phase = (self._by_electrode(x, electrodes) for x in outputs)
        return amplitude, phase


class Encoder(Model):
    """The pretrained transformer: windows to features, and to scores of the codes of hidden patches."""

    module = MaskedModel
    config: MaskedModelConfig

    def features(
        self, eeg: Eeg, electrodes: Sequence[str], *, pool: Pooling = "mean", rate: float = RATE_HZ
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C A D"]:
        """Features of windows, or of their patches (pool "none"); arguments as in `Tokenizer.encode`.

        "mean" takes the mean over patches before the final norm, as the reference does; "class_token" and "none"
        are normed tokens.
        """
        return _features(self, eeg, electrodes, pool, rate)

    def code_logits(
        self,
        eeg: Eeg,
        electrodes: Sequence[str],
        mask: Bool[np.ndarray, "N C A"] | None = None,
        *,
        rate: float = RATE_HZ,
    ) -> Float[np.ndarray, "N C A K"]:
        """Scores of all codes for every patch; `mask` hides patches (True) from the model."""

        def logits(network: MaskedModel, batch: PatchBatch):
            return network.logits(network.features(batch, batch.mask)[1])

        name = "logits" if mask is None else "masked logits"
        (values,) = self._run(name, logits, eeg, electrodes, rate, mask)
        return self._by_electrode(values, electrodes)


class Classifier(Model):
    """The fine-tuned model: windows to logits; class names are in `config.classes`."""

    module = ClassifierModel
    config: ClassifierConfig

    def predict_logits(
        self, eeg: Eeg, electrodes: Sequence[str], *, rate: float = RATE_HZ
    ) -> Float[np.ndarray, "N outputs"]:
        """Logits (one output: of class 1), or the values of a regressor; arguments as in `Tokenizer.encode`."""
        (logits,) = self._run("logits", ClassifierModel.__call__, eeg, electrodes, rate)
        return logits[:, 0]

    def features(
        self, eeg: Eeg, electrodes: Sequence[str], *, pool: Pooling = "mean", rate: float = RATE_HZ
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C A D"]:
        """Features, see `Encoder.features`."""
        return _features(self, eeg, electrodes, pool, rate)


def _features(model: Encoder | Classifier, eeg: Eeg, electrodes: Sequence[str], pool: Pooling, rate: float):
    if pool not in ("mean", "class_token", "none"):
        raise InputError(f"pool is {pool!r}: choose 'mean', 'class_token' or 'none'.")

    def pooled(network: MaskedModel | ClassifierModel, batch: PatchBatch):
        classes, tokens = network.tokens(batch)
        if pool == "mean":
            return network.norm(segment_mean(tokens, batch.membership))
        return network.norm(classes if pool == "class_token" else tokens)

    (values,) = model._run(f"features {pool}", pooled, eeg, electrodes, rate)
    return model._by_electrode(values, electrodes) if pool == "none" else values[:, 0]


def check_eeg(eeg: Eeg, electrodes: Sequence[str], rate: float = RATE_HZ) -> Eeg:
    """EEG that the models can take: float [N, C, samples], finite, in microvolts, at 200 Hz after resampling.

    Raises InputError for another shape or NaN and infinities; warns where the amplitude is that of volts.
    """
    eeg = np.asarray(eeg)
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
    if not np.isfinite(eeg).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(eeg))[0])
        raise InputError(f"The EEG is not finite at [window, electrode, sample] {where}: drop or repair such windows.")
    if rate != RATE_HZ:
        import mne  # takes a second to import, and most calls are at 200 Hz

        eeg = mne.filter.resample(eeg.astype(np.float64), up=RATE_HZ, down=rate, verbose="ERROR")
    typical = float(np.median(np.abs(eeg)))
    if 0 < typical < 1e-2:
        warnings.warn(
            f"the EEG's median amplitude is {typical:.2g} microvolts: it may be in volts (times 1e6) or in units of "
            "100 microvolts",
            stacklevel=3,
        )
    return eeg
