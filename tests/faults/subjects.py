"""What is damaged: small files of every format that is read, and how each is read."""

import contextlib
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import mne
import numpy as np
import tensorflow_datasets as tfds
from file_writers import Signal, stamp, write_edf, write_gdf, write_persyst
from made_corpora import without_digests

from labram_jax.data.corpus import Corpus
from labram_jax.data_prep.build import build
from labram_jax.data_prep.cleaning.clean import clean
from labram_jax.data_prep.corpora import folder, official_hdf5, official_pickles
from labram_jax.data_prep.readers.bids import open_bids
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.sources.manifest import read_manifest
from labram_jax.data_prep.summary import inspect
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of
from labram_jax.errors import InputError
from labram_jax.montage import ELECTRODES
from tests.faults import model_subjects

RECORDED = (
    *("edf", "bdf", "gdf", "persyst", "fif", "eeglab", "brainvision", "bids", "hdf5", "pickle", "manifest", "corpus"),
)
RATE, SECONDS = 200, 4
NAMES = ("Fp1", "Fp2", "C3", "C4")


@dataclass(frozen=True)
class Subject:
    """Files below a folder of which one is damaged, and what reads them (given that folder).

    `apart`: they are read on a device, whose threads a process that forks must not have.
    """

    files: tuple[Path, ...]
    read: Callable[[Path], None]
    apart: bool = False


def noise(channels: int = len(NAMES)) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=20, size=(channels, RATE * SECONDS))


def raw() -> mne.io.RawArray:
    made = mne.io.RawArray(noise() * 1e-6, mne.create_info(list(NAMES), RATE, "eeg"), verbose="ERROR")
    return made.set_annotations(mne.Annotations([1.0, 2.0], [0.5, 0.0], ["BAD_x", "boundary"]))


def read_recording(path: Path) -> None:
    """As `inspect` and `prepare` do; in the latter whatever a recording raises is its reason."""
    inspect(path)
    try:
        clean(open_bids(path), Recipe())
    except Exception as error:
        if isinstance(error, MemoryError):
            raise


def read_corpus(root: Path) -> None:
    corpus = Corpus.open(root / "corpus")
    for split in corpus.splits:
        for seconds in (1, None):
            for window in corpus.windows(split, seconds):
                assert window.eeg.shape[0] == len(window.electrodes)


def read_table(module, source: str) -> Callable[[Path], None]:
    """The table of a corpus, and its recordings; here too whatever a recording raises is its reason."""

    def read(root: Path) -> None:
        options = module.Options()
        made = module.table(root / source, options)
        for path, part in made.rows[["path", "part"]].drop_duplicates().itertuples(index=False):
            with contextlib.suppress(InputError):
                clean(made.recipe.open(path, part, None), made.recipe)

    return read


def recordings(root: Path) -> Iterable[tuple[str, list[Path]]]:
    """(format, its files), the one to open first."""
    signals = [Signal(name, channel) for name, channel in zip(NAMES, noise(), strict=True)]
    stamps = [stamp(second, (second, 0.5, b"BAD")) for second in range(SECONDS)]
    yield "edf", [write_edf(root / "a.edf", signals, SECONDS, declared="EDF+D", stamps=stamps)]
    yield "bdf", [write_edf(root / "b.bdf", signals, SECONDS, declared="24BIT")]
    yield "gdf", [write_gdf(root / "c.gdf", signals, RATE, [(100, 0x300)])]
    yield "persyst", [write_persyst(root / "d.lay", noise(), NAMES, RATE, "0=36672.0")]
    raw().save(root / "e_raw.fif", verbose="ERROR")
    yield "fif", [root / "e_raw.fif"]
    mne.export.export_raw(root / "f.set", raw(), verbose="ERROR")
    yield "eeglab", [root / "f.set"]
    mne.export.export_raw(root / "g.vhdr", raw(), verbose="ERROR")
    yield "brainvision", [root / "g.vhdr", root / "g.vmrk"]


def bids(root: Path) -> Subject:
    eeg = root / "bids" / "sub-01" / "eeg"
    eeg.mkdir(parents=True)
    signals = [Signal(name, channel) for name, channel in zip(NAMES, noise(), strict=True)]
    write_edf(eeg / "sub-01_task-rest_eeg.edf", signals, SECONDS)
    channels, events = eeg / "sub-01_task-rest_channels.tsv", eeg / "sub-01_task-rest_events.tsv"
    rows = [f"{name}\tEEG\tuV\t{'bad' if name == 'C3' else 'good'}" for name in NAMES]
    channels.write_text("\n".join(("name\ttype\tunits\tstatus", *rows)) + "\n")
    events.write_text("onset\tduration\ttrial_type\n0.0\t1.0\trest\n1.0\t1.0\ttask\n2.5\t1.0\trest\n")
    people = root / "bids" / "participants.tsv"
    people.write_text("participant_id\tage\tgroup\nsub-01\t30\tpatient\n")

    def read(place: Path) -> None:
        recording = next((place / "bids").rglob("*.edf"))
        inspect(recording)
        for labels in ({"events_column": "trial_type"}, {"participants_column": "group"}):
            made = folder.table(place / "bids", folder.Options(split_by="none", **labels))
            clean(made.recipe.open(recording, "", None), made.recipe)

    return Subject((channels, events, people), read)


def official(root: Path) -> Iterable[tuple[str, Subject]]:
    (root / "hdf5").mkdir()
    with h5py.File(root / "hdf5" / "a.hdf5", "w") as file:
        for name in "xy":
            file[f"{name}/eeg"] = noise()
            file[f"{name}/eeg"].attrs.update(rsFreq=200, chOrder=list(NAMES))
    yield "hdf5", Subject((root / "hdf5" / "a.hdf5",), read_table(official_hdf5, "hdf5"))
    for split in ("train", "val", "test"):
        (root / "pickles" / split).mkdir(parents=True)
        content = {"X": np.zeros((23, 2000)), "y": 1}
        (root / "pickles" / split / f"aaaaaaaq_s004_t000_{split}-0.pkl").write_bytes(pickle.dumps(content, 4))
    files = tuple(sorted((root / "pickles" / "train").iterdir()))
    yield "pickle", Subject(files, read_table(official_pickles, "pickles"))


def corpus(root: Path) -> Subject:
    rows = []
    for number, split in enumerate(("train", "validation", "test")):
        path = root / f"{number}.npy"
        np.save(path, noise())
        rows.append(Span(path, str(number), f"subject-{number}", split, number % 2))
    recipe = Recipe(filters=None, open=open_array)
    build(CorpusTable("c", rows_of(rows), Split("given"), recipe, ("a", "b"), 2), root / "corpus")
    without_digests(Corpus.open(root / "corpus"))  # which would find any change before anything is made of it
    return Subject(tuple(sorted(file for file in (root / "corpus").rglob("*") if file.is_file())), read_corpus)


def open_array(path: Path, part: str, unit: str | None):
    from labram_jax.data_prep.readers.reader import ArrayReader

    reader = ArrayReader(np.load(path), ELECTRODES[: len(NAMES)], RATE)
    return reader


def make_subjects(root: Path, names: Sequence[str]) -> dict[str, Subject]:
    """Writes the files of the formats below `root`; those of models, which take longer, only of the ones named."""
    tfds.disable_progress_bar()
    made = {}
    for name, files in recordings(root):
        made[name] = Subject(tuple(files), lambda place, first=files[0].name: read_recording(place / first))
    made["bids"] = bids(root)
    made |= dict(official(root))
    lines = root / "manifest.csv"
    lines.write_text("path,subject,split,label,start,stop\na.edf,s1,train,rest,0,2\na.edf,s1,train,task,2,4\n")
    made["manifest"] = Subject((lines,), lambda place: read_manifest(place / "manifest.csv", place))
    made["corpus"] = corpus(root)
    models = model_subjects.make(root, root.with_name("models"), names)
    made |= {name: Subject(tuple(files), read, apart=True) for name, files, read in models}
    return made
