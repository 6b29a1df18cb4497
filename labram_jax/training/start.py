"""The state that a training starts from: its latest checkpoint, a training that began elsewhere, or none."""

from labram_jax.checkpoints.carryover import carry_over
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.resume import check_resumable
from labram_jax.configfile import to_dict
from labram_jax.errors import InputError
from labram_jax.parallel.state import TrainState
from labram_jax.training.program import Program


def restore_or_create(
    program: Program, checkpoints: CheckpointDirectory, total: int, steps_per_epoch: int
) -> tuple[TrainState, int, list[str]]:
    """The state to go on from, its step, and what to tell the user about it."""
    if not checkpoints.steps:
        return _create(program, total, steps_per_epoch)
    notes: list[str] = []

    def check(meta: dict) -> None:
        notes[:] = check_resumable(checkpoints.run, meta["config"], to_dict(program.stage.config))

    step, state = checkpoints.restore_latest(program.abstract, check)
    if step < total:
        notes.insert(0, f"resuming from step {step} of {total} in {checkpoints.run}")
    else:
        notes.insert(
            0,
            f"{checkpoints.run} is complete at step {step}: raise loop.epochs to train longer, "
            "or give another run directory to start again",
        )
    return program.with_frozen(state), step, notes


def _create(program: Program, total: int, steps_per_epoch: int) -> tuple[TrainState, int, list[str]]:
    """A new state, or that of a training that began elsewhere."""
    resumption = program.stage.resumption()
    if resumption is None:
        return program.create_state(), 0, []
    step = resumption.epochs * steps_per_epoch
    if step >= total:
        raise InputError(
            f"the training to go on from has {resumption.epochs} epochs behind it, and loop.epochs is "
            f"{program.stage.config.loop.epochs:g}: raise loop.epochs."
        )
    state = carry_over(program.create_state(), resumption, step)
    note = f"going on at step {step} of {total}, with the moments of {resumption.updates} updates"
    return state, step, [note]
