"""Which files of a folder are recordings: links followed once, one file taken once, and no error ends the search."""

import os
import re
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import mne

from labram_jax.errors import InputError

# The file to open for each EEG format of MNE; its companions (.vmrk, .fdt, ...) are found from there.
SUFFIXES = (
    *(".edf", ".bdf", ".gdf", ".vhdr", ".ahdr", ".set", ".fif", ".fif.gz", ".cnt", ".nxe"),
    *(".eeg", ".raw", ".data", ".cdt", ".dap", ".dat", ".nedf", ".lay"),
)
FOLDER_SUFFIXES = (".mff", ".mefd")
# Samples whose header is another file, under one of these suffixes.
_HEADERS = {".eeg": (".vhdr", ".ahdr"), ".dat": (".vhdr", ".ahdr", ".dap", ".lay")}
# MNE names the parts of a recording that fills several FIF files x.fif, x-1.fif, ... or x_split-01_eeg.fif, ...
_LATER_PART = re.compile(r".+(-\d+|_split-\d+(_[^_]+)?)\.fif(\.gz)?", re.IGNORECASE)
_FIF = (".fif", ".fif.gz")

# BIDS keeps what was made from recordings, and what recordings were made from, beside them.
LEFT_OUT = frozenset({"derivatives", "sourcedata"})

Unusable = tuple[str, str]


def existing_folder(source: Path | None, corpus: str, what: str) -> Path:
    """Returns the source as a folder; `what` says what it is to be.

    Raises:
      InputError: no source was given, it does not exist, or it is not a folder.
    """
    if source is None:
        raise InputError(f"The corpus {corpus} needs its recordings: give {what} as SOURCE.")
    try:
        mode = source.stat().st_mode
    except OSError as error:
        raise InputError(f"There is no folder {source} ({error.strerror}): give {what}.") from None
    if not stat.S_ISDIR(mode):
        raise InputError(f"{source} is not a folder: give {what}.")
    return source


def find_recordings(root: Path) -> tuple[list[Path], list[Unusable]]:
    """Returns every recording below `root`, sorted, and (path, reason) of what cannot be one."""
    paths, unusable = find_files(root, SUFFIXES, FOLDER_SUFFIXES)
    present = {path.with_name(path.name.lower()) for path in paths}
    paths = [path for path in paths if not _is_companion(path, present)]
    parts = _later_parts(paths)
    return [path for path in paths if path not in parts], unusable


def find_files(
    root: Path, suffixes: tuple[str, ...], folders: tuple[str, ...] = ()
) -> tuple[list[Path], list[Unusable]]:
    """Returns every file below `root` whose name ends in one of `suffixes`, sorted, and (path, reason) of the rest.

    `folders` are suffixes of folders that count as files. Upper case counts as lower case. Hidden files and folders,
    `derivatives` and `sourcedata` are left out. A file that is reached twice (by links of either kind) is taken once,
    by the way without symbolic links where there is one.

    Raises:
      InputError: `root` itself may not be listed.
    """
    search = _Search(root, suffixes, folders)
    search.run()
    if str(root) in dict(search.unusable):
        raise InputError(dict(search.unusable)[str(root)])
    return sorted(search.found), search.unusable


class _Search:
    """What was found so far, and the files and folders (by device and inode) that need not be looked at again."""

    def __init__(self, root: Path, suffixes: tuple[str, ...], folders: tuple[str, ...]):
        self.root, self.suffixes, self.folder_suffixes = root, suffixes, folders
        self.found: list[Path] = []
        self.unusable: list[Unusable] = []
        self._seen = {_identity(root.stat())}
        self._folders, self._links = deque([root]), deque()

    def run(self) -> None:
        while self._folders or self._links:
            if not self._folders:  # links come last, so that a file has the name of its own place where it has one
                self._take(self._links.popleft())
                continue
            for path in self._entries(self._folders.popleft()):
                if _is_link(path):
                    self._links.append(path)
                else:
                    self._take(path)

    def _entries(self, folder: Path) -> Iterator[Path]:
        try:
            paths = sorted(folder.iterdir())
        except OSError as error:
            self._refuse(folder, f"cannot be listed ({error.strerror}): allow reading it, or leave it out.")
            return
        yield from (path for path in paths if not path.name.startswith(".") and path.name not in LEFT_OUT)

    def _take(self, path: Path) -> None:
        name = path.name.lower()
        try:
            state = path.stat()
        except OSError as error:
            if name.endswith(self.suffixes + self.folder_suffixes):
                what = "leads nowhere" if _is_link(path) else "cannot be looked at"
                self._refuse(path, f"{what} ({error.strerror}): obtain the file itself.")
            return
        if _identity(state) in self._seen:
            return
        is_folder = stat.S_ISDIR(state.st_mode)
        if not name.endswith(self.folder_suffixes if is_folder else self.suffixes):
            if is_folder and not self._leads_back(path):
                self._seen.add(_identity(state))
                self._folders.append(path)
            return
        self._seen.add(_identity(state))
        if not is_folder and not stat.S_ISREG(state.st_mode):
            self._refuse(path, "is no file but a device or a pipe: leave it out.")
        elif str(path) != _printable(path):
            self._refuse(path, "has a name that is not UTF-8: rename it.")
        else:
            self.found.append(path)

    def _leads_back(self, path: Path) -> bool:
        """Says whether a link leads to a folder around it or around the root, whose other contents are not meant."""
        if not _is_link(path):
            return False
        target = path.resolve()
        return path.parent.resolve().is_relative_to(target) or self.root.resolve().is_relative_to(target)

    def _refuse(self, path: Path, reason: str) -> None:
        self.unusable.append((_printable(path), f"{_printable(path)} {reason}"))


def _is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114 (Path.is_symlink raises where a folder may be listed but not entered)


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _printable(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def recording_names(paths: Iterable[Path], root: Path) -> dict[Path, str]:
    """Names recordings by their path below `root` without suffix, or with it where two would be named alike."""
    full = {path: below(path, root) for path in paths}
    short = {path: name.removesuffix(path.name) + _stem(path) for path, name in full.items()}
    times = Counter(short.values())
    return {path: short[path] if times[short[path]] == 1 else full[path] for path in full}


def below(path: Path, root: Path) -> str:
    """Returns the path as seen from `root`, or as it is where it does not lie there."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def recording_name(path: Path, root: Path) -> str:
    """Returns the path below `root` without its suffix: unique, and the same on every machine."""
    return path.relative_to(root).with_suffix("").as_posix()


def _stem(path: Path) -> str:
    suffixes = sorted(SUFFIXES + FOLDER_SUFFIXES, key=len, reverse=True)
    return path.name[: -len(next((s for s in suffixes if path.name.lower().endswith(s)), ""))] or path.name


def _is_companion(path: Path, present: set[Path]) -> bool:
    """Says whether a file holds the samples of a recording whose header is another file."""
    lower = path.with_name(path.name.lower())
    return any(lower.with_suffix(suffix) in present for suffix in _HEADERS.get(lower.suffix, ()))


def _later_parts(paths: Sequence[Path]) -> set[Path]:
    """Returns the FIF files that go on where another ends: those that its own header names, as MNE follows them.

    The first part may have been renamed since, so that all files beside a possible later part are asked.
    """
    folders = {path.parent for path in paths if _LATER_PART.fullmatch(path.name)}
    asked = [path for path in paths if path.parent in folders and path.name.lower().endswith(_FIF)]
    later: set[Path] = set()
    # A first part usually has the shortest name, so that one look at it tells of all the others.
    for path in sorted(asked, key=lambda path: len(path.name)):
        if path not in later:
            later.update(_next_parts(path))
    return later


def _next_parts(path: Path) -> list[Path]:
    try:
        raw = mne.io.read_raw_fif(path, on_split_missing="ignore", verbose="ERROR")
    except Exception:  # what MNE's readers raise; the build says it of this recording
        return []
    return [path.with_name(Path(name).name) for name in raw.filenames[1:]]
