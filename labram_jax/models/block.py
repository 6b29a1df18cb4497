"""The transformer block: attention within segments and an MLP, both before a residual sum."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from labram_jax.config import ComputeConfig, EncoderConfig
from labram_jax.models.attention import TokenSegments, attend
from labram_jax.models.layers import Linear, gelu, layer_norm, named, normal_initializer, parameter_dtype, scaled


class Attention(nn.Module):
    """Multi-head attention: one projection ordered (q, k, v), learned biases on q and v only, norms on q and k."""

    config: EncoderConfig
    compute: ComputeConfig
    output_scale: Float[Array, ""]

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"], segments: TokenSegments) -> Float[Array, "B N D"]:
        config, compute = self.config, self.compute
        heads, head = config.heads, config.width // config.heads
        weights = normal_initializer(config.initialisation)
        names = ("width", None, "heads", "head_dim")
        qkv = Linear((config.width, 3, heads, head), names, compute, weights, use_bias=False, name="qkv")(x)
        if config.qkv_bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("heads", "head_dim"))
            q, v = (self.param(name, zeros, (heads, head), qkv.dtype) for name in ("q_bias", "v_bias"))
            qkv = qkv + jnp.stack([q, jnp.zeros_like(q), v])
        qkv = named(qkv.astype(compute.dtype), "rows", "tokens", None, "heads", "head_dim")
        q, k, v = (part[:, :, 0] for part in jnp.split(qkv, 3, axis=2))
        if config.qk_norm:
            q = layer_norm(compute, "q_norm", None)(q).astype(v.dtype)
            k = layer_norm(compute, "k_norm", None)(k).astype(v.dtype)
        out = named(attend(q, k, v, segments, compute), "rows", "tokens", "heads", "head_dim")
        return Linear(
            (heads, head, config.width), ("heads", "head_dim", "width"), compute, scaled(weights, self.output_scale),
            contract=2, name="out",
        )(out)  # fmt: skip


class MLP(nn.Module):
    """D to 4 D to D with exact GELU."""

    config: EncoderConfig
    compute: ComputeConfig
    output_scale: Float[Array, ""]

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        width, inner = self.config.width, self.config.width * self.config.mlp_ratio
        weights = normal_initializer(self.config.initialisation)
        x = Linear((width, inner), ("width", "mlp"), self.compute, weights, name="up")(x)
        x = named(x.astype(self.compute.dtype), "rows", "tokens", "mlp")
        return Linear(
            (inner, width), ("mlp", "width"), self.compute, scaled(weights, self.output_scale),
            before=gelu, name="down",
        )(x)  # fmt: skip


class Block(nn.Module):
    """x += s1 * scale_1 * attention(norm(x)); x += s2 * scale_2 * mlp(norm(x)).

    s1, s2 are the drop-path factors of each token's segment. The residual stream stays float32. The weights that
    write into it start divided by sqrt(2 * number of the block), as in the reference.
    """

    config: EncoderConfig
    compute: ComputeConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B N D"],
        number: Float[Array, ""],
        branch_factors: Float[Array, "2 B N"] | None,
        segments: TokenSegments,
    ) -> tuple[Float[Array, "B N D"], None]:
        output_scale = (2.0 * number) ** -0.5
        branches = (
            lambda y: Attention(self.config, self.compute, output_scale, name="attention")(y, segments),
            MLP(self.config, self.compute, output_scale, name="mlp"),
        )
        for index, branch in enumerate(branches):
            y = branch(layer_norm(self.compute, f"norm_{index + 1}")(x))
            if self.config.layer_scale > 0:
                start = nn.with_logical_partitioning(nn.initializers.constant(self.config.layer_scale), ("width",))
                y = y * self.param(f"scale_{index + 1}", start, (self.config.width,), parameter_dtype(self.compute))
            if branch_factors is not None:
                y = y * branch_factors[index][..., None]
            x = named(x + y, "rows", "tokens", "features")
        return x, None
