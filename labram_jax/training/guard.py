"""Numbers gone wrong: which steps change nothing, as the devices decide, and what is left of those before them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from labram_jax.checkpoints.carryover import at_step
from labram_jax.config import GuardConfig
from labram_jax.parallel.sharding import put_array
from labram_jax.parallel.state import TrainState

PyTree = Any
Guard = dict[str, Array]
WATCHED = ("loss", "grad_norm")


def fresh(config: GuardConfig) -> dict[str, np.ndarray]:
    """What a training that begins knows of its numbers.

    For each of the numbers watched, the last `spike_window` values that counted, float32 in no order; how many have
    counted so far; how many steps in a row have changed nothing; and how often training went back to a checkpoint.
    """
    window = 0 if config.spike_deviations is None else config.spike_window
    counts = {name: np.zeros((), np.int32) for name in ("counted", "in_a_row", "went_back")}
    return {**{name: np.zeros(window, np.float32) for name in WATCHED}, **counts}


def judge(
    config: GuardConfig, guard: Guard, loss: Float[Array, ""], grad_norm: Float[Array, ""]
) -> tuple[Bool[Array, ""], Guard]:
    """Traced: whether a step counts, and what is known after it.

    It counts if both numbers are finite and, with `spike_deviations`, if neither lies more standard deviations above
    the mean of the last values that counted. Until there are `spike_window` of these, every finite value does.
    """
    values = {"loss": loss.astype(jnp.float32), "grad_norm": grad_norm.astype(jnp.float32)}
    counts = jnp.isfinite(values["loss"]) & jnp.isfinite(values["grad_norm"])
    known = {}
    if config.spike_deviations is not None:
        full = guard["counted"] >= config.spike_window
        for name, value in values.items():
            limit = guard[name].mean() + config.spike_deviations * guard[name].std()
            counts &= ~full | (value <= limit)
        place = guard["counted"] % config.spike_window
        here = counts & (jnp.arange(config.spike_window) == place)
        known = {name: jnp.where(here, value, guard[name]) for name, value in values.items()}
    in_a_row = jnp.where(counts, 0, guard["in_a_row"] + 1)
    return counts, {**guard, **known, "counted": guard["counted"] + counts, "in_a_row": in_a_row}


def chosen(counts: Bool[Array, ""], after: TrainState, before: TrainState) -> TrainState:
    """Traced: the state `after` a step that counts; else that `before` it, one step later in data and schedule."""

    def choose(new: PyTree, old: PyTree) -> PyTree:
        return jax.tree.map(lambda n, o: jnp.where(counts, n, o), new, old)

    def scheduled(node: PyTree) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    return after.replace(
        params=choose(after.params, before.params),
        collections=choose(after.collections, before.collections),
        opt_state=jax.tree.map(
            lambda new, old: new if scheduled(new) else choose(new, old),
            after.opt_state,
            before.opt_state,
            is_leaf=scheduled,
        ),
    )


def passed_over(state: TrainState, step: int, times: int) -> TrainState:
    """A checkpoint's state, gone back to so many times, as if all steps from its own to `step` had changed nothing."""
    counts = {"in_a_row": 0, "went_back": times}
    placed = {name: put_array(np.int32(value), state.guard[name].sharding) for name, value in counts.items()}
    return at_step(state.replace(guard={**state.guard, **placed}), step)
