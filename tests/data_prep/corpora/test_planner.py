import subprocess
import sys

import pytest

from data_prep.corpora import MODULES, planner
from data_prep.options import PrepareOptions
from labram_jax.errors import InputError


def test_an_unknown_corpus_is_refused_with_the_known_names():
    with pytest.raises(InputError, match=r"'tuabb'.*tuab.*simulated"):
        planner("tuabb")


@pytest.mark.parametrize("name", [name for name in MODULES if name != "simulated"])  # it makes its source
def test_every_corpus_says_which_source_is_missing(name, tmp_path):
    with pytest.raises(InputError, match=r"There is no .*absent"):
        planner(name)(tmp_path / "absent", PrepareOptions())


@pytest.mark.parametrize("name", MODULES)
def test_an_option_of_another_corpus_is_refused(name, tmp_path):
    other = {"task": "eyes"} if name != "eegmmidb" else {"end_fraction": 0.5}
    with pytest.raises(InputError, match=f"{name} has no use for {next(iter(other))}"):
        planner(name)(tmp_path, PrepareOptions(**other))


def test_planning_imports_no_jax():
    code = (
        "import importlib, sys; from data_prep.corpora import MODULES; "
        "[importlib.import_module(module) for module in MODULES.values()]; sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
