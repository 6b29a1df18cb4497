"""The command line: `labram-jax COMMAND ...`. A room is imported only when its command runs."""

import importlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from labram_jax.errors import INTERRUPTED, MAY_PASS, MISTAKE, STOPPED, InputError, exit_code, sentence_of

LEAVE_SECONDS = 5.0
# In which module of `commands` each of them is.
COMMANDS = {
    "demo": "training",
    "prepare": "preparing",
    "train": "training",
    "tokenize": "models",
    "evaluate": "models",
    "predict": "models",
    "audit": "models",
    "benchmark": "training",
    "embed": "models",
    "convert": "models",
    "push": "models",
    "plan": "training",
    "inspect": "models",
    "report": "models",
}

USAGE = """usage: labram-jax COMMAND ...

  demo [--out DIR]                      from recordings to scores, on simulated ones
  prepare CORPUS SOURCE OUT             recordings to a corpus on disk
  train CONFIG [--dotted.override V]    train a stage: tokenizer, pretraining or fine-tuning
  tokenize TOKENIZER CORPUS             codes of all windows, kept beside the corpus for pretraining
  evaluate CHECKPOINT CORPUS            scores on a split
  predict CHECKPOINT CORPUS OUT         predictions for all windows, as one table
  audit CHECKPOINT CORPUS               what features say of subjects, of labels, and of labels without subjects
  benchmark PROTOCOL --corpus DIR       all folds and seeds of a benchmark, beside what is published
  embed CHECKPOINT SOURCE OUT           features of a corpus or a recording, to .npz
  convert SOURCE DEST                   PyTorch, safetensors and braindecode to JAX and back
  push SOURCE OWNER/NAME --licence L    a model to the Hub, with a card of data, scores and digests
  plan CONFIG [--topology v5e:16x16]    compile for devices without having them: memory, step time, levers
  inspect PATH                          what a recording, corpus or checkpoint holds
  report RUN|BENCHMARK|CORPUS           figures and tables of a run, a benchmark or a corpus, as one HTML page

`labram-jax COMMAND --help` tells more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 if it went well, or one of `labram_jax.errors` with one sentence."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else MISTAKE
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise InputError(f"There is no command {name!r}; choose one of {', '.join(COMMANDS)}.")
        command = getattr(importlib.import_module(f"labram_jax.commands.{COMMANDS[name]}"), name)
        return command(rest) or 0
    except InputError as error:
        print(f"labram-jax: {error}", file=sys.stderr)
        return exit_code(error)
    except OSError as error:
        print(f"labram-jax: {sentence_of(error)}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("labram-jax: interrupted", file=sys.stderr)
        return INTERRUPTED


def program(function: Callable[[], int] = main) -> NoReturn:
    """`main` as a program of its own.

    After a failure it ends within seconds and says no more, whatever else runs: the threads of a saver may wait for a
    dead disk forever, and what they leave unfinished complains by the page while the interpreter ends.
    """
    try:
        code = function()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        code = MAY_PASS
    if code not in (0, STOPPED):
        sys.stdout.flush()
        sys.stderr.flush()
        deadline = time.monotonic() + LEAVE_SECONDS
        others = [t for t in threading.enumerate() if t is not threading.current_thread() and not t.daemon]
        while any(thread.is_alive() for thread in others) and time.monotonic() < deadline:
            time.sleep(0.05)
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    program()
