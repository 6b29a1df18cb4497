"""A page is one file that asks for nothing else, and what it is given is text in it."""

import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from pages import text_of

from labram_jax.errors import InputError
from labram_jax.reporting.page import Page

NAME = "</td><script>alert(1)</script> \"'&amp; $x$ `y`"


class Tags(HTMLParser):
    """All tags of a page with their attributes; those that stay open at its end."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path):
    figure = Figure()
    figure.subplots().set(title=NAME.replace("$", r"\$"), xlabel="time (s)")
    made = Page(tmp_path, NAME)
    for heading in ("Scores", "Scores", NAME, "<>"):
        made.heading(heading)
        made.table(["", NAME], [[NAME, 1.5], ["b", None]])
    made.figure(NAME, figure, NAME)
    made.text(NAME)
    made.attempt("Gone", gone)
    return made.write()


def gone():
    raise InputError(NAME)


def test_names_are_text(page):
    tags = Tags(page.read_text())
    assert not tags.open and "script" not in [tag for tag, _ in tags.found]
    (image,) = (attributes for tag, attributes in tags.found if tag == "img")
    assert image["alt"].endswith(f"panels: {NAME}; axes: time (s)")
    # Title, heading, tables, caption, text, note.
    assert text_of(page.read_text()).count(NAME) == 1 + 1 + 4 * 2 + 1 + 1 + 1


def test_the_page_needs_nothing_but_itself(page, tmp_path):
    text = page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    addresses = [own for _, attributes in Tags(text).found for key, own in attributes.items() if key in ("src", "href")]
    assert all(own.startswith(("#", "data:image/png;base64,")) for own in addresses)
    assert not re.search(r"https?:|url\(|@import", text)


def test_the_contents_lead_to_every_heading(page):
    tags = Tags(page.read_text()).found
    anchors = [attributes["id"] for _, attributes in tags if "id" in attributes]
    links = [attributes["href"].removeprefix("#") for tag, attributes in tags if tag == "a"]
    assert len({*anchors}) == len(anchors) and {*links} <= {*anchors}
    assert len(links) == sum(tag in ("h1", "h2", "h3") for tag, _ in tags) == 6
