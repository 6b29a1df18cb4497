"""What to change where a step does not fit, and the largest batch that does."""

import math
from collections.abc import Callable

from jax.sharding import Mesh

from labram_jax.config import AnyStageConfig, replace

STATE_BYTES = 16  # of one parameter: itself, two moments and a gradient, all float32


def levers(config: AnyStageConfig, mesh: Mesh, parameters: int, available: float) -> list[str]:
    """Options that make a step smaller, in the order in which to pull them: the cheapest in time first.

    Slicing the state is among them only where the state fills a tenth of the `available` bytes of a device.
    """
    compute, data, fsdp = config.compute, config.data, mesh.shape["fsdp"]
    shards = mesh.shape["data"] * fsdp
    rows = data.batch_rows // shards
    found = []
    if compute.dtype != "bfloat16":
        found.append("--compute.dtype bfloat16 (half the activations, and the fast products of TPUs and GPUs)")
    if compute.remat != "block":
        found.append("--compute.remat block (keeps one array a block; costs a second forward pass)")
    state = STATE_BYTES * parameters / (fsdp * mesh.shape["model"])
    if mesh.shape["data"] > 1 and state > available / 10:
        most = min(4 * fsdp, shards)
        found.append(f"--mesh.fsdp {most} --mesh.data {shards // most} (parameters and moments in {most} slices)")
    if rows > config.optimizer.accumulate:
        found.append(
            f"--optimizer.accumulate {2 * config.optimizer.accumulate} (the batch in smaller parts, one update)"
        )
    if compute.code_chunk > 256:
        found.append(f"--compute.code-chunk {compute.code_chunk // 2} (fewer logits and distances at one time)")
    if rows > 1:
        found.append(f"--data.batch-rows {data.batch_rows // 2} (another recipe: a smaller batch)")
    return [*found, "more devices, or devices with more memory"]


def largest_batch(
    config: AnyStageConfig, shards: int, fits: Callable[[AnyStageConfig], bool], most: int = 2**20
) -> AnyStageConfig | None:
    """The configuration with the largest `data.batch_rows` that fits, to an eighth; None if not one row a device does.

    Every try compiles the step: the batch grows from the configured one by factors of two and is then narrowed down.
    """
    unit = shards * config.optimizer.accumulate

    def at(units: int) -> AnyStageConfig:
        return replace(config, **{"data.batch_rows": units * unit})

    low, high, units = 0, None, max(1, config.data.batch_rows // unit)
    while (high is None or high - low > max(1, low // 8)) and low * unit < most:
        if fits(at(units)):
            low = units
        else:
            high = units
        units = 2 * low if high is None else (low + high) // 2 if low else math.ceil(high / 2)
        if high == 1:
            return None
    return at(low)
