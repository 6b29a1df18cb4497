"""Checkpoints on disk: Orbax behind one file, with a digest for every array.

RUN/checkpoints/STEP/   model/ (variables), optimizer/, meta/ (format, step, config, metrics, digests, inputs, seen)
                        With moving averages these are the model, and what moves is in the optimizer, in their place.
RUN/best.json           {"step", "metric", "value"} of the best checkpoint
RUN/checkpoints/removed/      on their way out: renamed first, so that one under its own name is never half gone
RUN/checkpoints/damaged-STEP  set aside because it was proven damaged; nothing reads or deletes it
Orbax writes to a temporary name and renames, so a directory under its final name is whole; what a disk does to it
afterwards is what the digests are for.
"""

import contextlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from labram_jax.checkpoints.carryover import guard_of
from labram_jax.checkpoints.files import BEST, CHECKPOINTS, local_directory
from labram_jax.checkpoints.models import check_digests, make_meta, read_meta, reading, storage_failure
from labram_jax.errors import DamageError, refusal_in, sentence_of
from labram_jax.jsonfile import sealed, write_json
from labram_jax.parallel.state import TrainState

PyTree = Any
UNFINISHED = re.compile(r"(\d+)\..*tmp.*")
REMOVED, DAMAGED = "removed", "damaged"
TIMES = "_CHECKPOINT_METADATA"  # of Orbax: when a checkpoint was begun and finished
LOGGERS = ("absl", "asyncio")  # of those who write checkpoints


def _is_news(record: logging.LogRecord) -> bool:
    """Orbax and its futures log pages about what is raised as well, and told in a sentence."""
    return "/orbax/" not in record.pathname and "exception was never retrieved" not in record.getMessage()


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
        for name in LOGGERS:  # for good: threads speak even after they were waited for
            logging.getLogger(name).addFilter(_is_news)
        self.run = local_directory(run)
        self.directory = self.run / CHECKPOINTS
        self.selection, self._say = selection, say
        self.beside: dict[str, Any] = {}  # what every checkpoint says besides, of what the run is made from
        for step in self._remove_unfinished():
            self._say(f"ignoring the half-written checkpoint of step {step} in {self.directory}")
        for path in self._set_times_aside():
            self._say(f"{path} is damaged: it is {path.name}.{DAMAGED} now, and nothing but a time is lost")
        policies = [checkpoint_managers.LatestN(keep), _KeepBest(self)]
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_names=("model", "optimizer", "meta"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                todelete_subdir=REMOVED,
            ),
        )
        self.best: dict | None = None
        self._best_before: dict | None = None  # what is best if the checkpoint that is being written is lost
        self._saving: int | None = None
        self._lost: OSError | None = None  # why the last checkpoint could not be written
        self._find_best()

    def __enter__(self) -> "CheckpointDirectory":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(Exception):  # what is raised already says more than what follows from it
            self._settle()
            self._manager.close()

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

        `step` is the number of batches taken from the data, `metrics` those of an evaluation at this very step. What
        the file system does not take (a full disk) is told and lost, and the checkpoints before it stay.
        """
        self._settle()
        self._lost = None
        metrics = {name: float(value) for name, value in (metrics or {}).items()}
        kept = state.exchanged
        items = {"model": kept.variables, "optimizer": kept.opt_state}
        guard = {name: np.asarray(array).tolist() for name, array in state.guard.items()}
        meta = make_meta(config, metrics, items, step=step, guard=guard, **self.beside)
        self._best_before, self._saving = self.best, step
        self._note_best(step, metrics)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(items["model"]),
                    optimizer=ocp.args.StandardSave(items["optimizer"]),
                    meta=ocp.args.JsonSave(meta),
                ),
                force=True,
            )
        except Exception as error:
            self._lose(error)

    def _settle(self) -> None:
        """Waits for the checkpoint that is being written; tells it if that is lost, and raises nothing then."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._lose(error)
            return
        self._saving = None
        if jax.process_index() == 0:
            shutil.rmtree(self.directory / REMOVED, ignore_errors=True)
            self._write_best()

    def _write_best(self) -> None:
        """Names the best checkpoint; a file system that refuses is told, and asked again after the next checkpoint."""
        if self.best is None:
            return
        try:
            write_json(self.run / BEST, self.best)
        except OSError as error:
            if jax.process_count() > 1:
                raise
            self._say(f"{BEST} could not be written: {sentence_of(error)}")
            self._lost = error

    def _lose(self, error: Exception) -> None:
        """Goes on without the checkpoint that could not be written, if that is the file system's doing."""
        failure = storage_failure(error)
        if failure is None or self._saving is None:
            raise error
        if jax.process_count() > 1:
            raise failure from error  # the others wait for this process in the saver: the job starts again
        self._say(f"the checkpoint of step {self._saving} could not be written: {sentence_of(failure)}")
        self.best, self._saving, self._lost = self._best_before, None, failure
        self._remove_unfinished()

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Notes the metrics of an evaluation of a checkpoint that was saved before it could be evaluated."""
        metrics = {name: float(value) for name, value in metrics.items()}
        meta = sealed({**self.meta(step), "metrics": metrics})
        if jax.process_index() == 0:
            write_json(self.directory / str(step) / "meta" / "metadata", meta)
        self._note_best(step, metrics)

    def wait(self) -> None:
        """Returns when every checkpoint is whole and best.json names the best of them.

        Raises OSError if the last of them, or best.json, could not be written.
        """
        self._settle()
        if self._lost is not None:
            raise self._lost

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._manager.close()

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads one checkpoint onto the shardings of `abstract`, however it was sharded when written.

        The state's `frozen` is that of `abstract`. Raises DamageError if an array is not what was saved.
        """
        where = self.directory / str(step)
        wanted = {"model": abstract.variables, "optimizer": abstract.opt_state}
        meta = self.meta(step)
        found = reading(
            lambda: self._manager.restore(
                step,
                args=ocp.args.Composite(**{name: ocp.args.StandardRestore(item) for name, item in wanted.items()}),
            ),
            where,
        )
        items = {name: found[name] for name in wanted}
        check_digests(items, meta, where)
        collections = dict(items["model"])
        state = abstract.replace(
            step=jax.device_put(np.int32(step), abstract.step.sharding),
            params=collections.pop("params"),
            collections=collections,
            opt_state=items["optimizer"],
            guard=guard_of(meta, abstract.guard),
        )
        return state.exchanged

    def restore_latest(self, abstract: TrainState, check: Callable[[dict], None]) -> tuple[int, TrainState]:
        """Step and state of the latest checkpoint that is whole; those after it, proven damaged, are set aside.

        `check` gets the meta of a checkpoint before its arrays are read, and raises what forbids to go on from it.
        Raises DamageError, and sets nothing aside, where none is whole.
        """
        damaged: dict[int, DamageError] = {}
        for step in reversed(self.steps):
            try:
                check(self.meta(step))
                state = self.restore(step, abstract)
            except DamageError as error:
                if jax.process_count() > 1:
                    raise  # another process may have read its own part without fault
                damaged[step] = error
                continue
            for broken, error in damaged.items():
                aside = self.directory / f"{DAMAGED}-{broken}"
                shutil.rmtree(aside, ignore_errors=True)
                (self.directory / str(broken)).rename(aside)
                self._say(f"{error.found}: going on from step {step}; it is {aside} now")
            if damaged:
                self._manager.reload()
                self._find_best()
            return step, state
        found = next(iter(damaged.values())).found
        raise DamageError(f"{found}, and no earlier one is whole", "start again in another run directory")

    def _find_best(self) -> None:
        self.best = None
        for step in self.steps:
            with contextlib.suppress(DamageError):  # told when it is asked for
                self._note_best(step, self.meta(step)["metrics"])

    def _note_best(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.improves(metrics):
            name = self.selection[0]
            self.best = {"step": step, "metric": name, "value": metrics[name]}

    def _remove_unfinished(self) -> list[int]:
        """Removes what an interrupted or failed save, or removal, left behind; returns the steps of such saves."""
        if jax.process_index() != 0 or not self.directory.is_dir():
            return []
        shutil.rmtree(self.directory / REMOVED, ignore_errors=True)
        found = [(path, match) for path in self.directory.iterdir() if (match := UNFINISHED.fullmatch(path.name))]
        for path, _ in found:
            shutil.rmtree(path, ignore_errors=True)
        return sorted(int(match[1]) for _, match in found)

    def _set_times_aside(self) -> list[Path]:
        """Renames files in which Orbax keeps when a checkpoint was written, where it would fail on them."""
        if jax.process_index() != 0 or not self.directory.is_dir():
            return []
        found = []
        for step in ocp.path.step.standard_name_format().find_all(self.directory):
            path = self.directory / str(step.step) / TIMES
            try:
                _ = step.commit_timestamp
            except Exception as error:  # whatever its JSON lacks
                if refusal := refusal_in(error):
                    raise refusal from error
                path.rename(path.with_name(f"{path.name}.{DAMAGED}"))
                found.append(path)
        return found


class _KeepBest:
    """Orbax preservation policy: the best checkpoint stays, however old."""

    def __init__(self, owner: CheckpointDirectory):
        self.owner = owner

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        best = self.owner.best["step"] if self.owner.best is not None else None
        return [checkpoint.step == best for checkpoint in checkpoints]
