"""What a person reads on a page."""

import html
import re


def text_of(page: str) -> str:
    """The text of an HTML page without its pictures: a line for each block, rows of tables as `| a | b |`."""
    body = page.partition("<main>")[2]
    body = re.sub(r"<img .*?>", "", body)
    body = re.sub(r"</t[hd]><t[hd].*?>", " | ", re.sub(r"<tr><t[hd].*?>", "\n| ", body)).replace("</tr>", " |")
    return html.unescape(re.sub(r"<.*?>", "", re.sub(r"</(?:p|h\d|li|figcaption)>", "\n", body)))
