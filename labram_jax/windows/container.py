"""`Windows`: EEG with all that a model must know of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64

from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError
from labram_jax.montage import known, ordered
from labram_jax.windows.checks import Bads, Metadata, bad_electrodes, band_of, checked, finite, table_of
from labram_jax.windows.lengths import Long, Partial, check_rules, whole_seconds
from labram_jax.windows.plausible import check_filtered, check_plausible, tell_unusable
from labram_jax.windows.recordings import cut_raw

if TYPE_CHECKING:
    import mne

    from labram_jax.data.corpus import Corpus

Eeg = Float32[np.ndarray, "N C samples"]


@dataclass(frozen=True, eq=False, repr=False)
class Windows:
    """N windows of one montage and length, as every model takes them.

    `from_raw`, `from_epochs`, `from_array` and `from_corpus` make them and check what they are given; the constructor
    takes what was checked. Indexed like an array, it gives some of its windows, so that scikit-learn can split it.

    Attributes:
        eeg: microvolts at 200 Hz [N, C, samples], whole seconds; what is over 16 s is split when a model runs.
        electrodes: C official names.
        bads: booleans [N, C], True where an electrode takes no part in a window; every window has one that does.
        start_seconds: where each window begins in its recording, NaN where that is unknown.
        metadata: a table with a line for each window: subject, label, whatever is known.
        recorded_sfreq: samples per second before resampling.
        pass_hz: high- and low-pass of the recording's filters in Hz, None where nothing says so.
    """

    eeg: Eeg
    electrodes: tuple[str, ...]
    bads: Bool[np.ndarray, "N C"]
    start_seconds: Float64[np.ndarray, "N"] = None
    metadata: pd.DataFrame = None
    recorded_sfreq: float = RATE_HZ
    pass_hz: tuple[float, float] | None = None

    def __post_init__(self):
        if self.start_seconds is None:
            object.__setattr__(self, "start_seconds", np.full(len(self.eeg), np.nan))
        if self.metadata is None:
            object.__setattr__(self, "metadata", pd.DataFrame(index=range(len(self.eeg))))

    @classmethod
    def from_array(
        cls,
        microvolts: np.ndarray,
        electrodes: Sequence[str],
        sfreq: float,
        *,
        bads: Bads = None,
        start_seconds: Sequence[float] | None = None,
        metadata: Metadata = None,
        pass_hz: tuple[float, float] | None = None,
        long: Long = "refuse",
        partial: Partial = "refuse",
    ) -> "Windows":
        """Windows that are an array already; nothing about it is guessed.

        Resampling is MNE's (`mne.filter.resample`), each window by itself, so that its ends are less exact than those
        of a recording that is resampled before it is cut.

        Args:
            microvolts: floats [N, C, samples].
            electrodes: C names in any usual spelling, in a list, a tuple or an array.
            sfreq: samples per second; anything but 200 is resampled.
            bads: electrodes that are left out: some of `electrodes`, or booleans [N, C] for each window.
            start_seconds: where each window begins in its recording.
            metadata: a table of N lines, or columns; a single value stands for all windows.
            pass_hz: high- and low-pass of the filters that the recording went through.
            long: "split" lets windows of more than 16 s be: a model takes them in as few and equal parts as possible,
                puts what it gives of patches together, and averages what it gives of windows, weighted by seconds.
            partial: what becomes of a last second that is not whole: "drop", or "pad", which mirrors the signal.

        Raises:
            InputError: another shape; NaN or infinities at good electrodes; windows without a good electrode; an
                amplitude that no EEG in microvolts has; a length that the rules refuse.
        """
        eeg, names = checked(microvolts, electrodes, sfreq)
        bad = bad_electrodes(bads, ordered(electrodes), names, len(eeg))
        eeg = finite(eeg, bad)
        if sfreq != RATE_HZ:
            import mne  # takes a second to import, and most calls are at 200 Hz

            wide = eeg.astype(np.float64)
            eeg = mne.filter.resample(wide, up=RATE_HZ, down=sfreq, npad="auto", verbose="ERROR")
        eeg = np.ascontiguousarray(whole_seconds(eeg, long, partial), np.float32)
        check_plausible(eeg, ~bad)
        if pass_hz is not None:
            check_filtered(pass_hz)
        starts = np.full(len(eeg), np.nan) if start_seconds is None else np.asarray(start_seconds, np.float64)
        if starts.shape != (len(eeg),):
            raise InputError(
                f"start_seconds has the shape {starts.shape}: give one number for each of {len(eeg)} windows."
            )
        return cls(eeg, names, bad, starts, table_of(metadata, len(eeg)), float(sfreq), pass_hz)

    @classmethod
    def from_epochs(
        cls, epochs: "mne.BaseEpochs", *, metadata: Metadata = None, long: Long = "refuse", partial: Partial = "refuse"
    ) -> "Windows":
        """Windows of MNE's epochs, whose volts become microvolts; its EEG channels that are known electrodes are taken.

        `info["bads"]` are bad in all windows. Where epochs last whole seconds and one sample, as MNE cuts them from
        tmin to tmax, the last sample is left out. `metadata` stands beside the epochs' own and the column `event`, the
        name of what each is around. Rules and errors as in `from_array`; resampled epoch by epoch.
        """
        import mne

        if not epochs.preload:  # only then is it known which of them MNE rejects
            epochs = epochs.copy().load_data()
        picks = mne.pick_types(epochs.info, eeg=True, exclude=())
        channels = [epochs.ch_names[pick] for pick in picks]
        found = known(channels)
        if not found.usable:
            why = next(iter(found.unusable.values()), "no channel is declared as EEG.")
            raise InputError(f"The epochs have no electrode that the models know: {why}")
        tell_unusable(found.unusable)
        eeg, sfreq = epochs.get_data(picks=list(found.usable), verbose="ERROR") * 1e6, float(epochs.info["sfreq"])
        last = eeg.shape[-1] - 1
        if last and last % sfreq == 0:
            eeg = eeg[..., :-1]
        names = {code: name for name, code in epochs.event_id.items()}
        events = pd.DataFrame({"event": [names[code] for code in epochs.events[:, 2]]})
        table = pd.concat([events, *(table_of(own, len(events)) for own in (epochs.metadata, metadata))], axis=1)
        return cls.from_array(
            eeg,
            list(found.usable.values()),
            sfreq,
            bads=[found.usable[name] for name in epochs.info["bads"] if name in found.usable],
            start_seconds=epochs.events[:, 0] / sfreq + epochs.tmin,
            metadata=table.loc[:, ~table.columns.duplicated(keep="last")],
            pass_hz=(float(epochs.info["highpass"]), float(epochs.info["lowpass"])),
            long=long,
            partial=partial,
        )

    @classmethod
    def from_raw(
        cls,
        raw: "mne.io.BaseRaw",
        seconds: int,
        stride: float | None = None,
        *,
        metadata: Metadata = None,
        long: Long = "refuse",
    ) -> "Windows":
        """The windows that a corpus of this one recording would have, whose volts become microvolts.

        By the code of `labram-jax prepare`: EEG channels that are known electrodes are taken; the recording is cut
        where it breaks and resampled to 200 Hz piece by piece; seconds that are flat, lost, clipped or implausible make
        an electrode bad in a window, as `info["bads"]` do in all; windows that touch an annotation BAD, or have more
        than a tenth of bad electrodes, are left out. Nothing is filtered: that is MNE's `raw.filter`.

        Args:
            raw: the recording; it is read and not changed.
            seconds: length of a window, whole seconds.
            stride: seconds from the start of one window to the next; None is their length.
            metadata: columns; a single value, such as the subject, stands for all windows.
            long: "split" allows more than 16 s, see `from_array`.

        Raises:
            InputError: no electrode is known, no window can be used, or the amplitude is that of no EEG.
        """
        check_rules(long, "refuse")
        pass_hz = (float(raw.info["highpass"]), float(raw.info["lowpass"]))
        check_filtered(pass_hz)
        found = cut_raw(raw, seconds, stride, long == "split")
        tell_unusable(found.unusable)
        eeg, bads = whole_seconds(found.eeg(), long, "refuse"), found.bads
        check_plausible(eeg, ~bads)
        table = table_of(metadata, len(eeg))
        return cls(eeg, found.electrodes, bads, found.start_seconds, table, found.header.rate_hz, pass_hz)

    @classmethod
    def from_corpus(
        cls,
        corpus: "Corpus | str | Path",
        split: str = "test",
        seconds: int | None = None,
        stride: float | None = None,
        *,
        montage: str | None = None,
    ) -> "Windows":
        """All windows of one montage in a split of a corpus, in memory; `metadata` has subject, recording and label.

        Args:
            corpus: an open corpus, or where it lies.
            split: "train", "validation" or "test".
            seconds: length of a window, 1 to 16; None takes that of the corpus' protocol, or that which makes about
                256 patches.
            stride: seconds from the start of one window to the next; None is their length.
            montage: which, where the split has several.

        Raises:
            InputError: the split has no windows, or several montages and none is named.
        """
        from labram_jax.data.corpus import Corpus

        corpus = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
        there = {own.directory.name: own for own in corpus.windows(split, seconds, stride).montages}
        if not there:
            raise InputError(f"The corpus {corpus.path} has no windows of this length in the split {split!r}.")
        if montage is None and len(there) > 1:
            raise InputError(
                f"The corpus {corpus.path} has several montages, and Windows have one: give montage, one of "
                f"{', '.join(there)}."
            )
        if montage is not None and montage not in there:
            raise InputError(f"There is no montage {montage!r} in the split {split!r}: give one of {', '.join(there)}.")
        own = next(iter(there.values())) if montage is None else there[montage]
        windows = own.read(range(len(own)))
        columns = {name: [getattr(window, name) for window in windows] for name in ("subject", "recording")}
        if corpus.classes is not None:
            columns["label"] = [corpus.classes[one.label] if one.label >= 0 else None for one in windows]
        elif corpus.info.label is not None:
            columns["label"] = [one.label for one in windows]
        return cls(
            np.stack([window.eeg for window in windows]),
            own.electrodes,
            np.stack([window.bad for window in windows]),
            np.asarray([window.start_seconds for window in windows]),
            pd.DataFrame(columns),
            pass_hz=band_of(corpus.info.filters),
        )

    @classmethod
    def concatenate(cls, windows: Sequence["Windows"]) -> "Windows":
        """The windows of several, which have the same electrodes in the same order, and one length."""
        if not windows:
            raise InputError("There are no Windows to put together: give at least one.")
        first = windows[0]
        for other in windows[1:]:
            if (other.electrodes, other.seconds) != (first.electrodes, first.seconds):
                raise InputError(
                    f"Windows of {len(first.electrodes)} electrodes and {first.seconds} s and of "
                    f"{len(other.electrodes)} and {other.seconds} s cannot be put together: pick the same "
                    "electrodes of all recordings, in one order, and one length."
                )
        rates, passes = {one.recorded_sfreq for one in windows}, {one.pass_hz for one in windows}
        return replace(
            first,
            eeg=np.concatenate([one.eeg for one in windows]),
            bads=np.concatenate([one.bads for one in windows]),
            start_seconds=np.concatenate([one.start_seconds for one in windows]),
            metadata=pd.concat([one.metadata for one in windows], ignore_index=True),
            recorded_sfreq=first.recorded_sfreq if len(rates) == 1 else np.nan,
            pass_hz=first.pass_hz if len(passes) == 1 else None,
        )

    @property
    def sfreq(self) -> float:
        """Samples per second of `eeg`: 200."""
        return float(RATE_HZ)

    @property
    def seconds(self) -> int:
        """Length of each window."""
        return self.eeg.shape[-1] // RATE_HZ

    @property
    def filtered(self) -> bool | None:
        """Whether the recording went through a high-pass and a low-pass (at most 100 Hz); None where unknown."""
        return None if self.pass_hz is None else self.pass_hz[0] > 0 and self.pass_hz[1] <= RATE_HZ / 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, C, samples)."""
        return self.eeg.shape

    def __len__(self) -> int:
        return len(self.eeg)

    def __getitem__(self, key: Any) -> "Windows":
        """Some of the windows, by a number, a slice, numbers or booleans; scikit-learn adds an ellipsis."""
        if isinstance(key, tuple):
            key, *rest = key
            if rest not in ([], [Ellipsis]):
                raise InputError("Windows are indexed by their number alone: take electrodes and samples from .eeg.")
        taken = np.atleast_1d(np.arange(len(self))[key])
        columns = {name: getattr(self, name)[taken] for name in ("eeg", "bads", "start_seconds")}
        return replace(self, metadata=self.metadata.iloc[taken].reset_index(drop=True), **columns)

    def __repr__(self) -> str:
        names = ", ".join(self.electrodes[:4]) + (", ..." if len(self.electrodes) > 4 else "")
        filters = "unknown" if self.pass_hz is None else "{:g}-{:g} Hz".format(*self.pass_hz)
        bad = f", {self.bads.sum()} bad" if self.bads.any() else ""
        return (
            f"<Windows: {len(self)} of {self.seconds} s, {len(self.electrodes)} electrodes ({names}){bad}, microvolts "
            f"at {RATE_HZ} Hz (recorded at {self.recorded_sfreq:g} Hz, filtered: {filters}), "
            f"metadata: {', '.join(map(str, self.metadata)) or 'none'}>"
        )
