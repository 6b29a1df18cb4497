"""What a corpus looks like on disk: its files, its description, its tables, and the fields of a record.

    OUT/corpus.json       the description (`CorpusInfo`)
    OUT/pieces.csv        one line a piece: a continuous stretch of one recording (`PIECE_COLUMNS`)
    OUT/spans.csv         one line a span: a stretch of a recording with a split and a label (`SPAN_COLUMNS`)
    OUT/excluded.csv      stretches that annotations declare bad: no window touches them (`EXCLUDED_COLUMNS`)
    OUT/recordings.csv    one line a recording: what was used of it, and why not
    OUT/quality.json      the counts of the preparation's report
    OUT/<montage>/        one TFDS directory for each montage, with one record for each RECORD_SECONDS of a piece
    OUT/<montage>/quality.npy   uint8 [seconds, C]: flags (`QUALITY`) of every second of every electrode
    OUT/codes/            codes that a tokenizer gave the windows, if they are kept (`labram_jax.data.codes`)

The signal is stored once; windows are cut from it when it is read. Preparation writes these files and training reads
them, so this file imports neither JAX nor Grain.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from labram_jax.errors import DamageError, InputError
from labram_jax.jsonfile import SEAL, built, read_json, sealed
from labram_jax.montage import MAX_SECONDS

FORMAT = 2
CORPUS_FILE = "corpus.json"
PIECES_FILE = "pieces.csv"
SPANS_FILE = "spans.csv"
EXCLUDED_FILE = "excluded.csv"
RECORDINGS_FILE = "recordings.csv"
COUNTS_FILE = "quality.json"
QUALITY_FILE = "quality.npy"
CODES_FOLDER = "codes"
FEATURES_FOLDER = "features"

# A piece begins `start_seconds` after its recording does and has `samples` samples at 200 Hz. Its first record is
# number `first_record` of its montage, and its first second has row `first_second` of quality.npy.
PIECE_COLUMNS = ("montage", "recording", "subject", "start_seconds", "samples", "first_record", "first_second")
# `start` and `stop` are seconds from the recording's start; an empty `stop` is its end. The label follows, in one
# column `label` (the index of a class, empty where there is none) or in `label_0`, `label_1`, ... (a vector).
SPAN_COLUMNS = ("recording", "subject", "split", "start", "stop")
EXCLUDED_COLUMNS = ("recording", "start", "stop", "reason")

SPLITS = ("train", "validation", "test")
DTYPES = ("float16", "float32")
RATE_HZ = 200
SAMPLES = 200  # of a patch: one second
UNITS = "microvolts"
NO_CLASS = -1  # the class index of a window without a label; in a vector, NaN

# Windows of one second apart read fastest from records of this length; from records of 4 s others take a fifth less
# processor time, for up to a third more bytes (`python benchmarks/data.py`). A window of w seconds reads less than
# w + 2 * RECORD_SECONDS of them.
RECORD_SECONDS = 2
RECORD_SAMPLES = RECORD_SECONDS * SAMPLES
SIGNAL = "signal"  # the one TFDS split of a montage

# What may be wrong with a second of an electrode, as bits of quality.npy.
QUALITY = MappingProxyType(
    {
        "flat": 1,
        "implausible amplitude": 2,
        "clipped": 4,
        "lost": 8,  # not finite in the recording, or beyond what the stored type holds
        "marked bad": 16,  # by the recording, its sidecar, or the user: for all of its seconds
    }
)

_MOST_OUTPUTS = 100_000
ADVICE = "copy or prepare the corpus again"

# `dataset` and `array_record` are fixed so that the name of a shard follows from its number alone.
_DATASET = "pieces"


@dataclasses.dataclass(frozen=True)
class QualityLimits:
    """Where a second of an electrode is bad, and when a window is no longer used.

    A second is bad where it is flat (standard deviation below `flat_microvolts`), implausibly large (a filtered sample
    beyond `peak_microvolts`, or a standard deviation above `outlier_microvolts` and `outlier_ratio` times that of most
    electrodes in this second), or clipped (more than `clipped_fraction` of it lies in runs of `clipped_samples` equal
    samples at the recording's extremes, before filtering). An electrode with a bad second is bad in every window that
    holds this second. A window is dropped when more than the share `bad_electrodes` of its electrodes is bad, those
    marked bad left out of the count; None asks for finite samples alone (`FINITE_ONLY`): no electrode is judged, and a
    window with a lost second is dropped.
    """

    bad_electrodes: float | None = 0.1
    flat_microvolts: float = 0.1
    peak_microvolts: float = 2000.0
    outlier_microvolts: float = 200.0
    outlier_ratio: float = 10.0
    clipped_fraction: float = 0.02
    clipped_samples: int = 5


# Published protocols drop nothing, so a window that others would call bad still counts in their scores.
FINITE_ONLY = QualityLimits(bad_electrodes=None)


@dataclasses.dataclass(frozen=True)
class MontageInfo:
    """One montage of a corpus: its folder, its ordered electrodes, and the seconds of signal stored for it."""

    name: str
    electrodes: tuple[str, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class CorpusInfo:
    """The description of a corpus, as `corpus.json` holds it.

    `label` says what a span's label is: "class" (an index into `classes`), "vector" (`outputs` float32 values), or None
    (no span has a label). `dtype` is that of the stored samples. `window_seconds` is the window of the corpus'
    protocol, None where it has none. `split_by` says how its splits came about ("subject", "time", ...), `subjects`
    what subjects each split has. `filters` and `provenance` are for people. `digests` are sha256 of tables and flags by
    their names, and of each montage's signal as "MONTAGE/signal"; `digest`, by which the corpus is known, is that of
    the whole description with them. Corpora of earlier versions have neither.
    """

    name: str
    montages: tuple[MontageInfo, ...]
    classes: tuple[str, ...] | None = None
    label: str | None = None
    outputs: int | None = None
    dtype: str = "float16"
    quality: QualityLimits = QualityLimits()
    window_seconds: int | None = None
    split_by: str = "subject"
    subjects: dict[str, int] = dataclasses.field(default_factory=dict)
    filters: dict[str, Any] | None = None
    provenance: str = ""
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    digest: str = ""

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of `spans.csv` that hold the label."""
        vector = tuple(f"label_{index}" for index in range(self.outputs or 0))
        return {None: (), "class": ("label",), "vector": vector}[self.label]

    def write(self, folder: Path) -> None:
        """Writes `corpus.json` into `folder`, under a temporary name first."""
        partial = folder / f"{CORPUS_FILE}.partial"
        partial.write_text(json.dumps(self._content(), indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / CORPUS_FILE)

    def with_digests(self, digests: Mapping[str, str]) -> "CorpusInfo":
        """The description of a corpus whose tables, flags and signal have these `digests`."""
        info = dataclasses.replace(self, digests=dict(digests))
        return dataclasses.replace(info, digest=sealed(info._content())[SEAL])

    def check_file(self, folder: Path, name: str) -> None:
        """Raises DamageError where the file `name` of the corpus in `folder` is not the one that was written."""
        expected = self.digests.get(name)
        if expected is not None and file_digest(folder / name) != expected:
            raise DamageError(f"{folder / name} is not what `prepare` wrote", ADVICE)

    def _content(self) -> dict[str, Any]:
        return {"format": FORMAT, "rate_hz": RATE_HZ, "units": UNITS, **dataclasses.asdict(self)}

    @classmethod
    def read(cls, folder: Path) -> "CorpusInfo":
        """Reads `folder/corpus.json`; a missing folder, a foreign file, another format are `InputError`s."""
        content = _read_json(folder)
        if content.get("format") == 1:
            raise InputError(
                f"The corpus {folder} was prepared by an earlier version, which stored windows: prepare it anew from "
                "its recordings (`labram-jax prepare`, without --window-seconds and --stride-seconds, which are now "
                "chosen when windows are read: data.window_seconds, data.stride_seconds)."
            )
        if content.get("format") != FORMAT:
            raise InputError(
                f"The corpus {folder} has format {content.get('format')!r}, but this version reads {FORMAT}: "
                "prepare the corpus again with this version."
            )
        expected = {"rate_hz": RATE_HZ, "units": UNITS}
        found = {key: content.get(key) for key in expected}
        if found != expected:
            raise InputError(f"{folder / CORPUS_FILE} says {found}, not {expected}: prepare the corpus again.")
        known = {field.name for field in dataclasses.fields(CorpusInfo)}
        try:
            info = built(cls, {name: value for name, value in content.items() if name in known}, "it")
            _check(info)
        except InputError as error:
            raise DamageError(f"{folder / CORPUS_FILE} is damaged ({str(error).rstrip('.')})", ADVICE) from error
        if info.digest and sealed(content)[SEAL] != info.digest:
            raise DamageError(f"{folder / CORPUS_FILE} is not what `prepare` wrote", ADVICE)
        return info


def _check(info: CorpusInfo) -> None:
    """Raises InputError where what a description says cannot be."""
    names = [montage.name for montage in info.montages]
    folders = all(name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name) for name in names)
    for wrong, what in (
        (len(set(names)) < len(names), "two montages of one name"),
        (not folders, "a montage whose name is that of no folder"),
        (not all(0 <= montage.seconds < math.inf for montage in info.montages), "a montage of no length"),
        (info.dtype not in DTYPES, f"signal of the type {info.dtype!r}"),
        (info.label not in (None, "class", "vector"), f"labels of the kind {info.label!r}"),
        (info.label == "class" and not info.classes, "labels without classes"),
        (info.label == "vector" and not 0 < (info.outputs or 0) <= _MOST_OUTPUTS, f"{info.outputs} quantities"),
        (not 1 <= (info.window_seconds or 1) <= MAX_SECONDS, f"windows of {info.window_seconds} s"),
    ):
        if wrong:
            raise InputError(f"It says {what}.")


def record_features(electrodes: int, dtype: str):
    """Returns the TFDS features of a record: `RECORD_SECONDS` of a piece of `electrodes` electrodes.

    `eeg` [electrodes, RECORD_SAMPLES] in microvolts and `dtype` ("float16" or "float32"), zero behind the end of the
    piece; `recording` (text) and `start_seconds` (float32, from the recording's start) say where it is from. The EEG
    is stored as bytes: by default TFDS would turn each sample into an element of a list.
    """
    import tensorflow_datasets as tfds

    if dtype not in DTYPES:
        raise InputError(f"Signal cannot be stored as {dtype!r}: choose one of {', '.join(DTYPES)}.")
    return tfds.features.FeaturesDict(
        {
            "eeg": tfds.features.Tensor(
                shape=(electrodes, RECORD_SAMPLES),
                dtype=np.dtype(dtype),
                encoding=tfds.features.Encoding.BYTES,
            ),
            "recording": tfds.features.Text(),
            "start_seconds": tfds.features.Scalar(dtype=np.float32),
        }
    )


def file_digest(path: Path) -> str:
    """Returns the sha256 of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_words(split_by: str) -> str:
    """Says how splits came about (`CorpusInfo.split_by`), for a person."""
    return {"given": "split as it was given", "none": "not split"}.get(split_by, f"split by {split_by}")


def shard_name(shard: int, shards: int) -> str:
    """Returns the file name of shard `shard` of `shards` (from 0) of a montage, as TFDS expects it."""
    return f"{_DATASET}-{SIGNAL}.array_record-{shard:05d}-of-{shards:05d}"


def check_features(directory: Path) -> None:
    """Raises DamageError where the features of a montage's records are of a kind that is never written here.

    TFDS imports the classes that this file names, which may be any.
    """
    known = set(_classes(record_features(1, DTYPES[0]).to_json()))
    path = directory / "features.json"
    foreign = sorted(set(_classes(read_json(path, ADVICE))) - known)
    if foreign:
        raise DamageError(f"{path} names {foreign[0]!r}, which no corpus needs and was not imported", ADVICE)


def _classes(content: Any) -> Iterator[str]:
    """The classes that the JSON of features names, wherever in it."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in ("type", "pythonClassName"):
                yield str(value)
            yield from _classes(value)
    elif isinstance(content, list):
        for value in content:
            yield from _classes(value)


def _read_json(folder: Path) -> Mapping[str, Any]:
    path = folder / CORPUS_FILE
    if not folder.exists():
        raise InputError(f"There is no corpus {folder}: give the folder that `labram-jax prepare` wrote.")
    if not path.is_file():
        raise InputError(f"{folder} is not a corpus (it holds no {CORPUS_FILE}): make one with `labram-jax prepare`.")
    return read_json(path, ADVICE)
