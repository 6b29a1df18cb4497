"""One process at a time: others are refused, and the end of a process, in whatever way, lets go."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labram_jax import lock
from labram_jax.errors import exit_code, sentence_of

HOLDER = """import sys, time
from pathlib import Path
from labram_jax.lock import held
with held(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_others_are_refused_until_the_holder_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.3)
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OSError, match=f"the run is in use by process {holder.pid} on ") as caught:
        lock.held(path, "the run").__enter__()
    assert exit_code(caught.value) == 1 and sentence_of(caught.value).endswith("choose another folder.")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(path, "the run"):
        pass
    with lock.held(path, "the run"):
        pass
