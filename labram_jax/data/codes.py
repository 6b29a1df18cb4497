"""Codes of a frozen tokenizer, kept beside the corpus whose windows they label.

    CORPUS/codes/NAME/codes.json            what they are codes of (`CodesInfo`)
    CORPUS/codes/NAME/SPLIT-MONTAGE.npy     int16 or int32 [windows, C, A], -1 where an electrode is bad

The code of a patch depends on the whole window around it, on which of its electrodes are bad, and on the type of the
products. So codes belong to a tokenizer, a compute type, a state of the corpus and a choice of windows; `codes.json`
says to which, by digests, and the name of the folder means nothing.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int

from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.schema import CODES_FOLDER, RATE_HZ, file_digest
from labram_jax.data.views import MontageWindows, SplitWindows
from labram_jax.data.windows import stride_samples
from labram_jax.errors import DamageError, InputError, refusal_in
from labram_jax.jsonfile import built, read_json, write_json

INFO_FILE = "codes.json"
FORMAT = 1
_PARTIAL = ".partial"
_ADVICE = "remove {} and tokenize again"


@dataclass(frozen=True)
class WindowShape:
    """Length of a montage's windows in seconds, and samples from the start of one to the next."""

    seconds: int
    stride_samples: int


@dataclass(frozen=True)
class CodesInfo:
    """What codes are codes of, as `codes.json` holds it.

    Attributes:
        tokenizer: digest of its variables and configuration.
        dtype: of the products by which it labelled (`compute.dtype`).
        corpus: digest of the corpus, see `labram_jax.data.digest`.
        montages: which windows, for each montage.
        windows: how many there are in each split, for people.
        files: sha256 of each file of codes, by its name; none until all are written, as by earlier versions.
    """

    tokenizer: str
    dtype: str
    corpus: str
    montages: dict[str, WindowShape]
    windows: dict[str, int]
    files: dict[str, str] = field(default_factory=dict, compare=False)

    def write(self, folder: Path) -> None:
        write_json(folder / INFO_FILE, {"format": FORMAT, **asdict(self)})

    @property
    def name(self) -> str:
        """A name for the folder, for people."""
        return "-".join((self.tokenizer[:12], self.dtype, *self.window_words.split()))

    @property
    def window_words(self) -> str:
        """The windows, for a person: "4 s every 1 s"."""
        shapes = sorted({(shape.seconds, shape.stride_samples / RATE_HZ) for shape in self.montages.values()})
        return " or ".join(f"{seconds} s every {stride:g} s" for seconds, stride in shapes)


@dataclass(frozen=True)
class KeptCodes:
    """Codes of all windows of a corpus, in their folder."""

    folder: Path
    info: CodesInfo

    def __str__(self) -> str:
        own = self.info
        count = sum(own.windows.values())
        return f"codes of {count:,} windows of {own.window_words}, by tokenizer {own.tokenizer[:12]} in {own.dtype},"

    @property
    def partial_folder(self) -> Path:
        """Where these codes grow until they are whole."""
        return self.folder.with_name(self.folder.name + _PARTIAL)

    def attach(self, windows: SplitWindows) -> SplitWindows:
        """The windows with their codes; raises InputError where a file is missing or damaged."""
        return windows.with_codes([self._of(windows.split, montage) for montage in windows.montages])

    def _of(self, split: str, montage: MontageWindows) -> "WindowCodes":
        path = self.folder / codes_file(split, montage.directory.name)
        expected = (len(montage), len(montage.electrodes), montage.seconds)
        damaged = DamageError(f"{path} is not what was written", _ADVICE.format(self.folder))
        try:
            whole = not self.info.files or self.info.files.get(path.name) == file_digest(path)
            codes = WindowCodes(path) if whole else None
        except FileNotFoundError as error:
            raise DamageError(f"{path} is missing", _ADVICE.format(self.folder)) from error
        except Exception as error:  # NumPy has no one exception for a header that it cannot read
            raise refusal_in(error) or damaged from error
        if codes is None:
            raise damaged
        if codes.shape != expected:
            raise DamageError(
                f"{path} holds codes of shape {codes.shape} instead of {expected}", _ADVICE.format(self.folder)
            )
        return codes


class WindowCodes:
    """The codes of one montage's windows in one split, which stay on disk."""

    def __init__(self, path: Path):
        self._path = path
        self._codes = np.load(path, mmap_mode="r")

    def __reduce__(self):
        # What is on disk does not travel to another process, only where it is.
        return WindowCodes, (self._path,)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._codes.shape

    def __getitem__(self, number: int) -> Int[np.ndarray, "C A"]:
        """The codes of window `number`, -1 where an electrode is bad."""
        return self._codes[number]


def codes_file(split: str, montage: str) -> str:
    return f"{split}-{montage}.npy"


def window_shapes(corpus: Corpus, seconds: int | None, stride: float | None) -> dict[str, WindowShape]:
    """The windows that `Corpus.windows` cuts with these arguments, for each montage."""
    lengths = {own.name: corpus.window_seconds(own) if seconds is None else seconds for own in corpus.montages}
    return {name: WindowShape(length, stride_samples(length, stride)) for name, length in lengths.items()}


def start_or_continue(kept: KeptCodes) -> Path:
    """The folder in which codes grow, with what an interrupted call left of the same ones."""
    folder = kept.partial_folder
    if not (folder / INFO_FILE).is_file() or _read(folder / INFO_FILE) != kept.info:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kept.info.write(folder)
    return folder


def complete(kept: KeptCodes) -> None:
    """Gives the codes, which are whole, their name and the digests of their files."""
    folder = kept.partial_folder
    digests = {path.name: file_digest(path) for path in sorted(folder.glob("*.npy"))}
    dataclasses.replace(kept.info, files=digests).write(folder)
    shutil.rmtree(kept.folder, ignore_errors=True)  # of another state of the corpus
    folder.rename(kept.folder)


def codes_of(corpus: Corpus) -> list[KeptCodes]:
    """All codes that are kept beside a corpus and whole; raises InputError where what they are of cannot be read."""
    files = sorted((corpus.path / CODES_FOLDER).glob(f"*/{INFO_FILE}"))
    return [KeptCodes(path.parent, _read(path)) for path in files if path.parent.suffix != _PARTIAL]


def find_codes(
    corpus: Corpus, tokenizer: str, dtype: str, montages: Mapping[str, WindowShape]
) -> tuple[KeptCodes | None, str]:
    """The codes of these windows by this tokenizer (its digest), or None and the reason why there are none."""
    tests = (
        (lambda info: info.tokenizer == tokenizer, "are of another tokenizer"),
        (lambda info: info.dtype == dtype, f"were not computed in {dtype}, which compute.dtype asks for"),
        (lambda info: info.montages == montages, "are of windows of another length or stride"),
        (lambda info: info.corpus == corpus_digest(corpus), "are of another state of the corpus"),
    )
    found = codes_of(corpus)
    if not found:
        return None, f"no codes are kept beside {corpus.path}"
    for holds, reason in tests:
        found = [kept for kept in found if holds(kept.info)]
        if not found:
            return None, f"the codes kept beside {corpus.path} {reason}"
    return found[0], ""


def _read(path: Path) -> CodesInfo:
    advice = _ADVICE.format(path.parent)
    content = read_json(path, advice)
    if (version := content.pop("format", None)) != FORMAT:
        raise InputError(
            f"The codes in {path.parent} have format {version!r}, but this version reads {FORMAT}: {advice}."
        )
    try:
        return built(CodesInfo, content, "it")
    except InputError as error:
        raise DamageError(f"{path} is damaged ({str(error).rstrip('.')})", advice) from error
