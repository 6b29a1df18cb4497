"""What models give of windows beyond `test_inference.py`: layers, conventions, classes, long windows; and copies."""

import copy
import io
import pickle

import jax
import joblib
import mne
import numpy as np
import pytest
from golden_data import FOLDER, arrays, imported_encoder, tiny_classifier
from sentences import refuses

import labram_jax
from labram_jax import Windows
from labram_jax.config import replace
from labram_jax.convert.official import from_official
from labram_jax.inference import Classifier, Encoder, Tokenizer

NAMES = ("FZ", "FP1", "T3", "C3", "PZ", "CZ", "O2")


@pytest.fixture(scope="module")
def windows() -> Windows:
    return Windows.from_array(arrays("pretrain")["main/x"].reshape(3, 7, -1) * 100, NAMES, 200)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return labram_jax.load(FOLDER / "labram.pth")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return labram_jax.load(FOLDER / "vqnsp.pth")


def classifier(outputs: int, **changes) -> Classifier:
    config = replace(tiny_classifier(outputs), **changes)
    return Classifier(from_official(imported_encoder("cls1" if outputs == 1 else "cls6"), config), config)


@pytest.fixture(scope="module")
def binary() -> Classifier:
    return classifier(1, classes=("rest", "task"))


def test_layers_have_names_and_add_up(encoder, windows):
    """Each block adds its attention and its MLP, scaled, to what came in; the last one, normed, is the default."""
    assert encoder.layers[:4] == ("temporal_convolution", "blocks.0.attention", "blocks.0.mlp", "blocks.0")
    assert len(encoder.layers) == 7
    names = ("blocks.0", "blocks.1.attention", "blocks.1.mlp", "blocks.1")
    found = {name: encoder.features(windows, layer=name, pool="none") for name in names}
    params = jax.device_get(encoder.variables["params"])
    blocks = params["encoder"]["blocks"]
    added = sum(
        blocks[f"scale_{number}"][1] * found[f"blocks.1.{part}"] for number, part in ((1, "attention"), (2, "mlp"))
    )
    np.testing.assert_allclose(found["blocks.1"], found["blocks.0"] + added, atol=1e-5)
    last = found["blocks.1"]
    normed = (last - last.mean(axis=-1, keepdims=True)) / np.sqrt(last.var(axis=-1, keepdims=True) + 1e-6)
    normed = normed * params["norm"]["scale"] + params["norm"]["bias"]
    np.testing.assert_allclose(normed, encoder.features(windows, pool="none"), atol=1e-4)


def test_layers_are_pooled(encoder, windows):
    layer = "temporal_convolution"
    patches = encoder.features(windows, layer=layer, pool="none")
    assert patches.shape == (3, 7, 4, 100)
    np.testing.assert_allclose(encoder.features(windows, layer=layer), patches.mean(axis=(1, 2)), atol=1e-5)
    by_electrode = encoder.features(windows, layer=layer, pool="electrodes")
    np.testing.assert_allclose(by_electrode, patches.mean(axis=2), atol=1e-5)
    bad = Windows.from_array(windows.eeg, NAMES, 200, bads=["C3"])
    found = encoder.features(bad, layer=layer, pool="electrodes")
    assert np.isnan(found[:, 3]).all() and not np.isnan(np.delete(found, 3, axis=1)).any()
    assert encoder.features(windows, layer="blocks.0", pool="class_token").shape == (3, 100)
    with refuses("comes before the class token"):
        encoder.features(windows, layer="temporal_convolution", pool="class_token")
    with refuses("no layer 'blocks.2': choose one of temporal_convolution, .* blocks.1$|blocks.1[.]$"):
        encoder.features(windows, layer="blocks.2")


def test_the_convention_of_features_is_asked_for(encoder, windows):
    """As fine-tuning of the reference begins with the same weights: its fc_norm is fresh, its class token has row 0."""
    tensors = imported_encoder("cls1") | {"fc_norm.weight": np.ones(100), "fc_norm.bias": np.zeros(100)}
    config = tiny_classifier()
    fresh = Classifier(from_official({n: t.astype(np.float32) for n, t in tensors.items()}, config), config)
    found = encoder.features(windows, convention="fine-tuning")
    np.testing.assert_allclose(found, fresh.features(windows), atol=1e-5)
    other = encoder.features(windows)
    np.testing.assert_array_equal(other, encoder.features(windows, convention="pretraining"))
    assert np.abs(found - other).max() > 0.01
    with refuses("convention is 'mine': choose 'pretraining' or 'fine-tuning'"):
        encoder.features(windows, convention="mine")


def test_windows_and_arrays_give_the_same(encoder, tokenizer, binary, windows):
    given = (windows.eeg, NAMES)
    np.testing.assert_array_equal(encoder.features(windows), encoder.features(*given, sfreq=200))
    np.testing.assert_array_equal(tokenizer.encode(windows), tokenizer.encode(*given, sfreq=200))
    np.testing.assert_array_equal(binary.predict_logits(windows), binary.predict_logits(*given, sfreq=200))
    with refuses("An array does not say all that a model must know: give sfreq"):
        encoder.features(*given)


def test_models_take_epochs_and_say_what_to_do_with_a_recording(encoder, binary, windows):
    info = mne.create_info(list(NAMES), 200.0, "eeg")
    with info._unlock():
        info["highpass"], info["lowpass"] = 0.1, 75.0
    epochs = mne.EpochsArray(windows.eeg * 1e-6, info, verbose="ERROR")
    np.testing.assert_allclose(encoder.features(epochs), encoder.features(windows), atol=1e-5)
    np.testing.assert_allclose(binary.predict_logits(epochs), binary.predict_logits(windows), atol=1e-5)
    raw = mne.io.RawArray(windows.eeg[0] * 1e-6, info, verbose="ERROR")
    for call in (encoder.features, encoder.code_logits, binary.predict, binary.features):
        with refuses(r"a whole recording of MNE: .* labram_jax.Windows.from_raw\(raw, seconds=4\)"):
            call(raw)
    with refuses("it seems to be in volts, so give microvolts"):
        encoder.features(epochs.get_data(copy=True), NAMES, sfreq=200)


def test_probabilities_and_classes(binary, windows):
    logits = binary.predict_logits(windows)
    probabilities = binary.predict_proba(windows)
    np.testing.assert_allclose(probabilities[:, 1:], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert binary.predict(windows).tolist() == [("rest", "task")[int(logit > 0)] for logit in logits[:, 0]]
    six = classifier(6)
    logits = six.predict_logits(windows)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(six.predict_proba(windows), expected, rtol=1e-5)
    np.testing.assert_array_equal(six.predict(windows), logits.argmax(axis=1))
    regressor = classifier(6, task="regression")
    np.testing.assert_allclose(regressor.predict(windows), logits, atol=1e-6)
    with refuses("A regressor gives values and no probabilities: call predict"):
        regressor.predict_proba(windows)


def test_parts_of_long_windows_are_put_together_or_averaged(encoder):
    eeg = np.tile(arrays("pretrain")["main/x"].reshape(3, 7, -1)[:1] * 100, (1, 1, 5))[..., : 17 * 200]
    long = Windows.from_array(eeg, NAMES, 200, long="split")
    parts = [Windows.from_array(part, NAMES, 200) for part in np.split(eeg, [9 * 200], axis=-1)]
    one, other = (encoder.features(part) for part in parts)
    np.testing.assert_allclose(encoder.features(long), (9 * one + 8 * other) / 17, atol=1e-5)
    mask = np.arange(17)[None, None] < np.arange(7)[None, :, None] + 8
    found = encoder.code_logits(long, mask=mask)
    masks = mask[..., :9], mask[..., 9:]
    expected = [encoder.code_logits(part, mask=own) for part, own in zip(parts, masks, strict=True)]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=2), atol=1e-5)


def joblibbed(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), joblibbed, copy.deepcopy, copy.copy])
def test_models_are_copied_also_after_use(encoder, windows, copied):
    expected = encoder.features(windows, convention="fine-tuning")
    other = copied(encoder)
    np.testing.assert_array_equal(other.features(windows, convention="fine-tuning"), expected)
    assert (other.config, other.compute, other.seen) == (encoder.config, encoder.compute, encoder.seen)
    assert other is not encoder and repr(other) == repr(encoder)


def test_variables_lie_on_the_device_once(encoder, windows):
    def places(model):
        return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(model.variables)]

    before = places(encoder)
    encoder.features(windows)
    assert places(encoder) == before == places(copy.deepcopy(encoder))


def test_models_say_what_they_are(encoder, tokenizer, binary):
    assert repr(encoder).startswith("<Encoder: 2 blocks of width 100, ") and "predicts 64 codes" in repr(encoder)
    assert "64 codes of dimension 16, computes in float32>" in repr(tokenizer)
    assert "classification by 1 logits (rest, task), pooled by mean" in repr(binary)
