"""How a command's arguments become those of a function."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated, TypeVar, get_args

import tyro
from tyro.conf import Positional

T = TypeVar("T")

# What `Positional` puts into an annotation.
_MARKER = get_args(Positional[int])[1]
_asked: ContextVar[bool] = ContextVar("asked", default=False)


class _Found(Exception):
    """The function that a command would have called."""

    def __init__(self, function: Callable):
        self.function = function


def call(function: Callable[..., T], name: str, arguments: Sequence[str], description: str | None = None) -> T:
    """What `function` gives with the arguments of the command line, or the help of the command `name`.

    Positionals are called by their parameters' names in capital letters, wherever no other is given.
    """
    for parameter, annotation in function.__annotations__.items():
        if _MARKER in get_args(annotation)[1:]:
            named = tyro.conf.arg(metavar=parameter.upper())
            function.__annotations__[parameter] = Annotated[get_args(annotation)[0], named, *get_args(annotation)[1:]]
    if _asked.get():
        raise _Found(function)
    return tyro.cli(function, args=list(arguments), prog=f"labram-jax {name}", description=description)


def interface(command: Callable[[Sequence[str]], int | None], words: Sequence[str]) -> Callable:
    """The function that a command calls after these words, and that nobody calls now."""
    token = _asked.set(True)
    try:
        command(words)
    except _Found as found:
        return found.function
    finally:
        _asked.reset(token)
    raise AssertionError(f"{command} with {words} calls nothing")
