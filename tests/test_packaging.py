"""What is installed: one package, configurations and preparation in it, that works without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("labram_jax", "configs", "data_prep")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the project's wheel holds."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(source / "wheels"), str(source)], check=True, timeout=120)
    (wheel,) = (source / "wheels").iterdir()
    zipfile.ZipFile(wheel).extractall(out)
    return out


def test_no_other_name_is_taken(installed):
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"labram_jax"}
    assert (installed / "labram_jax" / "py.typed").is_file()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_there(installed, folder):
    package = installed / "labram_jax"
    there = package if folder == "labram_jax" else package / folder
    modules = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")}
    assert modules and all((there / module).is_file() for module in modules)


def test_it_works_without_the_checkout(installed, tmp_path):
    code = (
        "from labram_jax.configfile import configurations, load_file, protocols; import labram_jax;"
        "from labram_jax.data_prep.corpora import MODULES, corpus_module;"
        "[corpus_module(name) for name in MODULES]; [load_file(name) for name in configurations()];"
        "print(labram_jax.__file__, len(configurations()), len(protocols()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    run = {"cwd": tmp_path, "env": environment, "check": True, "capture_output": True, "text": True, "timeout": 120}
    said = subprocess.run([sys.executable, "-c", code], **run).stdout.split()
    counts = [str(len(list((ROOT / own).glob("[!_]*.py")))) for own in ("configs", "configs/benchmarks")]
    assert said == [str(installed / "labram_jax" / "__init__.py"), *counts]
