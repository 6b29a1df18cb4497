"""Pickles read without the pickle module: what a pickle names is looked up in a table and never imported or called.

A pickle is a program for a stack machine. This is such a machine for the few instructions that plain data need.
Numbers, text, bytes, lists, tuples and dicts are made at once; anything else must stand in a table of builders,
functions of this project that check their arguments and make arrays or inert stand-ins. Whatever is not in the table is
refused by its name. Imports numpy and the standard library alone, since data preparation reads pickled windows with it.
"""

import pickletools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from labram_jax.convert.pickled_objects import BUILDERS, Builder, Damaged, Global, Inert, Namespace, Unfinished, brief
from labram_jax.errors import InputError

# Each instruction makes at most one small object, so this bounds the memory (official checkpoints have about 30,000).
MAX_INSTRUCTIONS = 1_000_000
MAX_BYTES = 64 << 20
KEY_TYPES = (str, bytes, int, float, bool, type(None))

_MARK = object()


def read_pickle(
    data: bytes,
    where: str,
    builders: Mapping[str, Builder | None] = MappingProxyType({}),
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value that a pickle describes, as plain Python data, numpy arrays and what `builders` make.

    Args:
        data: the pickle, protocol 0 to 5.
        where: what it is, for messages.
        builders: "module.name" -> function that is called in its place; None lets the name stand as a value.
        persistent: makes the objects that the pickle refers to by an identifier.

    Raises:
        InputError: the pickle names anything else, is damaged, or is too large.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where} is a pickle of {len(data):,} bytes, but {MAX_BYTES:,} is the most that is read.")
    machine = _Machine(where, {**BUILDERS, **builders}, persistent)
    try:
        return machine.run(data)
    except InputError:
        raise
    except (Damaged, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{where} is damaged ({brief(error)}): obtain the file again.") from error


class _Machine:
    """Stack and memo of one pickle; an instruction is the method `do_` and its name, or it is refused."""

    def __init__(self, where: str, builders: Mapping[str, Builder | None], persistent: Callable[[Any], Any] | None):
        self.where, self.builders, self.persistent = where, builders, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.size = self.encoded = 0

    def run(self, data: bytes) -> Any:
        self.size = len(data)
        for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MAX_INSTRUCTIONS:
                raise Damaged(f"more than {MAX_INSTRUCTIONS:,} instructions")
            name = instruction.name
            if name == "STOP":
                return self.pop()
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                self.stack.append(argument)
            elif (method := getattr(self, f"do_{name.lower()}", None)) is not None:
                method(argument)
            elif name not in _IGNORED:
                raise Damaged(f"the instruction {name}")
        raise Damaged("no end")

    def pop(self, wanted: type | tuple[type, ...] = object) -> Any:
        if not self.stack or self.stack[-1] is _MARK or not isinstance(self.stack[-1], wanted):
            raise Damaged("a value is missing")
        return self.stack.pop()

    def top(self, wanted: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], wanted):
            raise Damaged("a value is missing")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise Damaged("a mark is missing")

    def do_mark(self, _) -> None:
        self.stack.append(_MARK)

    def do_empty_list(self, _) -> None:
        self.stack.append([])

    def do_list(self, _) -> None:
        self.stack.append(self.pop_to_mark())

    # A set is a list here, so that nothing is hashed.
    do_empty_set, do_frozenset = do_empty_list, do_list

    def do_append(self, _) -> None:
        item = self.pop()
        self.top(list).append(item)

    def do_appends(self, _) -> None:
        items = self.pop_to_mark()
        self.top(list).extend(items)

    do_additems = do_appends

    def do_tuple(self, _) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def do_tuple1(self, _) -> None:
        self.stack.append((self.pop(),))

    def do_tuple2(self, _) -> None:
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def do_tuple3(self, _) -> None:
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def do_empty_dict(self, _) -> None:
        self.stack.append({})

    def do_dict(self, _) -> None:
        self.stack.append(_pairs(self.pop_to_mark()))

    def do_setitem(self, _) -> None:
        value, key = self.pop(), self.pop()
        self.top(dict).update(_pairs([key, value]))

    def do_setitems(self, _) -> None:
        items = self.pop_to_mark()
        self.top(dict).update(_pairs(items))

    def do_memoize(self, _) -> None:
        self.do_put(len(self.memo))

    def do_put(self, key: int) -> None:
        value = self.top(object)
        if value is _MARK:
            raise Damaged("a mark in the memo")
        if isinstance(value, Unfinished):
            value.memo_keys.append(key)
        self.memo[key] = value

    do_binput = do_long_binput = do_put

    def do_get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    do_binget = do_long_binget = do_get

    def do_global(self, argument: str) -> None:
        self.name(*argument.split(" ", 1))

    def do_stack_global(self, _) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(module, name)

    def name(self, module: str, name: str) -> None:
        """Puts a name on the stack, if it is one of the table."""
        full = f"{module}.{name}"
        if full not in self.builders:
            raise InputError(
                f"{self.where} asks for {brief(full)}, which no checkpoint or window needs, so it was refused and "
                "nothing was run: obtain the file from a source that you trust."
            )
        self.stack.append(Global(full))

    def do_reduce(self, _) -> None:
        arguments, function = self.pop(tuple), self.pop(Global)
        builder = self.builders[function.name]
        if builder is None:
            raise InputError(f"{self.where} calls {function.name}, which was refused: obtain the file again.")
        made = builder(*arguments)
        if isinstance(made, bytes):
            # The same text may be encoded again and again; everything else that is built refers to what is there.
            self.encoded += len(made)
            if self.encoded > 2 * self.size:
                raise Damaged("more bytes than the pickle holds")
        self.stack.append(made)

    do_newobj = do_reduce

    def do_build(self, _) -> None:
        state, value = self.pop(), self.stack[-1] if self.stack else None
        if isinstance(value, Namespace) and isinstance(state, dict):
            value.values = state
        elif isinstance(value, Unfinished):
            self.stack[-1] = value.finish(state)
            self.memo.update(dict.fromkeys(value.memo_keys, self.stack[-1]))
        elif not isinstance(value, dict | list | Inert):  # attributes of these say nothing that is needed
            raise Damaged("a state without its object")

    def do_binpersid(self, _) -> None:
        if self.persistent is None:
            raise Damaged("an object that lies elsewhere")
        self.stack.append(self.persistent(self.pop()))


_CONSTANTS = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()})
# fmt: off
_LITERALS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))
# fmt: on
_IGNORED = frozenset(("PROTO", "FRAME"))


def _pairs(items: list[Any]) -> dict:
    """A dict of alternating keys and values; keys are plain, so that hashing one takes no time and runs no code."""
    if len(items) % 2 or not all(type(key) in KEY_TYPES for key in items[::2]):
        raise Damaged("keys that are no plain values")
    return dict(zip(items[::2], items[1::2], strict=True))
