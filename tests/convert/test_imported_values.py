"""What comes in through `labram_jax.load` alone gives the values of the official models."""

import numpy as np
import pytest
from golden_data import FOLDER, arrays, check, check_loss, imported_encoder
from torch_writer import write_torch

import labram_jax
from labram_jax.stages.finetuning import classification_loss
from labram_jax.weights import convert

NAMES = ["FZ", "FP1", "T3", "C3", "PZ", "CZ", "O2"]


@pytest.fixture(scope="module", params=["file", "folder"])
def model_of(request, tmp_path_factory):
    """Gives `model_of(name)`: a golden checkpoint as it is, or converted."""

    def load(name: str):
        path = FOLDER / f"{name}.pth"
        if request.param != "file":
            path = tmp_path_factory.mktemp(name) / "model"
            convert(FOLDER / f"{name}.pth", path)
        return labram_jax.load(path)

    return load


def test_codes_and_spectra_of_the_tokenizer(model_of):
    tokenizer, eeg = model_of("vqnsp"), arrays("tokenizer")["x/main"] * 100
    codes = tokenizer.encode(eeg, NAMES, sfreq=200)
    np.testing.assert_array_equal(codes.reshape(3, 28), arrays("tokenizer")["main/indices"])
    amplitude, phase = tokenizer.reconstruct(eeg, NAMES, sfreq=200)
    check(amplitude, "tokenizer", "main/rec_amplitude")
    check(phase, "tokenizer", "main/rec_angle")
    for values, target, loss in ((amplitude, "amplitude", "rec_amplitude"), (phase, "angle", "rec_angle")):
        square = (values - arrays("tokenizer")[f"main/target_{target}"]) ** 2
        check_loss(square.mean(), "tokenizer", f"main/loss_{loss}")


def test_features_logits_and_losses_of_the_encoder(model_of):
    encoder, golden = model_of("labram"), arrays("pretrain")
    eeg, mask = golden["main/x"].reshape(3, 7, -1) * 100, golden["main/bool_masked_pos"].reshape(3, 7, 4)
    features = arrays("pretrain")["main/features_all_tokens_nomask"]
    for pool, expected in (("none", features[:, 1:]), ("class_token", features[:, 0])):
        actual = encoder.features(eeg, NAMES, sfreq=200, pool=pool).reshape(expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-6)
    for hidden, suffix in ((mask, ""), (~mask, "_sym")):
        logits = encoder.code_logits(eeg, NAMES, hidden, sfreq=200)[hidden]
        check(logits, "pretrain", f"main/logits_{'sym' if suffix else 'masked'}")
        codes = golden["main/labels_all"].reshape(mask.shape)[hidden]
        normaliser = np.log(np.exp(logits.astype(np.float64)).sum(axis=-1))
        check_loss((normaliser - logits[np.arange(len(codes)), codes]).mean(), "pretrain", f"main/loss_rec{suffix}")


@pytest.mark.parametrize(
    ("case", "converted"),
    [("cls1", False), ("cls6", False), ("cls6", True), ("use_cls", True), ("qkv_bias_true", True)],
)
def test_fine_tuned_checkpoints(case, converted, tmp_path):
    """With their head, in a checkpoint as official fine-tuning writes it."""
    path = write_torch(tmp_path / "checkpoint-best.pth", {"model": imported_encoder(case), "epoch": "best"})
    if converted:
        convert(path, tmp_path / "model")
        path = tmp_path / "model"
    classifier, eeg = labram_jax.load(path), arrays("finetune")["x/main"] * 100
    logits = classifier.predict_logits(eeg, NAMES, sfreq=200)
    if not case.startswith("cls"):
        check(logits, "finetune", f"{case}/logits")
        return
    check(logits, "finetune", f"{case}/main/logits")
    check(classifier.features(eeg, NAMES, sfreq=200), "finetune", f"{case}/main/pooled_features")
    targets = arrays("finetune")[f"{case}/targets"].reshape(-1).astype(np.int32)
    loss = classification_loss(logits[:, None], targets[:, None])
    check_loss(loss, "finetune", f"{case}/loss_plain_ce")
