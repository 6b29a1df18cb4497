"""The pretrained transformer: windows to features, and to scores of the codes of hidden patches."""

import dataclasses
from collections.abc import Sequence
from typing import get_args

import jax
import numpy as np
from jaxtyping import Bool, Float

from labram_jax.config import MaskedModelConfig
from labram_jax.errors import InputError
from labram_jax.inference.model import check_mask
from labram_jax.inference.pooled import Convention, FeatureModel, Pooling, fresh_norm
from labram_jax.models import MaskedModel, PatchBatch
from labram_jax.windows import Bads, Windows, as_windows


class Encoder(FeatureModel):
    """Windows to features, and to scores of the codes of hidden patches."""

    module = MaskedModel
    config: MaskedModelConfig

    def features(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
        pool: Pooling = "mean",
        layer: str | None = None,
        convention: Convention = "pretraining",
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C D"] | Float[np.ndarray, "N C A D"]:
        """Features of windows, or of their patches; patches of bad electrodes take part in nothing and are NaN.

        The reference knows two ways from pretrained weights to features, and they differ: as the code head sees them
        ("pretraining", the default: the class token has the row of the window's first electrode, and the final norm is
        the pretrained one), and as a fresh head sees them when fine-tuning begins ("fine-tuning": the class token has a
        row of its own, and the final norm, `fc_norm`, has weights of 1 and biases of 0; of the class token it stays the
        pretrained one).

        Args:
            windows: as in `Tokenizer.encode`, like electrodes, sfreq and bads.
            pool: "mean" takes the mean over patches and then the norm, as the reference does for its head;
                "class_token" is that token, normed; "electrodes" takes the mean over each electrode's patches and then
                the norm; "none" are the normed tokens of all patches.
            layer: one of `layers`, whose output is taken as it is, without the final norm; None is the model's end.
            convention: see above.
        """
        windows = as_windows(windows, electrodes, sfreq, bads)
        if convention not in get_args(Convention):
            raise InputError(f"convention is {convention!r}: choose 'pretraining' or 'fine-tuning'.")
        if convention == "pretraining":
            return self._features(windows, pool, layer)
        fresh = pool != "class_token"
        model = self._once(f"fine-tuning, fresh norm: {fresh}", lambda: self._fine_tuning(fresh))
        return model._features(windows, pool, layer)

    def _fine_tuning(self, fresh: bool) -> "Encoder":
        """The same weights as fine-tuning begins with them; all but a fresh norm lie on the device once."""
        encoder = dataclasses.replace(self.config.encoder, class_position="class_row")
        params = self.variables["params"]
        params = {**params, "norm": fresh_norm(params["norm"])} if fresh else params
        variables = {**self.variables, "params": params}
        return self._derived(Encoder, variables, dataclasses.replace(self.config, encoder=encoder))

    def code_logits(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        mask: Bool[np.ndarray, "N C A"] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
    ) -> Float[np.ndarray, "N C A K"]:
        """Scores of all codes for every patch, NaN for bad electrodes; `mask` hides patches (True) from the model."""

        def logits(network: MaskedModel, batch: PatchBatch) -> jax.Array:
            return network.logits(network.features(batch, batch.mask)[1])

        windows = as_windows(windows, electrodes, sfreq, bads)
        mask = None if mask is None else check_mask(mask, windows)
        name = "logits" if mask is None else "masked logits"
        (values,) = self._run(name, logits, windows, per_patch=True, mask=mask)
        return values

    def _told(self) -> str:
        return f"predicts {self.config.codes:,} codes"
