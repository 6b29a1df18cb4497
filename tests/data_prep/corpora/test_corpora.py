"""What all corpora have in common."""

import subprocess
import sys

import pytest
from sentences import refuses

from labram_jax.data_prep.corpora import MODULES, corpus_module


def test_an_unknown_corpus_is_refused_with_the_known_names():
    with refuses(r"'tuabb'.*tuab.*simulated"):
        corpus_module("tuabb")


@pytest.mark.parametrize("name", MODULES)
def test_every_corpus_has_a_title_options_and_a_source(name):
    module = corpus_module(name)
    title, _, rest = module.__doc__.partition("\n")
    assert title.endswith((".", "?")) and f"labram-jax prepare {name} " in rest
    assert module.Options().dtype == "float16" and not module.SOURCE.endswith(".")


@pytest.mark.parametrize("name", [name for name in MODULES if name != "simulated"])  # it makes its source
def test_every_corpus_says_which_source_is_missing(name, tmp_path):
    module = corpus_module(name)
    with refuses(r"There is no .*absent"):
        module.table(tmp_path / "absent", module.Options())


def test_planning_imports_no_jax():
    code = (
        "import importlib, sys; from labram_jax.data_prep.corpora import MODULES; "
        "[importlib.import_module(module) for module in MODULES.values()]; sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
