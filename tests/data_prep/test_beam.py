"""A build on Apache Beam gives the bytes of a build on one machine, and says what it needs."""

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import reader_that_tells
from sentences import refuses

from data_prep.beam import beam_workers
from data_prep.build import build
from data_prep.corpora import planner
from data_prep.corpora.simulated import Simulation, simulate
from data_prep.options import PrepareOptions
from data_prep.plan import CorpusPlan
from labram_jax import cli

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed: the extra beam brings it"
)
# Beam's direct runner by its own name: DirectRunner would first look on the net for another.
DIRECT = ("--runner", "FnApiRunner")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def double(number: int) -> int:
    return 2 * number


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> CorpusPlan:
    """Six simulated recordings in three montages and file formats."""
    source = tmp_path_factory.mktemp("simulated") / "recordings"
    simulate(source, Simulation(subjects=3, seconds=10.0))
    return planner("simulated")(source, PrepareOptions(window_seconds=2))


@pytest.fixture(scope="module")
def local(plan, tmp_path_factory) -> dict[str, bytes]:
    """The files of a build on this machine."""
    out = tmp_path_factory.mktemp("local") / "out"
    build(plan, out, recordings_per_shard=1)
    return contents(out)


@needs_beam
def test_the_command_gives_the_bytes_of_a_local_build(plan, local, tmp_path):
    source = plan.recordings[0].path.parents[1]
    arguments = ["--window-seconds", "2", "--recordings-per-shard", "1", "--beam", *DIRECT]
    assert cli.main(["prepare", "simulated", str(source), str(tmp_path / "out"), *arguments]) == 0
    made = contents(tmp_path / "out")
    assert made == local
    assert sum(name.endswith(".array_record") or "windows-" in name for name in made) >= 6
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@needs_beam
def test_worker_processes_without_jax_continue_what_a_local_build_began(plan, local, tmp_path, monkeypatch):
    telling = replace(plan, reader=reader_that_tells)
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.build.finish_configuration", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            build(telling, tmp_path / "out", recordings_per_shard=1)
    unfinished = min((tmp_path / "out.partial" / "shards").rglob("*.json"))
    unfinished.unlink()
    tale = plan.recordings[0].path.parents[1] / "tale.txt"
    tale.unlink()
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    many = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    build(telling, tmp_path / "out", beam=(*DIRECT, *many), recordings_per_shard=1)
    assert contents(tmp_path / "out") == local
    lines = [line.split() for line in tale.read_text().splitlines()]
    assert len(lines) == len(plan.recordings) + 1  # all headers, and the one recording that was missing
    assert {(jax, pid == str(os.getpid())) for jax, pid in lines} == {("without-jax", False)}


@needs_beam
def test_workers_that_do_not_see_the_folders_are_one_sentence(tmp_path):
    elsewhere = [tmp_path / "elsewhere" / "a.edf"]
    with beam_workers(DIRECT, tmp_path / "out", elsewhere) as run_all, refuses("3 of 3 parts .* mount both"):
        list(run_all(double, [1, 2, 3]))
    assert not list(tmp_path.iterdir())


@needs_beam
def test_more_jobs_than_parts_are_dealt_out(tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.beam._PARTS", 3)
    with beam_workers(DIRECT, tmp_path / "out", [tmp_path / "a.edf"]) as run_all:
        assert sorted(run_all(double, range(8))) == [(place, 2 * place) for place in range(8)]


@needs_beam
@pytest.mark.parametrize(
    ("options", "out", "says"),
    [
        (("--runner", "Nosuch"), "/tmp/out", "Unexpected pipeline runner: Nosuch"),
        (DIRECT, "out", "absolute paths"),
    ],
)
def test_what_beam_cannot_use_is_refused_before_anything_is_written(plan, options, out, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refuses(says):
        build(plan, Path(out), beam=options)
    assert not list(tmp_path.iterdir())


def test_without_beam_the_sentence_says_what_to_install(plan, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with refuses(r"pip install 'labram-jax\[beam\]'"):
        build(plan, tmp_path / "out", beam=DIRECT)
    assert not list(tmp_path.iterdir())
