"""A Markdown page in the making, with its figures beside it."""

import re
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from labram_jax.errors import InputError
from labram_jax.reporting.figures import style
from labram_jax.tables import as_markdown, markdown_table

REPORT, FIGURES = "report.md", "figures"


class Page:
    """Collects headings, tables, figures and notes of one run; figures are written at once, the page `name` by `write`.

    All of them are given as plain text, in which names of classes and recordings may hold anything.
    """

    def __init__(self, run: Path, name: str = REPORT):
        self._run, self._name, self._parts, self._notes, self._figures = run, name, [], [], set()
        (run / FIGURES).mkdir(exist_ok=True)

    def heading(self, text: str, level: int = 2) -> None:
        self._parts.append(f"{'#' * level} {as_markdown(text)}")

    def text(self, text: str) -> None:
        self._parts.append(as_markdown(text))

    def table(self, headers: list[str], rows: list[list[object]]) -> None:
        self._parts.append(markdown_table(headers, rows))

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        """Writes a figure and shows it above its caption."""
        name = re.sub(r"[^\w-]+", "-", name)  # a corpus may be called ../x
        while name in self._figures:
            name += "-2"
        self._figures.add(name)
        style.save(figure, self._run / FIGURES / f"{name}.png")
        self._parts.append(f"![{name.replace('-', ' ')}]({FIGURES}/{name}.png)\n\n{as_markdown(caption)}")

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
        parts = list(self._parts)
        if self._notes:
            parts += ["## Left out", "\n".join(f"- {as_markdown(note)}" for note in self._notes)]
        partial = self._run / f"{self._name}.partial"
        partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        return partial.replace(self._run / self._name)
