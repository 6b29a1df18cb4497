"""Tries a MATLAB file (EEGLAB's .set) in a process of its own, since SciPy's reader crashes on some damaged ones."""

import signal
import subprocess
import sys
from pathlib import Path

from labram_jax.errors import InputError

# The file is read as MNE does it, with so much memory at most. It imports SciPy alone, which takes a third of a second.
_TRIAL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
from scipy.io import loadmat
try:
    loadmat(sys.argv[1], squeeze_me=True)
except MemoryError:
    sys.exit(3)
"""
_OUT_OF_MEMORY = 3
_BASE_BYTES = 2 << 30
# EEG shrinks by less than this in a file, also with what reading it takes.
_MOST_SHRUNK = 100


def check_mat(path: Path) -> None:
    """Raises InputError for a file that ends the process of its reader, or needs a memory out of all proportion.

    Other errors are left to the reader itself. Files of MATLAB 7.3 are HDF5, which another library reads.
    """
    with path.open("rb") as file:
        if file.read(10) == b"MATLAB 7.3":
            return
    limit = _BASE_BYTES + _MOST_SHRUNK * path.stat().st_size
    trial = subprocess.run([sys.executable, "-c", _TRIAL, str(path.absolute()), str(limit)], capture_output=True)
    if trial.returncode < 0:
        raise InputError(
            f"{path} is damaged so that its reader crashes ({signal.Signals(-trial.returncode).name}): obtain the file "
            "again."
        )
    if trial.returncode == _OUT_OF_MEMORY:
        raise InputError(f"{path} would take more than {limit / 1e9:.0f} GB of memory: obtain the file again.")
