"""Scores of trained models: those that the runs themselves logged, beside the baseline and the paper."""

import json
import re
import shutil

import numpy as np
import pytest
from sentences import refuses
from small_runs import MONTAGES, write_corpus

import labram_jax
from labram_jax.evaluation.evaluate import evaluate, evaluate_seeds
from labram_jax.tables import Spread
from labram_jax.training.metricslog import read_metrics


@pytest.fixture
def run(classifier_run, tmp_path):
    """A copy, since scores are left in the run."""
    return shutil.copytree(classifier_run, tmp_path / "run")


def logged(run, split: str = "test") -> dict[str, float]:
    return next(line for line in reversed(read_metrics(run)) if line["split"] == split)


def as_logged(scores: dict[str, float]):
    """The scores to the rounding of float32 logits, which the training computed in rows of another shape."""
    return pytest.approx(scores, rel=1e-5)


def test_classifier_scores_stand_beside_band_powers_and_stay_in_the_run(run, corpus):
    evaluation = evaluate(run, corpus.path)
    assert list(evaluation.columns) == ["fine-tuned", "band powers"]
    scores = evaluation.columns["fine-tuned"]
    assert scores == as_logged({name: logged(run)[name] for name in scores})
    assert 0.9 < evaluation.columns["band powers"]["auroc"] <= 1
    text = str(evaluation).splitlines()
    assert text[0] == f"{run} on 24 windows of 2 s of small, test" and re.match(
        r"metric +fine-tuned +band powers", text[1]
    )
    left = json.loads((run / "scores.json").read_text())
    assert left == {"test": scores, "baseline": evaluation.columns["band powers"]}
    with np.load(run / "predictions-test.npz") as predictions:
        assert predictions["probabilities"].shape == (24, 1) and predictions["labels"].tolist() == [
            window.label for window in corpus.windows("test", 2)
        ]


def test_scores_are_told_where_nothing_can_be_left(run, corpus):
    (run / "scores.json.part").mkdir()  # what a read-only run does, also to root
    evaluation = evaluate(run, corpus.path, baseline=False)
    assert "auroc" in evaluation.columns["fine-tuned"] and not (run / "scores.json").exists()
    assert str(evaluation).splitlines()[-1].startswith("nothing was left in the run for its report: Is a directory")


def test_windows_of_another_length_are_scored(run, corpus):
    evaluation = evaluate(run, corpus.path, baseline=False, window_seconds=1)
    assert not (run / "scores.json").exists()  # the report's windows are those of the training
    assert str(evaluation).startswith(f"{run} on 48 windows of 1 s of small, test")
    assert "windows of 1 s" in str(evaluate(run, corpus.path, baseline=False, window_seconds=1, stride_seconds=0.5))
    with refuses("no windows in the split 'test': .* ask for shorter ones with --window-seconds"):
        evaluate(run, corpus.path, baseline=False, window_seconds=3)


def test_another_split_without_the_baseline_leaves_the_first_scores(run, corpus):
    first = evaluate(run, corpus.path).columns["fine-tuned"]
    evaluation = evaluate(run, corpus.path, "validation", baseline=False)
    assert list(evaluation.columns) == ["fine-tuned"]
    left = json.loads((run / "scores.json").read_text())
    assert left["test"] == first and left["validation"] == evaluation.columns["fine-tuned"]


def test_a_checkpoint_alone_is_scored_and_nothing_left_in_it(run, corpus):
    before = sorted(run.rglob("*"))
    checkpoint = max((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    assert evaluate(checkpoint, corpus.path, baseline=False).columns["fine-tuned"]["auroc"] > 0.95
    assert sorted(run.rglob("*")) == before


def test_the_paper_stands_beside_its_benchmarks(run, tmp_path):
    tuab = write_corpus(tmp_path / "tuab", MONTAGES[:1], {"test": 4})
    evaluation = evaluate(run, tuab.path, baseline=False)
    assert list(evaluation.columns) == ["fine-tuned", "paper, base", "paper, large", "paper, huge"]
    assert "0.9022 ± 0.0009" in str(evaluation)


def test_baseline_that_cannot_be_fitted_withholds_no_scores(run, tmp_path):
    others = write_corpus(tmp_path / "others", MONTAGES[:1], {"test": 4})
    evaluation = evaluate(run, others.path)
    assert list(evaluation.columns) == ["fine-tuned"] and "auroc" in evaluation.columns["fine-tuned"]
    assert "the band-power baseline has no value: The split 'train' has no labelled windows" in str(evaluation)
    assert not (run / "scores.json").exists()  # which holds the scores on the run's own corpus


def test_metrics_without_a_value_say_why(run, tmp_path):
    one = write_corpus(tmp_path / "one", MONTAGES[:1], {"test": 1})
    evaluation = evaluate(run, one.path, baseline=False)
    assert "auroc" not in evaluation.columns["fine-tuned"]
    assert "auroc has no value: all 1 labels are 0" in str(evaluation)


def test_seeds_become_mean_and_deviation(run, corpus, tokenizer_run):
    together = evaluate_seeds([run, run], corpus.path)
    spreads, alone = together.columns["fine-tuned"], logged(run)
    assert {name: spread.mean for name, spread in spreads.items()} == as_logged({n: alone[n] for n in spreads})
    assert all(spread == Spread(spread.mean, 0.0, 2) for spread in spreads.values())
    assert isinstance(together.columns["band powers"]["auroc"], float)
    with refuses("different stages: give runs that differ in their seed alone"):
        evaluate_seeds([run, tokenizer_run], corpus.path, baseline=False)


def test_tokenizer_is_scored_by_its_losses_and_its_codes(tokenizer_run, trained_tokenizer, corpus, tmp_path):
    scores = evaluate(tokenizer_run, corpus.path).columns["tokenizer"]
    expected = logged(tokenizer_run)
    assert scores == pytest.approx({name: expected[name] for name in scores}, rel=1e-3)
    # A model that was exported from the run has no stage, but all that its scores need.
    trained_tokenizer.save(tmp_path / "exported")
    assert evaluate(tmp_path / "exported", corpus.path).columns["tokenizer"] == pytest.approx(scores)


def test_encoder_is_scored_by_the_codes_of_hidden_patches(pretraining_run, trained_encoder, corpus, tmp_path):
    scores = evaluate(pretraining_run, corpus.path).columns["pretraining"]
    # Other masks than in training: what is hidden differs, what it costs hardly.
    assert scores["cross_entropy"] == pytest.approx(logged(pretraining_run)["cross_entropy"], rel=0.1)
    trained_encoder.save(tmp_path / "exported")
    with refuses("exported is an encoder without the run it came from, so the tokenizer .* is not known"):
        evaluate(tmp_path / "exported", corpus.path)


def test_models_and_corpora_that_do_not_fit_are_refused(run, trained_classifier, corpus, tmp_path):
    three = write_corpus(tmp_path / "three", MONTAGES[:1], {"test": 3}, classes=3)
    unlabelled = write_corpus(tmp_path / "unlabelled", MONTAGES[:1], {"test": 3}, label=None)
    for other, sentence in (
        (three, "tells slow, middle apart, but the corpus .*three has the classes slow, middle, fast"),
        (unlabelled, "has the classes none: give a corpus with the same task"),
    ):
        with refuses(sentence):
            evaluate(run, other.path)
    assert labram_jax.load(run).config == trained_classifier.config and not (run / "scores.json").exists()
