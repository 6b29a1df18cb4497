"""A lock on a folder that one process at a time may write to."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

# A predecessor that was just told to end may need this long to let go.
PATIENCE_SECONDS = 10.0
_NO_LOCKS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK})


@contextlib.contextmanager
def held(path: Path, what: str, remove: bool = False) -> Iterator[None]:
    """Holds the lock file `path` of `what`; the system lets go of it when the process ends, in whatever way.

    `remove` takes the file away at the end. A file system without locks, such as most mounted buckets, holds nobody
    off. Raises OSError where another process still holds the lock after a while: it may be on its way out, or on a host
    that died and still counts as its holder.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _take(descriptor, deadline, what)
            if not _is_at(descriptor, path):
                continue  # its last holder has removed it meanwhile
            try:
                yield
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _take(descriptor: int, deadline: float, what: str) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, f"{what} is in use by {_holder(descriptor)}") from None
            time.sleep(0.2)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return
        else:
            break
    me = json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, me, 0)


def _holder(descriptor: int) -> str:
    """Who wrote themselves into the lock file, in words."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {int(holder['process'])} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
