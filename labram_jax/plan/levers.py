"""What to change where a step does not fit or has room to spare, and the largest batch that fits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jax.sharding import Mesh

from labram_jax.config import AnyStageConfig, replace
from labram_jax.parallel.sharding import row_devices
from labram_jax.plan.compile import Memory

FILL = 0.95  # of the memory, as far as a batch is foretold to go
STATE_BYTES = 16  # of one parameter: itself, two moments and a gradient, all float32
AVERAGE_BYTES = 4  # where its average is kept
ROOM = 4  # a state may take this part of the memory where less slicing is proposed


@dataclass(frozen=True)
class Lever:
    """Options to set, by their dotted names, and what they do."""

    changes: Mapping[str, str | int]
    effect: str

    @property
    def flags(self) -> str:
        return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in self.changes.items())


def smaller(config: AnyStageConfig, mesh: Mesh, parameters: int, available: float) -> list[Lever]:
    """Levers that make a step need less memory, in the order in which to pull them: the cheapest in time first.

    Slicing the state is among them only where the state fills a tenth of the `available` bytes of a device.
    """
    compute, data, fsdp, shards = config.compute, config.data, mesh.shape["fsdp"], row_devices(mesh)
    rows, count = data.batch_rows // shards, config.optimizer.accumulate
    found = []
    if compute.dtype != "bfloat16":
        effect = "half the activations, and the fast products of TPUs and GPUs"
        found.append(Lever({"compute.dtype": "bfloat16"}, effect))
    if compute.remat != "block":
        found.append(Lever({"compute.remat": "block"}, "keeps one array a block; costs a second forward pass"))
    state = _state_bytes(config) * parameters / (fsdp * mesh.shape["model"])
    width = config.model.encoder.width  # which slices must divide
    most = max(n for n in range(fsdp, 4 * fsdp + 1) if n == fsdp or (shards % n == 0 and width % n == 0))
    if most > fsdp and state > available / 10:
        found.append(Lever(_sliced(most, shards), f"parameters and moments in {most} slices"))
    if rows > count:
        found.append(Lever({"optimizer.accumulate": 2 * count}, "smaller microbatches, one update"))
    if compute.code_chunk > 256:
        effect = "fewer logits and distances at one time"
        found.append(Lever({"compute.code_chunk": compute.code_chunk // 2}, effect))
    if rows > 1:
        found.append(Lever({"data.batch_rows": data.batch_rows // 2}, "another training: a smaller batch"))
    return found


def faster(config: AnyStageConfig, mesh: Mesh, parameters: int, available: float) -> list[Lever]:
    """Levers that make a step take less time where there is memory to spare, the surest first."""
    compute, count, fsdp, shards = config.compute, config.optimizer.accumulate, mesh.shape["fsdp"], row_devices(mesh)
    found = []
    if compute.remat != "none":
        found.append(Lever({"compute.remat": "none"}, "no second forward pass; keeps what it would give"))
    if count > 1:
        fewer = max(n for n in range(1, count) if count % n == 0)
        found.append(Lever({"optimizer.accumulate": fewer}, "larger microbatches fill the product units better"))
    state = _state_bytes(config) * parameters / mesh.shape["model"]
    least = min(n for n in range(1, fsdp + 1) if fsdp % n == 0 and (n == fsdp or state / n < available / ROOM))
    if least < fsdp:
        found.append(Lever(_sliced(least, shards), "parameters are gathered from fewer slices, or not at all"))
    if mesh.shape["data"] > 1 and config.optimizer.reduce_dtype != "bfloat16":
        effect = "half the bytes of gradients, rounded before they are summed"
        found.append(Lever({"optimizer.reduce_dtype": "bfloat16"}, effect))
    return found


def _state_bytes(config: AnyStageConfig) -> int:
    return STATE_BYTES + (AVERAGE_BYTES if config.optimizer.ema_decay is not None else 0)


def _sliced(slices: int, shards: int) -> dict[str, int]:
    return {"mesh.fsdp": slices, "mesh.data": shards // slices}


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
