"""A page in the making: headings, tables, figures and notes, written as one HTML file."""

import re
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from labram_jax.errors import InputError
from labram_jax.jsonfile import write_text
from labram_jax.reporting import document
from labram_jax.reporting.figures import style

REPORT = "report.html"
_PIXELS = 100  # of an inch of a figure: text of 9 points is then as large as that of the page's tables


class Page:
    """Collects the parts of a page, which `write` puts into a folder under its name.

    All of them are given as plain text, in which names of classes and recordings may hold anything.
    """

    def __init__(self, folder: Path, title: str, name: str = REPORT):
        self._path, self._title, self._anchors = folder / name, title, set()
        self._headings: list[document.Heading] = []
        self._parts: list[str] = []
        self._notes: list[str] = []
        self.heading(title, level=1)

    def heading(self, text: str, level: int = 2) -> None:
        heading = document.Heading(text, level, self._anchor(text))
        self._headings.append(heading)
        self._parts.append(str(heading))

    def text(self, text: str) -> None:
        self._parts.append(document.paragraph(text))

    def table(self, headers: list[str], rows: list[list[object]]) -> None:
        self._parts.append(document.table(headers, rows))

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        """Shows a figure above its caption; `name` is that of its anchor."""
        seen = f"{name.replace('-', ' ')}: {style.described(figure)}".removesuffix(": ")
        width = round(figure.get_figwidth() * _PIXELS)
        self._parts.append(document.figure(self._anchor(f"figure-{name}"), style.png(figure), width, seen, caption))

    def note(self, text: str) -> None:
        """Says at the end of the page what could not be shown, and why."""
        self._notes.append(text)

    def attempt(self, what: str, draw: Callable[[], None]) -> None:
        """Draws what may turn out impossible, such as when a corpus has moved; the reason becomes a note."""
        try:
            draw()
        except InputError as error:
            self.note(f"{what}: {error}")

    def write(self) -> Path:
        """Writes the page, under a temporary name first."""
        if self._notes:
            self.heading("Left out")
            self._parts.append(document.bullets(self._notes))
        write_text(self._path, document.document(self._title, self._headings, self._parts))
        return self._path

    def _anchor(self, text: str) -> str:
        """An anchor that no other part has, and that is a word whatever the text holds."""
        anchor = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
        while anchor in self._anchors:
            anchor += "-2"
        self._anchors.add(anchor)
        return anchor
