"""LaBraM in scikit-learn: what its checks ask, pipelines, searches, groups, and models that come out."""

import warnings

import mne
import numpy as np
import pytest
from golden_data import FOLDER
from sentences import refuses
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.validation import validate_data

import labram_jax
from labram_jax import LabramClassifier, LabramFeatures, LabramRegressor, Windows
from labram_jax.inference import Encoder

NAMES = ("FP1", "FP2", "O1")
SUBJECTS = 4


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    model = labram_jax.load(FOLDER / "labram.pth")
    model.batch_windows = 8  # whatever the number of windows, one shape is compiled
    return model


@pytest.fixture(scope="module")
def windows() -> Windows:
    """Thirty-two windows of four people: a wave that points up or down, and at O1 an amplitude that is a target."""
    generator, up = np.random.default_rng(0), np.arange(32) % 2
    target = generator.uniform(1, 3, 32)
    wave = np.where(up, 30, -30)[:, None, None] * np.sin(2 * np.pi * 3 * np.arange(200) / 200)
    eeg = generator.normal(scale=10, size=(32, 3, 200)) + wave
    eeg[:, 2] *= target[:, None]
    columns = {"label": np.where(up, "up", "down"), "target": target, "subject": np.repeat(np.arange(4), 8)}
    return Windows.from_array(eeg, NAMES, 200, metadata=columns)


def table(windows: Windows, name: str) -> np.ndarray:
    return windows.metadata[name].to_numpy()


def test_features_in_a_pipeline_with_groups(encoder, windows):
    pipeline = make_pipeline(LabramFeatures(encoder), StandardScaler(), LogisticRegression())
    y, groups = table(windows, "label"), table(windows, "subject")
    scores = cross_val_score(pipeline, windows, y, groups=groups, cv=GroupKFold(SUBJECTS))
    assert scores.shape == (SUBJECTS,) and scores.mean() > 0.9
    features = LabramFeatures(encoder).fit_transform(windows)
    np.testing.assert_array_equal(features, encoder.features(windows))
    arrays = LabramFeatures(encoder, electrodes=NAMES, sfreq=200)
    np.testing.assert_array_equal(arrays.fit_transform(windows.eeg), features)
    other = LabramFeatures(encoder, layer="blocks.0", convention="fine-tuning").fit_transform(windows)
    np.testing.assert_array_equal(other, encoder.features(windows, layer="blocks.0", convention="fine-tuning"))


def test_a_classifier_is_searched_over(encoder, windows):
    grid = {"penalty": [1e-3, 1.0], "amplitude": [False, True]}
    search = GridSearchCV(LabramClassifier(encoder), grid, cv=GroupKFold(SUBJECTS), error_score="raise")
    search.fit(windows, table(windows, "label"), groups=table(windows, "subject"))
    assert search.best_score_ > 0.9 and search.predict(windows).tolist() == table(windows, "label").tolist()
    assert len(encoder._made) == len(search.best_estimator_.model._made)  # copies share what is compiled


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean"},
        {"pooling": "class_token", "amplitude": True},
        {"pooling": "electrodes", "amplitude": True, "filters": True},
    ],
    ids=lambda options: options["pooling"],
)
def test_what_was_fitted_is_a_model(encoder, windows, options, tmp_path):
    fitted = LabramClassifier(encoder, **options).fit(windows, table(windows, "label"))
    model = fitted.to_model()
    np.testing.assert_allclose(model.predict_proba(windows), fitted.predict_proba(windows), atol=1e-4)
    assert model.config.classes == ("down", "up")
    assert model.predict(windows).tolist() == fitted.predict(windows).tolist()
    if options == {"pooling": "mean"}:
        model.save(tmp_path / "model")
        again = labram_jax.load(tmp_path / "model")
        np.testing.assert_array_equal(again.predict_logits(windows), model.predict_logits(windows))
        # A classifier is an encoder too: its own norm and rows stay.
        refitted = LabramClassifier(again).fit(windows, table(windows, "label"))
        np.testing.assert_allclose(refitted.predict_proba(windows), fitted.predict_proba(windows), atol=1e-3)


def test_a_regressor_reads_amplitudes_and_is_a_model(encoder, windows):
    regressor = LabramRegressor(encoder, pooling="electrodes", amplitude=True, penalty=1e-3)
    y = table(windows, "target") * 1000 + 5
    predicted = cross_val_predict(regressor, windows, y, cv=GroupKFold(SUBJECTS), groups=table(windows, "subject"))
    assert np.corrcoef(predicted, y)[0, 1] > 0.8
    fitted = regressor.fit(windows, y)
    np.testing.assert_allclose(fitted.to_model().predict(windows)[:, 0], fitted.predict(windows), rtol=1e-3)
    assert regressor.fit(windows, np.stack([y, -y], axis=1)).predict(windows).shape == (32, 2)


def test_epochs_are_taken_as_they_are(encoder, windows):
    info = mne.create_info(list(NAMES), 200.0, "eeg")
    with info._unlock():
        info["highpass"], info["lowpass"] = 0.1, 75.0
    epochs = mne.EpochsArray(windows.eeg * 1e-6, info, verbose="ERROR")
    expected = LabramClassifier(encoder).fit(windows, table(windows, "label")).predict(windows)
    found = LabramClassifier(encoder).fit(epochs, table(windows, "label")).predict(epochs)
    assert found.tolist() == expected.tolist()


def test_what_cannot_be_fitted_is_one_sentence(encoder, windows):
    with refuses("needs an encoder or a classifier: give model"):
        LabramFeatures().fit(windows)
    with refuses("needs an encoder or a classifier"):
        LabramFeatures(FOLDER / "vqnsp.pth").fit(windows)
    with refuses("pool is 'none', which gives no vector a window"):
        LabramFeatures(encoder, pool="none").fit(windows)
    with refuses("All windows are of one class"):
        LabramClassifier(encoder).fit(windows, np.zeros(32))
    with refuses("An array does not say all that a model must know: give electrodes"):
        LabramClassifier(encoder).fit(windows.eeg, np.zeros(32))


class OfTables:
    """An estimator that takes the tables of scikit-learn's checks: columns are amplitudes of rhythms of one electrode.

    So all checks run that say nothing of what a window is.
    """

    def _windows(self, X):
        X = validate_data(self, X, reset=not hasattr(self, "n_features_in_"), dtype=np.float64)
        rhythms = np.sin(2 * np.pi * np.outer(5 + 3 * np.arange(X.shape[1]), np.arange(200) / 200))
        with np.errstate(over="ignore"):
            eeg = 20 * (np.tanh(X / 20) @ rhythms)
        return Windows(eeg[:, None].astype(np.float32), ("CZ",), np.zeros((len(X), 1), bool))

    def fit(self, X, y=None):
        vars(self).pop("n_features_in_", None)
        return super().fit(X, y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = True, False
        return tags


class FeaturesOfTables(OfTables, LabramFeatures):
    pass


class ClassifierOfTables(OfTables, LabramClassifier):
    pass


class RegressorOfTables(OfTables, LabramRegressor):
    pass


# What is not asked of them, and why.
EXEMPT = {
    "check_methods_subset_invariance": "it takes windows one by one, and float32 rounds otherwise in another batch",
    "check_array_api_input": "arrays of other libraries are no EEG; scikit-learn skips it where its package is absent",
}


@pytest.mark.parametrize(
    ("kind", "options"),
    [(FeaturesOfTables, {}), (ClassifierOfTables, {"penalty": 1.0}), (RegressorOfTables, {})],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_scikit_learns_own_checks(encoder, kind, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = estimator_checks.check_estimator(kind(encoder, **options), expected_failed_checks=EXEMPT, on_fail=None)
    failed = {own["check_name"]: str(own["exception"]) for own in found if own["status"] == "failed"}
    assert not failed and len(found) > 40
    assert {own["check_name"] for own in found if own["status"] != "passed"} <= EXEMPT.keys()
