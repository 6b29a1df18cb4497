"""What tests of stages share: batches as a run would see them, programs, and some steps of these."""

import itertools

import jax
import numpy as np

from labram_jax.config import MeshConfig
from labram_jax.data import pipeline
from labram_jax.data.reader import windows_of
from labram_jax.parallel.sharding import make_mesh
from labram_jax.parallel.state import TrainState
from labram_jax.training.program import Program, prepare

STEPS_PER_EPOCH = 10


def batches_of(config, corpora, split="train"):
    """Batches of training (endless) or of another split, as the stage's run would see them."""
    data = config.data
    shape = {"batch_rows": data.batch_rows, "patch_slots": data.patch_slots, "segments": data.segments}
    read = pipeline.training if split == "train" else pipeline.evaluation
    windows = windows_of(data, corpora, split)
    return read(windows, seed=config.loop.seed, masked=not hasattr(config.model, "pooling"), **shape)


def programs_of(stage) -> Program:
    return prepare(stage, make_mesh(MeshConfig()), total_steps=100, steps_per_epoch=STEPS_PER_EPOCH)


def ready(stage) -> tuple[Program, TrainState]:
    program = programs_of(stage)
    return program, program.create_state()


def losses_of(program, state, batches, steps: int) -> tuple[TrainState, list[float]]:
    losses = []
    for batch in itertools.islice(batches, steps):
        state, metrics = program.train_step(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


def assert_equal_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)
