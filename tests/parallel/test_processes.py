"""Joining a job: who asks for it, who does not, and that an error on one host ends the others with its message."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from sentences import refuses

from labram_jax.parallel import processes

ROOT = Path(__file__).parents[2]
NAMES = (processes.COORDINATOR, processes.PROCESSES, processes.PROCESS)
SLURM = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "a"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """The ways in which `jax.distributed.initialize` was asked, which finds nothing here."""
    calls = []

    def initialize(**arguments):
        calls.append(arguments)
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    for name in os.environ:
        if name.startswith(("SLURM_", "OMPI_", "LABRAM_", "KUBERNETES_", "JOB_")):
            monkeypatch.delenv(name)
    return calls


@pytest.mark.parametrize(
    "environment",
    [
        {},
        SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"},
        SLURM | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"},  # the shell of an allocation
        {"OMPI_COMM_WORLD_SIZE": "1"},
        POD,
    ],
    ids=["laptop", "one task", "shell", "mpirun -n 1", "pod"],
)
def test_a_process_alone_waits_for_nobody(environment, asked, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with processes.joined():
        assert processes.is_first()
    assert not asked


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (SLURM | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
        (POD | {"JOB_COMPLETION_INDEX": "0"}, "Kubernetes"),
    ],
)
def test_several_processes_never_train_each_by_itself(environment, name, asked, monkeypatch):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with refuses(f"the job that {name} describes .*set {processes.COORDINATOR}"), processes.joined():
        pass
    assert asked == [{"heartbeat_timeout_seconds": processes.HEARTBEAT_SECONDS}]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("127.0.0.1:1", "2", None), f"not {processes.PROCESS}"),
        (("127.0.0.1:1", "two", "0"), "whole numbers"),
        (("127.0.0.1:1", "2", "2"), "between 0 and"),
    ],
)
def test_half_a_job_description_is_refused(values, sentence, asked, monkeypatch):
    for name, value in zip(NAMES, values, strict=True):
        if value is not None:
            monkeypatch.setenv(name, value)
    with refuses(sentence), processes.joined():
        pass
    assert not asked


def pair(code: str, folder: Path, **environment: str) -> list[tuple[int, str]]:
    """Exit codes and output of two processes that run `code` in one job; `number` in it tells them apart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    script = (
        f"import os, time\nfrom labram_jax.parallel import processes\nnumber = int(os.environ['{NAMES[2]}'])\n{code}"
    )
    started = []
    for number in ("0", "1"):
        place = dict(zip(NAMES, (coordinator, "2", number), strict=True))
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", script],
                cwd=folder,
                env=os.environ | place | environment | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
                stderr=subprocess.STDOUT,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=100)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]


def test_each_process_loads_the_rows_of_its_devices(tmp_path):
    """Also where they are not one stretch: the mesh of a TPU follows the wiring of its chips."""
    code = """
import jax, numpy as np
from jax.sharding import Mesh
from labram_jax.parallel.sharding import AXES, process_rows, put_batch, to_host
with processes.joined():
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2).T.reshape(4, 1, 1), AXES)
    rows = process_rows(mesh, 8)
    batch = put_batch({"x": 10 * rows}, mesh)
    stacked = put_batch({"x": 10 * np.stack([rows, rows + 8])}, mesh, stacked=True)
    print(processes.of_first(3.5 + number), to_host(stacked["x"]).tolist())
    print(rows.tolist(), to_host(batch["x"]).tolist())
"""
    whole = list(range(0, 80, 10))
    expected = [f"{rows} {whole}" for rows in ([0, 1, 4, 5], [2, 3, 6, 7])]
    results = pair(code, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert [(code, output.splitlines()[-1]) for code, output in results] == [(0, line) for line in expected]
    for _, output in results:  # one after another, and the first process's number on both
        assert output.splitlines()[-2] == f"3.5 {[whole, list(range(80, 160, 10))]}"


def test_an_error_on_one_host_ends_the_others_with_its_message(tmp_path):
    """The second process is given a folder of its own; the first, which waits for it, ends long before an hour."""
    code = """
from pathlib import Path
processes.SHARED_FOLDER_SECONDS = 0.0
with processes.joined():
    processes.check_shared(Path("shared"))
    processes.check_shared(Path("shared" if number == 0 else "other"))
    time.sleep(3600)
"""
    for exit_code, output in pair(code, tmp_path):
        assert exit_code == 2
        assert "process 1 failed: the run other is another folder here than on the first host" in output
        assert "Traceback" not in output


def test_a_host_that_vanishes_ends_the_others(tmp_path):
    code = """
processes.HEARTBEAT_SECONDS = 4
with processes.joined():
    if number == 1:
        os.kill(os.getpid(), 9)
    time.sleep(3600)
"""
    (left, output), (gone, _) = pair(code, tmp_path)
    assert gone == -signal.SIGKILL and left not in (0, None) and "heartbeat" in output
