"""Pages of the site are the documents of the repository, under their own paths, so that links hold in both."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/**/*.md", "benchmarks/RESULTS.md", "benchmarks/figures/*.png")
_ITEM = re.compile(r"(?:-|(?P<number>\d)\.) ")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the documents, wherever in the repository they lie."""
    for pattern in DOCUMENTS:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Writes lists as MkDocs asks for them, where GitHub asks for less.

    A list begins after an empty line, as does a numbered item after another of several lines; and what belongs to a
    numbered item is four spaces to the right and not three.
    """
    lines, numbered, before = [], False, ""
    for line in markdown.splitlines():
        item = _ITEM.match(line)
        if item and before and not _ITEM.match(before) and (item["number"] or not before.startswith(" ")):
            lines.append("")
        if line.strip() and not line.startswith("   "):
            numbered = bool(item and item["number"])
        lines.append(f" {line}" if numbered and line.startswith("   ") else line)
        before = line
    return "\n".join(lines)
