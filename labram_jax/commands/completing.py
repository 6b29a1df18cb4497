"""`completion`: a script by which a shell completes commands, their options and the names that they take."""

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import Positional

from labram_jax.commands import COMMANDS, command
from labram_jax.commands.calling import call, interface

_PROGRAM = "labram-jax"
# tyro's own function says nothing of positionals; where it finds nothing, bash completes files.
_FILES = """
_labram_jax() {
  _tyro_labram_jax "$@"
  [[ -n "${COMPREPLY[0]}" ]] || COMPREPLY=()
}
complete -o default -F _labram_jax labram-jax
"""


def completion(arguments: Sequence[str]) -> None:
    def run(shell: Positional[Literal["bash", "zsh"]]) -> None:
        """Print a script by which a shell completes commands, options, configurations, corpora and protocols.

        For bash: labram-jax completion bash > ~/.local/share/bash-completion/completions/labram-jax. For zsh:
        labram-jax completion zsh > DIR/_labram-jax, where DIR is one of $fpath.

        Args:
            shell: which one.
        """
        print(script(shell), end="")

    call(run, "completion", arguments)


def script(shell: str) -> str:
    """The script of a shell."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(
            _choice({name: _interface(name) for name in COMMANDS}),
            prog=_PROGRAM,
            args=["--tyro-print-completion", shell],
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
    return printed.getvalue() + (_FILES if shell == "bash" else "")


def _interface(name: str) -> Callable:
    """What a command takes; where its first word decides that, the choice of its known words."""
    words = _words(name)
    if not words:
        return interface(command(name), [])
    choice = _choice({word: interface(command(name), [word]) for word in words})

    def chosen(word: Annotated[choice, tyro.conf.arg(name="")]) -> None: ...

    return chosen


def _words(name: str) -> Sequence[str]:
    """The known first words of a command: corpora, configurations or protocols."""
    if name == "prepare":
        return list(importlib.import_module("labram_jax.data_prep.corpora").MODULES)
    files = importlib.import_module("labram_jax.configfile")
    if name in ("train", "plan"):
        return files.configurations()
    return [protocol.name for protocol in files.protocols()] if name == "benchmark" else []


def _choice(functions: Mapping[str, Callable]) -> Any:
    return Union[  # noqa: UP007 (of a number that is known when it is made)
        tuple(Annotated[Any, tyro.conf.subcommand(name=name, constructor=own)] for name, own in functions.items())
    ]
