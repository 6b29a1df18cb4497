"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

Item = TypeVar("Item")


class Progress:
    """Counts `total` steps of one job; `update` takes the number done and a short text to show beside it.

    On a terminal it draws a bar; elsewhere it prints a line at most every `seconds` seconds, and a last one.
    """

    def __init__(self, label: str, total: int | None, start: int = 0, seconds: float = 5.0):
        self.label, self.total, self.done, self.seconds = label, total, start, seconds
        self.begin, self.start, self.text = time.monotonic(), start, ""
        self.last_line, self.told = self.begin, (-1, "")
        self.bar = (
            tqdm.tqdm(total=total, initial=start, desc=label, dynamic_ncols=True) if sys.stderr.isatty() else None
        )

    def update(self, steps: int = 1, text: str = "") -> None:
        self.done += steps
        self.text = text or self.text
        if self.bar is not None:
            self.bar.set_postfix_str(self.text, refresh=False)
            self.bar.update(steps)
        elif time.monotonic() - self.last_line >= self.seconds:
            self._line()

    def write(self, message: str) -> None:
        """Prints a message without tearing the bar."""
        if self.bar is not None:
            self.bar.write(message, file=sys.stderr)
        else:
            print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.told != (self.done, self.text):
            self._line()

    def _line(self) -> None:
        now = time.monotonic()
        elapsed = now - self.begin
        rate = (self.done - self.start) / elapsed if elapsed > 0 else 0.0
        of = f"/{self.total}" if self.total is not None else ""
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total is not None and rate > 0 else ""
        text = f"  {self.text}" if self.text else ""
        print(f"{self.label}: {self.done}{of} ({elapsed:.0f} s{left}){text}", file=sys.stderr, flush=True)
        self.last_line, self.told = now, (self.done, self.text)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yields `items` while their progress is shown."""
    with Progress(label, total if total is not None or not hasattr(items, "__len__") else len(items)) as progress:
        for item in items:
            yield item
            progress.update()
