"""Five steps and an evaluation of every stage on several meshes of 8 devices.

A command, as devices are counted when a process starts:

python mesh_steps.py OUT.npz STAGE:LAYOUT [STAGE:LAYOUT ...]

OUT.npz has, for each of them and for every stage on one device, losses [5], codes of the batches, all variables after
the last step, scores of a split of two batches with the variables at the start, the bytes that a device sends for one
batch of training and of evaluation, and of training along `data` alone: bytes, and runs of the loop they may stand in.
"""

import dataclasses
import sys

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh
from packed_rows import make_window, pack_rows
from small_runs import finetuning_config, pretraining_config, small_encoder, small_tokenizer, tokenizer_config, window

from labram_jax.config import AnyStageConfig, MeshConfig, replace
from labram_jax.models import PatchBatch, TokenizerModel
from labram_jax.models.patches import empty_batch
from labram_jax.parallel.sharding import make_mesh, put_batch, shardings_of
from labram_jax.parallel.state import TrainState, averages_of
from labram_jax.plan import hardware
from labram_jax.plan.collectives import collectives, groups_of, mesh_axes, traffic
from labram_jax.plan.hlo import HloModule
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.stage import Stage
from labram_jax.stages.tokenizer import TokenizerStage
from labram_jax.training.evaluating import evaluate
from labram_jax.training.program import Program, prepare

STEPS, ROWS, SLOTS, SEGMENTS = 5, 32, 12, 2
# Data x fsdp x model, and the microbatches that a batch is taken in.
LAYOUTS = {
    "1x1x1": ((1, 1, 1), 1),
    "8x1x1": ((8, 1, 1), 1),
    "4x2x1": ((4, 2, 1), 1),
    "2x2x2": ((2, 2, 2), 1),
    "1x1x2": ((1, 1, 2), 1),
    "4x2x1 in 4": ((4, 2, 1), 4),
    "2x2x2 in 4": ((2, 2, 2), 4),
}
TOKENIZER = replace(small_tokenizer(), **{"encoder.heads": 4, "decoder.heads": 4, "encoder.depth": 1})


def batches() -> list[dict[str, np.ndarray]]:
    """Rows with one or two windows of two montages, so that patches, labels and masks are spread unevenly."""
    found = []
    for step in range(STEPS):
        random = np.random.default_rng((1, step))
        rows, labels = [], np.full((ROWS, SEGMENTS), -1, np.int32)
        for row in range(ROWS):
            rows.append([])
            for segment in range(random.integers(1, 3)):
                electrodes, label = int(random.integers(3, 7)), int(random.integers(2))
                eeg = window(electrodes, 1, (40 * label, 0, 40 * (1 - label)), (step, row, segment))
                ids = random.permutation(np.arange(1, 20))[:electrodes]
                rows[-1].append(make_window(eeg.astype(np.float32), ids, random.random(electrodes) < 0.5))
                labels[row, segment] = label if random.random() < 0.8 else -1
        batch = pack_rows(rows, SLOTS, SEGMENTS, seed=step).batch
        arrays = {name: getattr(batch, name) for name in ("electrode_ids", "time_ids", "segment_ids", "mask")}
        arrays["microvolts"] = batch.patches  # not yet divided by 100
        ids = {name: np.zeros((ROWS, SEGMENTS), np.int32) for name in ("window_ids", "corpus_ids")}
        found.append({**arrays, **ids, "labels": labels})
    return found


def make_stage(name: str, config: AnyStageConfig, tokenizer_variables) -> Stage:
    if name == "tokenizer":
        return TokenizerStage(config, steps_per_epoch=2)
    if name == "pretraining":
        return PretrainingStage(config, TOKENIZER, tokenizer_variables)
    return FinetuningStage(config, None)


def configs() -> dict[str, AnyStageConfig]:
    """Everything that draws, counts or averages is on: bypass and its noise, k-means, restarts, drop path, averages."""
    shape = {
        "data.batch_rows": ROWS,
        "data.segments": SEGMENTS,
        "optimizer.clip_norm": 0.5,
        # AdamW's first updates are the gradients' signs, also of those that are rounding alone, but for this.
        "optimizer.epsilon": 1e-3,
        "compute.code_chunk": 4,
    }
    encoder = small_encoder(heads=4, drop_path=0.5)
    codebook = {"codebook.bypass_noise": 0.1, "codebook.commitment_warmup_epochs": 0.0, "model": TOKENIZER}
    masked = {"model.encoder": replace(encoder, class_position="first_electrode"), "model.codes": 16}
    return {
        "tokenizer": tokenizer_config("", [], **shape, **codebook),
        "pretraining": pretraining_config("", [], "", **shape, **masked),
        "fine-tuning": finetuning_config("", [], **shape, **{"model.encoder": encoder, "optimizer.ema_decay": 0.5}),
    }


def follow(stage: Stage, start: TrainState | None) -> tuple[dict[str, np.ndarray], TrainState]:
    """What comes of five steps from `start`, and that start (made here if there is none) on the host."""
    sizes = stage.config.mesh
    mesh = make_mesh(sizes, jax.devices()[: sizes.data * sizes.fsdp * sizes.model])
    program, sent = compiled(prepare(stage, mesh, total_steps=10, steps_per_epoch=2))
    start = start or jax.device_get(program.create_state())
    state, losses = jax.device_put(start, shardings_of(program.abstract)), []
    scores = evaluate(program, state.variables, state.frozen, batches()[:2])
    for step, batch in enumerate(batches()):
        batch = put_batch(batch, mesh)
        if step in program.events:
            state = program.before_step(step, state, batch)
        state, metrics = program.train_step(state, batch)
        losses.append(metrics["loss"])
    variables = jax.device_get(state.variables)
    found = {"losses": np.array(losses), "grad_norm": np.asarray(metrics["grad_norm"])}
    found |= {"scores": np.array(list(scores.values())), **sent}
    if "codebook" in variables:
        streams = [PatchBatch.of(batch, SEGMENTS) for batch in batches()]
        found["codes"] = np.stack([np.where(stream.valid, encode(variables, stream), 0) for stream in streams])
    if (averages := averages_of(state.opt_state)) is not None:
        assert shardings_of(averages.averaged) == shardings_of(state.params)
        variables |= {"averages": jax.device_get(averages.averaged)}
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    found |= {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return found, start


def compiled(program: Program) -> tuple[Program, dict[str, np.ndarray]]:
    """The program with its step and its evaluation compiled, and what a device sends in a batch of each."""
    batch = put_batch(batches()[0], program.mesh)
    lowered = program.lower(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), batch))
    device = hardware.DEVICES[-1][1]  # the speed of its links is nothing that is asked here
    own = {name: lowered[name].compile() for name in ("train_step", "evaluate_batch")}
    modules = {name: HloModule(executable.as_text()) for name, executable in own.items()}
    sent = {name: traffic(module, program.mesh, device) for name, module in modules.items()}
    along = [entry.bytes for entry in sent["train_step"] if "data" in entry.axes]
    found = {
        "sent": np.array([sum(entry.bytes for entry in entries) for entries in sent.values()]),
        "sent along data": np.array([sum(along), runs_along_data(modules["train_step"], program.mesh)]),
    }
    jitted = {name: dataclasses.replace(getattr(program, name), jitted=executable) for name, executable in own.items()}
    return dataclasses.replace(program, **jitted), found


def runs_along_data(module: HloModule, mesh: Mesh) -> int:
    """How often the collective along `data` that runs most often runs in a step; 0 if there is none."""
    return max(
        (
            own.times
            for own in collectives(module)
            if "data" in mesh_axes(max(groups_of(own.instruction.attributes, mesh.size), key=len), mesh)
        ),
        default=0,
    )


@jax.jit
def encode(variables, stream: PatchBatch):
    """Codes of all patches, meaningless in padding."""
    return TokenizerModel(TOKENIZER).apply(variables, stream, method=TokenizerModel.encode)


if __name__ == "__main__":
    results = {}
    tokenizer = jax.device_get(nn.unbox(TokenizerModel(TOKENIZER).init(jax.random.key(5), empty_batch())))
    for name, config in configs().items():
        start = None
        for layout, (sizes, microbatches) in LAYOUTS.items():
            if layout != "1x1x1" and f"{name}:{layout}" not in sys.argv[2:]:
                continue
            laid_out = replace(config, mesh=MeshConfig(*sizes), **{"optimizer.accumulate": microbatches})
            found, start = follow(make_stage(name, laid_out, tokenizer), start)
            results |= {f"{name}:{layout}:{what}": value for what, value in found.items()}
    np.savez(sys.argv[1], **results)
