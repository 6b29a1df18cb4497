"""Windows as they are used: views of a corpus' signal, cut when they are read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from labram_jax.data.schema import NO_CLASS
from labram_jax.data.signal import Signal, Stretch
from labram_jax.data.windows import Place, WindowIndex
from labram_jax.errors import InputError

if TYPE_CHECKING:
    from labram_jax.data.codes import WindowCodes
    from labram_jax.data.corpus import Corpus

# Beside the seed, this keeps these random numbers apart from others of the data.
_SAMPLED = 18


class Window(NamedTuple):
    """One window: a view of a recording.

    Attributes:
      eeg: microvolts at 200 Hz, all electrodes of the montage.
      electrodes: their names.
      bad: True where an electrode is bad in this window and takes no part in what is computed.
      subject: whose it is.
      recording: from which recording.
      start_seconds: where it begins in the recording.
      label: a class index (-1 where the window has none), a float32 vector, or None in a corpus without labels.
    """

    eeg: Float32[np.ndarray, "C samples"]
    electrodes: tuple[str, ...]
    bad: Bool[np.ndarray, "C"]
    subject: str
    recording: str
    start_seconds: float
    label: int | np.ndarray | None


class MontageWindows(Sequence):
    """The windows of one montage in one split of a corpus: a sequence of `Window`s in the order of the tables.

    `codes` are those of a frozen tokenizer, where they are kept and asked for. In training each window is drawn `drawn`
    times as often as the usual one of its corpus.
    """

    def __init__(
        self,
        directory: Path,
        electrodes: tuple[str, ...],
        signal: Signal,
        index: WindowIndex,
        codes: "WindowCodes | None" = None,
        drawn: float = 1.0,
    ):
        self.directory, self.electrodes, self.signal, self.index = directory, electrodes, signal, index
        self.codes, self.drawn = codes, drawn

    @property
    def seconds(self) -> int:
        """Length of a window."""
        return self.index.seconds

    @property
    def patches(self) -> int:
        """Patches of a window without bad electrodes."""
        return len(self.electrodes) * self.seconds

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Window:
        return self.read([number])[0]

    def read(self, numbers: Sequence[int]) -> list[Window]:
        """Returns several windows; their records are read side by side, and each once."""
        places = [self._place(number) for number in numbers]
        shape = (len(places), len(self.electrodes), self.index.samples)
        eeg = np.empty(shape, np.float32)
        self.signal.read([self.stretch(place, None, out) for place, out in zip(places, eeg, strict=True)])
        return [self._window(place, own) for place, own in zip(places, eeg, strict=True)]

    def stretch(self, place: Place, good: Bool[np.ndarray, "C"] | None, out: np.ndarray) -> Stretch:
        """Returns what to read of a window: its `good` electrodes (None: all) into `out`."""
        return Stretch(self.index.first_record(place), place.start, good, out)

    def name(self, number: int) -> tuple[str, float]:
        """Returns where window `number` comes from: its recording, and its start there in seconds."""
        place = self._place(number)
        return str(self.index.recordings[place.span]), self.index.start_seconds(place)

    def label(self, place: Place) -> int | np.ndarray | None:
        """Returns the label of a window."""
        labels = self.index.labels
        if labels is None:
            return None
        return labels[place.span] if labels.ndim == 2 else int(labels[place.span])

    def _place(self, number: int) -> Place:
        if not -len(self) <= number < len(self):
            raise IndexError(f"there is no window {number} among {len(self)}")
        return self.index.place(number % len(self))

    def _window(self, place: Place, eeg: np.ndarray) -> Window:
        bad, index = self.index.bad(place), self.index
        return Window(
            eeg=eeg,
            electrodes=self.electrodes,
            bad=np.zeros(len(self.electrodes), bool) if bad is None else bad,
            subject=index.subjects[place.span],
            recording=index.recordings[place.span],
            start_seconds=index.start_seconds(place),
            label=self.label(place),
        )


class SplitWindows(Sequence):
    """The windows of a split of a corpus at one length and stride: montage by montage, a sequence of `Window`s.

    `montages` has those of each montage that has any; `corpus` and `split` say whose they are. `dropped` counts the
    windows left out by reason, and `bad_electrodes` the electrodes that are bad in windows that were kept, by what is
    wrong with them.
    """

    def __init__(
        self, corpus: "Corpus", split: str, montages: Sequence[MontageWindows], indices: Sequence[WindowIndex]
    ):
        self.corpus, self.split, self.montages, self.indices = corpus, split, tuple(montages), indices
        self.dropped = sum((index.dropped for index in indices), Counter())
        self.bad_electrodes = sum((index.bad_electrodes for index in indices), Counter())
        self._ends = np.cumsum([len(own) for own in montages], dtype=np.int64)

    def only(self, montage: MontageWindows) -> "SplitWindows":
        """The windows of one of its montages."""
        return SplitWindows(self.corpus, self.split, [montage], [montage.index])

    def by_class(self) -> "SplitWindows":
        """The labelled windows montage by montage and class by class, drawn so that all classes come equally often.

        Raises InputError where the corpus has no classes.
        """
        if self.corpus.classes is None:
            raise InputError(f"The corpus {self.corpus.path} has no classes that could be drawn equally often.")
        counts = np.zeros(len(self.corpus.classes), np.int64)
        for own in self.montages:
            labels = own.index.window_labels()
            counts += np.bincount(labels[labels >= 0], minlength=len(counts))
        montages = [
            MontageWindows(own.directory, own.electrodes, own.signal, part, drawn=counts.sum() / counts[label])
            for own in self.montages
            for label in range(len(counts))
            if len(part := own.index.of_class(label))
        ]
        return SplitWindows(self.corpus, self.split, montages, self.indices)

    def labelled_sample(self, most: int, seed: int, most_subjects: int | None = None) -> "SplitWindows":
        """At most `most` of the windows that have a label, drawn without replacement by the seed, in their order.

        Those of at most `most_subjects`, if that is given, who are drawn first.
        """
        generator = np.random.default_rng((seed, _SAMPLED))
        known = np.concatenate([np.zeros(0, bool), *(labelled(own.index.window_labels()) for own in self.montages)])
        if most_subjects is not None and known.any():
            subjects = np.concatenate([own.index.listed()["subject"] for own in self.montages])
            everybody = np.unique(subjects[known])
            if len(everybody) > most_subjects:
                known &= np.isin(subjects, generator.choice(everybody, most_subjects, replace=False))
        numbers = np.flatnonzero(known)
        if len(numbers) > most:
            numbers = np.sort(generator.choice(numbers, most, replace=False))
        montages = []
        for first, own in zip(self._ends - [len(own) for own in self.montages], self.montages, strict=True):
            part = own.index.only(numbers[(numbers >= first) & (numbers < first + len(own))] - first)
            if len(part):
                montages.append(MontageWindows(own.directory, own.electrodes, own.signal, part))
        return SplitWindows(self.corpus, self.split, montages, self.indices)

    def labels(self) -> np.ndarray:
        """Labels of all windows, in order: class indices (-1: none), or vectors (NaN: none)."""
        return np.concatenate([own.index.window_labels() for own in self.montages])

    def with_codes(self, codes: Sequence["WindowCodes"]) -> "SplitWindows":
        """The same windows with the codes of each montage's."""
        montages = [
            MontageWindows(own.directory, own.electrodes, own.signal, own.index, kept)
            for own, kept in zip(self.montages, codes, strict=True)
        ]
        return SplitWindows(self.corpus, self.split, montages, self.indices)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> Window:
        if not -len(self) <= number < len(self):
            raise IndexError(f"there is no window {number} among {len(self)}")
        number %= len(self)
        montage = int(np.searchsorted(self._ends, number, side="right"))
        own = self.montages[montage]
        return own[number - int(self._ends[montage]) + len(own)]

    def __iter__(self) -> Iterator[Window]:
        for montage in self.montages:
            yield from montage


def labelled(labels: np.ndarray) -> Bool[np.ndarray, "N"]:
    """True for class indices and vectors that are there."""
    return np.isfinite(labels).all(axis=1) if labels.ndim == 2 else labels != NO_CLASS
