"""Windows of EEG as every model takes them, from MNE's objects, arrays and corpora."""

from labram_jax.windows.checks import Bads
from labram_jax.windows.container import Windows
from labram_jax.windows.given import as_windows

__all__ = ["Bads", "Windows", "as_windows"]
