"""Trains a toy stage on one number of devices after another, and says what came back and which batches follow.

python elastic.py RUN CORPUS DEVICES [DEVICES ...]

A process alone, or one of several, with enough devices. Each leg goes on from the last checkpoint of RUN for an epoch.
A line of JSON for each: the devices, the step, whether the restored state is what lies on disk, and digests of the
global batches of CORPUS that come next, put together from what every process reads.
"""

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
from small_runs import tokenizer_config
from toy_stage import ROWS, STEPS_PER_EPOCH, ToyStage, toy_config, train_toy

from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.config import MeshConfig
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import BatchReader
from labram_jax.parallel import processes
from labram_jax.parallel.sharding import make_mesh, process_rows, put_batch, to_host
from labram_jax.training.program import prepare
from tests.faults.ends import arrays, saved

BATCHES = 3


def digest(batch) -> str:
    """Of the names, types and bytes of a global batch."""
    whole = hashlib.sha256()
    for name in sorted(batch):
        array = to_host(batch[name])
        whole.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def batches(corpus: Path, rows, step: int):
    """The batches from a step on, of which this process reads some rows."""
    config = tokenizer_config(Path(), [corpus], **{"data.batch_rows": ROWS})
    return BatchReader(config.data, [Corpus.open(corpus)], config.loop.seed, True, rows).training(step)


def comes_back(stage: ToyStage, run: Path, step: int, mesh, total: int) -> bool:
    """Whether the state on the devices is what lies on disk: parameters, collections, moments and counts, the step."""
    program = prepare(stage, mesh, total, STEPS_PER_EPOCH)
    with CheckpointDirectory(run) as checkpoints:
        state = checkpoints.restore(step, program.abstract)
    held = [to_host(leaf).tobytes() for leaf in jax.tree.leaves((state.variables, state.opt_state))]
    on_disk = [array.tobytes() for array in arrays(run / "checkpoints" / str(step)).values()]
    return sorted(held) == sorted(on_disk) and len(held) > 6 and int(to_host(state.step)) == step


def leg(run: Path, corpus: Path, devices: int) -> dict:
    split = MeshConfig(fsdp=2) if devices > 1 else MeshConfig()
    mesh = make_mesh(split, jax.devices()[:devices])
    rows, step = process_rows(mesh, ROWS), (saved(run) or [0])[-1]
    epochs = step / STEPS_PER_EPOCH + 1
    config = toy_config(run, **{"loop.epochs": epochs, "mesh": split})
    same = not step or comes_back(ToyStage(config), run, step, mesh, step + STEPS_PER_EPOCH)
    read = batches(corpus, rows, step)
    found = [digest(put_batch(next(read), mesh)) for _ in range(BATCHES)]
    result = train_toy(config, mesh=mesh, validation=None)
    assert result.finished and result.step == step + STEPS_PER_EPOCH
    return {"devices": devices, "step": step, "same": same, "batches": found}


if __name__ == "__main__":
    with processes.joined():
        for devices in map(int, sys.argv[3:]):
            print(json.dumps(leg(Path(sys.argv[1]), Path(sys.argv[2]), devices)), flush=True)
