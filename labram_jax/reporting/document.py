"""HTML of a page: one file that asks nothing of a network, for wide windows, phones and printers.

All text is given as it is, whatever a name in it holds; that it makes no mark-up is seen to here.
"""

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple

from labram_jax.tables import cell, left_aligned

# Neither scripts nor anything from elsewhere, whatever a name might hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_SHORT = 32  # characters that are not broken into lines in a table, but scrolled to
_WIDE = 480  # pixels of a figure above which a phone shows it smaller than it can be read
_CSS = """
:root { color-scheme: light; --ink: #222; --grey: #5f5f5f; --line: #ddd; --blue: #00588a; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p, li { max-width: 46rem; }
a { color: var(--blue); }
nav { font-size: .9rem; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav ol ol { padding-left: 1rem; }
nav a { display: block; padding: .2rem 0; text-decoration: none; }
nav a:hover, nav a:focus { text-decoration: underline; }
.box { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
table { overflow-wrap: normal; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
tbody th { position: sticky; left: 0; background: #fff; min-width: 7rem; }
.short { white-space: nowrap; }
thead th { min-width: 5rem; border-bottom: 2px solid var(--grey); vertical-align: bottom; }
tbody th { font-weight: normal; color: var(--grey); }
.number { text-align: right; }
figure { margin: 1.5rem 0; }
figcaption { color: var(--grey); font-size: .9rem; max-width: 46rem; }
figure img { display: block; max-width: 100%; height: auto; cursor: zoom-in; }
figure input { position: absolute; opacity: 0; }
figure input:focus-visible + img { outline: 2px solid var(--blue); }
figure input:checked + img { max-width: none; cursor: zoom-out; }
@media (min-width: 76rem) {
  body { display: grid; grid-template-columns: 15rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; padding: 1.5rem; }
  main { margin: 0; padding: 1rem 2.5rem 4rem; }
}
@media (max-width: 75.99rem) { nav { max-width: 62rem; margin: 0 auto; padding: 1rem 1rem 0; } }
@media (max-width: 40rem) { .wide figcaption::after { content: " A tap shows it at its full size."; } }
@media print { nav { display: none; } h2, h3 { break-after: avoid; } figure { break-inside: avoid; } }
"""


class Heading(NamedTuple):
    """A heading, its level from 1, and the anchor that links to it."""

    text: str
    level: int
    anchor: str

    def __str__(self) -> str:
        return f'<h{self.level} id="{self.anchor}">{_text(self.text)}</h{self.level}>'


def paragraph(text: str) -> str:
    return f"<p>{_text(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(text)}</li>" for text in texts) + "</ul>"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in a box that scrolls sideways where it is too wide; numbers stand to the right."""
    left = left_aligned(len(headers), rows)
    sides = ["" if own else "number" for own in left]
    head = "".join(_cell("th", "col", text, side) for text, side in zip(headers, sides, strict=True))
    lines = []
    for row in rows:
        texts = [cell(value) for value in row]
        cells = [
            _cell("td", "", text, f"{side} short" if len(text) <= _SHORT else side)
            for text, side in zip(texts, sides, strict=True)
        ]
        if left[0]:
            cells[0] = _cell("th", "row", texts[0], "")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    thead = f"<thead><tr>{head}</tr></thead>" if any(headers) else ""
    return f'<div class="box" tabindex="0"><table>{thead}<tbody>{"".join(lines)}</tbody></table></div>'


def figure(anchor: str, png: bytes, width: int, seen: str, caption: str) -> str:
    """A picture within the page, at most `width` CSS pixels wide; a click shows it at this width, whatever the screen.

    `seen` says what is seen to whoever does not see it.
    """
    data = base64.b64encode(png).decode("ascii")
    image = f'<img src="data:image/png;base64,{data}" width="{width}" alt="{_text(seen)}">'
    box = f'<div class="box"><label><input type="checkbox" aria-label="at full size">{image}</label></div>'
    wide = ' class="wide"' if width > _WIDE else ""
    return f'<figure id="{anchor}"{wide}>{box}<figcaption>{_text(caption)}</figcaption></figure>'


def document(title: str, headings: Sequence[Heading], parts: Sequence[str]) -> str:
    """The whole file, with a table of what is on the page."""
    nav = f'<nav aria-label="Contents">{_contents(headings)}</nav>' if len(headings) > 1 else "<nav></nav>"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{_text(title)}</title><style>{_CSS}</style></head>",
            f"<body>{nav}<main>",
            *parts,
            "</main></body></html>\n",
        ]
    )


def _contents(headings: Sequence[Heading]) -> str:
    """Links to the headings, those of lower levels below the one that they belong to."""
    lines: list[str] = []
    for heading in headings:
        link = f'<a href="#{heading.anchor}">{_text(heading.text)}</a>'
        lines.append(f"<li>{link}</li>" if heading.level <= 2 else f"<li><ol><li>{link}</li></ol></li>")
    return f"<ol>{''.join(lines)}</ol>"


def _text(text: str) -> str:
    return html.escape(" ".join(text.split()))


def _cell(tag: str, scope: str, text: str, classes: str) -> str:
    attributes = {"scope": scope, "class": classes.strip()}
    given = "".join(f' {name}="{value}"' for name, value in attributes.items() if value)
    return f"<{tag}{given}>{_text(text)}</{tag}>"
