"""The faces that users call: Tokenizer, Encoder and Classifier over arrays in microvolts."""

import jax
import numpy as np
import pytest
from sentences import refuses
from small_runs import CODES, MONTAGES, SECONDS, window

import labram_jax
from labram_jax.config import ComputeConfig
from labram_jax.data.stream import patches
from labram_jax.inference import Classifier, Encoder, Tokenizer
from labram_jax.models.patches import model_units
from labram_jax.models.spectrum import spectrum

ELECTRODES = MONTAGES[0]
SHAPE = (12, len(ELECTRODES), SECONDS)


@pytest.fixture(scope="module")
def eeg() -> np.ndarray:
    """Twelve windows of the two classes that the models know, in turn."""
    amplitudes = ((40, 0), (0, 40))
    windows = [window(len(ELECTRODES), SECONDS, amplitudes[n % 2], (5, n)) for n in range(SHAPE[0])]
    return np.stack(windows).astype(np.float32)


def close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one, other, atol=tolerance, rtol=0)


def test_the_package_itself_offers_the_faces(classifier_run):
    assert labram_jax.Tokenizer is Tokenizer and labram_jax.Encoder is Encoder and labram_jax.Classifier is Classifier
    assert isinstance(labram_jax.load(str(classifier_run)), Classifier)
    with pytest.raises(AttributeError, match="nothing"):
        _ = labram_jax.nothing


def test_saved_models_come_back_bit_for_bit(tmp_path, trained_tokenizer, trained_classifier, eeg):
    for model, answer in (
        (trained_tokenizer, lambda m: m.encode(eeg, ELECTRODES, sfreq=200)),
        (trained_classifier, lambda m: m.predict_logits(eeg, ELECTRODES, sfreq=200)),
    ):
        path = tmp_path / type(model).__name__
        model.save(path)
        loaded = labram_jax.load(path)
        assert type(loaded) is type(model) and loaded.config == model.config
        jax.tree.map(np.testing.assert_array_equal, loaded.variables, model.variables)
        np.testing.assert_array_equal(answer(loaded), answer(model))
        with refuses("exists already"):
            model.save(path)


def test_a_run_is_its_best_checkpoint_and_a_checkpoint_is_itself(classifier_run):
    steps = sorted(int(path.name) for path in (classifier_run / "checkpoints").iterdir() if path.name.isdigit())
    heads = [labram_jax.load(classifier_run / "checkpoints" / str(step)).variables["params"]["head"] for step in steps]
    best = labram_jax.load(classifier_run).variables["params"]["head"]
    assert [np.array_equal(head["kernel"], best["kernel"]) for head in heads].count(True) == 1
    with refuses("nowhere does not exist"):
        labram_jax.load(classifier_run / "nowhere")


def test_predictions_tell_the_classes_apart(trained_classifier, eeg):
    logits = trained_classifier.predict_logits(eeg, ELECTRODES, sfreq=200)
    assert logits.shape == (12, 1) and trained_classifier.config.classes == ("slow", "middle")
    assert logits[1::2].min() > logits[::2].max()


def test_the_batch_a_window_is_in_makes_no_difference(trained_classifier, trained_encoder, eeg):
    """Twelve windows at once, and in threes of which the last is filled up."""
    for model, answer in (
        (trained_classifier, lambda m: m.predict_logits(eeg[:11], ELECTRODES, sfreq=200)),
        (trained_encoder, lambda m: m.features(eeg[:11], ELECTRODES, pool="none", sfreq=200)),
    ):
        other = type(model)(model.variables, model.config)
        other.batch_windows = 3
        assert len(answer(other)) == 11
        close(answer(other), answer(model), 2e-5)


def test_the_order_of_electrodes_makes_no_difference(trained_tokenizer, trained_encoder, trained_classifier, eeg):
    order = [0, 3, 1, 2]  # the pretrained encoder's class token follows the first, as the reference's does
    names = [ELECTRODES[place] for place in order]
    close(
        trained_classifier.predict_logits(eeg[:, order], names, sfreq=200),
        trained_classifier.predict_logits(eeg, ELECTRODES, sfreq=200),
    )
    codes = trained_tokenizer.encode(eeg, ELECTRODES, sfreq=200)
    assert np.mean(trained_tokenizer.encode(eeg[:, order], names, sfreq=200) == codes[:, order]) > 0.97  # but for ties
    tokens = trained_encoder.features(eeg, ELECTRODES, pool="none", sfreq=200)
    close(trained_encoder.features(eeg[:, order], names, pool="none", sfreq=200), tokens[:, order])


def test_electrodes_in_any_usual_spelling(trained_classifier, eeg):
    spelt = ["EEG Fp1-REF", "fp2", "O1.", "EEG O2-LE"]
    expected = trained_classifier.predict_logits(eeg, ELECTRODES, sfreq=200)
    np.testing.assert_array_equal(trained_classifier.predict_logits(eeg, spelt, sfreq=200), expected)
    elsewhere = trained_classifier.predict_logits(eeg, ["C3", "C4", "P3", "P4"], sfreq=200)
    assert np.abs(elsewhere - expected).max() > 1e-4  # well above rounding: the small classifier goes by rhythms


@pytest.mark.parametrize("rate", [100, 512])
def test_other_rates_are_resampled(trained_classifier, rate):
    """The same rhythms sampled at another rate."""

    def rhythms(at: int) -> np.ndarray:
        time = np.arange(at * SECONDS) / at
        phases = np.arange(SHAPE[0] * 4).reshape(SHAPE[0], 4, 1)
        hertz = np.resize((6, 12), SHAPE[0])[:, None, None]
        return 40 * np.sin(2 * np.pi * hertz * time + phases)

    expected = trained_classifier.predict_logits(rhythms(200), ELECTRODES, sfreq=200)
    found = trained_classifier.predict_logits(rhythms(rate), ELECTRODES, sfreq=rate)
    close(found, expected, 0.1 * np.ptp(expected))


def test_codes_and_the_spectra_they_stand_for(trained_tokenizer, eeg):
    codes = trained_tokenizer.encode(eeg, ELECTRODES, sfreq=200)
    assert codes.shape == SHAPE and codes.dtype == np.int32 and set(codes.flat) <= set(range(CODES))
    assert len(np.unique(codes)) > 2
    spectra = trained_tokenizer.reconstruct(eeg, ELECTRODES, sfreq=200)
    for predicted, true in zip(spectra, spectrum(model_units(patches(eeg))), strict=True):
        assert predicted.shape == (*SHAPE, 200)
        true = np.asarray(true).reshape(predicted.shape)
        across = {"axis": (1, 2, 3), "keepdims": True}
        target = (true - true.mean(**across)) / true.std(**across, ddof=1)
        assert np.mean((predicted - target) ** 2) < 0.97  # the mean alone costs 1


def test_features_by_every_pooling(trained_encoder, trained_classifier, eeg):
    for model in (trained_encoder, trained_classifier):
        found = {
            pool: model.features(eeg, ELECTRODES, pool=pool, sfreq=200) for pool in ("mean", "class_token", "none")
        }
        assert found["mean"].shape == found["class_token"].shape == (12, 100)
        assert found["none"].shape == (*SHAPE, 100)
        assert not np.allclose(found["mean"], found["class_token"], atol=1e-2)
        np.testing.assert_array_equal(model.features(eeg, ELECTRODES, sfreq=200), found["mean"])
        with refuses("pool is 'max': choose mean, class_token, electrodes, none"):
            model.features(eeg, ELECTRODES, pool="max", sfreq=200)
    head = trained_classifier.variables["params"]["head"]
    logits = found["mean"] @ head["kernel"] + head["bias"]  # the feature that the head sees
    close(trained_classifier.predict_logits(eeg, ELECTRODES, sfreq=200), logits)


def test_hidden_patches_are_hidden(trained_encoder, eeg):
    """Two hidden patches may change places, which leaves the statistics of the window as they were; others may not."""
    mask = np.zeros(SHAPE, bool)
    mask[:, 1] = True  # both seconds of the second electrode
    swapped_hidden, swapped_seen = eeg.copy(), eeg.copy()
    for swapped, electrode in ((swapped_hidden, 1), (swapped_seen, 2)):
        swapped[:, electrode] = np.roll(eeg[:, electrode], 200, axis=-1)
    logits = trained_encoder.code_logits(eeg, ELECTRODES, mask, sfreq=200)
    assert logits.shape == (*SHAPE, CODES)
    close(trained_encoder.code_logits(swapped_hidden, ELECTRODES, mask, sfreq=200), logits, 1e-4)
    assert np.abs(trained_encoder.code_logits(swapped_seen, ELECTRODES, mask, sfreq=200) - logits).max() > 1e-2
    nothing = trained_encoder.code_logits(eeg, ELECTRODES, np.zeros(SHAPE, bool), sfreq=200)
    close(trained_encoder.code_logits(eeg, ELECTRODES, sfreq=200), nothing)
    assert np.abs(nothing - logits).max() > 1e-2


@pytest.mark.parametrize("mask", [np.zeros(SHAPE), np.zeros((12, 4, 3), bool), np.zeros((11, 4, 2), bool), [True]])
def test_masks_of_another_shape_or_type_are_refused(trained_encoder, eeg, mask):
    with refuses(r"The mask is .*: give booleans \[N, C, A\] = \(12, 4, 2\)"):
        trained_encoder.code_logits(eeg, ELECTRODES, mask, sfreq=200)


BADS = {
    "names": ["Fp2", "EEG O1-REF"],
    "booleans": np.tile([False, True, True, False], (12, 1)),
    "lists of booleans": [[False, True, True, False]] * 12,
    "some windows": np.arange(12)[:, None] % np.array([3, 4, 5, 100]) == np.array([1, 1, 1, -1]),
}


@pytest.mark.parametrize("bads", BADS.values(), ids=BADS)
def test_bad_electrodes_take_part_in_nothing(trained_tokenizer, trained_encoder, trained_classifier, eeg, bads):
    """Whatever they hold, it is as if the others had been given alone; what would be theirs is NaN, or -1."""
    named = isinstance(bads[0], str)
    bad = np.tile([False, True, True, False], (12, 1)) if named else np.array(bads)
    noisy = eeg + np.where(bad[..., None], np.nan, 0).astype(np.float32)
    noisy[0, bad[0], 0] = 1e6
    found = {
        "codes": trained_tokenizer.encode(noisy, ELECTRODES, bads=bads, sfreq=200),
        "amplitude": trained_tokenizer.reconstruct(noisy, ELECTRODES, bads=bads, sfreq=200)[0],
        "features": trained_encoder.features(noisy, ELECTRODES, bads=bads, sfreq=200),
        "tokens": trained_encoder.features(noisy, ELECTRODES, pool="none", bads=bads, sfreq=200),
        "scores": trained_encoder.code_logits(noisy, ELECTRODES, np.ones(SHAPE, bool), bads=bads, sfreq=200),
        "logits": trained_classifier.predict_logits(noisy, ELECTRODES, bads=bads, sfreq=200),
    }
    assert (found["codes"][bad] == -1).all() and (found["codes"][~bad] >= 0).all()
    for name in ("amplitude", "tokens", "scores"):
        assert np.isnan(found[name][bad]).all() and np.isfinite(found[name][~bad]).all()
    for number in (0, 1, 4):  # where they differ: windows without a bad electrode, with three of them, with one
        own = bad[number]
        one, names = eeg[number : number + 1, ~own], [e for e, b in zip(ELECTRODES, own, strict=True) if not b]
        np.testing.assert_array_equal(found["codes"][number][~own], trained_tokenizer.encode(one, names, sfreq=200)[0])
        close(found["amplitude"][number][~own], trained_tokenizer.reconstruct(one, names, sfreq=200)[0][0], 1e-4)
        close(found["features"][number], trained_encoder.features(one, names, sfreq=200)[0], 2e-5)
        close(found["tokens"][number][~own], trained_encoder.features(one, names, pool="none", sfreq=200)[0], 2e-5)
        close(found["logits"][number], trained_classifier.predict_logits(one, names, sfreq=200)[0], 2e-5)
        hidden = np.ones((1, len(names), SECONDS), bool)
        close(found["scores"][number][~own], trained_encoder.code_logits(one, names, hidden, sfreq=200)[0], 1e-4)


@pytest.mark.parametrize(
    ("bads", "sentence"),
    [
        (["C3"], "bad electrode 'C3' is none of those given"),
        ("O1", "bads is one text, 'O1': give a list of names"),
        (np.zeros((3, 4), bool), r"bads has the shape \(3, 4\): give booleans \[N, C\] = \(12, 4\)"),
        (list(ELECTRODES), "Window 0 has no good electrode"),
    ],
)
def test_bads_that_cannot_be_are_refused(trained_classifier, eeg, bads, sentence):
    with refuses(sentence):
        trained_classifier.predict_logits(eeg, ELECTRODES, bads=bads, sfreq=200)


def with_value(eeg: np.ndarray, value: float) -> np.ndarray:
    changed = eeg.copy()
    changed[3, 2, 1] = value
    return changed


BAD = {
    "NaN": (lambda eeg: with_value(eeg, np.nan), {}, r"not finite at \[window, electrode, sample\] \(3, 2, 1\)"),
    "infinity": (lambda eeg: with_value(eeg, -np.inf), {}, r"not finite at .* \(3, 2, 1\)"),
    "one window": (lambda eeg: eeg[0], {}, r"float32 \(4, 400\): give floats \[windows, electrodes, samples\]"),
    "integers": (lambda eeg: eeg.astype(np.int16), {}, "int16"),
    "text": (lambda eeg: "file.edf", {}, "give floats"),
    "no windows": (lambda eeg: eeg[:0], {}, "no windows"),
    "half a second": (lambda eeg: eeg[..., :100], {}, "100 samples at 200 Hz .0.5 s., no whole seconds"),
    "one and a half": (lambda eeg: eeg[..., :300], {}, "300 samples at 200 Hz .1.5 s., no whole seconds"),
    "17 seconds": (lambda eeg: np.tile(eeg, 9)[..., :3400], {}, "17 seconds cannot be used: .* 1 to 16"),
    "a channel less": (lambda eeg: eeg[:, 1:], {}, "3 channels, but 4 electrodes"),
    "an unknown name": (lambda eeg: eeg, {"electrodes": ["FP1", "FP2", "O1", "O3X"]}, "'O3X' is not an electrode"),
    "a bipolar name": (lambda eeg: eeg, {"electrodes": ["FP1", "FP2", "O1", "EEG Fpz-Cz"]}, "bipolar derivation"),
    "a name twice": (lambda eeg: eeg, {"electrodes": ["FP1", "Fp1.", "O1", "O2"]}, "both electrode FP1"),
    "names in one text": (lambda eeg: eeg[:, :3], {"electrodes": "FP1"}, "give a list of names"),
    "no rate": (lambda eeg: eeg, {"sfreq": 0}, "rate of 0 Hz"),
}


@pytest.mark.parametrize("name", BAD)
def test_eeg_that_the_models_cannot_take_is_refused(trained_classifier, trained_tokenizer, eeg, name):
    change, options, sentence = BAD[name]
    options = {"electrodes": ELECTRODES, "sfreq": 200, **options}
    for call in (trained_classifier.predict_logits, trained_tokenizer.encode):
        with refuses(sentence):
            call(change(eeg), **options)


def test_accelerators_may_compute_with_fewer_bits(classifier_run, trained_classifier, eeg):
    model = labram_jax.load(classifier_run, ComputeConfig(dtype="bfloat16"))
    expected = trained_classifier.predict_logits(eeg, ELECTRODES, sfreq=200)
    found = model.predict_logits(eeg, ELECTRODES, sfreq=200)
    assert found.dtype == np.float32 and not np.array_equal(found, expected)
    close(found, expected, 0.05 * np.ptp(expected))
