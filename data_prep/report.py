"""The report of a build: what was kept, what was dropped, and why; as text, as a table, and as counts."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.plan import QualityLimits
from data_prep.shard import RecordingReport
from labram_jax.data.schema import QUALITY_FILE, RECORDINGS_FILE, SPLITS, CorpusInfo

_SHOWN_UNUSABLE = 10


@dataclass(frozen=True)
class BuildReport:
    """What a build made: the corpus' description and one report for each recording; `str` is for a person."""

    out: Path
    info: CorpusInfo
    recordings: tuple[RecordingReport, ...]
    limits: QualityLimits

    @property
    def unusable(self) -> tuple[RecordingReport, ...]:
        return tuple(report for report in self.recordings if report.reason is not None)

    @property
    def windows(self) -> dict[str, int]:
        """Windows kept, by split."""
        return _in_split_order(_total(report.windows for report in self.recordings))

    @property
    def dropped(self) -> dict[str, int]:
        """Windows dropped, by reason."""
        return dict(_total(report.dropped for report in self.recordings).most_common())

    @property
    def bad_electrodes(self) -> dict[str, int]:
        """Electrodes that are bad in windows that were kept nevertheless, by kind."""
        return dict(_total(report.bad_electrodes for report in self.recordings).most_common())

    @property
    def classes(self) -> dict[str, dict[str, int]]:
        """Windows kept, by split and class."""
        splits = {split for report in self.recordings for split in report.classes}
        return _in_split_order(
            {split: dict(_total(report.classes.get(split, {}) for report in self.recordings)) for split in splits}
        )

    def counts(self) -> dict[str, Any]:
        """Returns the counts of `quality.json`."""
        notes = Counter(note for report in self.recordings for note in report.notes)
        return {
            "recordings": {"used": len(self.recordings) - len(self.unusable), "unusable": len(self.unusable)},
            "windows": self.windows,
            "classes": self.classes,
            "dropped": self.dropped,
            "bad_electrodes_in_kept_windows": self.bad_electrodes,
            "notes": dict(notes.most_common()),
            "limits": asdict(self.limits),
        }

    def write(self, folder: Path) -> None:
        """Writes `recordings.csv`, `quality.json` and, last, `corpus.json` into `folder`."""
        with (folder / RECORDINGS_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(_row(self.recordings[0])))
            writer.writeheader()
            writer.writerows(_row(report) for report in self.recordings)
        (folder / QUALITY_FILE).write_text(json.dumps(self.counts(), indent=1) + "\n", encoding="utf-8")
        self.info.write(folder)

    def __str__(self) -> str:
        used = len(self.recordings) - len(self.unusable)
        lines = [f"{self.out}: corpus {self.info.name}, {used} of {len(self.recordings)} recordings used"]
        for entry in self.info.configurations:
            splits = ", ".join(f"{split} {count}" for split, count in entry.splits.items())
            lines.append(f"  {entry.name}: windows {splits}")
        for split, classes in self.classes.items():
            lines.append(f"  {split}: {', '.join(f'{name} {count}' for name, count in classes.items())}")
        if self.dropped:
            lines.append(f"  dropped windows: {_listed(self.dropped)}")
        if self.bad_electrodes:
            lines.append(f"  bad electrodes in windows that were kept: {_listed(self.bad_electrodes)}")
        lines += [f"  note ({count} recordings): {note}" for note, count in self.counts()["notes"].items()]
        lines += [f"  unusable: {report.why_unusable()}" for report in self.unusable[:_SHOWN_UNUSABLE]]
        if len(self.unusable) > _SHOWN_UNUSABLE:
            lines.append(f"  ... and {len(self.unusable) - _SHOWN_UNUSABLE} more, in {self.out / RECORDINGS_FILE}")
        return "\n".join(lines)


def _row(report: RecordingReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "recording": report.recording,
        "subject": report.subject,
        "status": "used" if report.reason is None else "unusable",
        "reason": report.reason or "",
        "electrodes": report.electrodes,
        "seconds": round(report.seconds, 3),
        **{split: report.windows.get(split, 0) for split in SPLITS},
        "dropped": sum(report.dropped.values()),
        "dropped_why": _listed(report.dropped),
        "bad_electrodes": _listed(report.bad_electrodes),
        "notes": " ".join(report.notes),
    }


def _listed(counts: dict[str, int]) -> str:
    return "; ".join(f"{reason} {count}" for reason, count in counts.items())


def _total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total = Counter()
    for entry in counts:
        total.update(entry)
    return total


def _in_split_order(values: dict[str, Any]) -> dict[str, Any]:
    return {split: values[split] for split in SPLITS if values.get(split)}
