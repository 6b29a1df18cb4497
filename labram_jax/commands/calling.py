"""How a command's arguments become those of a function."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

T = TypeVar("T")


def call(function: Callable[..., T], name: str, arguments: Sequence[str], description: str | None = None) -> T:
    """What `function` gives with the arguments of the command line, or the help of the command `name`."""
    return tyro.cli(function, args=list(arguments), prog=f"labram-jax {name}", description=description)
