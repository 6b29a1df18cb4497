"""Scores of trained models: those that the runs themselves logged, beside the baseline and the paper."""

import json
import re
import shutil

import flax.linen as nn
import jax
import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus
from sentences import refuses
from small_runs import CODES, MONTAGES, finetuning_config, small_tokenizer, window, write_corpus

import labram_jax
from labram_jax.config import ClassifierConfig, DataConfig, replace
from labram_jax.data.reader import BatchReader
from labram_jax.evaluation.evaluate import evaluate, evaluate_seeds
from labram_jax.evaluation.predict import check_task, predict
from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.evaluation.published import comparable
from labram_jax.models import TokenizerModel
from labram_jax.models.patches import empty_batch
from labram_jax.protocol import Published
from labram_jax.publish import write_export
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


def test_classifier_scores_stand_beside_band_powers_and_chance_and_stay_in_the_run(run, corpus):
    evaluation = evaluate(run, corpus.path)
    assert list(evaluation.columns) == ["fine-tuned", "band powers", "chance"]
    scores = evaluation.columns["fine-tuned"]
    assert scores == as_logged({name: logged(run)[name] for name in scores})
    assert 0.9 < evaluation.columns["band powers"]["auroc"] <= 1
    assert evaluation.columns["chance"]["auroc"] == evaluation.columns["chance"]["balanced_accuracy"] == 0.5
    text = str(evaluation).splitlines()
    assert text[0] == f"{run} on 24 windows of 2 s of small, test" and re.match(
        r"metric +fine-tuned +band powers +chance", text[1]
    )
    assert re.search(r"AUROC +\d\.\d{4} \[\d\.\d{3}, 1\.000\]", text[4]), text[4]
    assert "no scores per recording: Windows of one recording have different labels in 6 of 6." in text
    assert "in brackets: 95% intervals, from 1,000 resamples of the 3 subjects (seed 1)" in text
    assert "none of the 3 test subjects was seen in training, by the names of corpora, subjects and recordings" in text
    assert json.loads((run / "scores.json").read_text())["test"] == evaluation.columns
    left = {name: PredictionTable.read(run / f"{name}-test.npz") for name in ("predictions", "baseline")}
    assert left["predictions"].labels.tolist() == [window.label for window in corpus.windows("test", 2)]
    assert left["predictions"].scores().values == scores and left["baseline"].stands_on(left["predictions"])
    assert left["baseline"].scores().values == evaluation.columns["band powers"]
    write_export(run, run.parent / "export", "owner/name", "mit")  # a model's card has the scores of its run
    card = (run.parent / "export" / "README.md").read_text()
    assert "On the test split:" in card and "| metric | fine-tuned | band powers | chance |" in card
    assert "saw small, training of" in card and str(run.parent) not in card


def test_recordings_of_one_label_are_scored_by_their_means(run, tmp_path):
    """As TUAB labels its recordings: two of each class, three windows each, of four subjects."""
    recordings = [
        MadeRecording(f"r{n}", f"s{n}", MONTAGES[0], window(4, 6, 40 * np.eye(3)[n % 2], n), [(0, 6, "test", n % 2)])
        for n in range(4)
    ]
    corpus = make_corpus(tmp_path / "whole", recordings, ("slow", "middle"), window_seconds=2, dtype="float32")
    evaluation = evaluate(run, corpus.path, baseline=False)
    assert [(level.unit, level.units) for level in evaluation.levels] == [("window", 12), ("recording", 4)]
    assert evaluation.levels[1].columns["fine-tuned"]["auroc"] == 1
    assert "\n\nper recording, by the mean of its windows' outputs (4)\n" in str(evaluation)


def test_the_word_stands_beside_scores_within_subjects(run, tmp_path):
    """Somebody is in both splits, somebody else in one."""
    recordings = [
        MadeRecording(f"r{n}", subject, MONTAGES[0], window(4, 2, 40 * np.eye(3)[n % 2], n), [(0, 2, split, n % 2)])
        for n, (subject, split) in enumerate([("a", "train"), ("b", "train"), ("a", "test"), ("c", "test")])
    ]
    options = {"window_seconds": 2, "dtype": "float32", "shared_subjects": True}
    corpus = make_corpus(tmp_path / "within", recordings, ("slow", "middle"), **options)
    titles = [str(evaluate(run, corpus.path, split, baseline=False)).splitlines()[0] for split in ("test", "train")]
    assert titles[0].endswith("of within, test (within subjects: 1 of the 2 of test are also in train)")
    assert titles[1].endswith("of within, train")
    reader = BatchReader(finetuning_config(tmp_path, [corpus.path]).data, [corpus], 0, masked=False, rows=range(4))
    told = reader.within_subjects  # before the first step of a run
    assert told == ["scores of within, test (within subjects: 1 of the 2 of test are also in train)"]


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
    assert list(evaluation.columns) == ["fine-tuned", "chance"]
    stages = "the tokenizer's training, pretraining and fine-tuning"
    told = f"3 of the 3 validation subjects (24 of 24 windows) helped to choose the checkpoint of {stages}"
    assert told in evaluation.notes
    left = json.loads((run / "scores.json").read_text())
    assert left["test"]["fine-tuned"] == first and left["validation"] == evaluation.columns


def test_a_checkpoint_alone_is_scored_and_nothing_left_in_it(run, corpus):
    before = sorted(run.rglob("*"))
    checkpoint = max((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    assert evaluate(checkpoint, corpus.path, baseline=False).columns["fine-tuned"]["auroc"] > 0.95
    assert sorted(run.rglob("*")) == before


def test_the_paper_stands_beside_its_benchmarks(run, tmp_path, monkeypatch):
    tuab = write_corpus(tmp_path / "tuab", MONTAGES[:1], {"test": 4})
    evaluation = evaluate(run, tuab.path, baseline=False)
    assert list(evaluation.columns) == ["fine-tuned"]
    assert "what is published of 409,455 windows is not shown, since this corpus has 4" in evaluation.notes
    assert "chance: no scores (There are no windows in the split 'train')" in str(evaluation)
    monkeypatch.setattr(Published, "is_of", lambda own, windows: True)
    evaluation = evaluate(run, tuab.path, baseline=False)
    assert list(evaluation.columns) == [
        "fine-tuned",
        *(f"published, LaBraM-{size}" for size in ("Base", "Large", "Huge")),
    ]
    assert "0.9022 ± 0.0009" in str(evaluation)


def test_the_paper_stands_beside_no_other_split(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Published, "is_of", lambda own, windows: True)
    tuab = write_corpus(tmp_path / "tuab", MONTAGES[:1], {"train": 4, "test": 1})
    assert list(evaluate(run, tuab.path, "train", baseline=False).columns) == ["fine-tuned", "chance"]
    assert len(comparable(tuab, DataConfig(), "test", own_splits=True)[0]) == 3
    found, (reason,) = comparable(tuab, DataConfig(), "test", own_splits=False)
    assert found == {} and "another split than the corpus has" in reason


def test_baseline_that_cannot_be_fitted_withholds_no_scores(run, tmp_path):
    others = write_corpus(tmp_path / "others", MONTAGES[:1], {"test": 4})
    evaluation = evaluate(run, others.path)
    assert list(evaluation.columns) == ["fine-tuned"] and "auroc" in evaluation.columns["fine-tuned"]
    assert "band powers: no scores (There are no windows in the split 'train' for the baseline" in str(evaluation)
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


def test_a_mean_spectrum_stands_beside_log_amplitudes_too(corpus, tmp_path):
    config = replace(small_tokenizer(), log_amplitude=True)
    variables = nn.unbox(TokenizerModel(config).init(jax.random.key(0), empty_batch()))
    labram_jax.Tokenizer(jax.device_get(variables), config).save(tmp_path / "beyond")
    found = evaluate(tmp_path / "beyond", corpus.path).columns
    assert list(found["mean spectrum"]) == ["amplitude_loss", "phase_loss", "log_amplitude_loss"]
    assert found["tokenizer"]["log_amplitude_loss"] > 0.9 * found["mean spectrum"]["log_amplitude_loss"] > 0


def test_tokenizer_is_scored_by_its_losses_and_its_codes(tokenizer_run, trained_tokenizer, corpus, tmp_path):
    run = shutil.copytree(tokenizer_run, tmp_path / "run")
    evaluation, expected = evaluate(run, corpus.path), logged(tokenizer_run)
    scores = evaluation.columns["tokenizer"]
    assert evaluation.columns["mean spectrum"]["amplitude_loss"] < 0.6
    assert list(evaluation.columns["mean spectrum of each electrode"]) == ["amplitude_loss", "phase_loss"]
    assert evaluation.notes[0] == "mean spectrum: without any code, from the training split (all of it)"
    assert json.loads((run / "scores.json").read_text()) == {"test": evaluation.columns}
    assert scores == pytest.approx({name: expected[name] for name in scores}, rel=1e-3)
    # A model that was exported from the run has no stage, but all that its scores need.
    trained_tokenizer.save(tmp_path / "exported")
    assert evaluate(tmp_path / "exported", corpus.path).columns["tokenizer"] == pytest.approx(scores)


def test_encoder_is_scored_by_the_codes_of_hidden_patches(pretraining_run, trained_encoder, corpus, tmp_path):
    run = shutil.copytree(pretraining_run, tmp_path / "run")
    columns = evaluate(run, corpus.path).columns
    scores = columns["pretraining"]
    assert columns["code frequencies"]["cross_entropy"] < np.log(CODES) - 0.5
    assert 1 / CODES < columns["code frequencies"]["accuracy"] < 1
    # All electrodes of this corpus are alike.
    of_each = columns["code frequencies of each electrode"]["cross_entropy"]
    assert of_each == pytest.approx(columns["code frequencies"]["cross_entropy"], abs=0.02)
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


@pytest.mark.parametrize(
    ("model", "label", "classes", "refused"),
    [
        ({"outputs": 3}, "class", 2, "tells 3 classes apart, but the corpus .* has the classes slow, middle: give"),
        ({"outputs": 1}, "class", 3, "tells 2 classes apart, but the corpus .* has the classes slow, middle, fast"),
        ({"outputs": 3}, "class", 3, None),
        ({"outputs": 2}, "class", 2, None),
        ({"outputs": 1}, "vector", 2, r"tells 2 classes apart, but .* has the classes none"),
        ({"outputs": 2, "task": "regression"}, "class", 2, r"predicts 2 value\(s\), but .* the classes slow, middle"),
        ({"outputs": 3, "task": "regression"}, "vector", 2, r"predicts 3 value\(s\), but the corpus .* has 2: give"),
        ({"outputs": 2, "task": "regression"}, "vector", 2, None),
    ],
)
def test_outputs_must_be_those_of_the_labels_where_no_class_has_a_name(model, label, classes, refused, tmp_path):
    corpus = write_corpus(tmp_path / "other", MONTAGES[:1], {"test": 3}, label=label, classes=classes)
    if refused is None:
        check_task("run", ClassifierConfig(**model), corpus)
        return
    with refuses(f"^run {refused}"):
        check_task("run", ClassifierConfig(**model), corpus)


def test_predictions_of_all_windows_are_written_without_labels_too(run, corpus, trained_classifier, tmp_path):
    unlabelled = write_corpus(tmp_path / "unlabelled", MONTAGES, {"train": 2, "test": 3}, label=None)
    assert predict(run, unlabelled.path, tmp_path / "out" / "table.npz").startswith("10 windows of unlabelled: ")
    table = PredictionTable.read(tmp_path / "out" / "table.npz")
    assert table.classes == ("slow", "middle") and (tmp_path / "out" / "table.csv").is_file()
    expected = [own for split in ("train", "test") for own in unlabelled.windows(split, 2)]
    assert table.frame["recording"].tolist() == [window.recording for window in expected]
    logits = [trained_classifier.predict_logits(one.eeg[None], one.electrodes, sfreq=200)[0, 0] for one in expected]
    np.testing.assert_allclose(table.outputs[:, 1], 1 / (1 + np.exp(-np.array(logits))), atol=1e-5)
    with refuses("table.npz exists already: choose another name"):
        predict(run, unlabelled.path, tmp_path / "out" / "table.npz")
    with refuses("does not end with .npz"):
        predict(run, unlabelled.path, tmp_path / "out" / "table.txt")


def test_no_nan_is_printed_for_a_model_that_diverged(trained_classifier, corpus, tmp_path):
    variables = jax.tree.map(np.copy, trained_classifier.variables)
    jax.tree.map(lambda leaf: leaf.fill(np.nan), variables["params"]["head"])
    labram_jax.Classifier(variables, trained_classifier.config).save(tmp_path / "diverged")
    with refuses("of 24 of 24 windows are not finite, though their EEG is: recording 'test0/1' of small at 0 s,"):
        evaluate(tmp_path / "diverged", corpus.path)
