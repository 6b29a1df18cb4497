"""A folder of one's own recordings, in any EEG format that MNE reads: BIDS, with a manifest, or as they lie.

    labram-jax prepare folder RECORDINGS OUT
    labram-jax prepare folder RECORDINGS OUT --manifest labels.csv
    labram-jax prepare folder BIDS_DATASET OUT --events-column trial_type

Every recording below the folder is taken once, whatever links there are, and as one where it is kept in parts; hidden
files, `derivatives` and `sourcedata` are left out. Who was recorded is never guessed: the manifest says it (column
subject), `--subject-pattern`, or a BIDS name (sub-XX); without any of them a split by subject is refused.

With a manifest only what it lists is taken, one stretch a line, in these columns, of which only path is required: path
(from RECORDINGS), subject, split (train, validation or test), start and stop (seconds; empty: its start and end), and
label (names or whole numbers: classes; 0.5 or 1.0: a quantity), or label_0, label_1, ... (quantities).

In a BIDS dataset `channels.tsv` says which channels are EEG and which are bad; labels come from `events.tsv` or
`participants.tsv` on request. Subjects with the same labels are spread evenly over the splits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labram_jax.data.schema import RATE_HZ
from labram_jax.data_prep.options import RecordingOptions, SplitOptions
from labram_jax.data_prep.readers import bids
from labram_jax.data_prep.sources.files import (
    FOLDER_SUFFIXES,
    SUFFIXES,
    Unusable,
    below,
    existing_folder,
    find_recordings,
    recording_names,
)
from labram_jax.data_prep.sources.manifest import read_manifest, sorted_classes
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of
from labram_jax.errors import InputError
from labram_jax.montage import MAX_SECONDS

SOURCE = "the folder with the recordings"
FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class Options(SplitOptions, RecordingOptions):
    """What may be asked for when preparing a folder of recordings."""

    split_by: Literal["subject", "time", "none"] | None = None
    """Whole subjects to one split (the default), time within each recording, or all to train; left out where the
    manifest says the splits. By default 0.8, 0.1 and 0.1 go to train, validation and test."""
    manifest: Path | None = None
    """A CSV file with one line for each stretch of a recording: path, subject, split, label, start, stop (seconds)."""
    subject_pattern: str | None = None
    """Where the path of a recording (below SOURCE) says its subject, as a regular expression: what its first group
    finds, else the whole match."""
    events_column: str | None = None
    """BIDS: label stretches of recordings by this column of events.tsv, such as trial_type."""
    event_seconds: float | None = None
    """How long a labelled event lasts, in seconds; by default as long as its duration in events.tsv says."""
    participants_column: str | None = None
    """BIDS: label recordings by this column of participants.tsv, such as group."""

    def __post_init__(self):
        super().__post_init__()
        labels = ("manifest", "events_column", "participants_column")
        if len(given := [name for name in labels if getattr(self, name) is not None]) > 1:
            raise InputError(f"{' and '.join(given)} both say what is to be learnt: give one of them.")
        if self.event_seconds is not None and (self.events_column is None or not self.event_seconds > 0):
            raise InputError(f"event_seconds = {self.event_seconds}: give a time above 0 s, with events_column.")
        try:
            re.compile(self.subject_pattern or "")
        except re.error as error:
            raise InputError(f"subject_pattern {self.subject_pattern!r} is no regular expression ({error}).") from None


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of a folder of recordings.

    Raises:
      InputError: the folder is absent or holds no recording, the manifest cannot be used, or subjects are unknown.
    """
    if source is not None and source.is_file():
        raise InputError(f"{source} is one file; give the folder that it lies in.")
    root = existing_folder(source, "folder", SOURCE)
    if options.manifest is None:
        paths, unusable = find_recordings(root)
        names = recording_names(paths, root)
        spans = [Span(path, names[path]) for path in paths]
        if not spans and not unusable:
            raise InputError(
                f"{root} holds no EEG recording ({', '.join(SUFFIXES + FOLDER_SUFFIXES)}; hidden files, derivatives "
                "and sourcedata do not count); give the folder that does."
            )
        spans, classes = _labelled(spans, options, unusable)
    else:
        spans, classes = manifest_spans(options.manifest, root)
        unusable = []
    spans = [named for span in spans if (named := _with_subject(span, root, options, unusable))]
    return CorpusTable(
        root.resolve().name or "folder",
        rows_of(spans),
        _split(spans, options),
        options.recipe(open=bids.open_bids),
        classes,
        _window_seconds(spans) if options.events_column else None,
        unusable=tuple(dict(unusable).items()),
        provenance=f"recordings of the folder {root.resolve().name}",
    )


def manifest_spans(file: Path, root: Path) -> tuple[list[Span], tuple[str, ...] | None]:
    """Returns the spans that a manifest lists, and its classes."""
    lines, classes = read_manifest(file, root)
    names = recording_names(lines["path"].unique(), root)
    return [Span(path, names[path], *rest) for path, *rest in lines.itertuples(index=False, name=None)], classes


def _labelled(
    spans: Sequence[Span], options: Options, unusable: list[Unusable]
) -> tuple[list[Span], tuple[str, ...] | None]:
    """Gives recordings the labels of their BIDS dataset, if any are asked for; what has none becomes unusable."""
    if options.events_column is None and options.participants_column is None:
        return list(spans), None
    found: list[Span] = []
    for span in spans:
        try:
            found += _events(span, options) if options.events_column else [_participant(span, options)]
        except InputError as error:
            unusable.append((str(span.path), str(error)))
    labels, classes = sorted_classes([span.label for span in found])
    return [span._replace(label=label) for span, label in zip(found, labels, strict=True)], classes


def _participant(span: Span, options: Options) -> Span:
    return span._replace(label=bids.participant_value(span.path, options.participants_column))


def _events(span: Span, options: Options) -> list[Span]:
    events = bids.read_events(span.path, options.events_column)
    lasting = [event for event in events if (options.event_seconds or event.duration_seconds) > 0]
    if not lasting:
        raise InputError(f"The {len(events)} events of {span.path} last 0 s: say how long they are (event_seconds).")
    # Windows begin on the grid of 200 Hz; an event off it would lose the last one for want of a sample.
    starts = [round(event.start_seconds * RATE_HZ) / RATE_HZ for event in lasting]
    return [
        span._replace(start=start, stop=start + (options.event_seconds or event.duration_seconds), label=event.text)
        for start, event in zip(starts, lasting, strict=True)
    ]


def _with_subject(span: Span, root: Path, options: Options, unusable: list[Unusable]) -> Span | None:
    """Adds the subject where the manifest does not say it; None where the pattern finds none."""
    if span.subject is not None:
        return span
    relative = below(span.path, root)
    if options.subject_pattern is None:
        return span._replace(subject=bids.subject_of(Path(relative)))
    match = re.search(options.subject_pattern, relative)
    subject = match and (match[1] if match.re.groups else match[0])
    if not subject:
        unusable.append((str(span.path), f"The subject pattern {options.subject_pattern!r} finds none in {relative}."))
        return None
    return span._replace(subject=subject)


def _split(spans: Sequence[Span], options: Options) -> Split:
    if any(span.split is not None for span in spans):
        if options.split_by is not None or options.fractions is not None:
            raise InputError("The manifest says the split of every line already; leave split_by and fractions out.")
        by = "given"
    else:
        by = options.split_by or "subject"
    return options.split(by, FRACTIONS, events=options.events_column is not None)


def _window_seconds(spans: Sequence[Span]) -> int | None:
    """Returns how long all events are, where that is one length which a window can have."""
    lengths = {round(span.stop - span.start, 6) for span in spans}
    length = lengths.pop() if len(lengths) == 1 else 0.0
    return int(length) if length.is_integer() and 1 <= length <= MAX_SECONDS else None
