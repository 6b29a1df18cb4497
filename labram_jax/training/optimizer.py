"""AdamW as the reference runs it: clipping, decay groups, layer-wise rates, warm-up and a cosine."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from labram_jax.config import OptimizerConfig
from labram_jax.parallel.state import Averages

PyTree = Any
Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""]]

DECAYED_LEAVES = ("kernel", "mask_token")
BOTTOM_LEAVES = ("class_token", "electrode_embedding", "temporal_convolution", "amplitude_embedding")


def warmup_cosine(
    step: Int[Array, "..."] | int,
    base: float,
    final: float,
    total: int,
    warmup: int = 0,
    start: float = 0.0,
) -> Float[Array, "..."]:
    """The reference's schedule: a line from `start` to `base` over `warmup` steps, then half a cosine towards `final`.

    Both ends of the line are reached: the first step has `start` and the last warm-up step `base`. The first step of
    the cosine has `base` again, and `final` comes only with step `total`, after the last one. `step` counts from 0
    and may be traced.
    """
    step = jnp.asarray(step)
    rising = start + (base - start) * jnp.minimum(step, warmup) / max(warmup - 1, 1)
    length = max(total - warmup, 1)
    left = jnp.clip(total - step, 0, length)
    # (1 + cos(pi i / n)) / 2 = sin(pi (n - i) / 2n) squared, which does not cancel near the end.
    falling = final + (base - final) * jnp.square(jnp.sin(0.5 * np.pi * left / length))
    return jnp.where(step < warmup, rising, falling)


def _names(path: tuple) -> list[str]:
    return [jax.tree_util.keystr((entry,), simple=True) for entry in path]


def decay_mask(params: PyTree) -> PyTree:
    """Which parameters decay: matrices, convolutions and the mask token; no bias, norm, scale or embedding."""
    return jax.tree_util.tree_map_with_path(lambda path, _: _names(path)[-1] in DECAYED_LEAVES, params)


def layer_scales(params: PyTree, depth: int, layer_decay: float, time_embedding_layer: str = "top") -> PyTree:
    """Factor on the learning rate of every parameter: `layer_decay ** (depth + 1 - layer)`.

    Layer 0 is what comes before the blocks (class token, embeddings of electrodes and amplitude, temporal convolution),
    block i is layer i + 1, and everything else is layer `depth + 1`: heads, last norms, and the time embedding too
    unless `time_embedding_layer` is "bottom". Leaves are float64 that broadcast against the parameters; scanned blocks
    get one factor for each index of their leading axis.
    """

    def scale(path, leaf):
        names = _names(path)
        inside_encoder = names[0] == "encoder"
        if inside_encoder and "blocks" in names:
            layer = 1 + np.arange(depth).reshape(-1, *[1] * (len(leaf.shape) - 1))
        elif inside_encoder and (
            names[1] in BOTTOM_LEAVES or (names[1] == "time_embedding" and time_embedding_layer == "bottom")
        ):
            layer = np.zeros(())
        else:
            layer = np.full((), depth + 1)
        return np.asarray(layer_decay ** (depth + 1 - layer))

    return jax.tree_util.tree_map_with_path(scale, params)


def _clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Scales gradients by min(1, max_norm / (norm + 1e-6)): torch's factor, a hair below the textbook's."""

    def update(updates, state, params=None):
        del params
        factor = jnp.minimum(1.0, max_norm / (optax.global_norm(updates) + 1e-6))
        return jax.tree.map(lambda u: u * factor, updates), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _scale_by_adam(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with exact bias corrections.

    The difference 1 - beta ** t cancels: in float32 with beta 0.999 it is wrong by 3e-5 at the first steps, a hundred
    times the rounding of everything else.
    """

    def correction(beta: float, count: Int[Array, ""]) -> Float[Array, ""]:
        return -jnp.expm1(count * math.log(beta)) if beta > 0 else jnp.ones(())

    def update(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        first, second = correction(b1, count), correction(b2, count)
        updates = jax.tree.map(lambda m, v: (m / first / (jnp.sqrt(v / second) + epsilon)).astype(m.dtype), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2, epsilon).init, update)


def _scale_each(scales: PyTree) -> optax.GradientTransformation:
    def update(updates, state, params=None):
        del params
        return jax.tree.map(
            lambda u, s: u if isinstance(u, optax.MaskedNode) else u * s.astype(u.dtype),
            updates,
            scales,
            is_leaf=lambda u: isinstance(u, optax.MaskedNode),
        ), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _keep_averages(decay: float, warmup: bool) -> optax.GradientTransformation:
    """Keeps moving averages of the parameters after each update: a -> a + (1 - decay) (parameter - a); none moves.

    They begin at the first parameters, and the decay of update n, from 0, is at most (1 + n) / (10 + n) with `warmup`
    (TensorFlow's rule). `optax.incremental_update` weighs both by factors that do not add up to 1 in float32: with a
    decay of 0.9999, the average of a parameter that stays would end up to 1.6e-4 of its size beside it.
    """

    def init(params: PyTree) -> Averages:
        # Copies, since a step takes over the memory of both.
        return Averages(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params))

    def update(updates, state, params=None):
        share = jnp.maximum(1 - decay, 9 / (10 + state.count)) if warmup else 1 - decay
        after = optax.apply_updates(params, updates)
        averaged = jax.tree.map(lambda a, p: a + jnp.asarray(share, a.dtype) * (p - a), state.averaged, after)
        return updates, Averages(optax.safe_increment(state.count), averaged)

    return optax.GradientTransformation(init, update)


def only_trained(gradients: PyTree, trainable: PyTree) -> PyTree:
    """Gradients with zeros for what stays as it is; `trainable` as for `make_optimizer`."""

    def own(gradient: Array, keep: bool | np.ndarray) -> Array:
        if isinstance(keep, np.ndarray):
            return jnp.where(keep, gradient, 0)
        return gradient if keep else jnp.zeros_like(gradient)

    return jax.tree.map(own, gradients, trainable)


def make_optimizer(
    config: OptimizerConfig,
    params: PyTree,
    depth: int,
    total_steps: int,
    steps_per_epoch: int,
    trainable: PyTree | None = None,
) -> tuple[optax.GradientTransformation, Schedule]:
    """Builds the optimizer and the learning rate it applies at each step.

    Args:
        config: rates, decay, clipping.
        params: parameters or their shapes; only names and ranks are used.
        depth: blocks of the encoder, for the layer-wise rates.
        total_steps: updates of the whole training.
        steps_per_epoch: updates of one epoch, for the warm-up.
        trainable: tree of booleans like `params`; a False parameter is never moved, has no moments and does not
            count in the gradient's norm. An array of booleans says it of parts of a parameter, such as some blocks'
            (its moments are there).

    Returns:
        The transformation, and a function from the step (from 0) to the learning rate.
    """
    warmup = int(config.warmup_epochs * steps_per_epoch)

    def rate(step):
        return warmup_cosine(step, config.learning_rate, config.final_learning_rate, total_steps, warmup)

    chain = [] if config.clip_norm is None else [_clip_by_global_norm(config.clip_norm)]
    chain += [
        _scale_by_adam(*config.betas, config.epsilon),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
    ]
    if config.layer_decay != 1:
        chain.append(_scale_each(layer_scales(params, depth, config.layer_decay, config.time_embedding_layer)))
    if any(isinstance(keep, np.ndarray) for keep in jax.tree.leaves(trainable)):
        # What of a parameter has no gradient would decay all the same.
        chain.append(_scale_each(jax.tree.map(lambda keep: np.asarray(keep, np.float64), trainable)))
    chain.append(optax.scale_by_learning_rate(rate))
    if config.ema_decay is not None:
        chain.append(_keep_averages(config.ema_decay, config.ema_warmup))
    optimizer = optax.chain(*chain)
    if trainable is not None:
        labels = jax.tree.map(lambda keep: "trained" if np.any(keep) else "frozen", trainable)
        optimizer = optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
    return optimizer, rate
