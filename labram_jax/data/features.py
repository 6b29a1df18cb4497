"""Features of a frozen encoder, kept beside the corpus whose windows they are of.

    CORPUS/features/NAME/features.json   what they are features of (`FeaturesInfo`)
    CORPUS/features/NAME/KIND.npy        of all windows: float32 [windows, ...], and bool where it says what is there

A window's features depend on the window, on which of its electrodes are bad, on the encoder and on the type of its
products, and on no split: folds only choose windows. So all windows of a corpus are read once, in the order of its
tables, whatever their splits; `features.json` says of what, by digests. Where the corpus' folder cannot be written to,
they lie in the cache of this machine.
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from labram_jax.config import DataConfig
from labram_jax.data.codes import WindowShape, window_shapes
from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.remote import cache_folder
from labram_jax.data.schema import FEATURES_FOLDER, SPLITS, file_digest
from labram_jax.data.views import SplitWindows
from labram_jax.errors import DamageError, InputError, sentence_of
from labram_jax.jsonfile import built, read_json, write_json
from labram_jax.lock import held

INFO_FILE = "features.json"
FORMAT = 1
_PARTIAL, _TEMPORARY = ".partial", "labram-features-"
# Kinds of features by name, with the shape of a window's and their type.
Kinds = Mapping[str, tuple[tuple[int, ...], type]]
# Numbers of windows in order, and their features by kind.
Parts = Iterator[tuple[Int64[np.ndarray, "N"], Mapping[str, np.ndarray]]]
# Beyond all starts of windows in a piece (samples).
_STARTS = 2**40


@dataclass(frozen=True)
class FeaturesInfo:
    """What features are features of, as `features.json` holds it.

    Attributes:
        encoder: digest of the arrays and of the configuration that they are computed with.
        readout: what a head would see of a window, for people.
        dtype: of the products (`compute.dtype`).
        corpus: digest of the corpus, see `labram_jax.data.digest`.
        montages: which windows, for each montage.
        time_folds: stretches whose edges no window crosses (`data.time_folds`).
        windows: how many there are.
        files: sha256 of each file of features, by its name.
    """

    encoder: str
    readout: str
    dtype: str
    corpus: str
    montages: dict[str, WindowShape]
    time_folds: int
    windows: int
    files: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Of the folder, where all of these differ in something that the name says."""
        cut = (f"{self.time_folds}-stretches",) if self.time_folds else ()
        shapes = {(shape.seconds, shape.stride_samples) for shape in self.montages.values()}
        windows = "-".join(f"{seconds}s-{stride}" for seconds, stride in sorted(shapes))
        return "-".join(
            (self.encoder[:12], self.readout.replace(" ", "-"), self.dtype, windows, *cut, self.corpus[:12])
        )


class WindowFeatures:
    """Features of all windows of a corpus, which stay on disk: a memory map of each kind.

    `there` says which windows have features; damaged ones may have none.
    """

    def __init__(
        self,
        windows: SplitWindows,
        folder: Path,
        there: Bool[np.ndarray, "N"] | None = None,
        temporary: tempfile.TemporaryDirectory | None = None,
    ):
        self._windows, self._temporary = windows, temporary  # such a folder goes with the last who holds it
        self.arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
        self.there = np.ones(len(windows), bool) if there is None else there

    def numbers(self, windows: SplitWindows) -> Int64[np.ndarray, "N"]:
        """Which lines of the arrays are those of some windows of the corpus, cut to the same length and stride."""
        known, firsts, first = {}, {}, 0
        for own in self._windows.montages:
            known[own.directory], firsts[own.directory] = own.index.starts(), first
            first += len(own)
        found = [np.zeros(0, np.int64)]
        for own in windows.montages:
            keys, wanted = (piece * _STARTS + start for piece, start in (known[own.directory], own.index.starts()))
            order = np.argsort(keys, kind="stable")
            place = order[np.searchsorted(keys, wanted, sorter=order)]
            assert np.array_equal(keys[place], wanted), "a window of a split is none of the corpus"
            found.append(firsts[own.directory] + place)
        return np.concatenate(found)


def all_windows(corpus: Corpus, data: DataConfig) -> SplitWindows:
    """The windows of all splits of a corpus (as `data` makes them), in the order of the tables."""
    spans = corpus.tables.spans.assign(split=SPLITS[0])
    whole = dataclasses.replace(corpus, tables=dataclasses.replace(corpus.tables, spans=spans))
    return whole.windows(SPLITS[0], data.window_seconds, data.stride_seconds)


def info_of(windows: SplitWindows, data: DataConfig, encoder: str, readout: str, dtype: str) -> FeaturesInfo:
    """What the features of these windows, which are all of a corpus, are features of."""
    corpus = windows.corpus
    shapes = window_shapes(corpus, data.window_seconds, data.stride_seconds)
    return FeaturesInfo(encoder, readout, dtype, corpus_digest(corpus), shapes, data.time_folds, len(windows))


def kept_or_read(
    windows: SplitWindows, info: FeaturesInfo, kinds: Kinds, read: Callable[[], Parts], say: Callable[[str], None]
) -> WindowFeatures:
    """The features of all windows of a corpus: those that are kept, else what `read` gives, which is kept then.

    What is kept and damaged is told, and made anew. Where no folder takes them, or another process is about to write
    the same, they are read for this process alone.
    """
    homes = [home / info.name for home in _homes(windows.corpus, info)]
    for folder in homes:
        if _is_whole(folder, info, kinds, say):
            say(f"the encoder does not run: features of {info.windows:,} windows are kept in {folder}")
            return WindowFeatures(windows, folder)
    size = info.windows * sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in kinds.values())
    with contextlib.ExitStack() as stack:
        folder = _claimed(stack, homes, size, say)
        if folder is None:
            return read_alone(windows, kinds, read)
        # Another process may have kept them while this one waited.
        whole = _is_whole(folder, info, kinds, lambda _: None)
        alone = None if whole else _keep(folder, windows, info, kinds, read())
        if alone is not None:
            return alone
        say(f"features of {info.windows:,} windows are kept in {folder} ({size / 1e6:.1f} MB)")
        return WindowFeatures(windows, folder)


def _keep(folder: Path, windows: SplitWindows, info: FeaturesInfo, kinds: Kinds, parts: Parts) -> WindowFeatures | None:
    """Keeps features in a folder; where damaged windows have none, they are returned and nothing is kept.

    With another share of windows that may be damaged, they would be others.
    """
    partial = folder.with_name(folder.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        there = _write(partial, info.windows, kinds, parts)
        if not there.all():
            temporary = tempfile.TemporaryDirectory(prefix=_TEMPORARY)
            for path in partial.glob("*.npy"):
                shutil.move(path, temporary.name)
            return WindowFeatures(windows, Path(temporary.name), there, temporary)
        files = {path.name: file_digest(path) for path in sorted(partial.glob("*.npy"))}
        write_json(partial / INFO_FILE, {"format": FORMAT, **asdict(dataclasses.replace(info, files=files))})
        shutil.rmtree(folder, ignore_errors=True)  # damaged
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return None


def read_alone(windows: SplitWindows, kinds: Kinds, read: Callable[[], Parts]) -> WindowFeatures:
    """What `read` gives of all windows of a corpus, in a folder that goes with this process."""
    temporary = tempfile.TemporaryDirectory(prefix=_TEMPORARY)
    there = _write(Path(temporary.name), len(windows), kinds, read())
    return WindowFeatures(windows, Path(temporary.name), there, temporary)


def features_beside(corpus: Corpus) -> list[tuple[Path, FeaturesInfo]]:
    """All features that are kept beside a corpus, and what they are of; none where that cannot be read."""
    found = [(path.parent, _read(path)) for path in sorted((corpus.path / FEATURES_FOLDER).glob(f"*/{INFO_FILE}"))]
    return [(folder, info) for folder, info in found if info is not None]


def _homes(corpus: Corpus, info: FeaturesInfo) -> list[Path]:
    """Folders in which features may lie, the first choice first."""
    return [corpus.path / FEATURES_FOLDER, cache_folder() / FEATURES_FOLDER / info.corpus[:16]]


def _is_whole(folder: Path, info: FeaturesInfo, kinds: Kinds, say: Callable[[str], None]) -> bool:
    """Whether a folder holds just these features, of which nothing has changed since they were written."""
    if not folder.is_dir():
        return False
    found = _read(folder / INFO_FILE)
    names = {f"{name}.npy" for name in kinds}
    if found == info and found.files == {name: _digest(folder / name) for name in names}:
        return True
    say(f"the features in {folder} are not what was written: the encoder reads them anew")
    return False


def _read(path: Path) -> FeaturesInfo | None:
    try:
        content = read_json(path)
        return built(FeaturesInfo, content, "it") if content.pop("format", None) == FORMAT else None
    except (DamageError, InputError, FileNotFoundError):
        return None


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""


def _claimed(stack: contextlib.ExitStack, homes: list[Path], size: int, say: Callable[[str], None]) -> Path | None:
    """The first folder that can be written to, held by this process until the stack unwinds; None where none can."""
    for folder in homes:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder.parent).free
            if free < size:
                say(f"features are not kept in {folder}: they take {size / 1e9:.1f} GB, and {free / 1e9:.1f} are free")
                continue
            stack.enter_context(held(folder.with_name(f"{folder.name}.lock"), f"the folder {folder}"))
        except OSError as error:
            say(f"features are not kept in {folder}: {sentence_of(error)}")
        else:
            return folder
    return None


def _write(folder: Path, windows: int, kinds: Kinds, parts: Parts) -> Bool[np.ndarray, "N"]:
    """Writes an array of each kind, window by window as they come; returns which windows came."""
    there, done = np.zeros(windows, bool), 0
    with contextlib.ExitStack() as stack:
        files = {}
        for name, (shape, kind) in kinds.items():
            files[name] = stack.enter_context((folder / f"{name}.npy").open("wb"))
            described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (windows, *shape)}
            np.lib.format.write_array_header_1_0(files[name], described)

        def up_to(number: int) -> None:
            for name, (shape, kind) in kinds.items():
                files[name].write(np.zeros((number - done, *shape), kind).tobytes())

        for numbers, part in parts:
            for place, number in enumerate(numbers.tolist()):
                up_to(number)
                for name, (_, kind) in kinds.items():
                    files[name].write(part[name][place].astype(kind).tobytes())
                there[number], done = True, number + 1
        up_to(windows)
    return there
