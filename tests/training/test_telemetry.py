"""The log of a run: what is in a line, which lines are in which file, and what else is shown of it."""

import json
import sys
import time
import types

import pytest
from sentences import refuses

from labram_jax.checkpoints.files import METRICS
from labram_jax.checkpoints.resume import check_resumable
from labram_jax.errors import InputError
from labram_jax.training import metricslog
from labram_jax.training.interval import Interval, StepCost
from labram_jax.training.metricslog import StepLog, read_metrics
from labram_jax.training.telemetry import Goodput, Telemetry


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The one entry is what both clocks say."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_interval_gives_means_and_leaves_the_first_program_out_of_the_speed(clock):
    interval = Interval(StepCost(eeg_seconds=7200, flops=1e9, peak_flops_per_second=4e9))
    interval.arrive(1, waited=3.0)
    interval.add({"loss": 1.0, "patches": 1e9})
    assert interval.close() == ({"loss": 1.0, "skipped_steps": 0}, 0.0)
    for loss, waited in ((1.0, 3.125), (2.0, 3.25)):
        clock[0] += 0.5
        interval.arrive(1, waited)
        interval.add({"loss": loss, "patches": 10})
    values, seconds = interval.close()
    assert seconds == 1.0 and values == {
        "loss": 1.5,
        "skipped_steps": 0,
        "step_seconds": 0.5,
        "data_wait_seconds": 0.125,
        "patches_per_second": 20.0,
        "eeg_hours_per_second": 4.0,
        "model_flops_per_second": 2e9,
        "share_of_peak": 0.5,
    }


def test_steps_whose_metrics_come_together_took_as_long_as_each_other(clock):
    """Also where one is logged before the others: those are not free."""
    interval = Interval()
    interval.arrive(1, waited=0.0)
    interval.add({"loss": 1.0, "patches": 1})
    interval.close()
    clock[0] += 4
    interval.arrive(4, waited=1.0)
    interval.add({"loss": 1.0, "patches": 1})
    first = interval.close()
    interval.add({"loss": 1.0, "patches": 1})
    interval.add_skipped()
    interval.add({"loss": 1.0, "patches": 1})
    values, seconds = interval.close()
    assert first[1] == 1.0 and seconds == 3.0
    assert first[0]["step_seconds"] == values["step_seconds"] == 1.0
    assert first[0]["data_wait_seconds"] == values["data_wait_seconds"] == 0.25
    assert (first[0]["patches_per_second"], values["patches_per_second"]) == (1.0, pytest.approx(2 / 3))


def test_a_pause_is_in_no_interval(clock):
    interval = Interval()
    interval.arrive(1, waited=0.0)
    clock[0] += 1
    interval.arrive(1, waited=0.0)
    interval.add({"loss": 1.0, "patches": 1})
    assert interval.close()[1] == 1.0
    clock[0] += 100  # an evaluation, which waits for its own data
    interval.pause(waited=50.0)
    clock[0] += 2
    interval.arrive(1, waited=50.5)
    interval.add({"loss": 1.0, "patches": 1})
    values, seconds = interval.close()
    assert seconds == 2.0 and values["data_wait_seconds"] == 0.5
    # Nobody says what a step costs, or what the devices can do: no share of anything.
    assert set(values) == {"loss", "skipped_steps", "step_seconds", "data_wait_seconds", "patches_per_second"}


def open_telemetry(run, start=0, **boards) -> Telemetry:
    return Telemetry(run, "toy", start=start, total=30, steps_per_epoch=10, **boards)


def test_lines_append_and_later_ones_are_cut_on_resume(tmp_path):
    with open_telemetry(tmp_path) as telemetry:
        for step in (10, 20, 30):
            telemetry.log_interval(step, {"loss": 1.0 / step}, 1.0)
        telemetry.log(20, "test", {"auroc": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "spl')  # killed while writing
    with open_telemetry(tmp_path, start=20) as telemetry:
        telemetry.log(30, "validation", {"loss": float("nan")})
    lines = read_metrics(tmp_path)
    assert [(line["step"], line["split"]) for line in lines] == [(10, "train"), (20, "train"), (30, "validation")]
    assert lines[0]["epoch"] == 1.0 and lines[0]["loss"] == 0.1
    assert lines[2]["loss"] is None and lines[2]["seconds"] >= lines[1]["seconds"]
    assert [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()] == lines


def test_goodput_runs_through_restarts_and_counts_lost_steps_once(tmp_path, clock):
    def train(start: int, steps: range, seconds: float) -> None:
        with open_telemetry(tmp_path, start) as telemetry:
            clock[0] += 10  # compiles
            for step in steps:
                clock[0] += seconds
                telemetry.log_interval(step, {}, seconds)

    train(0, range(1, 5), 10.0)  # 50 s; the checkpoint is of step 2
    clock[0] += 30  # nobody is there
    train(2, range(3, 5), 5.0)  # 20 s
    last = read_metrics(tmp_path)[-1]
    assert last["stepping_seconds"] == 2 * 10 + 2 * 5 and last["goodput"] == pytest.approx(30 / 100)
    clock[0] += 100
    train(0, range(1, 2), 10.0)  # nothing was saved after all: the time is gone all the same
    assert read_metrics(tmp_path)[-1]["goodput"] == pytest.approx(10 / 220)


def test_goodput_of_a_run_that_begins():
    assert Goodput([], []).add(0.0)["goodput"] == 0.0


def written(run) -> list[int]:
    return [line["step"] for line in read_metrics(run)]


def test_lines_are_written_some_at_a_time(tmp_path, clock):
    log = StepLog(tmp_path / METRICS, 0)
    found = []
    for step in range(1, 6):
        log.append({"step": step, "split": "train"})
        found.append(written(tmp_path))
        clock[0] += 2
    assert found == [[1], [1], [1], [1, 2, 3, 4], [1, 2, 3, 4]]
    log.flush()
    assert written(tmp_path) == [1, 2, 3, 4, 5]


def test_an_error_loses_no_line(tmp_path):
    with pytest.raises(ValueError), open_telemetry(tmp_path) as telemetry:
        for step in (1, 2, 3):
            telemetry.log(step, "train", {"loss": 0.0})
        raise ValueError
    assert written(tmp_path) == [1, 2, 3]


def test_full_files_are_numbered_and_cut_like_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(metricslog, "FULL_BYTES", 100)
    monkeypatch.setattr(metricslog, "FLUSH_SECONDS", 0.0)

    def train(start: int, stop: int) -> list[str]:
        log = StepLog(tmp_path / METRICS, start)
        for step in range(start + 1, stop + 1):
            log.append({"step": step, "split": "train"})
        log.flush()
        return sorted(path.name for path in tmp_path.iterdir())

    files = train(0, 12)  # of 30 bytes, so four lines fill a file
    assert files == ["metrics-0001.jsonl", "metrics-0002.jsonl", "metrics.jsonl"]
    assert written(tmp_path) == list(range(1, 13))
    first = (tmp_path / "metrics-0001.jsonl").read_bytes()
    assert train(6, 7) == ["metrics-0001.jsonl", "metrics-0002.jsonl", "metrics.jsonl"]
    assert written(tmp_path) == list(range(1, 8)) and (tmp_path / "metrics-0001.jsonl").read_bytes() == first
    assert train(3, 15) == ["metrics-0001.jsonl", "metrics-0002.jsonl", "metrics-0003.jsonl", "metrics.jsonl"]
    assert written(tmp_path) == list(range(1, 16))


def test_tensorboard_is_written_on_request(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    with open_telemetry(tmp_path, tensorboard=True) as telemetry:
        telemetry.log(5, "train", {"loss": 1.0})
    assert list((tmp_path / "tensorboard").glob("events*"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with refuses("tensorboardX is not installed: pip install 'labram-jax.tensorboard.'"):
        open_telemetry(tmp_path, tensorboard=True)


class FakeWandb(types.ModuleType):
    """Remembers what it is told, as the package would send it."""

    def __init__(self):
        super().__init__("wandb")
        self.begun, self.told, self.finished = [], [], 0

    def init(self, **options):
        self.begun.append(options)
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    def log(self, values):
        self.told.append(values)

    def finish(self):
        self.finished += 1


def test_weights_and_biases_on_request_is_one_run_over_restarts(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for start in (0, 5):
        with open_telemetry(tmp_path, start, config={"kind": "toy"}, wandb=True) as telemetry:
            telemetry.log(start + 5, "train", {"loss": 1.0, "lost": float("inf")})
    assert fake.told == [{"step": 5, "train/loss": 1.0}, {"step": 10, "train/loss": 1.0}] and fake.finished == 2
    first, second = fake.begun
    assert first == second and first["name"] == tmp_path.name and first["config"] == {"kind": "toy"}
    monkeypatch.setitem(sys.modules, "wandb", None)
    with refuses("wandb is not installed: pip install 'labram-jax.wandb.'"):
        open_telemetry(tmp_path, wandb=True)


def test_resume_allows_what_changes_nothing_and_names_what_does(tmp_path):
    saved = {"model": {"width": 200}, "data": {"corpora": ["a"], "threads": 4}, "loop": {"epochs": 5, "seed": 0}}
    same = {"model": {"width": 200}, "data": {"corpora": ("a",), "threads": 8}, "loop": {"epochs": 5, "seed": 0}}
    assert check_resumable(tmp_path, saved, same) == []
    longer = {**same, "loop": {"epochs": 9, "seed": 0}}
    assert "loop.epochs was 5 and is 9" in check_resumable(tmp_path, saved, longer)[0]
    with pytest.raises(InputError, match=r"started with model\.width = 200 and the configuration now says 400"):
        check_resumable(tmp_path, saved, {**same, "model": {"width": 400}})
    with pytest.raises(InputError, match=r"loop\.seed"):
        check_resumable(tmp_path, saved, {**same, "loop": {"epochs": 5, "seed": 1}})
