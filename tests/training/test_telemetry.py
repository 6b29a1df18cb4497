"""The log of a run."""

import json
import sys

import pytest

from labram_jax.checkpoints.resume import check_resumable
from labram_jax.errors import InputError
from labram_jax.training.telemetry import Interval, Telemetry, read_metrics


def test_interval_gives_means_and_leaves_the_first_step_out_of_the_speed():
    interval = Interval()
    interval.add({"loss": 1.0, "patches": 1e9})
    assert interval.close() == {"loss": 1.0}
    for loss in (1.0, 2.0):
        interval.add({"loss": loss, "patches": 10})
    closed = interval.close()
    assert closed["loss"] == 1.5 and 0 < closed["patches_per_second"] < 1e9


def test_lines_append_and_later_ones_are_cut_on_resume(tmp_path):
    with Telemetry(tmp_path, "toy", start=0, total=30, steps_per_epoch=10) as telemetry:
        for step in (10, 20, 30):
            telemetry.log(step, "train", {"loss": 1.0 / step})
        telemetry.log(20, "test", {"auroc": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "spl')  # killed while writing
    with Telemetry(tmp_path, "toy", start=20, total=30, steps_per_epoch=10) as telemetry:
        telemetry.log(30, "validation", {"loss": float("nan")})
    lines = read_metrics(tmp_path)
    assert [(line["step"], line["split"]) for line in lines] == [(10, "train"), (20, "train"), (30, "validation")]
    assert lines[0]["epoch"] == 1.0 and lines[0]["loss"] == 0.1
    assert lines[2]["loss"] is None and lines[2]["seconds"] >= lines[1]["seconds"]
    assert [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()] == lines


def test_tensorboard_is_written_on_request(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    with Telemetry(tmp_path, "toy", 0, 10, 10, tensorboard=True) as telemetry:
        telemetry.log(5, "train", {"loss": 1.0})
    assert list((tmp_path / "tensorboard").glob("events*"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="tensorboardX is not installed"):
        Telemetry(tmp_path, "toy", 0, 10, 10, tensorboard=True)


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
