"""Compiles the real programs of a configuration for devices that need not be there; no array is made."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from labram_jax.config import (
    AnyStageConfig,
    FinetuningStageConfig,
    PretrainingStageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
)
from labram_jax.errors import InputError
from labram_jax.models import TokenizerModel
from labram_jax.models.patches import empty_batch
from labram_jax.parallel.sharding import BATCH, make_mesh
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.stage import Stage
from labram_jax.stages.tokenizer import TokenizerStage
from labram_jax.training.program import prepare
from labram_jax.weights import read_tokenizer

LOCAL = "local"


@dataclass(frozen=True)
class Memory:
    """Bytes of one device's memory: the state and a batch, what a program needs besides, and the program itself.

    The whole state stays while a program runs that takes a part of it. Where a program does not fit, the compiler may
    tell only `used` and `available`, and the parts are None.
    """

    used: float
    available: float
    state: float | None = None
    temporary: float | None = None
    program: float | None = None

    @property
    def fits(self) -> bool:
        return self.used <= self.available


def largest(memories: Iterable[Memory]) -> Memory:
    """The one of which most is used."""
    return max(memories, key=lambda memory: memory.used)


@dataclass(frozen=True)
class CompiledProgram:
    """A program for a mesh; `text` is what the compiler made, or None where it did not fit."""

    memory: Memory
    text: str | None


@dataclass(frozen=True)
class CompiledStage:
    """All programs of a stage on a mesh, by the names of the stage's functions: `train_step` is the first.

    `checkpoint` is the size of what a checkpoint holds, in bytes.
    """

    mesh: Mesh
    parameters: int
    checkpoint: int
    programs: Mapping[str, CompiledProgram]

    @property
    def memory(self) -> Memory:
        """Of the program that needs most."""
        return largest(program.memory for program in self.programs.values())


def without_devices() -> None:
    """Keeps JAX and the TPU's library from looking for devices where none is needed; call it before either runs."""
    if jax.config.jax_platforms is None:
        jax.config.update("jax_platforms", "cpu")
    # What the library would ask a machine of the cloud for, and complain about elsewhere; no topology depends on it.
    for name, value in (
        ("TPU_SKIP_MDS_QUERY", "1"),
        ("TPU_WORKER_HOSTNAMES", "localhost"),
        ("TPU_ACCELERATOR_TYPE", "v5litepod-4"),
        ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),  # the lock is on devices, and compiling takes none
    ):
        os.environ.setdefault(name, value)


def devices_of(topology: str) -> Sequence[jax.Device]:
    """The devices that are present ("local"), or those of a TPU slice such as v5e:16x16; InputError for neither."""
    if topology == LOCAL:
        return jax.devices()
    if importlib.util.find_spec("libtpu") is None and not os.environ.get("TPU_LIBRARY_PATH"):
        raise InputError(f"Planning for {topology} needs the TPU compiler: pip install 'labram-jax[tpu]' (Linux).")
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:  # whatever the plugin raises for a name that it does not know
        reason = str(error).splitlines()[0]
        raise InputError(
            f"There is no topology {topology!r} ({reason}): give local, or generation and shape of a TPU slice, such "
            "as v5e:16x16, v5p:4x4x4, v6e:8x8."
        ) from error


def tokenizer_of(config: AnyStageConfig) -> TokenizerConfig | None:
    """The tokenizer that labels in pretraining: of the run that is named, else the published one."""
    if not isinstance(config, PretrainingStageConfig):
        return None
    if not config.tokenizer:
        published = TokenizerConfig()
        return dataclasses.replace(
            published, quantizer=dataclasses.replace(published.quantizer, codes=config.model.codes)
        )
    return read_tokenizer(config.tokenizer)[1]


def abstract_stage(config: AnyStageConfig, steps_per_epoch: int, tokenizer: TokenizerConfig | None) -> Stage:
    """The stage of a configuration, with shapes in place of the models that it would start from."""
    if isinstance(config, TokenizerStageConfig):
        return TokenizerStage(config, steps_per_epoch)
    if isinstance(config, FinetuningStageConfig):
        return FinetuningStage(config, None)
    model = dataclasses.replace(config.model, codes=tokenizer.quantizer.codes)
    initial = TokenizerModel(tokenizer, config.compute).init
    variables = jax.eval_shape(lambda: initial(jax.random.key(0), empty_batch()))
    return PretrainingStage(dataclasses.replace(config, model=model), tokenizer, nn.unbox(variables))


def abstract_batch(config: AnyStageConfig, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and shardings of what `labram_jax.data.pipeline` reads."""
    data = config.data
    slots, places = (data.batch_rows, data.patch_slots), (data.batch_rows, data.segments)
    regression = isinstance(config, FinetuningStageConfig) and config.model.task == "regression"
    shapes = {
        "microvolts": ((*slots, 200), jnp.float16),
        **dict.fromkeys(("electrode_ids", "time_ids", "segment_ids"), (slots, jnp.int32)),
        **dict.fromkeys(("window_ids", "corpus_ids"), (places, jnp.int32)),
        "labels": ((*places, config.model.outputs), jnp.float32) if regression else (places, jnp.int32),
    }
    if isinstance(config, PretrainingStageConfig):
        shapes["mask"] = (slots, jnp.bool_)
    sharding = NamedSharding(mesh, BATCH)
    return {name: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for name, (shape, dtype) in shapes.items()}


def compile_stage(
    config: AnyStageConfig,
    tokenizer: TokenizerConfig | None,
    devices: Sequence[jax.Device],
    available: float,
    steps_per_epoch: int = 1000,
) -> CompiledStage:
    """Compiles all that a stage runs for `devices`, each with `available` bytes of memory.

    Raises InputError where mesh, batch and devices do not go together.
    """
    mesh = make_mesh(config.mesh, devices)
    total = max(1, round(config.loop.epochs * steps_per_epoch))
    program = prepare(abstract_stage(config, steps_per_epoch, tokenizer), mesh, total, steps_per_epoch)
    state = program.abstract
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    saved = jax.tree.leaves((state.variables, state.opt_state))
    checkpoint = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in saved)
    found: dict[str, CompiledProgram] = {}
    for name, lowered in program.lower(abstract_batch(config, mesh)).items():
        held = next(iter(found.values())).memory.state if found else None
        found[name] = _compiled(lowered, available, held or 0)
    return CompiledStage(mesh, parameters, checkpoint, found)


def _compiled(lowered: jax.stages.Lowered, available: float, held: float) -> CompiledProgram:
    """A program compiled, beside a state that takes `held` bytes, of which the program's arguments are a part."""
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        memory = _out_of_memory(str(error))
        if memory is None:
            raise
        return CompiledProgram(memory, None)
    sizes = compiled.memory_analysis()
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    state = max(held, sizes.argument_size_in_bytes) + results
    parts = (state, sizes.temp_size_in_bytes, sizes.generated_code_size_in_bytes)
    return CompiledProgram(Memory(sum(parts), available, *parts), compiled.as_text())


def _out_of_memory(message: str) -> Memory | None:
    """What a compiler's message says that it would need and has: the first two sizes in it, whatever its words."""
    sizes = re.findall(r"\b(\d+(?:\.\d+)?)([KMGT])\b", message)
    if "RESOURCE_EXHAUSTED" not in message or len(sizes) < 2:
        return None
    scale = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    used, available = (float(number) * scale[unit] for number, unit in sizes[:2])
    return Memory(used, available)
