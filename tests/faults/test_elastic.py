"""A run that goes on with other devices, or processes, has the same state to the bit, and the same batches follow."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from elastic import BATCHES, batches, digest
from toy_stage import ROWS, STEPS_PER_EPOCH

from labram_jax.parallel.processes import COORDINATOR, PROCESS, PROCESSES

ROOT = Path(__file__).parents[2]
# Starting two processes takes long: the second time only with LABRAM_ELASTIC_FULL=1.
FULL = os.environ.get("LABRAM_ELASTIC_FULL") == "1"


def legs(run: Path, corpus: Path, counts: list[int], processes: int = 1) -> list[dict]:
    """What each process says of a training on so many devices, one number after another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = {COORDINATOR: f"127.0.0.1:{free.getsockname()[1]}", PROCESSES: str(processes)}
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={8 // processes}",
        "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT))),
    }
    started = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("elastic.py"), run, corpus, *map(str, counts)],
            env=environment | ({**job, PROCESS: str(number)} if processes > 1 else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    outputs = [process.communicate(timeout=200) for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(said[-2000:] for _, said in outputs)
    found = [[json.loads(line) for line in out.splitlines() if line.startswith("{")] for out, _ in outputs]
    assert all(own == found[0] for own in found) and [own["devices"] for own in found[0]] == counts
    return found[0]


def test_other_devices_and_other_processes(tmp_path, corpus):
    """From two processes to one and, in the full form, to two again; in one process from 8 devices to 4, 1 and 8."""
    run = tmp_path / "run"
    found = legs(run, corpus.path, [8], processes=2) + legs(run, corpus.path, [4, 1, 8])
    found += legs(run, corpus.path, [8], processes=2) if FULL else []
    assert [own["step"] for own in found] == [STEPS_PER_EPOCH * number for number in range(len(found))]
    assert all(own["same"] for own in found)
    for own in found:
        read = batches(corpus.path, range(ROWS), own["step"])
        assert own["batches"] == [digest(next(read)) for _ in range(BATCHES)], own["devices"]
    assert len({one for own in found for one in own["batches"]}) == BATCHES * len(found)
