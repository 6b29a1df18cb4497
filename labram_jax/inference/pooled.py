"""Features: what a network's layers give of windows, pooled over patches or not."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from labram_jax.errors import InputError
from labram_jax.inference.model import Model
from labram_jax.models import ClassifierModel, MaskedModel, PatchBatch
from labram_jax.models.readout import electrode_means
from labram_jax.models.segments import segment_mean
from labram_jax.montage import electrode_ids
from labram_jax.windows import Windows

Pooling = Literal["mean", "class_token", "electrodes", "none"]
Convention = Literal["pretraining", "fine-tuning"]
_CONVOLUTION = "temporal_convolution"
# Layers within a block, beside the block itself.
_WITHIN = ("attention", "mlp")


class FeatureModel(Model):
    """A model whose features can be looked at: of its last layer, normed, or of any layer by its name."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers: the temporal convolution, and each block with its attention and its MLP."""
        names = [_CONVOLUTION]
        for block in range(self.config.encoder.depth):
            names += [f"blocks.{block}.{part}" for part in _WITHIN] + [f"blocks.{block}"]
        return tuple(names)

    def _features(self, windows: Windows, pool: Pooling, layer: str | None) -> np.ndarray:
        if pool not in get_args(Pooling):
            raise InputError(f"pool is {pool!r}: choose {', '.join(get_args(Pooling))}.")
        if layer is not None and layer not in self.layers:
            raise InputError(f"There is no layer {layer!r}: choose one of {', '.join(self.layers)}.")
        if layer == _CONVOLUTION and pool == "class_token":
            raise InputError(f"The layer {layer} comes before the class token: choose another pool.")

        rows = electrode_ids(windows.electrodes)

        def last(network: MaskedModel | ClassifierModel, batch: PatchBatch):
            return network.norm(_pooled(*network.tokens(batch), batch, pool, rows))

        function = last if layer is None else _activations(layer, pool, rows)
        # The rows of electrodes are part of what is compiled where they are asked for.
        name = f"features {pool} {layer or ''} {rows.tolist() if pool == 'electrodes' else ''}"
        (values,) = self._run(name, function, windows, per_patch=pool == "none")
        if pool == "none":
            return values
        if pool == "electrodes":
            return np.where(windows.bads[..., None], np.float32(np.nan), values[:, 0])
        return values[:, 0]


def fresh_norm(norm: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """A layer norm's parameters before it is trained: weights of 1, biases of 0."""
    return {"scale": jnp.ones_like(norm["scale"]), "bias": jnp.zeros_like(norm["bias"])}


def _pooled(
    classes: jax.Array | None, tokens: jax.Array, batch: PatchBatch, pool: Pooling, rows: np.ndarray
) -> jax.Array:
    if pool == "mean":
        return segment_mean(tokens, batch.membership)
    if pool == "electrodes":
        return electrode_means(tokens, batch)[0][:, :, rows]
    return classes if pool == "class_token" else tokens


def _activations(layer: str, pool: Pooling, rows: np.ndarray) -> Callable:
    """A function of (network, batch) that gives what a layer put out."""
    where, _, part = layer.removeprefix("blocks.").partition(".")

    def kept(module: nn.Module, method: str) -> bool:
        return method == "__call__" and module.name in (_CONVOLUTION, "blocks", *_WITHIN)

    def values(network: MaskedModel | ClassifierModel, batch: PatchBatch) -> jax.Array:
        unbound, variables = network.unbind()
        _, state = unbound.apply(
            variables, batch, method=type(network).tokens, capture_intermediates=kept, mutable=["intermediates"]
        )
        found = state["intermediates"]["encoder"]
        if layer == _CONVOLUTION:
            (tokens,) = found[_CONVOLUTION]["__call__"]
            return _pooled(None, tokens, batch, pool, rows)
        (stacked,) = (found["blocks"][part] if part else found["blocks"])["__call__"]
        stacked = stacked if part else stacked[0]  # a block also gives what a scan collects, which is nothing
        tokens = stacked[int(where)]
        return _pooled(tokens[:, : batch.segments], tokens[:, batch.segments :], batch, pool, rows)

    return values
