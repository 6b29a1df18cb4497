"""A benchmark of MOABB takes our estimators, where it is installed (the extra `moabb`)."""

import pytest

pytest.importorskip("moabb", reason="needs the extra moabb")

from golden_data import FOLDER
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSubjectEvaluation
from moabb.paradigms import LeftRightImagery
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import labram_jax
from labram_jax import LabramClassifier, LabramFeatures


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_an_evaluation_over_subjects(tmp_path):
    dataset = FakeDataset(("left_hand", "right_hand"), 1, 1, 3, duration=40, n_events=8, sfreq=200, seed=1)
    encoder = labram_jax.load(FOLDER / "labram.pth")
    pipelines = {
        "features": make_pipeline(LabramFeatures(encoder), LogisticRegression()),
        "classifier": LabramClassifier(encoder, amplitude=True),
    }
    evaluation = CrossSubjectEvaluation(
        paradigm=LeftRightImagery(fmin=0.1, fmax=75),
        datasets=[dataset],
        hdf5_path=str(tmp_path),
        return_epochs=True,  # which say what arrays do not: electrodes, rate, filters
        error_score="raise",
    )
    results = evaluation.process(pipelines)
    assert sorted(set(results["pipeline"])) == ["classifier", "features"] and len(results) == 6
    assert results["score"].between(0, 1).all()
