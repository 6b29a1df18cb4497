"""The command line: `labram-jax COMMAND ...`. A room is imported only when its command runs."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from labram_jax import __version__
from labram_jax.commands import COMMANDS, command
from labram_jax.errors import INTERRUPTED, MAY_PASS, MISTAKE, STOPPED, UNREAD, InputError, exit_code, sentence_of

LEAVE_SECONDS = 5.0
_INTERRUPTED = "labram-jax: interrupted"
_USAGE = """usage: labram-jax COMMAND ...

{commands}

`labram-jax COMMAND --help` tells more; `labram-jax --version` tells which one this is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 if it went well, or one of `labram_jax.errors` with one sentence."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else MISTAKE
    if arguments[0] in ("-V", "--version"):
        print(_version())
        return 0
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise InputError(f"There is no command {name!r}; choose one of {', '.join(COMMANDS)}.")
        code = command(name)(rest) or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"labram-jax: {error}", file=sys.stderr)
        return exit_code(error)
    except OSError as error:
        if _nobody_reads(error):
            return UNREAD
        print(f"labram-jax: {sentence_of(error)}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        return INTERRUPTED


def _nobody_reads(error: OSError) -> bool:
    """Whether what the output was piped to has ended, as `head` does: no failure, and no word is left of it."""
    if not isinstance(error, BrokenPipeError):
        return False
    ends = select.poll()  # another pipe may be the broken one
    ends.register(sys.stdout.fileno(), 0)
    if not ends.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
    return True


def _usage() -> str:
    calls = {f"{name} {known.takes}": known.what for name, known in COMMANDS.items()}
    width = max(map(len, calls))
    return _USAGE.format(commands="\n".join(f"  {own:<{width}}  {what}" for own, what in calls.items()))


def _version() -> str:
    """This version, and those on which most depends when something is reported."""
    import platform
    from importlib.metadata import version

    return f"labram-jax {__version__} (jax {version('jax')}, Python {platform.python_version()})"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """As Python answers Ctrl-C; but while modules are imported the process ends then and there.

    An exception in the middle of an extension module's start (jaxlib's) ends the process by SIGABRT instead.
    """
    while frame is not None:
        if "importlib._bootstrap" in frame.f_code.co_filename:
            os.write(sys.stderr.fileno(), f"{_INTERRUPTED}\n".encode())
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _as_sentences(show: Callable[..., None]) -> Callable[..., None]:
    """Shows warnings to a person as a sentence, and those that are for developers as `show` does."""

    def shown(message: Warning | str, category: type[Warning], *where: object) -> None:
        if category is UserWarning:
            print(f"labram-jax: {message}", file=sys.stderr)
        else:
            show(message, category, *where)

    return shown


def program(function: Callable[[], int] = main) -> NoReturn:
    """`main` as a program of its own.

    After a failure it ends within seconds and says no more, whatever else runs: the threads of a saver may wait for a
    dead disk forever, and what they leave unfinished complains by the page while the interpreter ends.
    """
    warnings.showwarning = _as_sentences(warnings.showwarning)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored on purpose
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = function()
    except SystemExit:
        raise
    except KeyboardInterrupt:  # once more, while the first one was told
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
        code = MAY_PASS
    if code not in (0, STOPPED):
        sys.stdout.flush()
        sys.stderr.flush()
        deadline = time.monotonic() + LEAVE_SECONDS
        others = [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]
        with contextlib.suppress(KeyboardInterrupt):
            while any(thread.is_alive() for thread in others) and time.monotonic() < deadline:
                time.sleep(0.05)
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
