"""A stage is trained in its run's directory: what the loop works with is made here, and let go of in order."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from labram_jax.checkpoints.branch import Origin
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.files import CONFIG, LOCK, local_directory
from labram_jax.configfile import to_dict
from labram_jax.jsonfile import write_json
from labram_jax.lock import held
from labram_jax.parallel.processes import check_shared
from labram_jax.parallel.sharding import make_mesh
from labram_jax.parallel.stopping import StopRequest
from labram_jax.parallel.watchdog import Watchdog
from labram_jax.stages.stage import Stage
from labram_jax.training.evaluating import HostBatches
from labram_jax.training.feed import Feed
from labram_jax.training.interval import Interval, StepCost
from labram_jax.training.loop import Loop
from labram_jax.training.probing import Probe
from labram_jax.training.program import Programs
from labram_jax.training.skips import Skips, WindowsOf
from labram_jax.training.start import restore_or_create
from labram_jax.training.telemetry import Telemetry
from labram_jax.training.trace import Trace
from labram_jax.training.triggers import EVALUATE, SAVE, Triggers


@dataclass(frozen=True)
class TrainingResult:
    """How a call of `train` ended.

    Attributes:
        step: batches seen.
        finished: False if it was asked to stop before the last step, or before what is evaluated after it.
        best: {"step", "metric", "value"} of the best checkpoint, if one was selected.
        validation: metrics of the last evaluation in this call.
        test: metrics of the best checkpoint (else the last) on the test split.
    """

    step: int
    finished: bool
    best: dict | None = None
    validation: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)


def train(
    stage: Stage,
    run: str | Path,
    loader: Callable[[int], Iterator[Mapping[str, np.ndarray]]],
    steps_per_epoch: int,
    *,
    stop: StopRequest,
    validation: Callable[[], HostBatches] | None = None,
    test: Callable[[], HostBatches] | None = None,
    mesh: Mesh | None = None,
    cost: StepCost = StepCost(),
    tensorboard: bool = False,
    wandb: bool = False,
    profile: int = 0,
    notes: Sequence[str] = (),
    windows_of: WindowsOf | None = None,
    made_from: Origin = Origin(),
    probe: Probe | None = None,
    programs: Programs | None = None,
) -> TrainingResult:
    """Trains a stage in its run directory, from its latest checkpoint if there is one.

    Args:
        stage: what to train; its configuration says how long and how often.
        run: directory of checkpoints/, best.json, config.json and metrics.jsonl.
        loader: start step -> endless iterator of batches from that step on. A batch holds this process's rows of
            the global batch (see `sharding.process_rows`), and batch n is the same whatever the start.
        steps_per_epoch: batches in one epoch.
        stop: says when to stop early, with a checkpoint.
        validation: makes one pass over the validation split; None trains without evaluation.
        test: one pass over the test split, scored once at the end with the best checkpoint.
        mesh: devices; None lays them out as the configuration says.
        cost: what a step goes through, which gives the speed its meaning in the log.
        tensorboard: also write TensorBoard events.
        wandb: also write to Weights & Biases.
        profile: steps to trace into RUN/profile, after those that are slow because they are the first.
        notes: what to tell before the first step.
        windows_of: what `Skips` wants to know of a step that changed nothing.
        made_from: digests of the inputs, which must be those of the run's checkpoints, and another run's checkpoint to
            begin with where there are none.
        probe: what is made of the encoder now and then.
        programs: what other runs of this process have compiled, to be shared; None shares nothing.

    Raises:
        InputError: the run was started under another configuration, a checkpoint is damaged, the data ended, or the
            numbers went wrong too often. The last good checkpoint stays.
        OSError: another training is in the run, or its last checkpoint could not be written.
    """
    mesh = mesh or make_mesh(stage.config.mesh)
    options, run = stage.config.loop, local_directory(run)
    total = max(1, round(options.epochs * steps_per_epoch))
    program = (programs or Programs()).prepare(stage, mesh, total, steps_per_epoch)
    config = to_dict(stage.config)
    check_shared(run)
    with (
        Watchdog(options.watchdog_minutes and 60 * options.watchdog_minutes) as watchdog,
        _one_trainer(run),
        CheckpointDirectory(run, options.keep, stage.selection) as checkpoints,
    ):
        restore = functools.partial(restore_or_create, program, checkpoints, total, steps_per_epoch, made_from)
        state, start, origin = restore()
        if jax.process_index() == 0:
            write_json(run / CONFIG, config)
        boards = {"config": config, "tensorboard": tensorboard, "wandb": wandb}
        with (
            Telemetry(run, stage.name, start, total, steps_per_epoch, **boards) as telemetry,
            Trace(run, profile, start, total) as trace,
        ):
            for note in (*origin, *notes):
                telemetry.say(note)
            acts = (SAVE,) if validation is None else (EVALUATE, SAVE)
            every = None if probe is None else probe.every_epochs
            loop = Loop(
                program,
                checkpoints,
                telemetry,
                trace,
                stop,
                watchdog,
                Triggers(options, total, steps_per_epoch, program.events, acts, every),
                Feed(loader, mesh, start),
                Skips(run, stage.config.guard, telemetry, windows_of),
                restore,
                validation,
                total,
                Interval(cost),
                probe,
            )
            state, step = loop.run(state, start)
            scores = {} if loop.stopped or test is None else loop.score(state, step, test)
        checkpoints.wait()
        stop.at_stake = loop.stopped  # a run that ends as asked is not ended on its way out
        return TrainingResult(step, not loop.stopped, checkpoints.best, loop.scores, scores)


def _one_trainer(run: Path) -> contextlib.AbstractContextManager:
    """Refuses a second training in the same directory; the first process holds the lock for all of its job."""
    if jax.process_index() != 0:
        return contextlib.nullcontext()
    run.mkdir(parents=True, exist_ok=True)
    return held(run / LOCK, f"the run {run}")
