"""The state that a training starts from: its latest checkpoint, a training that began elsewhere, or none."""

from labram_jax.checkpoints.branch import Origin
from labram_jax.checkpoints.carryover import carry_over
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.files import BRANCHED, INPUTS, SEEN
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.resume import FREE, check_resumable, declared, differences
from labram_jax.configfile import to_dict
from labram_jax.errors import InputError
from labram_jax.parallel.state import TrainState
from labram_jax.training.program import Program

Start = tuple[TrainState, int, list[str]]


def restore_or_create(
    program: Program, checkpoints: CheckpointDirectory, total: int, steps_per_epoch: int, origin: Origin
) -> Start:
    """The state to go on from, its step, and what to tell the user about it.

    From then on `checkpoints` says of each checkpoint what the run is made from.
    """
    if checkpoints.steps:
        return _restore(program, checkpoints, total, origin)
    checkpoints.beside = {INPUTS: dict(origin.inputs), SEEN: origin.ledger.plain()}
    if origin.branch is not None:
        return _branch(program, checkpoints, total, origin)
    return _create(program, total, steps_per_epoch)


def _restore(program: Program, checkpoints: CheckpointDirectory, total: int, origin: Origin) -> Start:
    """The latest checkpoint, if it may be gone on from."""
    notes: list[str] = []

    def check(meta: dict) -> None:
        if origin.branch is not None and not origin.branch.is_origin_of(meta):
            raise InputError(
                f"{checkpoints.run} has checkpoints already, and did not begin at {origin.branch}: give another run "
                "directory, or leave --branch-from out to go on from the latest of them."
            )
        config = to_dict(program.stage.config)
        notes[:] = check_resumable(checkpoints.run, meta["config"], config, meta.get(INPUTS), origin.inputs)

    step, state = checkpoints.restore_latest(program.abstract, check)
    # What a run began with stays on record, also where another model to start from lies there now.
    meta = checkpoints.meta(step)
    seen = Ledger.read(meta.get(SEEN), str(checkpoints.run)).joined(origin.seen)
    checkpoints.beside = {INPUTS: {**origin.inputs, **meta.get(INPUTS, {})}, SEEN: seen.plain()}
    if BRANCHED in meta:
        checkpoints.beside[BRANCHED] = meta[BRANCHED]
    if step < total:
        notes.insert(0, f"resuming from step {step} of {total} in {checkpoints.run}")
    else:
        notes.insert(
            0,
            f"{checkpoints.run} is complete at step {step}: raise loop.epochs to train longer, "
            "or give another run directory to start again",
        )
    return program.with_frozen(state), step, notes


def _branch(program: Program, checkpoints: CheckpointDirectory, total: int, origin: Origin) -> Start:
    """The state of another run, under the recipe of this one."""
    point, config = origin.branch.read(), to_dict(program.stage.config)
    saved = point.meta["config"]
    if saved.get("kind") != config["kind"]:
        raise InputError(
            f"{origin.branch} is a run of another stage ({saved.get('kind')} instead of {config['kind']}): give one of "
            "the same."
        )
    if point.step >= total:
        raise InputError(
            f"{origin.branch} has {point.step} steps behind it, and this training ends after {total}: raise "
            "loop.epochs."
        )
    state = point.put_into(program.create_state())
    before = Ledger.read(point.meta.get(SEEN), str(point.where))
    checkpoints.beside |= {BRANCHED: point.record, SEEN: before.joined(origin.ledger).plain()}
    changed = differences(saved, config, point.meta.get(INPUTS), origin.inputs)
    recipe = [
        f"{name} {now} instead of {then}" if now != then else f"another content of {name}"
        for name, then, now in changed
        if not declared(name, FREE)
    ]
    note = f"branching from step {point.step} of {point.where.parents[1]}, at step {point.step} of {total}"
    return state, point.step, [f"{note}, with {', '.join(recipe) or 'the same recipe'}"]


def _create(program: Program, total: int, steps_per_epoch: int) -> Start:
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
