"""A recording cut into windows, as if it were a corpus of its own: cleaned, judged, and cut by the same code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64

from labram_jax.data.schema import EXCLUDED_COLUMNS, PIECE_COLUMNS, SPAN_COLUMNS, CorpusInfo
from labram_jax.data.tables import Tables
from labram_jax.data.windows import Place, WindowIndex, default_seconds
from labram_jax.errors import InputError

if TYPE_CHECKING:
    import mne

    from labram_jax.data_prep.cleaning.clean import CleanRecording
    from labram_jax.data_prep.readers.reader import Header, Reader
    from labram_jax.data_prep.recipe import Recipe


@dataclass(frozen=True)
class CutRecording:
    """The windows of one recording that a corpus of it would have: signal in pieces, and where the windows lie.

    `unusable` are the channels declared as EEG that are no electrode of the vocabulary, with reasons.
    """

    header: "Header"
    cleaned: "CleanRecording"
    index: WindowIndex
    unusable: Mapping[str, str]

    @property
    def electrodes(self) -> tuple[str, ...]:
        return self.cleaned.electrodes

    def places(self, windows: slice = slice(None)) -> list[Place]:
        return [self.index.place(number) for number in range(len(self.index))[windows]]

    @property
    def bads(self) -> Bool[np.ndarray, "N C"]:
        """True where an electrode is bad in a window."""
        return self.index.bads(self.places())

    @property
    def start_seconds(self) -> Float64[np.ndarray, "N"]:
        """Where each window begins, from the recording's first sample."""
        return np.asarray([self.index.start_seconds(place) for place in self.places()])

    def eeg(self, windows: slice = slice(None)) -> Float[np.ndarray, "N C samples"]:
        """Some of the windows, in microvolts at 200 Hz."""
        samples = self.index.samples
        return np.stack(
            [self.cleaned.pieces[p.piece].eeg[:, p.start : p.start + samples] for p in self.places(windows)]
        )


def cut(
    reader: "Reader", recipe: "Recipe", name: str, seconds: int | None, stride_seconds: float | None, long: bool = False
) -> CutRecording:
    """Cleans a recording by a recipe and finds its windows, those that training would leave out left out.

    `seconds` None makes about 256 patches; more than 16 only where they may be `long`. Raises InputError where the
    recording cannot be used, and where no window is left.
    """
    # MNE takes a while to import, and corpora and arrays do not need it.
    from labram_jax.data_prep.cleaning.channels import derivation
    from labram_jax.data_prep.cleaning.clean import clean

    header, cleaned = reader.header, clean(reader, recipe)
    seconds = default_seconds(len(cleaned.electrodes)) if seconds is None else seconds
    index = _index(name, header, cleaned, seconds, stride_seconds, long)
    if not len(index):
        causes = ", ".join(f"{reason} {count}" for reason, count in index.dropped.items())
        why = (
            f"all were left out ({causes})" if causes else f"it lasts {cleaned.seconds:.1f} s, so ask for shorter ones"
        )
        raise InputError(f"{name} has no window of {seconds} s that can be used: {why}.")
    unusable = derivation(header, recipe).unusable
    return CutRecording(header, cleaned, index, {own: unusable[own] for own in header.channels if own in unusable})


def cut_raw(raw: "mne.io.BaseRaw", seconds: int, stride_seconds: float | None, long: bool) -> CutRecording:
    """Cuts a raw object as it is, its samples resampled to 200 Hz piece by piece and not filtered."""
    from labram_jax.data_prep.readers.mne_reader import reader_of
    from labram_jax.data_prep.recipe import Filters, Recipe

    files = [str(file) for file in raw.filenames if file is not None]
    name = Path(files[0]).name if files else "the recording"
    recipe = Recipe(filters=Filters(None, None, None), dtype="float32")
    return cut(reader_of(raw, Path(name)), recipe, name, seconds, stride_seconds, long)


def _index(
    name: str, header: "Header", cleaned: "CleanRecording", seconds: int, stride_seconds: float | None, long: bool
) -> WindowIndex:
    first_seconds = np.cumsum([0, *(len(piece.quality) for piece in cleaned.pieces)])
    pieces = [
        ("all", name, name, piece.start_seconds, piece.eeg.shape[1], 0, first_second)
        for piece, first_second in zip(cleaned.pieces, first_seconds, strict=False)
    ]
    excluded = [(name, at, at + lasting, text) for at, lasting, text in header.excluded]
    tables = Tables(
        pd.DataFrame(pieces, columns=PIECE_COLUMNS),
        pd.DataFrame([(name, name, "test", 0.0, np.nan)], columns=SPAN_COLUMNS),
        pd.DataFrame(excluded, columns=EXCLUDED_COLUMNS),
    )
    quality = np.concatenate([piece.quality for piece in cleaned.pieces])
    return WindowIndex("all", CorpusInfo(name, ()), tables, quality, "test", seconds, stride_seconds, long=long)
