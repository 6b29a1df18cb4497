"""Reads recordings out of the pickled windows of the official TUAB and TUEV scripts, without the pickle module.

One file holds one window of the 23 TUH electrodes at 200 Hz in microvolts; it is called RECORDING_NUMBER.pkl or
RECORDING-NUMBER.pkl. A file that names anything but numpy arrays is refused and nothing is run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from labram_jax.convert.pickles import read_pickle
from labram_jax.data.schema import RATE_HZ
from labram_jax.data_prep.corpora import tuab, tuev, tuh
from labram_jax.data_prep.readers.reader import Header, Reader
from labram_jax.errors import InputError

FILE_NAME = re.compile(r"(?P<recording>.+)[-_](?P<number>\d{1,9})\.pkl")


@dataclass(frozen=True)
class Layout:
    """What one corpus calls the parts of a window; `first_label` is the number of class 0."""

    corpus: str
    signal: str
    label: str
    first_label: int
    seconds: int
    classes: tuple[str, ...]


LAYOUTS = (
    Layout("tuab", "X", "y", 0, tuab.WINDOW_SECONDS, tuab.CLASSES),
    Layout("tuev", "signal", "label", 1, tuev.WINDOW_SECONDS, tuev.CLASSES),
)


def open_windows(path: Path, part: str, unit: str | None = None) -> Reader:
    """Opens the windows of one recording behind each other, whose unit is microvolts.

    `path` is its first file, and `part` the numbers of all of them.

    Raises:
      InputError: the first file is damaged, names what no window needs, or has not the layout of the official scripts.
    """
    stem, separator = split_name(path)
    return _WindowsReader([path.with_name(f"{stem}{separator}{number}.pkl") for number in part.split(",")])


class _WindowsReader(Reader):
    def __init__(self, files: Sequence[Path]):
        self._files = files
        self._samples = read_window(files[0])[0].seconds * RATE_HZ
        edges = [place * self._samples for place in range(len(files) + 1)]
        self.header = Header(tuh.ELECTRODES, float(RATE_HZ), edges[-1], tuple(pairwise(edges)), others={})

    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        rows = [tuh.ELECTRODES.index(name) for name in channels]
        first, last = start // self._samples, -(-stop // self._samples)
        eeg = np.concatenate([read_window(file)[1][rows] for file in self._files[first:last]], axis=1)
        return eeg[:, start - first * self._samples : stop - first * self._samples].astype(np.float64)


def read_window(path: Path) -> tuple[Layout, np.ndarray, int]:
    """Returns the layout, the signal in microvolts [23, samples] and the class of one window.

    Raises:
      InputError: the file is damaged, names what no window needs, or has not the layout of the official scripts.
    """
    try:
        content = read_pickle(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file.") from error
    layout = next((layout for layout in LAYOUTS if isinstance(content, dict) and layout.signal in content), None)
    if layout is None:
        raise InputError(f"{path} is no window of the official scripts (neither X nor signal); leave it out.")
    signal, shape = content[layout.signal], (len(tuh.ELECTRODES), layout.seconds * RATE_HZ)
    if not isinstance(signal, np.ndarray) or signal.dtype.kind != "f" or signal.shape != shape:
        raise InputError(
            f"{path} holds {getattr(signal, 'dtype', 'no')} numbers of shape {list(getattr(signal, 'shape', ()))}, but "
            f"the official windows are floats {list(shape)}; prepare it from the recordings."
        )
    label = content.get(layout.label)
    # Lists that hold each other would become an array of any size.
    label = np.asarray(label if isinstance(label, int | float | np.ndarray) else None).reshape(-1)
    if (
        label.size != 1
        or label.dtype.kind not in "iuf"
        or label[0] - layout.first_label not in range(len(layout.classes))
    ):
        raise InputError(f"{path} has no label of {layout.corpus.upper()}; leave it out.")
    return layout, signal, int(label[0]) - layout.first_label


def split_name(path: Path) -> tuple[str, str]:
    """Returns the recording that a file's name names, and the sign between it and the window's number."""
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path} is not named RECORDING_NUMBER.pkl or RECORDING-NUMBER.pkl; rename it.")
    return match["recording"], path.name[match.end("recording")]
