"""What keeping codes beside the corpora spares, and whether training is the same with them.

    python benchmarks/kept_codes.py demo_pretraining --tokenizer RUN --data.corpora CORPUS [CORPUS ...] [--steps 20]

Pretraining with labelling and with the codes that `labram-jax tokenize` kept take turns on the same batches, from the
same weights. Printed are the time of a step, how many steps had equal losses, and how many patches get another code
when they are labelled anew in the packed rows of training.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
import numpy as np
import tyro

from labram_jax.config import PretrainingStageConfig, TokenizerStageConfig, replace
from labram_jax.configfile import load_file
from labram_jax.data.pipeline import Batch
from labram_jax.data.reader import BatchReader, open_corpora
from labram_jax.parallel.sharding import make_mesh, process_rows, put_batch
from labram_jax.parallel.state import TrainState
from labram_jax.runs import kept_codes, make_stage, tokenizer_digest
from labram_jax.stages.labelling import LabellingStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.tables import text_table
from labram_jax.training.program import Program, prepare


@dataclass
class Side:
    """One way of training, and what was measured of it."""

    program: Program
    state: TrainState
    batches: Iterator[Batch]
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def step(self) -> Batch:
        """Takes one step and returns its batch."""
        batch = next(self.batches)
        placed = put_batch(batch, self.program.mesh)
        wall, processor = time.perf_counter(), time.process_time()
        self.state, metrics = jax.block_until_ready(self.program.train_step(self.state, placed))
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)
        self.losses.append(float(metrics["loss"]))
        return batch


def main(arguments: list[str]) -> None:
    name, *overrides = arguments
    steps = 20
    if "--steps" in overrides:
        place = overrides.index("--steps")
        steps = int(overrides[place + 1])
        del overrides[place : place + 2]
    default = load_file(name)
    config = replace(tyro.cli(type(default), default=default, args=overrides), kept_codes="required")
    sides, labelling = prepare_all(config)
    other = total = 0
    for _ in range(steps + 1):
        batch = [side.step() for side in sides.values()][-1]
        found = np.asarray(labelling(batch))
        valid = batch["segment_ids"] > 0
        other, total = other + int((found != batch["codes"])[valid].sum()), total + int(valid.sum())
    rows = [[side, *spread(own.wall[1:]), *spread(own.processor[1:])] for side, own in sides.items()]
    headers = ["pretraining step", "seconds", "from", "to", "processor s", "from", "to"]
    print(text_table(headers, rows))
    labelled, kept = sides.values()
    for name in ("wall", "processor"):
        ratios = np.divide(getattr(kept, name), getattr(labelled, name))[1:]
        print(f"{name}, ratio in turns: {' / '.join(f'{value:.2f}' for value in spread(ratios))} (median, from, to)")
    equal = int(np.logical_and.accumulate(np.equal(labelled.losses, kept.losses)).sum())
    print(f"losses equal to the bit in the first {equal} of {steps + 1} steps")
    print(f"{other:,} of {total:,} patches get another code in their packed row ({other / total:.2%})")


def prepare_all(config: PretrainingStageConfig) -> tuple[dict[str, Side], object]:
    """Both ways of training, and a function that labels a batch anew."""
    mesh, corpora = make_mesh(config.mesh), open_corpora(config.data)
    reader = BatchReader(config.data, corpora, config.loop.seed, True, process_rows(mesh, config.data.batch_rows))
    stage = make_stage(config, corpora, reader.steps_per_epoch)
    assert isinstance(stage, PretrainingStage)
    kept, _ = kept_codes(stage, corpora, tokenizer_digest(stage))

    def side(stage: PretrainingStage, reader: BatchReader) -> Side:
        program = prepare(stage, mesh, 1000, reader.steps_per_epoch)
        return Side(program, program.create_state(), reader.training(0))

    tokenizer = TokenizerStageConfig(run="", model=stage.tokenizer.config, data=config.data, compute=config.compute)
    program = prepare(LabellingStage(tokenizer), mesh, 1, 1)
    model = program.put_model(stage.frozen)

    def label(batch: Batch) -> np.ndarray:
        without = {name: array for name, array in batch.items() if name != "codes"}
        return program.evaluate_batch(*model, put_batch(without, mesh)).rows["codes"]

    kept_side = side(stage.without_tokenizer(), reader.with_codes(kept))
    return {"with labelling": side(stage, reader), "codes kept": kept_side}, label


def spread(values) -> tuple[float, float, float]:
    return float(np.median(values)), float(np.min(values)), float(np.max(values))


if __name__ == "__main__":
    main(sys.argv[1:])
