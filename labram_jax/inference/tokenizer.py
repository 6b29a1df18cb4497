"""The neural tokenizer: windows to codes, and to the spectra that their codes stand for."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from labram_jax.config import TokenizerConfig
from labram_jax.inference.model import Model
from labram_jax.models import PatchBatch, TokenizerModel
from labram_jax.windows import Bads, Windows, as_windows


class Tokenizer(Model):
    """Windows to codes, and codes to spectra."""

    module = TokenizerModel
    config: TokenizerConfig

    def encode(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
    ) -> Int[np.ndarray, "N C A"]:
        """Codes of all patches, -1 where the electrode is bad.

        Args:
            windows: `labram_jax.Windows`, MNE's epochs, or an array [N, C, samples] in microvolts, which needs all that
                follows, as `Windows.from_array` does, and lasts whole seconds, 1 to 16.
            electrodes: C names in any usual spelling.
            sfreq: samples per second; anything but 200 is resampled.
            bads: electrodes that are left out: some of `electrodes`, or booleans [N, C] for each window.
        """
        windows = as_windows(windows, electrodes, sfreq, bads)
        (codes,) = self._run("encode", TokenizerModel.encode, windows, per_patch=True)
        return codes

    def reconstruct(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
    ) -> tuple[Float[np.ndarray, "N C A 200"], Float[np.ndarray, "N C A 200"]]:
        """Amplitude and phase spectra predicted from the codes, standardised per window like the targets.

        Those of bad electrodes are NaN; arguments as in `encode`. A window of more than 16 s is standardised part by
        part.
        """

        def both(network: TokenizerModel, batch: PatchBatch):
            output = network(batch)
            return output.amplitude, output.phase

        windows = as_windows(windows, electrodes, sfreq, bads)
        amplitude, phase = self._run("reconstruct", both, windows, per_patch=True)
        return amplitude, phase

    def _told(self) -> str:
        quantizer = self.config.quantizer
        return f"{quantizer.codes:,} codes of dimension {quantizer.dimension}"
