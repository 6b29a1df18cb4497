"""Damages files at random: mutation n of a file is a function of (seed, n) alone."""

import re

import numpy as np

# Bytes that mean much somewhere: lengths, counts, offsets.
INTEGERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (
    *(b"0", b"-1", b"1", b"1e-5", b"1e300", b"-1e300", b"nan", b"inf", b"99999999", b"1000000000000000000000"),
    *(b"", b'""', b"null", b"true", b"[]", b"{}", b"[[[[[[[[]]]]]]]]", b"../../x", b"\x00", b"\xff\xfe", b"\r"),
)
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
TOKEN = re.compile(rb'"[^"\n]*"|[A-Za-z_][\w.-]*|-?\d+(?:\.\d+)?|[\[\]{},:;\t]')
HEAD = 4096


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    """Returns a mutation of a file; most hit its beginning, where formats keep what counts."""
    area = min(len(data), HEAD) if generator.random() < 0.7 else len(data)

    def place() -> int:
        return int(generator.integers(area))

    kinds = [_flip, _overwrite, _cut, _repeat, _integer]
    # Text and headers of text: numbers and words are exchanged for what they should not be.
    if NUMBER.search(data, 0, area):
        kinds += [_number] * 3
    if _is_text(data):
        kinds += [_word] * 5
    changed = data
    for _ in range(int(generator.choice([1, 1, 1, 2, 3]))):
        if changed:
            area = min(area, len(changed))
            changed = kinds[generator.integers(len(kinds))](changed, place, generator)
    return changed


def _flip(data, place, generator) -> bytes:
    changed = bytearray(data)
    for _ in range(generator.integers(1, 9)):
        changed[place()] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def _overwrite(data, place, generator) -> bytes:
    changed, start = bytearray(data), place()
    length = int(generator.integers(1, 9))
    changed[start : start + length] = generator.integers(256, size=length, dtype=np.uint8).tobytes()
    return bytes(changed)


def _cut(data, place, generator) -> bytes:
    return data[: int(generator.integers(len(data)))]


def _repeat(data, place, generator) -> bytes:
    """Takes a stretch out, or puts it in again."""
    start, length = place(), int(generator.integers(1, 200))
    part = data[start : start + length]
    return data[:start] + part * int(generator.choice([0, 2, 50])) + data[start + length :]


def _integer(data, place, generator) -> bytes:
    changed = bytearray(data)
    width, start = int(generator.choice([1, 2, 4, 8])), place()
    value = INTEGERS[generator.integers(len(INTEGERS))] & ((1 << 8 * width) - 1)
    changed[start : start + width] = value.to_bytes(width, "little" if generator.random() < 0.7 else "big")
    return bytes(changed)


def _number(data, place, generator) -> bytes:
    found = [match.span() for match in NUMBER.finditer(data[:HEAD])]
    return _exchanged(data, found, WORDS[:10], generator)


def _word(data, place, generator) -> bytes:
    return _exchanged(data, [match.span() for match in TOKEN.finditer(data)], WORDS, generator)


def _exchanged(data, spans, words, generator) -> bytes:
    if not spans:
        return data
    start, stop = spans[generator.integers(len(spans))]
    word = words[generator.integers(len(words))]
    if generator.random() < 0.4:  # as wide as it was, so that what follows keeps its place
        word = word[: stop - start].ljust(stop - start)
    return data[:start] + word + data[stop:]


def _is_text(data: bytes) -> bool:
    return not any(byte in data[:HEAD] for byte in (b"\x00", b"\x80", b"\xff"))
