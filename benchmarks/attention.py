"""Compiles the blocks of an encoder, forward and backward, for one TPU chip that need not be here, with each kernel.

    TPU_LIBRARY_PATH=.venv/libtpu/libtpu/libtpu.so python benchmarks/attention.py --sizes base huge --rows 2
    TPU_LIBRARY_PATH=.venv/libtpu/libtpu/libtpu.so python benchmarks/attention.py --slots 1016 --segments 8

What is compiled is bfloat16, without `remat`. Of each it tells the temporary memory and the bytes that go to main
memory and back, as `labram-jax plan` counts them.
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from labram_jax import config as c
from labram_jax.models.encoder import Encoder
from labram_jax.models.patches import PatchBatch, empty_batch
from labram_jax.parallel.sharding import RULES, make_mesh
from labram_jax.plan.compile import devices_of, without_devices
from labram_jax.plan.hardware import hardware_of
from labram_jax.plan.hlo import HloModule
from labram_jax.tables import text_table

ENCODERS = {"base": c.base_encoder, "large": c.large_encoder, "huge": c.huge_encoder}


@dataclass(frozen=True)
class Benchmark:
    """Compares kernels on one chip."""

    topology: str = "v5e:2x2"
    """A slice; one of its chips is compiled for."""
    sizes: tuple[Literal["base", "large", "huge"], ...] = ("base",)
    rows: int = 2
    slots: int = 256
    """Patch slots of a row."""
    segments: int = 1
    kernels: tuple[str, ...] = ("xla", "splash")


def main(benchmark: Benchmark) -> None:
    without_devices()
    device = devices_of(benchmark.topology)[0]
    hardware = hardware_of(device, "bfloat16", present=False)
    mesh = make_mesh(c.MeshConfig(), [device])
    rows = []
    for size in benchmark.sizes:
        for kernel in benchmark.kernels:
            compiled = compile_blocks(size, kernel, benchmark, mesh)
            moved = HloModule(compiled.as_text()).memory_traffic()
            temporary = compiled.memory_analysis().temp_size_in_bytes / 2**30
            rows.append([f"{size} {kernel}", temporary, moved / 1e9, 1e3 * moved / hardware.bandwidth])
    print(text_table(["blocks", "temporary GiB", "moved GB", "ms at least"], rows))
    shape = f"{benchmark.rows} rows of {benchmark.slots} slots, {benchmark.segments} segments"
    print(f"\n{hardware.name}, {shape}; jax {jax.__version__}")


def compile_blocks(size: str, kernel: str, benchmark: Benchmark, mesh: Mesh) -> jax.stages.Compiled:
    """Gradients of the parameters and of the embeddings."""
    encoder = ENCODERS[size]()
    model = Encoder(encoder, c.ComputeConfig(dtype="bfloat16", attention=kernel))

    def loss(variables, embeddings, batch):
        with nn.logical_axis_rules(RULES):
            classes, patches = model.apply(variables, embeddings, batch, method=Encoder.transform)
        return (classes**2).sum() + (patches**2).sum()

    ids = jax.ShapeDtypeStruct((benchmark.rows, benchmark.slots), jnp.int32)
    patches = jax.ShapeDtypeStruct((*ids.shape, c.PATCH_SAMPLES), jnp.float32)
    batch = PatchBatch(patches, ids, ids, ids, segments=benchmark.segments)
    embeddings = jax.ShapeDtypeStruct((*ids.shape, encoder.width), jnp.float32)
    variables = nn.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), empty_batch())))
    place = NamedSharding(mesh, PartitionSpec())
    gradients = jax.jit(jax.grad(loss, (0, 1)), in_shardings=place, out_shardings=place)
    with jax.set_mesh(mesh):
        return gradients.lower(variables, embeddings, batch).compile()


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
