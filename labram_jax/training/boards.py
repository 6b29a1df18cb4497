"""Where a run's log is shown beside metrics.jsonl, on request: TensorBoard, Weights & Biases."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

from labram_jax.errors import InputError


class Board(Protocol):
    """Takes the values of logged lines that are finite."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Events in RUN/tensorboard; those of steps that are done again give way to the new ones."""

    def __init__(self, tensorboardx: ModuleType, run: Path, start: int):
        self._writer = tensorboardx.SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """One run there for each run here, which goes on when training does.

    Account, entity and mode are wandb's own business (`wandb login`, WANDB_ENTITY, WANDB_MODE=offline, ...).
    """

    def __init__(self, wandb: ModuleType, run: Path, began: float, config: Mapping):
        identity = hashlib.sha256(f"{run} {began}".encode()).hexdigest()[:16]
        self._run = wandb.init(
            project="labram-jax", name=run.name, id=identity, resume="allow", dir=str(run), config=dict(config)
        )
        # wandb's own count of steps never goes back, and that of a run that is resumed does.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        self._run.finish()


def tensorboardx() -> ModuleType:
    """The package tensorboardX; raises InputError where it is not installed."""
    try:
        import tensorboardX
    except ImportError as error:
        raise InputError(
            "TensorBoard was asked for, but tensorboardX is not installed: pip install 'labram-jax[tensorboard]'."
        ) from error
    return tensorboardX


def weights_and_biases() -> ModuleType:
    """The package wandb; raises InputError where it is not installed."""
    try:
        import wandb
    except ImportError as error:
        raise InputError(
            "Weights & Biases was asked for, but wandb is not installed: pip install 'labram-jax[wandb]'."
        ) from error
    return wandb
