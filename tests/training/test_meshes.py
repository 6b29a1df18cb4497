"""A job gives the same numbers on any mesh, and in any number of microbatches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden_data import QUICK_FLAGS

SCRIPT = Path(__file__).with_name("mesh_steps.py")
STAGES = ("tokenizer", "pretraining", "fine-tuning")
LAYOUTS = ("8x1x1", "4x2x1", "4x2x1 in 4", "2x2x2", "2x2x2 in 4", "1x1x2")
# Compiling takes long: all layouts of all stages only with LABRAM_MESHES_FULL=1.
FULL = os.environ.get("LABRAM_MESHES_FULL") == "1"
SOME = [("tokenizer", "2x2x2 in 4"), ("pretraining", "8x1x1"), ("fine-tuning", "1x1x2")]
CASES = [(stage, layout) for stage in STAGES for layout in LAYOUTS if FULL or (stage, layout) in SOME]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, np.ndarray]:
    out = tmp_path_factory.mktemp("meshes") / "results.npz"
    tests = SCRIPT.parents[1]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=8 {QUICK_FLAGS}",
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
    }
    command = [sys.executable, str(SCRIPT), str(out), *map(":".join, CASES)]
    subprocess.run(command, env=environment, check=True, timeout=900)
    return dict(np.load(out))


def of(results, stage: str, layout: str) -> dict[str, np.ndarray]:
    prefix = f"{stage}:{layout}:"
    return {name.removeprefix(prefix): value for name, value in results.items() if name.startswith(prefix)}


@pytest.mark.parametrize(("stage", "layout"), CASES)
def test_five_steps_are_those_of_one_device(results, stage, layout):
    """Sums run in another order, and nothing else: losses agree within 1e-6 of their size, variables within 5e-6."""
    expected, found = of(results, stage, "1x1x1"), of(results, stage, layout)
    assert set(found) == set(expected) and len(np.unique(expected["losses"])) == 5
    if stage == "tokenizer":
        assert len(np.unique(expected["codes"])) > 8
        np.testing.assert_array_equal(found["codes"], expected["codes"])
    for name, value in found.items():
        if name.startswith("sent"):
            continue
        absolute = 0 if name in ("losses", "grad_norm", "scores") else 5e-6
        relative = {"losses": 1e-6, "grad_norm": 1e-5, "scores": 2e-6}.get(name, 0)
        np.testing.assert_allclose(value, expected[name], rtol=relative, atol=absolute, err_msg=name)


@pytest.mark.parametrize(("stage", "layout"), CASES)
def test_an_evaluation_sends_less_than_a_step(results, stage, layout):
    """It follows the rules of training: slices of parameters are gathered, and activations stay where they are."""
    step, evaluation = of(results, stage, layout)["sent"]
    assert 0 < evaluation < step


@pytest.mark.parametrize(("stage", "layout"), [case for case in CASES if not case[1].startswith("1x")])
def test_gradients_are_summed_along_data_once_a_step(results, stage, layout):
    """However many blocks and microbatches there are; read from the compiled step."""
    found = of(results, stage, layout)
    sent, runs = found["sent along data"]
    numbers = sum(value.size for name, value in found.items() if name.startswith(("params/", "codebook/")))
    assert runs == 1 and 0 < sent < 1.1 * 2 * 4 * numbers
