"""A run that begins at a checkpoint of another one, with its moments and its place in the data, by a changed recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from labram_jax.checkpoints.carryover import averaging_from, carry_over, guard_of, read_resumption
from labram_jax.checkpoints.files import BRANCHED, CHECKPOINTS, local_directory
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.models import finished_steps, load_item, read_meta
from labram_jax.errors import DamageError, InputError
from labram_jax.jsonfile import SEAL, sealed
from labram_jax.parallel.processes import told_by_first
from labram_jax.parallel.sharding import replaced
from labram_jax.parallel.state import TrainState
from labram_jax.stages.stage import PyTree, Resumption


@dataclass(frozen=True)
class Branch:
    """A checkpoint of a run from which another run is to begin; `step` None is its latest."""

    run: Path
    step: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Branch":
        """RUN@STEP or RUN."""
        run, _, step = text.rpartition("@")
        if not run or not step.isdigit() or (local_directory(text) / CHECKPOINTS).is_dir():
            return cls(local_directory(text))
        return cls(local_directory(run), int(step))

    def __str__(self) -> str:
        return str(self.run) if self.step is None else f"{self.run}@{self.step}"

    def is_origin_of(self, meta: Mapping[str, Any]) -> bool:
        """Whether the run of a checkpoint with this `meta` began here; what it began with may be gone by now."""
        known = meta.get(BRANCHED)
        if known is None or self.step not in (None, known["step"]):
            return False
        return Path(known["run"]).resolve() == self.run.resolve() or self._holds(known)

    def read(self) -> "BranchPoint":
        """Reads the checkpoint, each process all of it, and changes nothing there.

        Raises InputError where the run has no such checkpoint, DamageError where it is damaged.
        """
        steps = told_by_first(lambda: finished_steps(self.run))  # it may be training
        if not steps:
            raise InputError(f"{self.run} is no run with a finished checkpoint: give --branch-from RUN@STEP.")
        step = steps[-1] if self.step is None else self.step
        if step not in steps:
            raise InputError(
                f"{self.run} has no checkpoint of step {step}: give one of {', '.join(map(str, steps))} after the @."
            )
        where = self.run / CHECKPOINTS / str(step)
        meta = read_meta(where)
        resumption = read_resumption(where, meta)
        if resumption is None:
            raise DamageError(f"{where} lacks its optimizer", "give another step after the @")
        return BranchPoint(where, step, load_item(where, "model", meta), resumption, meta)

    def _holds(self, known: Mapping[str, Any]) -> bool:
        """Whether the run, which may lie elsewhere now, still has that very checkpoint."""
        if known["step"] not in finished_steps(self.run):
            return False
        return _digest(read_meta(self.run / CHECKPOINTS / str(known["step"]))) == known["digest"]


@dataclass(frozen=True)
class BranchPoint:
    """What a checkpoint holds for a run that begins with it: arrays (numpy), where it stood, and its meta."""

    where: Path
    step: int
    variables: dict[str, PyTree]
    resumption: Resumption
    meta: dict

    @property
    def record(self) -> dict[str, Any]:
        """What checkpoints of the new run say of it."""
        return {"run": str(self.where.parents[1]), "step": self.step, "digest": _digest(self.meta)}

    def put_into(self, state: TrainState) -> TrainState:
        """A new run's first state with all that was learnt; raises InputError where the models differ in an array."""
        self._check_fits(state.variables)
        variables = replaced(state.variables, self.variables)
        params = variables.pop("params")
        guard = guard_of(self.meta, state.guard)
        guard |= {name: state.guard[name] for name in ("in_a_row", "went_back")}  # another recipe, another chance
        state = state.replace(params=params, collections=variables, guard=guard)
        state = averaging_from(state, self.variables["params"], self.resumption)
        return carry_over(state, self.resumption, self.step)

    def _check_fits(self, own: PyTree) -> None:
        there, here = _shapes(self.variables), _shapes(own)
        for name in sorted({*there, *here}):
            if there.get(name) != here.get(name):
                raise InputError(
                    f"{self.where} has {_array(name, there)}, and the configured model {_array(name, here)}: a branch "
                    "must have the model that it begins with, so set its options back, or give weights alone to "
                    "another training with start_from or encoder."
                )


@dataclass(frozen=True)
class Origin:
    """What a run is made from: digests of its inputs, by their names in the configuration, and what it begins with.

    `seen` are the people and recordings of its own corpora, `inherited` those of the models that it uses.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)
    branch: Branch | None = None
    seen: Ledger = field(default_factory=Ledger)
    inherited: Ledger = field(default_factory=Ledger)

    @property
    def ledger(self) -> Ledger:
        return self.inherited.joined(self.seen)


def _digest(meta: Mapping[str, Any]) -> str:
    """Of the arrays of a checkpoint: its scores may come later."""
    return sealed({"digests": meta["digests"]})[SEAL]


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _array(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"{name} {shapes[name]}" if name in shapes else f"no {name}"
