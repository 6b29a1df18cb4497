"""The report of a build: what was used, what windows it gives, and what was wrong; as text, tables and counts."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labram_jax.data.schema import (
    COUNTS_FILE,
    NO_CLASS,
    QUALITY_FILE,
    RATE_HZ,
    RECORDINGS_FILE,
    SPLITS,
    CorpusInfo,
    split_words,
)
from labram_jax.data.tables import Tables
from labram_jax.data.windows import WindowIndex, default_seconds
from labram_jax.data_prep.shard import RecordingReport

_SHOWN = 10  # of a list that may be long
_SHOWN_SUBJECTS = 20


@dataclass
class WindowCounts:
    """The windows of a corpus' own length, one behind the other, by split, class, and reason to be left out.

    `seconds` are the lengths that occur. `bad_electrodes` counts, by kind, the bad electrodes of windows that are kept.
    """

    seconds: tuple[int, ...] = ()
    windows: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    bad_electrodes: Counter[str] = field(default_factory=Counter)


def count_windows(folder: Path, info: CorpusInfo, tables: Tables) -> WindowCounts:
    """Counts the windows of the corpus in `folder`, of its protocol's length or that of about 256 patches."""
    counts, lengths = WindowCounts(), set()
    splits = [split for split in SPLITS if (tables.spans["split"] == split).any()]
    for montage in info.montages:
        quality = np.load(folder / montage.name / QUALITY_FILE, mmap_mode="r")
        seconds = info.window_seconds or default_seconds(len(montage.electrodes))
        lengths.add(seconds)
        for split in splits:
            index = WindowIndex(montage.name, info, tables, quality, split, seconds)
            counts.windows[split] += len(index)
            counts.dropped += index.dropped
            counts.bad_electrodes += index.bad_electrodes
            if info.label == "class":
                labels, found = np.unique(index.window_labels(), return_counts=True)
                names = ["no label" if label == NO_CLASS else info.classes[label] for label in labels]
                counts.classes.setdefault(split, Counter()).update(dict(zip(names, found.tolist(), strict=True)))
    counts.seconds = tuple(sorted(lengths))
    return counts


@dataclass(frozen=True)
class BuildReport:
    """What a build made: the corpus' description and one report for each recording; `str` is for a person."""

    out: Path
    info: CorpusInfo
    recordings: tuple[RecordingReport, ...]
    tables: Tables
    counted: WindowCounts

    @property
    def unusable(self) -> tuple[RecordingReport, ...]:
        return tuple(report for report in self.recordings if report.reason is not None)

    @property
    def windows(self) -> dict[str, int]:
        """Windows of the corpus' own length, by split."""
        return dict(self.counted.windows)

    @property
    def classes(self) -> dict[str, dict[str, int]]:
        """These windows, by split and class."""
        return {split: dict(counts) for split, counts in self.counted.classes.items()}

    @property
    def dropped(self) -> dict[str, int]:
        """Windows of this length that cannot be used, by reason."""
        return dict(self.counted.dropped.most_common())

    @property
    def subjects(self) -> dict[str, list[str]]:
        """The subjects of each split, sorted."""
        spans = self.tables.spans
        found = {split: sorted(spans["subject"][spans["split"] == split].unique()) for split in SPLITS}
        return {split: names for split, names in found.items() if names}

    @property
    def notes(self) -> dict[str, int]:
        """How many recordings each note is about, most frequent first."""
        return dict(Counter(note for report in self.recordings for note in report.notes).most_common())

    def split_seconds(self) -> dict[str, dict[str, float]]:
        """Seconds of signal of each recording in each split."""
        pieces = {
            name: [(start, start + samples / RATE_HZ) for start, samples in rows]
            for name, rows in ((report.recording, report.pieces) for report in self.recordings)
        }
        spans = self.tables.spans
        groups = spans.groupby(["recording", "split"], sort=False)[["start", "stop"]]
        seconds: dict[str, dict[str, float]] = {}
        for (name, split), rows in groups:
            seconds.setdefault(name, {})[split] = _shared_seconds(_union(rows), pieces[name])
        return seconds

    def counts(self) -> dict[str, Any]:
        """Returns the counts of `quality.json`."""
        used = [report for report in self.recordings if report.reason is None]
        return {
            "recordings": {"used": len(used), "unusable": len(self.unusable)},
            "pieces": len(self.tables.pieces),
            "hours": self._hours(),
            "lost_seconds": round(sum(report.lost_seconds for report in used), 3),
            "subjects": {split: len(names) for split, names in self.subjects.items()},
            "window_seconds": list(self.counted.seconds),
            "windows": self.windows,
            "classes": self.classes,
            "dropped": self.dropped,
            "bad_electrodes_in_kept_windows": dict(self.counted.bad_electrodes.most_common()),
            "bad_electrode_seconds": dict(_total(report.bad_seconds for report in used).most_common()),
            "notes": self.notes,
            "limits": asdict(self.info.quality),
        }

    def write(self, folder: Path) -> None:
        """Writes `recordings.csv`, `quality.json` and, last, `corpus.json` into `folder`."""
        seconds = self.split_seconds()
        rows = [_row(report, seconds.get(report.recording, {})) for report in self.recordings]
        with (folder / RECORDINGS_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        (folder / COUNTS_FILE).write_text(json.dumps(self.counts(), indent=1) + "\n", encoding="utf-8")
        self.info.write(folder)

    def __str__(self) -> str:
        lines = [
            f"{self.out}: corpus {self.info.name}, {len(self.recordings) - len(self.unusable)} of "
            f"{len(self.recordings)} recordings used"
        ]
        lines += [self._montage_line(montage.name, len(montage.electrodes)) for montage in self.info.montages]
        lines += self._split_lines()
        if self.dropped:
            lines.append(f"  windows that cannot be used: {_listed(self.dropped)}")
        if self.counted.bad_electrodes:
            lines.append(f"  bad electrodes in the others: {_listed(self.counted.bad_electrodes)}")
        notes = [f"  note ({_number(count, 'recording')}): {note}" for note, count in self.notes.items()]
        lines += _shortened(notes, self.out)
        lines += _shortened([f"  unusable: {report.why_unusable()}" for report in self.unusable], self.out)
        return "\n".join(lines)

    def _montage_line(self, name: str, electrodes: int) -> str:
        pieces = self.tables.pieces[self.tables.pieces["montage"] == name]
        recordings, hours = pieces["recording"].nunique(), pieces["samples"].sum() / RATE_HZ / 3600
        return (
            f"  {name}: {_number(electrodes, 'electrode')}, {hours:.2f} h, {_number(recordings, 'recording')} in "
            f"{_number(len(pieces), 'piece')} ({_number(len(pieces) - recordings, 'cut')})"
        )

    def _split_lines(self) -> list[str]:
        hours, subjects = self._hours(), self.subjects
        shared = len({name for names in subjects.values() for name in names}) < sum(map(len, subjects.values()))
        within = ": within subjects, who are in several splits" if shared else ""
        lines = [f"  {split_words(self.info.split_by)}{within}"]
        length = " or ".join(f"{seconds} s" for seconds in self.counted.seconds)
        for split, names in subjects.items():
            named = f" ({', '.join(names)})" if len(names) <= _SHOWN_SUBJECTS else ""
            lines.append(
                f"  {split}: {hours[split]:.2f} h, {_number(self.counted.windows[split], 'window')} of {length}, "
                f"{_number(len(names), 'subject')}{named}"
            )
            if self.classes.get(split):
                lines.append(f"    {_listed(self.classes[split])}")
        return lines

    def _hours(self) -> dict[str, float]:
        seconds = _total(self.split_seconds().values())
        return {split: round(seconds[split] / 3600, 4) for split in SPLITS if split in self.subjects}


def _row(report: RecordingReport, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Returns a recording's line of `recordings.csv`; `seconds` of signal in each split."""
    return {
        "path": report.path,
        "recording": report.recording,
        "subject": report.subject,
        "status": "used" if report.reason is None else "unusable",
        "reason": report.reason or "",
        "electrodes": report.electrodes,
        "seconds": round(report.seconds, 3),
        "pieces": len(report.pieces),
        "lost_seconds": round(report.lost_seconds, 3),
        **{split: round(seconds.get(split, 0.0), 3) for split in SPLITS},
        "bad_electrodes": _listed(report.bad_seconds),
        "notes": " ".join(report.notes),
    }


def _union(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Returns the stretches that some spans cover, each second once."""
    covered: list[tuple[float, float]] = []
    for start, stop in rows.fillna({"stop": np.inf}).sort_values("start").itertuples(index=False):
        if covered and start <= covered[-1][1]:
            covered[-1] = (covered[-1][0], max(stop, covered[-1][1]))
        else:
            covered.append((start, stop))
    return covered


def _shared_seconds(left: Sequence[tuple[float, float]], right: Sequence[tuple[float, float]]) -> float:
    """Returns how many seconds two sets of stretches share, both in order and each without overlaps."""
    seconds, place = 0.0, 0
    for start, stop in left:
        while place < len(right) and right[place][1] <= start:
            place += 1
        for begin, end in right[place:]:
            if begin >= stop:
                break
            seconds += min(stop, end) - max(start, begin)
    return seconds


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{reason} {count}" for reason, count in counts.items())


def _shortened(lines: list[str], out: Path) -> list[str]:
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"  ... and {len(lines) - _SHOWN} more, in {out / RECORDINGS_FILE}"]


def _total(counts: Iterable[Mapping[str, Any]]) -> Counter[str]:
    total = Counter()
    for entry in counts:
        total.update(entry)
    return total
