"""Three kinds of failure, and the exit code of each: a mistake, proven damage, and what may pass."""

import errno
import os
import re

# What a launcher may do about it: nothing (2, 65, 130), or start the same command again (1, 75, 141).
MAY_PASS, MISTAKE, DAMAGE, STOPPED, INTERRUPTED, UNREAD = 1, 2, 65, 75, 130, 141

# Seconds between tries where storage fails: a network folder that hiccups is no reason to end a job.
RETRY_PAUSES = (0.5, 2.0, 8.0)

# What whoever started the command must mend, and no repetition will.
_MISTAKES = frozenset(
    (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
    )
)
_ADVICE = {
    errno.EACCES: "give this user the permission, or another path",
    errno.EPERM: "give this user the permission, or another path",
    errno.ENOSPC: "make room there and start the same command again",
    errno.EDQUOT: "make room there and start the same command again",
    errno.EROFS: "see why it became read-only and start the same command again",
    errno.EBUSY: "wait for it, end it, or choose another folder",
    errno.ENODEV: "see what JAX_PLATFORMS names and whether its driver runs",
    errno.EMFILE: "raise the limit of open files (ulimit -n) and start the same command again",
}


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence for them and the command exits with 2."""


class DamageError(InputError):
    """Data or a checkpoint that are provably not what was written; the command exits with 65.

    `found` is what was proven, `advice` what to do; the message is a sentence of both.
    """

    def __init__(self, found: str, advice: str):
        super().__init__(found, advice)
        self.found = found

    def __str__(self) -> str:
        return "{}: {}.".format(*self.args)


def exit_code(error: BaseException) -> int:
    """The code that a command ends with because of `error`."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, DamageError):
        return DAMAGE
    mistaken = isinstance(error, OSError) and error.errno in _MISTAKES
    return MISTAKE if mistaken or isinstance(error, InputError) else MAY_PASS


def causes(error: BaseException | None) -> list[BaseException]:
    """An error and what led to it."""
    return [] if error is None else [error, *causes(error.__cause__ or error.__context__)]


def refusal_in(error: BaseException) -> OSError | None:
    """The operating system's refusal that led to an error, which says nothing of what a file holds; None without one.

    A file that is not there and a place that cannot be in it are no refusals: they are what damage looks like.
    """
    found = (one for one in causes(error) if isinstance(one, OSError))
    return next((one for one in found if one.errno not in (None, errno.EINVAL, errno.ENOENT)), None)


def os_error_in(text: str, path: str) -> OSError | None:
    """What the system said about `path`, where a library's error holds its words alone; None where it holds none."""
    number = next((number for number in errno.errorcode if os.strerror(number) in text), None)
    return None if number is None else OSError(number, os.strerror(number), path)


def first_words(error: BaseException) -> str:
    """What a library's error says, without its full stop: one line of at most one sentence, to be put into another."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"[.!?]+(?: |$)", text)[0][:200]


def sentence_of(error: OSError) -> str:
    """What happened, where, and what to do, in one sentence."""
    where = f" ({error.filename})" if error.filename is not None else ""
    what = error.strerror or str(error) or type(error).__name__
    advice = _ADVICE.get(error.errno)
    if advice is None:
        advice = "give another path" if error.errno in _MISTAKES else "start the same command again"
    return f"{what}{where}: {advice}."
