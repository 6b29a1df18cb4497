"""The report of a corpus: its quality, its spectra, and windows that were kept and left out."""

import json
import re

import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus
from pages import text_of
from sentences import refuses

from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import QualityLimits
from labram_jax.reporting.report_corpus import write_corpus_report

ELECTRODES = ("FP1", "FP2", "F3", "F4", "FC1", "CZ", "C3", "TP7", "T7", "P3", "POZ", "O1")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """20 s with a flat electrode, half of the electrodes too loud, and another recording without fault."""
    eeg = np.random.default_rng(0).normal(scale=20, size=(12, 200 * 20))
    loud = eeg.copy()
    loud[3, 200 * 8 : 200 * 10] = 0.0
    loud[:6, 200 * 16 : 200 * 18] *= 100
    recordings = [
        MadeRecording("<r>", "s", ELECTRODES, loud, [(0.0, 20.0, "train", 0)], bads=["FP2"]),
        MadeRecording("q", "t", ELECTRODES, eeg, [(0.0, 20.0, "test", 1)]),
    ]
    return make_corpus(tmp_path_factory.mktemp("c") / "bad", recordings, quality=QualityLimits(), window_seconds=4)


def test_a_corpus_shows_what_is_bad_and_windows_of_both_kinds(corpus):
    page = write_corpus_report(corpus.path)
    text = text_of(page.read_text())
    assert "| recordings | 2 of 2 subjects |" in text and "| pieces | 2 (0 cuts) |" in text
    assert "| train | 1 | 1 | 4 | 1 |" in text and "| test | 1 | 1 | 5 | 0 |" in text
    assert "| bad electrodes (implausible amplitude) | 1 | 0 |" in text
    assert "| flat | 0.42% |" in text and "| marked bad | 4.17% |" in text  # 2 and 20 of 480 seconds of electrodes
    assert "None: all 2 are in the corpus." in text
    assert (
        "Bad electrodes (implausible amplitude): recording <r>, from 16.00 s; bad: FP1, FP2, F3, F4, FC1, CZ." in text
    )
    figures = re.findall(r'<figure id="figure-([\w-]+)"', page.read_text())
    (montage,) = (own.name for own in corpus.montages)
    kinds = ("quality", "spectra", "kept", "kept", "left-out")
    assert [own.replace(f"-{montage}", "") for own in figures] == [
        f"{kind}{'' if kind != 'kept' else f'-{number - 2}'}" for number, kind in enumerate(kinds)
    ]
    assert "panels: frontal, central, temporal, parietal, occipital" in page.read_text()
    Corpus.open(corpus.path)  # is what it was


def test_recordings_of_no_use_are_named_with_the_reason(corpus):
    table = corpus.path / "recordings.csv"
    table.write_text(table.read_text().replace("used,,", "unusable,too <short>,", 1))
    assert "| too <short> |" in text_of(write_corpus_report(corpus.path).read_text())
    table.unlink()
    assert "there is no recordings.csv beside the corpus" in text_of(write_corpus_report(corpus.path).read_text())


def test_what_is_no_corpus_is_refused(tmp_path):
    (tmp_path / "corpus.json").write_text(json.dumps({}))
    with refuses("format"):
        write_corpus_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
