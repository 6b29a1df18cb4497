"""The pieces that every model shares: numeric policy, initialisers, linear maps, norms."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from labram_jax.config import ComputeConfig

Initializer = Callable[..., Array]


def precision_of(compute: ComputeConfig) -> Precision | None:
    """Float32 means float32: without this, TPUs and GPUs would round the factors of a product."""
    return None if compute.dtype == "bfloat16" else Precision.HIGHEST


def parameter_dtype(compute: ComputeConfig) -> jnp.dtype:
    return jnp.dtype("float64" if compute.dtype == "float64" else "float32")


def named(x: Float[Array, "..."], *names: str | None) -> Float[Array, "..."]:
    """`x` with its logical axes said, for a mesh to place it by; without a mesh and rules, `x` as it is."""
    return nn.with_logical_constraint(x, names)


def normal_initializer(initialisation: str) -> Initializer:
    """Standard deviation 0.02, which the reference cuts at +-0.02 in pretraining (and at +-2, never reached, else)."""
    if initialisation == "pretraining":
        return nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)
    return nn.initializers.normal(0.02)


def uniform_initializer(fan_in: int) -> Initializer:
    """PyTorch's default for linear maps and convolutions: uniform within +-1/sqrt(fan_in)."""

    def initialise(key, shape, dtype=jnp.float32):
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initialise


def scaled(initializer: Initializer, factor) -> Initializer:
    return lambda key, shape, dtype=jnp.float32: initializer(key, shape, dtype) * jnp.asarray(factor, dtype)


def product(
    x: Float[Array, "... I"],
    kernel: Float[Array, "I O"],
    compute: ComputeConfig,
    contract: int = 1,
    before: Callable[[Array], Array] | None = None,
) -> Float[Array, "... O"]:
    """The sum over the last `contract` axes of `before(x)` and the first ones of the kernel, in float32 at least.

    Factors are rounded to the compute type, sums are not, backward alike: the gradient of a kernel is a sum over all
    tokens, and a product of mixed types would run as one of float32. `before`, a cheap function, is computed again
    in the backward pass, which so keeps its input alone.
    """
    dtype, stored, precision = jnp.dtype(compute.dtype), parameter_dtype(compute), precision_of(compute)
    given, tokens = x.dtype, tuple(range(x.ndim - contract))

    def dot(a: Array, b: Array, a_axes: Sequence[int], b_axes: Sequence[int]) -> Array:
        axes = ((tuple(a_axes), tuple(b_axes)), ((), ()))
        return jax.lax.dot_general(a.astype(dtype), b.astype(dtype), axes, precision, preferred_element_type=stored)

    def factor(x: Array) -> Array:
        return x if before is None else before(x)

    @jax.custom_vjp
    def apply(x: Array, kernel: Array) -> Array:
        return forward(x, kernel)[0]

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        summed = range(len(tokens), x.ndim)
        return dot(factor(x.astype(stored)), kernel, summed, range(contract)), (x, kernel)

    def backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        x, kernel = kept
        left, before_backward = jax.vjp(factor, x.astype(stored))
        x_gradient = dot(gradient, kernel, range(len(tokens), gradient.ndim), range(contract, kernel.ndim))
        kernel_gradient = _kernel_gradient(dot, left, gradient, tokens, contract, wide_first=dtype == stored)
        return before_backward(x_gradient)[0].astype(given), kernel_gradient

    apply.defvjp(forward, backward)
    return apply(x, kernel)


def _kernel_gradient(dot, left: Array, gradient: Array, tokens: Sequence[int], contract: int, wide_first: bool):
    """The sum of `left` times `gradient` over tokens, laid out as the kernel.

    The order of automatic differentiation, `gradient` first, is the faster one on a CPU, whose compiler lacks it for
    sums in float32 of factors in bfloat16.
    """
    if not wide_first:
        return dot(left, gradient, tokens, tokens)
    return jnp.moveaxis(dot(gradient, left, tokens, tokens), range(-contract, 0), range(contract))


class Linear(nn.Module):
    """An affine map over the last axes: kernel [*inputs, *outputs]; its result is as `product` leaves it.

    `names`: logical axes of the kernel; the bias takes those of the outputs. `contract`, `before`: see `product`.
    """

    shape: Sequence[int]
    names: Sequence[str | None]
    compute: ComputeConfig
    kernel_init: Initializer
    bias_init: Initializer = nn.initializers.zeros
    use_bias: bool = True
    contract: int = 1
    before: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        stored, names = parameter_dtype(self.compute), tuple(self.names)
        initial = nn.with_logical_partitioning(self.kernel_init, names)
        kernel = self.param("kernel", initial, tuple(self.shape), stored)
        y = product(x, kernel, self.compute, self.contract, self.before)
        if not self.use_bias:
            return y
        initial = nn.with_logical_partitioning(self.bias_init, names[self.contract :])
        return y + self.param("bias", initial, tuple(self.shape[self.contract :]), stored)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The exact GELU, x (1 + erf(x / sqrt 2)) / 2, computed in float32 at least.

    In bfloat16 the sum cancels for negative x: between -3 and -2 it would be off by a tenth.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (0.5 * wide * (1 + jax.lax.erf(wide * jnp.asarray(0.5**0.5, wide.dtype)))).astype(x.dtype)


def layer_norm(compute: ComputeConfig, name: str | None = None, axis: str | None = "width") -> nn.Module:
    """LayerNorm with epsilon 1e-6, in float32 whatever the compute type, variance in two passes.

    The backward pass keeps its input alone: recomputing the rest takes less time than reading it back would.
    """
    return nn.remat(nn.LayerNorm, prevent_cse=False)(
        epsilon=1e-6,
        dtype=parameter_dtype(compute),
        param_dtype=parameter_dtype(compute),
        use_fast_variance=False,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, (axis,)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, (axis,)),
        name=name,
    )
