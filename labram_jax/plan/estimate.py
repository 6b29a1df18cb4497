"""How long a program takes at best: its products, memory traffic and collectives against what devices can do."""

from collections.abc import Sequence
from dataclasses import dataclass

from labram_jax.config import AnyStageConfig, TokenizerConfig
from labram_jax.plan import flops
from labram_jax.plan.collectives import Traffic, traffic
from labram_jax.plan.compile import CompiledStage
from labram_jax.plan.hardware import Hardware
from labram_jax.plan.hlo import HloModule

OPTIMIZER_PASSES = 2  # parameters and moments are read and written once a step
WEIGHT_PASSES = 3  # weights are read in the forward pass, when it is recomputed, and in the backward pass
BATCHES = (2, 4, 8)


@dataclass(frozen=True)
class Seconds:
    """Seconds of one batch in a program that each resource needs by itself.

    A program that hides all that it can behind its slowest resource takes `overlapped`, one that hides nothing
    `serial`. `synchronous` is the part of `interconnect` for which devices wait, as the program is compiled.
    """

    compute: float
    memory: float
    interconnect: float
    synchronous: float

    @property
    def overlapped(self) -> float:
        return max(self.compute, self.memory, self.interconnect - self.synchronous) + self.synchronous

    @property
    def serial(self) -> float:
        return self.compute + self.memory + self.interconnect

    @property
    def limit(self) -> str:
        """The slowest resource."""
        return max(("compute", "memory", "interconnect"), key=lambda name: getattr(self, name))


@dataclass(frozen=True)
class Estimate:
    """One batch, by the analytic count of products and by the compiled program's memory traffic and collectives.

    Attributes:
        seconds: of this batch.
        flops: of all products, over all devices.
        model_flops: without what is recomputed.
        parts: flops by part of the model.
        tile_use: share of the product units' work that is not padding to whole tiles.
        memory_bytes: that one device reads and writes.
        collectives: by kind and mesh axes.
        share_of_peak: model_flops against the devices' peak of the compute type in `seconds.overlapped`, and `.serial`.
        batches: seconds of a training step if its batch grew by a factor.
    """

    seconds: Seconds
    flops: int
    model_flops: int
    parts: dict[str, int]
    tile_use: float
    memory_bytes: int
    collectives: tuple[Traffic, ...]
    share_of_peak: tuple[float, float]
    batches: dict[int, Seconds]


def estimate(
    config: AnyStageConfig, tokenizer: TokenizerConfig | None, stage: CompiledStage, name: str, hardware: Hardware
) -> Estimate:
    """The roofline of the compiled program `name`. What grows with the batch is told apart by rule: see `_grown`."""
    module = HloModule(stage.programs[name].text)
    products = flops.products_of(name, config, tokenizer)
    found = traffic(module, stage.mesh, hardware)
    moved, devices = module.memory_traffic(), stage.mesh.size
    dtype = config.compute.dtype
    peaks = (hardware.bfloat16, hardware.float32)
    seconds = Seconds(
        flops.compute_seconds(products, dtype, *peaks, hardware.tile, devices),
        moved / hardware.bandwidth,
        sum(entry.seconds for entry in found),
        sum(entry.seconds for entry in found if not entry.asynchronous),
    )
    asked = flops.total(products, asked_for=True)
    peak = peaks[0 if dtype == "bfloat16" else 1] * devices
    return Estimate(
        seconds,
        flops.total(products),
        asked,
        flops.by_part(products),
        flops.total(products) / sum(product.tiled_flops(hardware.tile) for product in products),
        moved,
        tuple(found),
        (asked / peak / seconds.overlapped, asked / peak / seconds.serial),
        {factor: _grown(factor, config, stage, hardware, seconds, moved, found) for factor in BATCHES}
        if name == flops.TRAINING
        else {},
    )


def _grown(
    factor: int,
    config: AnyStageConfig,
    stage: CompiledStage,
    hardware: Hardware,
    seconds: Seconds,
    moved: int,
    found: Sequence[Traffic],
) -> Seconds:
    """The same step with a batch `factor` times as large, on the same devices.

    Products grow with the batch. Of the memory traffic the state and the weights do not. Collectives along `data` and
    `fsdp` carry weights and gradients, which do not grow; those along `model` alone carry activations, which do.
    """
    weights = stage.parameters * (2 if config.compute.dtype == "bfloat16" else 4) / stage.mesh.shape["model"]
    state = stage.programs[flops.TRAINING].memory.state or 0
    fixed = min(moved, OPTIMIZER_PASSES * state + WEIGHT_PASSES * weights)
    growing = [entry for entry in found if entry.axes == ("model",)]
    waiting = sum(entry.seconds for entry in growing if not entry.asynchronous)
    return Seconds(
        seconds.compute * factor,
        (fixed + (moved - fixed) * factor) / hardware.bandwidth,
        seconds.interconnect + sum(entry.seconds for entry in growing) * (factor - 1),
        seconds.synchronous + waiting * (factor - 1),
    )
