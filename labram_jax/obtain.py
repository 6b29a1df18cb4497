"""Where a model's files are on this machine: a path, a known name, or an address on the Hub, fetched where it must be.

What is fetched by name lies in `cache_folder()/weights`, what comes from the Hub in the Hub's own cache, where other
tools find it too. Whoever has no network puts the files into `cache_folder()/weights` by hand.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from labram_jax.convert.known import KNOWN, KnownFile, known_as
from labram_jax.convert.source import SUFFIXES
from labram_jax.convert.weight_files import IN_ORDER, INDEX_FILES, WEIGHT_FILES, shards
from labram_jax.data.remote import cache_folder
from labram_jax.errors import InputError, first_words

# `Path` makes one slash of two.
_ON_THE_HUB = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<inner>.+))?")
_HINT = "hf://OWNER/NAME, hf://OWNER/NAME@REVISION, or either with /FILE_OR_FOLDER"
CONFIG = "config.json"
# The folders of an exported model of this project.
_NATIVE = ("model", "meta")


def located(path: str | Path) -> Path:
    """The path of a model on this machine.

    Args:
        path: a path, which is given back; a name of `convert.known`, such as labram-base; or an address on the Hub:
            hf://OWNER/NAME, with @REVISION after the name and /FILE_OR_FOLDER after that where they are wanted.

    Raises:
        InputError: there is no such address, or it cannot be reached and the files are not on this machine yet; the
            sentence says where to put them.
    """
    text = str(path)
    if text.startswith("hf:"):
        found = _ON_THE_HUB.fullmatch(text)
        if found is None:
            raise InputError(f"{text} is no address of a model on the Hub: give {_HINT}.")
        return _from_the_hub(_Address(text, found["repo"], found["revision"], (found["inner"] or "").strip("/")))
    if Path(text).exists():
        return Path(path)
    known = known_as(text)
    if known is None and (near := difflib.get_close_matches(text, [file.name for file in KNOWN], n=1)):
        raise InputError(f"There is no {text}: perhaps {near[0]!r} is meant.")
    return Path(path) if known is None else _fetched(known)


def _fetched(file: KnownFile) -> Path:
    """The file in the cache, whose sha256 is the known one."""
    import pooch

    folder = cache_folder() / "weights"
    try:
        return Path(pooch.retrieve(file.address, f"sha256:{file.sha256}", file.file, folder))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; another digest is a ValueError
        raise InputError(
            f"{file.name} cannot be fetched ({first_words(error)}): put {file.address} (sha256 {file.sha256}) at "
            f"{folder / file.file}."
        ) from error


@dataclass(frozen=True)
class _Address:
    text: str
    repo: str
    revision: str | None
    inner: str

    @property
    def own_folder(self) -> Path:
        """Where its files may be put by hand."""
        return cache_folder() / "weights" / "hub" / self.repo


def _from_the_hub(address: _Address) -> Path:
    """A file or folder of a model on the Hub, of which only what is needed is fetched."""
    by_hand = address.own_folder / address.inner
    if by_hand.exists():
        return by_hand
    try:
        import huggingface_hub
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        _unreachable(address, "huggingface_hub is not installed, which `pip install 'labram-jax[hub]'` does")
    api = huggingface_hub.HfApi()
    try:
        info = api.model_info(address.repo, revision=address.revision)
        files = [sibling.rfilename for sibling in info.siblings]
        return _taken(address, files, lambda file: Path(api.hf_hub_download(address.repo, file, revision=info.sha)))
    except InputError:
        raise
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(
            f"There is no {address.text} that can be read: check owner, name and revision, or log in (`hf auth login`) "
            "if it is private."
        ) from error
    except Exception as error:  # whatever the library that it speaks to the network with raises
        folder = _in_the_cache(address)
        if folder is None:
            _unreachable(address, first_words(error))
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return _taken(address, files, lambda file: folder / file)


def _in_the_cache(address: _Address) -> Path | None:
    """What was fetched of a repository before, of the newest commit where no revision is asked for."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = [repo for repo in scan_cache_dir().repos if repo.repo_id == address.repo and repo.repo_type == "model"]
    except CacheNotFound:
        return None
    kept = sorted((one for repo in repos for one in repo.revisions), key=lambda one: one.last_modified)
    if address.revision is not None:
        kept = [one for one in kept if address.revision in (one.commit_hash, *one.refs)]
    return kept[-1].snapshot_path if kept else None


def _unreachable(address: _Address, why: str) -> NoReturn:
    raise InputError(
        f"{address.text} cannot be fetched ({why}): put the files of huggingface.co/{address.repo} into "
        f"{address.own_folder}."
    )


def _taken(address: _Address, files: Sequence[str], fetch: Callable[[str], Path]) -> Path:
    """Fetches what a model needs of the files of a repository; returns its file or folder."""
    wanted, inner = address.inner, PurePosixPath(address.inner)
    if wanted in files:
        folder, main = inner.parent, inner.name
    else:
        folder, main = inner, _main_file(address, files, inner)
    if main in _NATIVE:
        own = [file for file in files if PurePosixPath(file).is_relative_to(folder)]
        parts = [file for file in own if PurePosixPath(file).relative_to(folder).parts[0] in _NATIVE]
        root = fetch(parts[0]).parents[len(PurePosixPath(parts[0]).relative_to(folder).parts) - 1]
        for file in parts[1:]:
            fetch(file)
        return root
    path = fetch(str(folder / main))
    beside = [CONFIG] if main in WEIGHT_FILES + INDEX_FILES else []
    beside += sorted(shards(path)) if main in INDEX_FILES else []
    for name in beside:
        if str(folder / name) in files:
            fetch(str(folder / name))
    return path


def _main_file(address: _Address, files: Sequence[str], folder: PurePosixPath) -> str:
    """The one file of a folder that is the model, or the first of the folders of an exported one."""
    below = [PurePosixPath(file) for file in files if PurePosixPath(file).is_relative_to(folder)]
    if not below:
        raise InputError(f"{address.text} holds nothing: {address.repo} has {_some(files)}.")
    if {path.relative_to(folder).parts[0] for path in below} >= set(_NATIVE):
        return _NATIVE[0]
    here = [path.name for path in below if path.parent == folder]
    found = next((name for name in IN_ORDER if name in here), None)
    others = [name for name in here if name.endswith(SUFFIXES)]
    if found is None and len(others) != 1:
        weights = [str(path) for path in below if path.name.endswith(SUFFIXES)]
        raise InputError(f"{address.text} is not one model: give one of its files after a slash ({_some(weights)}).")
    return found or others[0]


def _some(files: Sequence[str], count: int = 6) -> str:
    more = f" and {len(files) - count} more" if len(files) > count else ""
    return (", ".join(files[:count]) or "no weights") + more
