"""The report of a corpus: the quality of its recordings, its spectra, and some windows as they are."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.signal import welch

from labram_jax.adaptation.band_powers import evenly_spread
from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import QUALITY, RATE_HZ, RECORDINGS_FILE, MontageInfo, split_words
from labram_jax.data.views import MontageWindows, SplitWindows, Window
from labram_jax.reporting.figures import corpus as figures
from labram_jax.reporting.page import Page

_MOST_MONTAGES = 6  # those with the most signal
_MOST_RECORDINGS = 40  # in a figure or a table
_MOST_WINDOWS = 200  # of each montage, in its spectra
_KEPT = 2  # windows shown of each montage
_HIGHEST_HZ = 75.0
# By how the names of their electrodes begin, as the 10-10 system has them.
_GROUPS = {
    "frontal": ("FP", "AF", "F"),
    "central": ("FC", "C", "CP"),
    "temporal": ("FT", "T", "TP", "A"),
    "parietal": ("P", "PO"),
    "occipital": ("O", "I"),
}


def write_corpus_report(path: str | Path) -> Path:
    """Writes `report.html` into the folder of a corpus and returns its path; the corpus itself stays as it is.

    Shows which recordings were of no use and why, which electrodes of which recordings are bad, spectra by groups of
    electrodes, and windows that were kept and left out, with the reason. Raises InputError if `path` is no corpus.
    """
    corpus = Corpus.open(path)
    page = Page(corpus.path, f"{corpus.name}: corpus")
    splits = [corpus.windows(split, None) for split in corpus.splits]
    _summary(page, corpus)
    _splits(page, splits)
    _unusable(page, corpus)
    longest = sorted(range(len(corpus.montages)), key=lambda number: -corpus.montages[number].seconds)
    if others := longest[_MOST_MONTAGES:]:
        page.note(f"Montages with less signal: {', '.join(corpus.montages[number].name for number in others)}.")
    for number in sorted(longest[:_MOST_MONTAGES]):
        montage = corpus.montages[number]
        page.heading(f"Montage {montage.name}: {len(montage.electrodes)} electrodes")
        _quality(page, corpus, montage)
        own = [one for windows in splits for one in windows.montages if one.directory.name == montage.name]
        _spectra(page, montage, own)
        _kept(page, montage, own)
        _left_out(page, corpus, number, splits)
    return page.write()


def _summary(page: Page, corpus: Corpus) -> None:
    info, pieces = corpus.info, corpus.tables.pieces
    recordings = pieces["recording"].nunique()
    filters = ", ".join(f"{name} {value}" for name, value in (info.filters or {}).items() if value is not None)
    labels = {None: "none", "class": ", ".join(corpus.classes or ()), "vector": f"vector of {info.outputs}"}[info.label]
    rows = [
        ["recordings", f"{recordings:,} of {pieces['subject'].nunique():,} subjects"],
        ["signal", f"{pieces['samples'].sum() / RATE_HZ / 3600:,.2f} h"],
        ["pieces", f"{len(pieces):,} ({len(pieces) - recordings:,} cuts)"],
        ["labels", labels],
        ["filters", filters or "none"],
        ["splits", split_words(info.split_by)],
    ]
    page.table(["", ""], [*rows, *([["provenance", info.provenance]] if info.provenance else [])])


def _splits(page: Page, splits: list[SplitWindows]) -> None:
    rows = [
        [windows.split, len(windows.corpus.subjects(windows.split)), len(windows.corpus.recordings(windows.split)),
         len(windows), sum(windows.dropped.values())]
        for windows in splits
    ]  # fmt: skip
    seconds = sorted({windows.corpus.window_seconds(own) for windows in splits for own in windows.corpus.montages})
    page.heading("Splits")
    page.text(f"Windows of {' or '.join(map(str, seconds))} s, without overlap.")
    page.table(["split", "subjects", "recordings", "windows", "left out"], rows)
    reasons = list(dict.fromkeys(reason for windows in splits for reason in windows.dropped))
    if reasons:
        page.text("Windows left out, by reason:")
        rows = [[reason, *(windows.dropped[reason] for windows in splits)] for reason in reasons]
        page.table(["", *(windows.split for windows in splits)], rows)


def _unusable(page: Page, corpus: Corpus) -> None:
    """The recordings that were of no use, where their table is still beside the corpus."""
    file = corpus.path / RECORDINGS_FILE
    if not file.is_file():
        page.note(f"Recordings that were of no use: there is no {RECORDINGS_FILE} beside the corpus.")
        return
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    unusable = table[table["status"] == "unusable"]
    page.heading("Recordings of no use")
    if not len(unusable):
        page.text(f"None: all {len(table):,} are in the corpus.")
        return
    page.text(f"{len(unusable):,} of {len(table):,}.")
    page.table(["recording", "reason"], unusable[["recording", "reason"]].head(_MOST_RECORDINGS).to_numpy().tolist())
    if len(unusable) > _MOST_RECORDINGS:
        page.text(f"{len(unusable) - _MOST_RECORDINGS:,} more are in {RECORDINGS_FILE}.")


def _quality(page: Page, corpus: Corpus, montage: MontageInfo) -> None:
    recordings, bad, kinds = _bad_by_recording(corpus, montage)
    page.text("Seconds of electrodes that are bad, by what is wrong with them:")
    page.table(["", "share"], [[kind, f"{share:.2%}"] for kind, share in kinds.items()])
    if not bad.any():
        page.text("No electrode is bad in any second.")
        return
    worst = np.sort(np.argsort(-bad.mean(axis=1), kind="stable")[:_MOST_RECORDINGS])
    which = f"the {len(worst)} worst of {len(bad):,} recordings" if len(worst) < len(bad) else "all recordings"
    page.figure(
        f"quality-{montage.name}",
        figures.bad_seconds(bad[worst], [recordings[number] for number in worst], montage.electrodes),
        f"Share of seconds in which an electrode is bad, in {which}.",
    )


def _bad_by_recording(
    corpus: Corpus, montage: MontageInfo
) -> tuple[list[str], Float[np.ndarray, "recordings C"], dict[str, float]]:
    """Names of a montage's recordings, the share of bad seconds of their electrodes, and that of each kind in all."""
    flags, pieces = corpus.quality(montage), corpus.tables.pieces
    names, shares, kinds = [], [], Counter(dict.fromkeys(QUALITY, 0))
    for name, own in pieces[pieces["montage"] == montage.name].groupby("recording", sort=False):
        seconds = np.concatenate(
            [
                flags[first : first - (-samples // RATE_HZ)]
                for first, samples in zip(own["first_second"], own["samples"], strict=True)
            ]
        )
        names.append(str(name))
        shares.append((seconds != 0).mean(axis=0))
        kinds.update({kind: np.count_nonzero(seconds & bit) for kind, bit in QUALITY.items()})
    told = {kind: count / max(flags.size, 1) for kind, count in kinds.items()}
    return names, np.array(shares).reshape(-1, len(montage.electrodes)), told


def _spectra(page: Page, montage: MontageInfo, own: list[MontageWindows]) -> None:
    total = sum(map(len, own))
    if not total:
        page.note(f"Spectra of {montage.name}: no window can be used.")
        return
    windows = [window for one in own for window in one.read(evenly_spread(one, min(1.0, _MOST_WINDOWS / total)))]
    groups = {name: found for name in _GROUPS if (found := _members(montage.electrodes, name)).any()}
    frequencies, power = _power(windows)
    bad = np.stack([window.bad for window in windows])
    drawn = {}
    for name, members in groups.items():
        good = members[None] & ~bad
        if good.any():
            drawn[name] = power[good]
    if drawn:
        page.figure(
            f"spectra-{montage.name}",
            figures.spectra_by_group(frequencies, drawn, _HIGHEST_HZ),
            f"Power of groups of electrodes in {len(windows):,} windows: median over windows and good electrodes, and "
            "the middle half of them.",
        )


def _members(electrodes: tuple[str, ...], group: str) -> Bool[np.ndarray, "C"]:
    """Which electrodes belong to a group, by the letters before the number or the Z of their names."""
    letters = [name.upper().rstrip("0123456789H").removesuffix("Z") for name in electrodes]
    return np.array([own in _GROUPS[group] for own in letters], dtype=bool)


def _power(windows: list[Window]) -> tuple[Float[np.ndarray, "F"], Float[np.ndarray, "N C F"]]:
    """Welch's method with segments of 2 s, or the window, if shorter; without 0 Hz, up to 75 Hz."""
    eeg = np.stack([window.eeg for window in windows]).astype(np.float32)
    frequencies, power = welch(eeg, RATE_HZ, nperseg=min(eeg.shape[-1], 2 * RATE_HZ), axis=-1)
    shown = (frequencies > 0) & (frequencies <= _HIGHEST_HZ)
    return frequencies[shown], np.maximum(power[..., shown], 1e-6)


def _kept(page: Page, montage: MontageInfo, own: list[MontageWindows]) -> None:
    longest = max(own, key=len, default=None)
    if longest is None:
        return
    page.heading(f"Windows of {montage.name} that were kept", level=3)
    page.text("Each electrode less its median, bad ones in another colour; cut off where it would cover many others.")
    for number, window in enumerate(longest.read(evenly_spread(longest, min(1.0, _KEPT / len(longest))))):
        _traces(page, f"kept-{montage.name}-{number}", window, "Kept: ")


def _left_out(page: Page, corpus: Corpus, number: int, splits: list[SplitWindows]) -> None:
    montage = corpus.montages[number]
    found = dict(_examples(corpus, number, splits))
    if not found:
        return
    page.heading(f"Windows of {montage.name} that were left out", level=3)
    for reason, window in found.items():
        _traces(page, f"left-out-{montage.name}", window, f"{reason[0].upper()}{reason[1:]}: ")


def _examples(corpus: Corpus, number: int, splits: list[SplitWindows]) -> Iterator[tuple[str, Window]]:
    """A window for each reason for which some were left out."""
    montage = corpus.montages[number]
    for windows in reversed(splits):  # of a reason that several splits have, the window of the first one stays
        for reason in windows.indices[number].dropped:
            index = windows.indices[number].left_out(reason)
            source = MontageWindows(corpus.path / montage.name, montage.electrodes, corpus.signal(montage), index)
            yield reason, source[0]


def _traces(page: Page, name: str, window: Window, before: str) -> None:
    bad = ", ".join(np.array(window.electrodes)[window.bad])
    told = f"; bad: {bad}" if bad else ""
    page.figure(
        name,
        figures.traces(window.eeg, window.electrodes, window.bad),
        f"{before}recording {window.recording}, from {window.start_seconds:,.2f} s{told}.",
    )
