"""Tables align, write absent values as dashes, and summarise seeds."""

import html
import re

import pytest

from labram_jax.evaluation.published import published_for
from labram_jax.tables import Spread, as_markdown, markdown_table, over_seeds, score_rows, text_table


def test_columns_align_and_absent_scores_are_dashes():
    headers, rows = score_rows({"model": {"auroc": 0.9, "log_loss": 0.41}, "paper": {"auroc": Spread(0.9, 0.001, 5)}})
    lines = text_table(headers, rows).splitlines()
    assert lines[2].split("  ")[0] == "AUROC"
    assert lines[2].rstrip().endswith("0.9000 ± 0.0010")
    assert lines[3].rstrip().endswith("-")
    assert {line.index(word) + len(word) for line, word in zip(lines[2:], ("0.9000", "0.4100"), strict=True)} == {
        lines[0].index("model") + len("model")
    }


def test_markdown_escapes_bars():
    table = markdown_table(["name", "value"], [["a|b", 3]]).splitlines()
    assert table[1] == "|---|---:|"
    assert table[2] == "| a\\|b | 3 |"


@pytest.mark.parametrize(
    "name",
    ["<img src=x onerror=alert(1)>", "a|b", "`code`", "![x](http://y)", "*a* _b_ ~~c~~", "$x$", "&lt;", "\\", "#1"],
)
def test_names_are_text_in_markdown(name):
    written = as_markdown(name)
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]|~$<>#]", written) and not re.search("[<>]|&(?!amp;|lt;|gt;)", written)
    assert html.unescape(re.sub(r"\\(.)", r"\1", written)) == name
    assert as_markdown(f"{name}\n\n# {name}") == f"{written} \\# {written}"


def test_seeds_give_mean_and_sample_deviation():
    spread = over_seeds([{"auroc": 0.8, "r2": 1.0}, {"auroc": 0.9}])
    assert set(spread) == {"auroc"}
    assert spread["auroc"].mean == pytest.approx(0.85)
    assert spread["auroc"].std == pytest.approx(0.0707, abs=1e-4)
    assert over_seeds([{"auroc": 0.8}]) == {"auroc": 0.8}


def test_published_results_of_a_benchmark():
    base = published_for("TUAB")["LaBraM-Base"]
    assert str(base.scores["auroc"]) == "0.9022 ± 0.0009"
    assert published_for("eegmat") == {}
