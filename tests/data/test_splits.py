"""Splits that a configuration makes, whatever the corpus says."""

from collections import Counter

import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus
from sentences import refuses

from labram_jax.config import DataConfig
from labram_jax.data.reader import codes_for, open_corpora, windows_of
from labram_jax.data.schema import SPLITS

SECONDS = 30


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A recording of one span that ends with it, and one of short spans that begin late."""
    noise = np.random.default_rng(0).normal(0, 10, (2, SECONDS * 200)).astype(np.float32)
    trials = [(start, start + 4, "train", 0) for start in (6, 14, 22)]
    recordings = [
        MadeRecording("whole", "s0", ("C3", "C4"), noise, [(0, None, "train", 1)]),
        MadeRecording("trials", "s1", ("C3", "C4"), noise, trials),
    ]
    return make_corpus(tmp_path_factory.mktemp("corpora") / "whole", recordings)


def starts(data: DataConfig, recording: str) -> dict[str, list[float]]:
    """Where the windows of a recording begin, by split."""
    corpora = open_corpora(data)
    return {
        split: [window.start_seconds for own in windows_of(data, corpora, split) for window in own
                if window.recording == recording]
        for split in SPLITS
    }  # fmt: skip


def test_lists_of_subjects_make_the_splits_and_lose_no_window(corpus):
    data = DataConfig((str(corpus.path),), window_seconds=2)
    found = DataConfig(
        data.corpora, window_seconds=2, validation_subjects=("train0",), test_subjects=("test1", "train2")
    )
    subjects = {
        split: Counter(window.subject for own in windows_of(found, open_corpora(found), split) for window in own)
        for split in SPLITS
    }
    assert set(subjects["validation"]) == {"train0"} and set(subjects["test"]) == {"test1", "train2"}
    assert set(subjects["train"]) == {"train1", "validation0", "validation1", "validation2", "test0", "test2"}
    before = Counter(
        window.subject for split in SPLITS for own in windows_of(data, open_corpora(data), split) for window in own
    )
    assert sum(subjects.values(), Counter()) == before


def test_a_subject_whom_no_corpus_has_is_named(corpus):
    data = DataConfig((str(corpus.path),), test_subjects=("test0", "nobody"))
    with refuses("data.test_subjects names nobody, but the corpora have the subjects test0, test1, test2, train0"):
        open_corpora(data)


@pytest.mark.parametrize("fold", range(3))
def test_every_stretch_of_a_recording_tests_once_and_no_window_crosses_an_edge(whole, fold):
    data = DataConfig((str(whole.path),), window_seconds=4, time_folds=3, test_fold=fold)
    found = starts(data, "whole")
    assert found["test"] == [10 * fold, 10 * fold + 4]
    assert found["validation"] == [10 * ((fold + 1) % 3), 10 * ((fold + 1) % 3) + 4]
    assert found["train"] == [10 * ((fold + 2) % 3), 10 * ((fold + 2) % 3) + 4]
    assert starts(data, "trials")["test"] == [(6, 14, 22)[fold]]


def test_short_spans_across_an_edge_are_lost(whole):
    """From 6 s to 26 s the edges lie at 11, 16 and 21 s, of which the second parts a trial."""
    found = starts(DataConfig((str(whole.path),), window_seconds=4, time_folds=4, test_fold=3), "trials")
    assert found == {"train": [], "validation": [6], "test": [22]}


def test_kept_codes_are_those_of_the_corpus_own_splits(corpus):
    data = DataConfig((str(corpus.path),), window_seconds=2, test_subjects=("train0",))
    kept, reason = codes_for(data, open_corpora(data), "a digest", "float32")
    assert not kept and "the configuration makes others" in reason
