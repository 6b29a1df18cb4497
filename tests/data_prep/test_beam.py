"""A build on Apache Beam gives the bytes of a build on one machine, and says what it needs."""

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import noise, open_and_tell, write_arrays
from sentences import refuses

from labram_jax import cli
from labram_jax.data_prep.beam import beam_workers
from labram_jax.data_prep.build import build
from labram_jax.data_prep.corpora import simulated
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.sources.simulated_folder import Simulation, simulate
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed: the extra beam brings it"
)
# Beam's direct runner by its own name: DirectRunner would first look on the net for another.
DIRECT = ("--runner", "FnApiRunner")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def table(tmp_path) -> CorpusTable:
    """Three recordings: one breaks, one has a montage of its own, one cannot be used."""
    folder = tmp_path / "source" / "recordings"
    broken = noise(6, 200.0, 10.0, seed=1)
    broken[:, 900:1000] = np.nan
    paths = [
        write_arrays(folder / "broken.npz", broken),
        write_arrays(folder / "other.npz", noise(2, 256.0, 10.0), 256.0, ("C3", "C4")),
        write_arrays(folder / "foreign.npz", noise(2, 200.0, 10.0), 200.0, ("E1", "E2")),
    ]
    rows = rows_of(Span(path, path.stem, path.stem, "train") for path in paths)
    return CorpusTable("made-up", rows, Split("given"), Recipe(open=open_and_tell))


@needs_beam
def test_the_command_gives_the_bytes_of_a_local_build(tmp_path):
    """Six simulated recordings in three montages and file formats."""
    source = tmp_path / "simulated"
    simulate(source, Simulation(subjects=3, seconds=10.0))
    build(simulated.table(source, simulated.Options()), tmp_path / "local", recordings_per_shard=1)
    arguments = ["--recordings-per-shard", "1", "--beam", *DIRECT]
    assert cli.main(["prepare", "simulated", str(source), str(tmp_path / "out"), *arguments]) == 0
    made = contents(tmp_path / "out")
    assert made == contents(tmp_path / "local")
    assert sum("array_record" in name for name in made) == 6
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["local", "out", "simulated"]


@needs_beam
def test_worker_processes_without_jax_continue_what_a_local_build_began(table, tmp_path, monkeypatch):
    out, tale = tmp_path / "out", tmp_path / "source" / "tale.txt"
    build(table, tmp_path / "local", recordings_per_shard=1)
    with monkeypatch.context() as patch:
        patch.setattr("labram_jax.data_prep.build.finish", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            build(table, out, recordings_per_shard=1)
    min((tmp_path / "out.partial" / "shards").rglob("*.json")).unlink()
    tale.unlink()
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    many = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    build(table, out, beam=(*DIRECT, *many), recordings_per_shard=1)
    assert contents(out) == contents(tmp_path / "local")
    lines = [line.split() for line in tale.read_text().splitlines()]
    assert len(lines) == 3 + 1  # all headers, and the one recording that was missing
    assert {(jax, pid == str(os.getpid())) for jax, pid in lines} == {("without-jax", False)}


@needs_beam
def test_workers_that_do_not_see_the_folders_are_one_sentence(tmp_path):
    elsewhere = [tmp_path / "elsewhere" / "a.edf"]
    with beam_workers(DIRECT, tmp_path / "out", elsewhere) as run_all, refuses("3 of 3 parts .* mount both"):
        list(run_all(double, [1, 2, 3]))
    assert not list(tmp_path.iterdir())


@needs_beam
def test_more_jobs_than_parts_are_dealt_out(tmp_path, monkeypatch):
    monkeypatch.setattr("labram_jax.data_prep.beam._PARTS", 3)
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
def test_what_beam_cannot_use_is_refused_before_anything_is_written(table, options, out, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refuses(says):
        build(table, Path(out), beam=options)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_a_relative_source_is_refused_too(table, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    monkeypatch.chdir(tmp_path)
    rows = table.rows.assign(path=[path.relative_to(tmp_path) for path in table.rows["path"]])
    with refuses("absolute paths"):
        build(replace(table, rows=rows), tmp_path / "out", beam=DIRECT)


def test_without_beam_the_sentence_says_what_to_install(table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with refuses(r"pip install 'labram-jax\[beam\]'"):
        build(table, tmp_path / "out", beam=DIRECT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]
