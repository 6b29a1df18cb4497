"""When things are due, by steps and by the clock, and which steps run as one program."""

import pytest
from sentences import refuses

from labram_jax.config import LoopConfig
from labram_jax.training.triggers import EVALUATE, SAVE, Triggers

TOTAL, STEPS_PER_EPOCH = 40, 10
NEVER = {"evaluate_every_epochs": None, "save_every_epochs": None}


class Clock:
    """Seconds that a test moves on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def due_at(triggers: Triggers, act: str) -> list[int]:
    return [done for done in range(1, TOTAL + 1) if act in triggers.due(done)]


@pytest.mark.parametrize(
    ("changes", "evaluated", "saved"),
    [
        ({}, [10, 20, 30, 40], [10, 20, 30, 40]),
        (NEVER, [40], [40]),
        ({**NEVER, "save_every_steps": 15}, [40], [15, 30, 40]),
        ({"evaluate_every_epochs": 1.5, "evaluate_every_steps": 25, "save_every_epochs": 0.01}, [15, 25, 30, 40], None),
    ],
)
def test_epochs_and_steps(changes, evaluated, saved):
    def triggers() -> Triggers:
        return Triggers(LoopConfig(**changes), TOTAL, STEPS_PER_EPOCH, ())

    assert due_at(triggers(), EVALUATE) == evaluated
    assert due_at(triggers(), SAVE) == (list(range(1, TOTAL + 1)) if saved is None else saved)


def test_what_there_is_not_is_never_due():
    triggers = Triggers(LoopConfig(evaluate_every_minutes=1e-9), TOTAL, STEPS_PER_EPOCH, (), acts=(SAVE,))
    assert due_at(triggers, EVALUATE) == [] and not triggers.due_by_steps(EVALUATE, TOTAL)


def test_minutes_are_looked_at_where_a_logged_interval_ends():
    clock = Clock()
    options = LoopConfig(**NEVER, save_every_minutes=1, log_every=5)
    triggers = Triggers(options, 10**6, STEPS_PER_EPOCH, (), clock=clock)
    saved = []
    for done in range(1, 61):
        clock.now += 4  # of a step
        if SAVE in triggers.due(done):
            saved.append(done)
    assert saved == [15, 30, 45, 60]


def test_processes_agree_on_the_time_rarely(monkeypatch):
    """Each time that they do, all wait: not for every interval of quick steps, and never too late for a minute."""
    clock, looks = Clock(), []
    monkeypatch.setattr("labram_jax.training.triggers.of_first", lambda value: looks.append(value) or value)
    triggers = Triggers(
        LoopConfig(**NEVER, save_every_minutes=1, log_every=10), 10**6, STEPS_PER_EPOCH, (), clock=clock
    )
    saved = []
    for done in range(1, 100_001):
        clock.now += 0.002
        if triggers.due(done):
            saved.append(clock.now - 1000)
    assert [round(time) for time in saved] == [60, 120, 180]
    assert len(looks) < 100


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (0, [4, 8, 9, 10, 14, 18, 19, 20, 21, 22, 23, 24, 28, 29, 30, 34, 38, 39, 40]),
        (20, [21, 22, 23, 24, 28, 29, 30, 34, 38, 39, 40]),
    ],
)
def test_steps_of_one_program_cross_nothing(start, expected):
    """Evaluations and checkpoints after every tenth step, an interval logged after 20, an event before step 23."""
    options = LoopConfig(steps_per_dispatch=4, log_every=20)
    triggers = Triggers(options, TOTAL, STEPS_PER_EPOCH, events=(23,))
    ends = [start]
    while ends[-1] < TOTAL:
        steps = triggers.steps_from(ends[-1])
        assert steps.start == ends[-1] and len(steps) in (1, 4)
        ends.append(steps.stop)
    assert ends[1:] == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"save_every_minutes": 0}, "loop.save_every_minutes 0 must be positive"),
        ({"evaluate_every_steps": -1}, "loop.evaluate_every_steps -1 must be positive"),
        ({"steps_per_dispatch": 21}, r"steps_per_dispatch 21 must lie between 1 and loop.log_every \(20\)"),
    ],
)
def test_impossible_options_are_refused(changes, sentence):
    with refuses(sentence):
        LoopConfig(**changes)
