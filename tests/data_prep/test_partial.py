"""A build that is killed, that is not alone, or that finds something there: nothing is lost and nothing is mixed."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from made_up import noise, open_arrays, write_arrays
from sentences import refuses
from small_table import RECIPE, contents, span, table_of

from labram_jax.data.schema import CorpusInfo
from labram_jax.data_prep.build import build
from labram_jax.errors import InputError


def test_a_killed_build_continues_where_it_stopped(table, tmp_path):
    out, seen, killed_at = tmp_path / "out", [], ["c"]

    def opening(path, part, unit):
        """Each recording is opened twice: its header first, then all of it; the build is killed in the latter."""
        seen.append(path.stem)
        if killed_at == [path.stem] and seen.count(path.stem) == 2:
            raise KeyboardInterrupt
        return open_arrays(path, part, unit)

    counted = replace(table, recipe=replace(RECIPE, open=opening))
    with pytest.raises(KeyboardInterrupt):
        build(counted, out, recordings_per_shard=1)
    assert not out.exists() and (tmp_path / "out.partial").exists()
    assert seen == ["a", "b", "c", "d", "d", "a", "b", "c"]
    seen.clear()
    killed_at.clear()
    build(counted, out, recordings_per_shard=1)
    assert seen == ["a", "b", "c", "d", "c"]  # the headers, and the one recording that was missing
    assert not (tmp_path / "out.partial").exists()
    build(table, tmp_path / "straight", recordings_per_shard=1)
    assert contents(out) == contents(tmp_path / "straight")


@pytest.mark.parametrize("moment", ["labram_jax.data_prep.build.finish", "labram_jax.data_prep.finish.Tables.write"])
def test_a_build_that_is_killed_at_its_end_continues_too(table, tmp_path, monkeypatch, moment):
    build(table, tmp_path / "straight", recordings_per_shard=1)
    with monkeypatch.context() as patch:
        patch.setattr(moment, lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            build(table, tmp_path / "out", recordings_per_shard=1)
    build(table, tmp_path / "out", recordings_per_shard=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def test_an_interrupted_build_of_another_table_or_of_other_files_starts_anew(table, paths, tmp_path, monkeypatch):
    def interrupt(interrupted):
        with monkeypatch.context() as patch:
            patch.setattr("labram_jax.data_prep.build.finish", lambda *_: sys.exit("killed"))
            with pytest.raises(SystemExit):
                build(interrupted, tmp_path / "out")
        return (tmp_path / "out.partial" / "plan").read_text()

    first = interrupt(table)
    assert interrupt(table) == first
    assert interrupt(replace(table, recipe=replace(RECIPE, dtype="float16"))) != first
    companion = paths[0].with_name("a.markers")
    companion.write_text("what belongs to a recording begins with its name")
    assert interrupt(table) != first
    companion.unlink()
    assert interrupt(table) == first
    write_arrays(paths[0], noise(6, 128.0, 30.0, seed=9), 128.0)
    assert interrupt(table) != first
    report = build(table, tmp_path / "out")
    assert report.recordings[0].seconds == 30.0


def test_what_is_there_is_replaced_only_on_request_and_only_by_something_whole(table, tmp_path):
    out = tmp_path / "out"
    build(table, out)
    before = contents(out)
    with refuses("exists already"):
        build(table, out)
    foreign = write_arrays(tmp_path / "x.npz", noise(1, 200.0, 9.0), 200.0, ("E1",))
    with pytest.raises(InputError, match="known electrode"):
        build(table_of([span(foreign)]), out, overwrite=True)
    assert contents(out) == before
    build(replace(table, window_seconds=2), out, overwrite=True)
    assert CorpusInfo.read(out).window_seconds == 2

    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("dear diary")
    with refuses("not a corpus"):
        build(table, tmp_path / "diary", overwrite=True)
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "monday.txt").write_text("dear diary")
    with refuses("in the way"):
        build(table, tmp_path / "other")


def test_a_second_builder_is_refused_and_the_first_unharmed(table, tmp_path, monkeypatch):
    monkeypatch.setattr("labram_jax.lock.PATIENCE_SECONDS", 0.1)
    out, opened, go_on = tmp_path / "out", threading.Event(), threading.Event()

    def opening(path, part, unit):
        opened.set()
        assert go_on.wait(60)
        return open_arrays(path, part, unit)

    slow = replace(table, recipe=replace(RECIPE, open=opening))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(build, slow, out)
        assert opened.wait(60)
        for plan in (table, replace(table, window_seconds=2)):
            with pytest.raises(OSError, match=rf"The corpus .*out is in use by process {os.getpid()} on"):
                build(plan, out, overwrite=True)
        go_on.set()
        first.result()
    build(table, tmp_path / "straight")
    assert contents(out) == contents(tmp_path / "straight")
    assert not (tmp_path / "out.lock").exists()


def test_shards_of_another_plan_are_never_taken(table, paths, tmp_path, monkeypatch):
    """A recording that could not be opened for a while changes what each shard holds, under one number."""
    paths[0].rename(tmp_path / "away")
    with monkeypatch.context() as patch:
        patch.setattr("labram_jax.data_prep.build.finish", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            build(table, tmp_path / "out", recordings_per_shard=1)
    (tmp_path / "away").rename(paths[0])
    assert not build(table, tmp_path / "out", recordings_per_shard=1).unusable
    build(table, tmp_path / "straight", recordings_per_shard=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
