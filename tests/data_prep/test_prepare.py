"""From a corpus' name and a folder to a corpus on disk."""

import pytest

from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY
from data_prep.prepare import prepare
from labram_jax.data.schema import CorpusInfo
from labram_jax.errors import InputError


def test_a_folder_becomes_a_corpus(write_edf, tmp_path):
    source = write_edf("a.edf").parent
    write_edf("b.edf", seed=1)
    options = PrepareOptions(
        window_seconds=2, split_by="none", jobs=1, quality="finite", notch=60.0, rename="old-to-new"
    )
    report = prepare("folder", source, tmp_path / "out", options)
    assert report.windows == {"train": 20}
    assert report.limits == FINITE_ONLY
    info = CorpusInfo.read(tmp_path / "out")
    assert info.filters == {"high_pass": 0.1, "low_pass": 75.0, "notch": 60.0}
    with pytest.raises(InputError, match="exists already"):
        prepare("folder", source, tmp_path / "out", options)


def test_an_unknown_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="eegmat"):
        prepare("eegmatt", tmp_path, tmp_path / "out", PrepareOptions())
