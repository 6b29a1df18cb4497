"""What a corpus looks like on disk: its files, its description, and the fields of a record.

    OUT/corpus.json       the description (`CorpusInfo`)
    OUT/recordings.csv    one line a recording: what was kept, dropped, and why
    OUT/quality.json      the counts of the preparation's report
    OUT/<configuration>/  one TFDS directory for each montage and window length

Preparation writes these and training reads them, so this file imports neither JAX nor Grain.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labram_jax.errors import InputError

FORMAT = 1
CORPUS_FILE = "corpus.json"
RECORDINGS_FILE = "recordings.csv"
QUALITY_FILE = "quality.json"

SPLITS = ("train", "validation", "test")
DTYPES = ("float16", "float32")
RATE_HZ = 200
SAMPLES = 200  # of a patch: one second
UNITS = "microvolts"
NO_CLASS = -1  # the class index of a window without a label; in a vector, NaN

# `dataset` and `array_record` are fixed so that the name of a shard follows from its split and number alone.
_DATASET = "windows"


@dataclasses.dataclass(frozen=True)
class ConfigurationInfo:
    """One montage at one window length: its folder, its ordered electrodes, and its windows per split."""

    name: str
    electrodes: tuple[str, ...]
    patches_per_electrode: int
    splits: dict[str, int]

    @property
    def patches(self) -> int:
        """Patches of one window: electrodes x seconds."""
        return len(self.electrodes) * self.patches_per_electrode


@dataclasses.dataclass(frozen=True)
class CorpusInfo:
    """The description of a corpus, as `corpus.json` holds it.

    `label` says what a record's label is: "class" (an index into `classes`), "vector" (`outputs` float32
    values), or None (records have no label). `filters` and `provenance` are for people.
    """

    name: str
    configurations: tuple[ConfigurationInfo, ...]
    classes: tuple[str, ...] | None = None
    label: str | None = None
    outputs: int | None = None
    filters: dict[str, Any] | None = None
    provenance: str = ""

    def write(self, folder: Path) -> None:
        """Writes `corpus.json` into `folder`, under a temporary name first."""
        content = {"format": FORMAT, "rate_hz": RATE_HZ, "units": UNITS, **dataclasses.asdict(self)}
        partial = folder / f"{CORPUS_FILE}.partial"
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / CORPUS_FILE)

    @classmethod
    def read(cls, folder: Path) -> "CorpusInfo":
        """Reads `folder/corpus.json`; a missing folder, a foreign file, another format are `InputError`s."""
        content = _read_json(folder)
        if content.get("format") != FORMAT:
            raise InputError(
                f"The corpus {folder} has format {content.get('format')!r}, but this version reads {FORMAT}: "
                "prepare the corpus again with this version."
            )
        expected = {"rate_hz": RATE_HZ, "units": UNITS}
        found = {key: content.get(key) for key in expected}
        if found != expected:
            raise InputError(f"{folder / CORPUS_FILE} says {found}, not {expected}: prepare the corpus again.")
        try:
            return _from_content(content)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / CORPUS_FILE} is damaged ({type(error).__name__}: {error}): prepare it again."
            ) from error


def record_features(electrodes: int, patches: int, dtype: str, label: str | None, outputs: int | None = None):
    """Returns the TFDS features of a window of `electrodes` x `patches` seconds.

    `eeg` [electrodes, patches * 200] in microvolts and `dtype` ("float16" or "float32"), `label` (int64
    class index if `label` is "class", float32 [outputs] if "vector", no such field if None), `subject`,
    `recording` (text), and `start_seconds` float32. The EEG is stored as bytes: by default TFDS would turn
    each sample into an element of a list.
    """
    import tensorflow_datasets as tfds

    if dtype not in DTYPES:
        raise InputError(f"A window cannot be stored as {dtype!r}: choose one of {', '.join(DTYPES)}.")
    fields = {
        "eeg": tfds.features.Tensor(
            shape=(electrodes, patches * SAMPLES),
            dtype=np.dtype(dtype),
            encoding=tfds.features.Encoding.BYTES,
        ),
        "subject": tfds.features.Text(),
        "recording": tfds.features.Text(),
        "start_seconds": tfds.features.Scalar(dtype=np.float32),
    }
    if label == "class":
        fields["label"] = tfds.features.Scalar(dtype=np.int64)
    elif label == "vector":
        fields["label"] = tfds.features.Tensor(shape=(outputs,), dtype=np.float32)
    elif label is not None:
        raise ValueError(f'label is {label!r}, not "class", "vector" or None')
    return tfds.features.FeaturesDict(fields)


def shard_name(split: str, shard: int, shards: int) -> str:
    """Returns the file name of shard `shard` of `shards` (from 0) of a split, as TFDS expects it."""
    return f"{_DATASET}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def _read_json(folder: Path) -> Mapping[str, Any]:
    path = folder / CORPUS_FILE
    if not folder.exists():
        raise InputError(f"There is no corpus {folder}: give the folder that `labram-jax prepare` wrote.")
    if not path.is_file():
        raise InputError(f"{folder} is not a corpus (it holds no {CORPUS_FILE}): make one with `labram-jax prepare`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): prepare the corpus again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not the description of a corpus: prepare the corpus again.")
    return content


def _from_content(content: Mapping[str, Any]) -> CorpusInfo:
    fields = {field.name: content[field.name] for field in dataclasses.fields(CorpusInfo)}
    fields["configurations"] = tuple(
        ConfigurationInfo(
            name=str(entry["name"]),
            electrodes=tuple(entry["electrodes"]),
            patches_per_electrode=int(entry["patches_per_electrode"]),
            splits={split: int(count) for split, count in entry["splits"].items()},
        )
        for entry in content["configurations"]
    )
    fields["classes"] = None if content["classes"] is None else tuple(content["classes"])
    return CorpusInfo(**fields)
