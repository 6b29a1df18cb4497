"""A probe's run: what it fits, what it leaves, and what it refuses."""

import numpy as np
import pytest
from sentences import refuses
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_runs import MONTAGES, finetuning_config, write_corpus

from labram_jax import inference
from labram_jax.checkpoints.models import load_model
from labram_jax.evaluation.evaluate import evaluate
from labram_jax.runs import train
from labram_jax.training.metricslog import read_metrics
from labram_jax.weights import convert, read_ledger


def stacked(windows) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([window.eeg for window in windows]), np.array([window.label for window in windows])


def test_a_probe_of_frozen_features_is_scikit_learns(corpus, pretraining_run, tmp_path):
    """By one penalty, on one montage; its run is scored and gone on from like any other."""
    one = write_corpus(tmp_path / "one", MONTAGES[:1])
    config = finetuning_config(tmp_path / "run", [one.path], pretraining_run, trainable="probe", penalties=(0.01,))
    result = train(config)
    assert result.finished and result.test["auroc"] > 0.9 and result.best["step"] == 1
    probe = inference.load(tmp_path / "run")
    encoder = load_model(pretraining_run)[0]["params"]["encoder"]
    for path, leaf in encoder["blocks"]["mlp"]["up"].items():
        np.testing.assert_array_equal(probe.variables["params"]["encoder"]["blocks"]["mlp"]["up"][path], leaf)
    (montage,) = one.windows("train", 2).montages
    eeg, labels = stacked(montage)
    features = probe.features(eeg, montage.electrodes, sfreq=200)
    own = LogisticRegression(C=1 / (100 * 0.01 * len(labels)), max_iter=9999, tol=1e-8)
    expected = make_pipeline(StandardScaler(), own).fit(features, labels)
    np.testing.assert_allclose(
        probe.predict_logits(eeg, montage.electrodes, sfreq=200)[:, 0], expected.decision_function(features), atol=5e-3
    )
    seen = {(entry.corpus, entry.stages) for entry in read_ledger(tmp_path / "run").entries}
    assert seen == {("small", ("tokenizer", "pretraining")), ("one", ("fine-tuning",))}
    scored = evaluate(tmp_path / "run", one.path, baseline=False).columns["fine-tuned"]
    assert scored["auroc"] == pytest.approx(result.test["auroc"], abs=1e-6)
    lines = {line["split"]: line for line in read_metrics(tmp_path / "run")}
    assert lines["train"]["penalty"] == 0.01 and lines["test"]["auroc"] == pytest.approx(result.test["auroc"])
    again = train(config)
    assert again.test == result.test and len(read_metrics(tmp_path / "run")) == 3


def test_penalties_are_chosen_on_validation_over_all_montages(corpus, pretraining_run, tmp_path, capsys):
    changes = {"model.pooling": "electrodes", "model.amplitude": True, "model.filters": True}
    changes |= {"trainable": "probe", "penalties": (0.01, 1e6)}
    changes |= {"optimizer.ema_decay": 0.9}  # nothing moves by steps, so that it means nothing
    result = train(finetuning_config(tmp_path / "run", [corpus.path], pretraining_run, select_by="loss", **changes))
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("penalty")]
    assert [line.split()[1] for line in told] == ["1e+06:", "0.01:"]
    losses = {1e6: float(told[0].split()[-1]), 0.01: float(told[1].split()[-1])}
    chosen = min(losses, key=losses.get)
    assert read_metrics(tmp_path / "run")[0]["penalty"] == chosen
    # What the fold gives in the compiled model is what was chosen by.
    assert losses[chosen] == pytest.approx(result.validation["loss"], abs=1e-3)


def test_vectors_are_regressed_and_exported_in_their_own_units(pretraining_run, tmp_path):
    vectors = write_corpus(
        tmp_path / "vectors", MONTAGES[:1], {"train": 48, "validation": 12, "test": 24}, label="vector"
    )
    config = finetuning_config(tmp_path / "run", [vectors.path], pretraining_run, trainable="probe")
    assert train(config).test["r2"] > 0.2
    (montage,) = vectors.windows("test", 2).montages
    eeg, targets = stacked(montage)
    probe = inference.load(tmp_path / "run")
    values = probe.predict_logits(eeg, montage.electrodes, sfreq=200)
    assert r2_score(targets, values) > 0.2 and len(probe.config.target_scale) == 2
    convert(tmp_path / "run", tmp_path / "model.safetensors")
    plain = inference.load(tmp_path / "model.safetensors")
    assert not plain.config.target_scale
    np.testing.assert_allclose(plain.predict_logits(eeg, montage.electrodes, sfreq=200), values, atol=1e-5)


def test_what_a_probe_cannot_do_is_refused(corpus, pretraining_run, tmp_path):
    two = write_corpus(tmp_path / "two", MONTAGES[:1], {"train": 6, "test": 6})
    with refuses("chooses among 11 penalties on the validation split"):
        train(finetuning_config(tmp_path / "a", [two.path], pretraining_run, trainable="probe"))
    with refuses("cannot learn the query"):
        finetuning_config(tmp_path / "b", [], trainable="probe", **{"model.pooling": "attention"})
