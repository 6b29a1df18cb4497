"""What the system refuses, for real: file modes, a device that is not there. It is never called damage."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from golden_data import FOLDER as GOLDEN
from safetensors.numpy import save_file
from small_runs import write_corpus

from labram_jax.checkpoints.models import load_model, save_model
from labram_jax.convert.source import read_source
from labram_jax.data.corpus import Corpus
from labram_jax.errors import MAY_PASS, MISTAKE, exit_code, sentence_of

TESTS = Path(__file__).parents[1]
NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def forbidden(path: Path) -> Iterator[None]:
    """Takes the right to read a file away; root, whom no mode keeps out, is somebody else meanwhile."""
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o644)


def test_files_that_may_not_be_read_are_a_mistake(open_folder):
    corpus, model = write_corpus(open_folder / "corpus", splits={"train": 2}), open_folder / "model"
    save_model(model, {"params": {"kernel": np.arange(5000.0)}}, {"kind": "toy"})
    shard, foreign = next(corpus.path.rglob("*array_record*")), open_folder / "a.safetensors"
    save_file({"x": np.arange(3)}, foreign)
    foreign.chmod(0o644)  # unlike most files, it is its owner's alone
    torch = shutil.copy(GOLDEN / "labram.pth", open_folder)

    def read() -> list:
        windows = Corpus.open(corpus.path).windows("train", 2)
        return [load_model(model), read_source(foreign), read_source(torch), *(window.eeg for window in windows)]

    whole = read()  # which also imports what somebody else could not
    largest = max((path for path in model.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    described = [corpus.path / "corpus.json", corpus.path / "spans.csv"]
    described += [shard.with_name(name) for name in ("dataset_info.json", "features.json", "quality.npy")]
    for path in (model / "meta" / "metadata", largest, *described, shard, foreign, Path(torch)):
        with forbidden(path), pytest.raises(OSError, match=f"Permission denied.*{path.name}") as caught:
            read()
        assert exit_code(caught.value) == MISTAKE, path
        assert sentence_of(caught.value).endswith("give this user the permission, or another path."), path
    assert len(read()) == len(whole) == 7


def test_a_device_that_is_not_there_may_pass(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(TESTS / "toy_stage.py"), str(tmp_path / "run"), "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == MAY_PASS, done.stderr
    (said,) = done.stdout.splitlines()
    assert said == "JAX finds no device (JAX_PLATFORMS=cuda): see what JAX_PLATFORMS names and whether its driver runs."
    assert not (tmp_path / "run").exists() and "Traceback" not in done.stderr
