"""A stage small enough to train in a second, with everything a real one has; also a command for other processes.

python toy_stage.py RUN EPOCHS [--slow SECONDS] [--stuck STEP] [--several STEPS] [--fsdp N] [--model N]
                              [--loop NAME=VALUE ...]
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from labram_jax.cli import program
from labram_jax.config import (
    DataConfig,
    FinetuningStageConfig,
    LoopConfig,
    MeshConfig,
    OptimizerConfig,
    replace,
)
from labram_jax.errors import exit_code, sentence_of
from labram_jax.parallel.sharding import make_mesh, process_rows
from labram_jax.parallel.stopping import StopRequest
from labram_jax.stages.stage import Stage, Statistics
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.train import TrainingResult, train

WIDTH, ROWS, STEPS_PER_EPOCH = 8, 8, 6
START = 9  # the step before which the collection starts anew


# What the log tells by the clock, which differs from run to run.
CLOCKED = frozenset(
    (
        *("seconds", "run_began", "stepping_seconds", "goodput", "step_seconds", "data_wait_seconds"),
        *("patches_per_second", "eeg_hours_per_second", "model_flops_per_second", "share_of_peak"),
    )
)


class ToyModel(nn.Module):
    """y = head(tanh(hidden x)), and a collection that follows the inputs by itself."""

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.normal(0.3)
        hidden = self.param("hidden", nn.with_logical_partitioning(init, ("width", "mlp")), (WIDTH, 2 * WIDTH))
        head = self.param("kernel", nn.with_logical_partitioning(init, ("mlp", None)), (2 * WIDTH, 1))
        self.variable("codebook", "mean", lambda: jnp.zeros(WIDTH))
        return jnp.tanh(x @ hidden) @ head


class ToyStage(Stage):
    name, encoder_depth, selection = "toy", 1, ("error", "min")

    def __init__(self, config: FinetuningStageConfig, poison: Mapping[int, float] = MappingProxyType({})):
        self.config, self.poison, self.patience = config, poison, config.patience
        self.frozen = {"scale": np.full((WIDTH,), 0.5, np.float32)}

    def init(self, key):
        return ToyModel().init(key, jnp.zeros((ROWS, WIDTH)))

    def denominators(self, batch):
        return {"rows": len(batch["x"])}

    def loss(self, params, collections, frozen, batch, keys, denominators, step):
        noise = jax.vmap(lambda key: jax.random.normal(key, (WIDTH,)))(keys)
        x = batch["x"] * frozen["scale"] + 0.1 * noise
        y = ToyModel().apply({"params": params, **collections}, x)
        loss = jnp.sum(jnp.square(y[:, 0] - batch["y"])) / denominators["rows"]
        for poisoned, factor in self.poison.items():
            loss = loss * jnp.where(step == poisoned, factor, 1.0)
        return loss, Statistics({"loss": loss, "patches": jnp.float32(len(x))}, {"x": x.sum(0)}, {"x": x})

    def apply_statistics(self, collections, statistics, key, step):
        mean = 0.9 * collections["codebook"]["mean"] + 0.1 * statistics.sums["x"] / ROWS
        middle = statistics.rows["x"][ROWS // 2]  # a row as such, whose place in the batch must not change
        metrics = {**statistics.metrics, "mean_norm": jnp.linalg.norm(mean), "middle": middle[0]}
        return {"codebook": {"mean": mean}}, metrics

    def events(self):
        return {START: self.start_mean}

    def start_mean(self, params, collections, batch, key):
        return {"codebook": {"mean": batch["x"].mean(0) + jax.random.normal(key, (WIDTH,))}}

    def evaluate_batch(self, variables, frozen, batch):
        y = ToyModel().apply(variables, batch["x"] * frozen["scale"])
        return Statistics(sums={"rows": jnp.int32(len(y))}, rows={"error": jnp.square(y[:, 0] - batch["y"])})

    def summarise(self, statistics):
        assert statistics.sums["rows"] == len(statistics.rows["error"])
        return {"error": float(np.mean(statistics.rows["error"]))}


def toy_config(run, **changes) -> FinetuningStageConfig:
    config = FinetuningStageConfig(
        run=str(run),
        data=DataConfig(batch_rows=ROWS),
        optimizer=OptimizerConfig(learning_rate=0.05, final_learning_rate=1e-3, warmup_epochs=0.5),
        loop=LoopConfig(epochs=4, log_every=4, keep=2, seed=3),
    )
    return replace(config, **changes)


def batch(step: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    x = np.random.default_rng((7, step)).normal(size=(ROWS, WIDTH)).astype(np.float32)
    return {"x": x[rows], "y": np.sin(x.sum(1))[rows]}


def loader(rows: slice = slice(None), slow: float = 0.0, end: int = 10**6, stuck: int | None = None):
    def from_step(start):
        for step in range(start, end):
            time.sleep(1000 if step == stuck else slow)
            yield batch(step, rows)

    return from_step


def train_toy(
    config, poison=MappingProxyType({}), reading=MappingProxyType({}), mesh: Mesh | None = None, **options
) -> TrainingResult:
    """Trains on the batches of `loader(..., **reading)`; `poison`: step -> factor on its loss."""
    mesh = mesh or make_mesh(config.mesh)
    rows = process_rows(mesh, ROWS)
    with StopRequest(config.loop.stop_seconds) as stop:
        return train(
            ToyStage(config, poison),
            config.run,
            loader(rows, **reading),
            STEPS_PER_EPOCH,
            stop=stop,
            mesh=mesh,
            **{"validation": lambda: [batch(10_000 + i, rows) for i in range(2)], **options},
        )


def lines(run: Path) -> list[dict]:
    """The log of a run without what goes by the clock."""
    return [{name: line[name] for name in line if name not in CLOCKED} for line in read_metrics(run)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("epochs", type=float)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--stuck", type=int)
    parser.add_argument("--loop", nargs="*", default=())
    parser.add_argument("--several", type=int, default=1)
    parser.add_argument("--fsdp", type=int, default=1)
    parser.add_argument("--model", type=int, default=1)
    given = parser.parse_args()
    chosen = toy_config(
        given.run,
        **{
            "loop.epochs": given.epochs,
            "loop.steps_per_dispatch": given.several,
            "mesh": MeshConfig(fsdp=given.fsdp, model=given.model),
            **{f"loop.{name}": float(value) for name, value in (text.split("=") for text in given.loop)},
        },
    )
    try:
        result = train_toy(chosen, reading={"slow": given.slow, "stuck": given.stuck})
    except OSError as error:
        print(sentence_of(error))
        return exit_code(error)
    print("finished" if result.finished else "stopped", result.step)
    return 0


if __name__ == "__main__":
    program(main)
