"""A build on storage that fails: one sentence that says where, the exit code of its kind, and nothing lost."""

import os
import subprocess
from pathlib import Path

import mne
import numpy as np
import pytest

from labram_jax import cli
from labram_jax.errors import MAY_PASS, MISTAKE

SECONDS = 40


@pytest.fixture
def small_disk(disk) -> Path:
    """A folder on a file system of its own, which has room for one of two recordings."""
    subprocess.run(["mount", "-o", "remount,size=150k", str(disk)], check=True)
    return disk


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(2):
        volts = np.random.default_rng(number).normal(scale=20e-6, size=(2, 200 * SECONDS))
        raw = mne.io.RawArray(volts, mne.create_info(["C3", "C4"], 200.0, "eeg"), verbose="ERROR")
        mne.export.export_raw(folder / f"sub-{number}.edf", raw, verbose="ERROR")
    return folder


def prepare(source: Path, out: Path, capsys) -> tuple[int, str]:
    """Exit code and last line of a build."""
    options = ["--split-by", "none", "--recordings-per-shard", "1", "--jobs", "1", "--notch", "None"]
    code = cli.main(["prepare", "folder", str(source), str(out), *options])
    said = capsys.readouterr().err.splitlines()
    assert len(said) < 10, said
    return code, said[-1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_full_disk_costs_no_shard_that_is_finished(small_disk, source, tmp_path, capsys):
    code, said = prepare(source, small_disk / "out", capsys)
    assert code == MAY_PASS and f"No space left on device ({small_disk}/out.partial" in said, said
    assert said.endswith("make room there and start the same command again.")
    finished = {path: path.stat().st_mtime_ns for path in (small_disk / "out.partial" / "shards").rglob("00000*")}
    assert len(finished) == 3 and not list(small_disk.rglob("*.partial/**/*.partial"))
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    assert prepare(source, small_disk / "out", capsys)[0] == 0
    assert prepare(source, tmp_path / "straight", capsys)[0] == 0
    assert contents(small_disk / "out") == contents(tmp_path / "straight")


def test_a_disk_that_became_read_only_may_pass(small_disk, source, capsys):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, said = prepare(source, small_disk / "out", capsys)
    assert code == MAY_PASS and f"Read-only file system ({small_disk}/out.lock)" in said, said


def test_a_folder_that_may_not_be_written_is_a_mistake(source, tmp_path, capsys, monkeypatch):
    """The tests may run as root, whom no mode keeps out: the system's answer is made here."""
    real = os.open

    def refusing(path, flags, *arguments, **options):
        if str(path).endswith("out.lock"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    code, said = prepare(source, tmp_path / "out", capsys)
    assert code == MISTAKE and "Permission denied" in said and "give this user the permission" in said, said
