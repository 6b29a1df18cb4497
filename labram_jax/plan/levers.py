"""What to change where a step does not fit, and the largest batch that does."""

from collections.abc import Callable

from jax.sharding import Mesh

from labram_jax.config import AnyStageConfig, replace
from labram_jax.parallel.sharding import row_devices
from labram_jax.plan.compile import Memory

FILL = 0.95  # of the memory, as far as a batch is foretold to go
STATE_BYTES = 16  # of one parameter: itself, two moments and a gradient, all float32


def levers(config: AnyStageConfig, mesh: Mesh, parameters: int, available: float) -> list[str]:
    """Options that make a step smaller, in the order in which to pull them: the cheapest in time first.

    Slicing the state is among them only where the state fills a tenth of the `available` bytes of a device.
    """
    compute, data, fsdp, shards = config.compute, config.data, mesh.shape["fsdp"], row_devices(mesh)
    rows = data.batch_rows // shards
    found = []
    if compute.dtype != "bfloat16":
        found.append("--compute.dtype bfloat16 (half the activations, and the fast products of TPUs and GPUs)")
    if compute.remat != "block":
        found.append("--compute.remat block (keeps one array a block; costs a second forward pass)")
    state = STATE_BYTES * parameters / (fsdp * mesh.shape["model"])
    width = config.model.encoder.width  # which slices must divide
    most = max(n for n in range(fsdp, 4 * fsdp + 1) if n == fsdp or (shards % n == 0 and width % n == 0))
    if most > fsdp and state > available / 10:
        found.append(f"--mesh.fsdp {most} --mesh.data {shards // most} (parameters and moments in {most} slices)")
    if rows > config.optimizer.accumulate:
        found.append(
            f"--optimizer.accumulate {2 * config.optimizer.accumulate} (the batch in smaller parts, one update)"
        )
    if compute.code_chunk > 256:
        found.append(f"--compute.code-chunk {compute.code_chunk // 2} (fewer logits and distances at one time)")
    if rows > 1:
        found.append(f"--data.batch-rows {data.batch_rows // 2} (another training: a smaller batch)")
    return [*found, "more devices, or devices with more memory"]


def largest_batch(
    config: AnyStageConfig, shards: int, memory_of: Callable[[AnyStageConfig], Memory]
) -> AnyStageConfig | None:
    """The configuration with the largest `data.batch_rows` that fits, to an eighth; None if not one row a device does.

    Memory grows about evenly with the batch, so that two batches that fit foretell the largest. It is kept a little
    below the limit, where compilers take minutes to find out what they could squeeze in.
    """
    unit = shards * config.optimizer.accumulate

    def at(units: int) -> AnyStageConfig:
        return replace(config, **{"data.batch_rows": units * unit})

    rows, failed = max(2, config.data.batch_rows // unit), None
    while not (memory := memory_of(at(rows))).fits:
        failed, rows = rows, rows // 2
        if not rows:
            return None
    if rows == 1:
        return at(1)  # two do not fit
    low = (rows // 2, memory_of(at(rows // 2)).used)
    high = (rows, memory.used)
    while True:
        growth = max((high[1] - low[1]) / (high[0] - low[0]), 1)
        target = min(high[0] + (FILL * memory.available - high[1]) / growth, 4 * high[0])
        target = int(target if failed is None else min(target, (high[0] + failed) / 2))
        if target <= high[0] * 9 / 8:
            return at(high[0])
        memory = memory_of(at(target))
        if memory.fits:
            low, high = high, (target, memory.used)
        else:
            failed = target
