"""Checkpoints on disk: Orbax behind one file, with a digest for every array.

RUN/checkpoints/STEP/   model/ (variables), optimizer/, meta/ (format, step, config, metrics, digests)
RUN/best.json           {"step", "metric", "value"} of the best checkpoint
An exported model is one directory with model/ and meta/ alone. Orbax writes to a temporary name and renames, so a
directory under its final name is whole; what a disk does to it afterwards is what the digests are for.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from labram_jax.checkpoints.digests import digests
from labram_jax.checkpoints.files import BEST, CHECKPOINTS, local_directory, write_json
from labram_jax.checkpoints.models import FORMAT, check_digests, read_meta, reading
from labram_jax.errors import InputError
from labram_jax.parallel.state import TrainState

PyTree = Any
UNFINISHED = re.compile(r"(\d+)\..*tmp.*")


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class CheckpointDirectory:
    """The checkpoints of one run: the last `keep` of them, and the best by a validation metric.

    In a job of several processes every one of them makes this object and calls the same methods.

    Args:
        run: the run's directory; made if it is not there.
        keep: how many of the latest checkpoints stay.
        selection: (metric, "max" or "min") that decides which checkpoint is best; None keeps the latest alone.
        say: takes messages for the user.
    """

    def __init__(
        self,
        run: str | os.PathLike,
        keep: int = 3,
        selection: tuple[str, Literal["max", "min"]] | None = None,
        say: Callable[[str], None] = _print,
    ):
        self.run = local_directory(run)
        self.directory = self.run / CHECKPOINTS
        self.selection, self._say = selection, say
        self._set_unfinished_aside()
        policies = [checkpoint_managers.LatestN(keep), _KeepBest(self)]
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_names=("model", "optimizer", "meta"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            ),
        )
        self.best: dict | None = None
        for step in self.steps:
            self._note_best(step, self.meta(step)["metrics"])

    def __enter__(self) -> "CheckpointDirectory":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that are whole, ascending."""
        return sorted(self._manager.all_steps())

    def meta(self, step: int) -> dict:
        """What is written beside the arrays of one checkpoint: "step", "config", "metrics", "digests"."""
        return read_meta(self.directory / str(step))

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """Whether a checkpoint with these metrics would be the best so far."""
        if self.selection is None or self.selection[0] not in metrics:
            return False
        name, mode = self.selection
        value = metrics[name]
        if not np.isfinite(value):
            return False
        return self.best is None or (value > self.best["value"] if mode == "max" else value < self.best["value"])

    def save(self, step: int, state: TrainState, config: dict, metrics: Mapping[str, float] | None = None) -> None:
        """Starts writing a checkpoint; it is whole after the next `save`, `wait` or `close`.

        `step` is the number of batches taken from the data, `metrics` those of an evaluation at this very step.
        """
        self.wait()
        metrics = {name: float(value) for name, value in (metrics or {}).items()}
        items = {"model": state.variables, "optimizer": state.opt_state}
        meta = {
            "format": FORMAT,
            "step": step,
            "config": config,
            "metrics": metrics,
            "digests": digests(items),
        }
        self._note_best(step, metrics)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(items["model"]),
                optimizer=ocp.args.StandardSave(items["optimizer"]),
                meta=ocp.args.JsonSave(meta),
            ),
            force=True,
        )

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Notes the metrics of an evaluation of a checkpoint that was saved before it could be evaluated."""
        metrics = {name: float(value) for name, value in metrics.items()}
        meta = {**self.meta(step), "metrics": metrics}
        if jax.process_index() == 0:
            write_json(self.directory / str(step) / "meta" / "metadata", meta)
        self._note_best(step, metrics)

    def wait(self) -> None:
        """Returns when every checkpoint is whole and best.json names the best of them."""
        self._manager.wait_until_finished()
        if self.best is not None and jax.process_index() == 0:
            write_json(self.run / BEST, self.best)

    def close(self) -> None:
        self.wait()
        self._manager.close()

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads one checkpoint onto the shardings of `abstract`, however it was sharded when written.

        The state's `frozen` is that of `abstract`. Raises InputError if an array is not what was saved, with the
        checkpoint to go back to.
        """
        try:
            return self._restore(step, abstract)
        except InputError as error:
            earlier = self._latest_good(step, abstract)
            advice = (
                f"step {earlier} is whole: delete {self.directory / str(step)} to continue from there."
                if earlier is not None
                else "no earlier checkpoint is whole: start again in another run directory."
            )
            raise InputError(f"{error} {advice}") from error

    def _restore(self, step: int, abstract: TrainState) -> TrainState:
        where = self.directory / str(step)
        wanted = {"model": abstract.variables, "optimizer": abstract.opt_state}
        found = reading(
            lambda: self._manager.restore(
                step,
                args=ocp.args.Composite(**{name: ocp.args.StandardRestore(item) for name, item in wanted.items()}),
            ),
            where,
        )
        items = {name: found[name] for name in wanted}
        check_digests(items, self.meta(step)["digests"], where)
        collections = dict(items["model"])
        return abstract.replace(
            step=jax.device_put(np.int32(step), abstract.step.sharding),
            params=collections.pop("params"),
            collections=collections,
            opt_state=items["optimizer"],
        )

    def _latest_good(self, before: int, abstract: TrainState) -> int | None:
        for step in reversed([s for s in self.steps if s < before]):
            try:
                self._restore(step, abstract)
            except InputError:
                continue
            return step
        return None

    def _note_best(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.improves(metrics):
            name = self.selection[0]
            self.best = {"step": step, "metric": name, "value": metrics[name]}

    def _set_unfinished_aside(self) -> None:
        if jax.process_index() != 0 or not self.directory.is_dir():
            return
        for path in sorted(self.directory.iterdir()):
            if match := UNFINISHED.fullmatch(path.name):
                self._say(f"ignoring the half-written checkpoint of step {match[1]} in {self.directory}")
                shutil.rmtree(path, ignore_errors=True)


class _KeepBest:
    """Orbax preservation policy: the best checkpoint stays, however old."""

    def __init__(self, owner: CheckpointDirectory):
        self.owner = owner

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        best = self.owner.best["step"] if self.owner.best is not None else None
        return [checkpoint.step == best for checkpoint in checkpoints]
