"""Corpora in a bucket: fetched once into a folder of this machine, from which they are read like any other.

CACHE/NAME-KEY/        the whole corpus; KEY follows from its address and from what the bucket lists there, codes and
                       features aside
CACHE/NAME-KEY.part/   files that are whole so far, and those on their way under a name of their own
CACHE/NAME-KEY.lock    held by the process of this machine that fetches
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.spec import AbstractFileSystem

from labram_jax.data.schema import CODES_FOLDER, CORPUS_FILE, FEATURES_FOLDER
from labram_jax.errors import InputError
from labram_jax.progress import Progress

CACHE = "LABRAM_CACHE"
FILES_AT_A_TIME = 8
# What stores call the version of an object's content, where they tell it.
VERSIONS = ("etag", "ETag", "md5Hash", "generation", "mtime")

Listing = dict[str, tuple[int, str]]  # name below the corpus -> bytes, version


def is_address(path: str | Path) -> bool:
    """Whether this is an address such as gs://bucket/corpus (any protocol of fsspec) and not a folder."""
    return "://" in str(path)


def cache_folder() -> Path:
    """Where this machine keeps what can be had again: $LABRAM_CACHE, else ~/.cache/labram-jax."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "labram-jax")


def local_folder(path: str | Path) -> Path:
    """The folder itself, or for an address the folder of this machine with a copy of the corpus, fetched if need be.

    Copies lie in `cache_folder`. Processes of one machine share them; a fetch that was
    killed goes on where it was. Raises InputError where the address holds no corpus or cannot be read, and where the
    copy has no room.
    """
    if not is_address(path):
        return Path(path)
    address = str(path).rstrip("/")
    store, root = _store(address)
    listing = _listing(store, root, address)
    # Codes may come later than the corpus, which is no reason to fetch that again.
    codes = {name: entry for name, entry in listing.items() if name.startswith(f"{CODES_FOLDER}/")}
    # Features are of encoders that this machine may never meet.
    aside = (f"{CODES_FOLDER}/", f"{FEATURES_FOLDER}/")
    listing = {name: entry for name, entry in listing.items() if not name.startswith(aside)}
    content = json.dumps([address, sorted(listing.items())])
    name = f"{Path(root).name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    cache = cache_folder()
    whole = cache / name
    if not whole.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{name}.lock"):
            if not whole.is_dir():  # another process may have fetched it while this one waited
                part = cache / f"{name}.part"
                _fetch(store, root, address, listing, part)
                part.rename(whole)
    if not all((whole / name).is_file() for name in codes):
        with _locked(cache / f"{name}.lock"):
            _fetch(store, root, address, codes, whole)
    return whole


def _store(address: str) -> tuple[AbstractFileSystem, str]:
    try:
        store, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise InputError(f"{address} needs another library: pip install 'labram-jax[cloud]' ({error}).") from error
    except ValueError as error:
        raise InputError(f"{address} cannot be used: {error}.") from error
    store.invalidate_cache()
    return store, root.rstrip("/")


def _listing(store: AbstractFileSystem, root: str, address: str) -> Listing:
    try:
        found = store.find(root, detail=True)
    except Exception as error:  # each store raises what its own library does
        raise InputError(f"{address} cannot be listed ({_reason(error)}): check the address and the access.") from error
    listing = {
        name.removeprefix(root).lstrip("/"): (int(entry["size"]), _version(entry)) for name, entry in found.items()
    }
    outside = [name for name in listing if ".." in PurePosixPath(name).parts]
    if outside:
        raise InputError(
            f"{address} holds an object called {outside[0]!r}, whose copy would lie outside of the corpus: remove it."
        )
    if CORPUS_FILE not in listing:
        raise InputError(f"{address} is not a corpus (it holds no {CORPUS_FILE}): copy there what `prepare` wrote.")
    return listing


def _version(entry: dict) -> str:
    return next((str(entry[name]) for name in VERSIONS if entry.get(name)), "")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for every other process of this machine that holds the lock; the system frees what a killed one held."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(store: AbstractFileSystem, root: str, address: str, listing: Listing, part: Path) -> None:
    sizes = {name: size for name, (size, _) in listing.items() if not (part / name).is_file()}
    part.mkdir(exist_ok=True)
    free = shutil.disk_usage(part).free
    if sum(sizes.values()) > free:
        raise InputError(
            f"{address} needs {sum(sizes.values()) / 1e9:.1f} GB more in {part.parent}, which has {free / 1e9:.1f} GB: "
            f"make room, or set {CACHE} to another folder."
        )

    def fetch(name: str) -> None:
        target = part / name
        coming = target.with_name(target.name + ".coming")
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(f"{root}/{name}", str(coming))
        if coming.stat().st_size != sizes[name]:
            raise OSError(f"{name} came with {coming.stat().st_size} bytes instead of {sizes[name]}")
        coming.replace(target)

    megabytes = Progress(f"fetching {address} (MB)", max(1, round(sum(sizes.values()) / 1e6)))
    with megabytes, ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        pending = {pool.submit(fetch, name): name for name in sizes}
        done = 0
        for future in as_completed(pending):
            try:
                future.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                raise InputError(
                    f"{address} could not be fetched whole ({_reason(error)}): the same command goes on where it was."
                ) from error
            done += sizes[pending[future]]
            megabytes.update(round(done / 1e6) - megabytes.done)


def _reason(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
