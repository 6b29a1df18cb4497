"""One table of predictions: where windows are, what is said of them, and the scores of recordings and subjects."""

import numpy as np
import pandas as pd
import pytest
from sentences import refuses
from small_runs import MONTAGES, SECONDS, write_corpus

from labram_jax.evaluation.predictions import PLACES, PredictionTable, listed
from labram_jax.evaluation.references import chance
from labram_jax.evaluation.scoring import score_levels


def table(labels, outputs, recordings, subjects=None, task="binary", classes=("open", "closed")):
    """Windows of 2 s, one behind the other."""
    labels = np.asarray(labels)
    columns = {"label": labels} if labels.ndim == 1 else {f"label_{n}": own for n, own in enumerate(labels.T)}
    starts = 2.0 * np.arange(len(labels))
    values = ("made", "test", list(recordings), list(subjects or recordings), starts)
    places = pd.DataFrame(dict(zip(PLACES, values, strict=True)) | columns)
    return PredictionTable.of(places, np.asarray(outputs, float), task, classes)


def test_every_window_is_listed_where_it_is(corpus):
    windows = [corpus.windows(split, 1, 0.5) for split in ("validation", "test")]
    frame, expected = listed(windows), [window for own in windows for window in own]
    for name in ("recording", "subject", "start_seconds", "label"):
        assert frame[name].tolist() == [getattr(window, name) for window in expected], name
    assert list(frame)[:5] == list(PLACES) and frame["split"].tolist() == sorted(frame["split"], reverse=True)
    assert set(frame["corpus"]) == {"small"}


def test_labels_are_vectors_or_are_not_there(tmp_path):
    vectors = write_corpus(tmp_path / "vectors", MONTAGES[:1], {"test": 3}, label="vector")
    frame = listed([vectors.windows("test", SECONDS)])
    expected = np.stack([window.label for window in vectors.windows("test", SECONDS)])
    made = PredictionTable.of(frame, expected + 1, "regression", ())
    assert np.array_equal(made.labels, expected) and made.classes == ("0", "1")
    assert made.scores().values["rmse"] == pytest.approx(1)
    nothing = write_corpus(tmp_path / "nothing", MONTAGES[:1], {"test": 3}, label=None)
    made = PredictionTable.of(listed([nothing.windows("test", SECONDS)]), np.full((3, 1), 0.5), "binary", ())
    assert made.labels.tolist() == [-1] * 3 and "label" not in made.frame
    with refuses("No window of nothing in the split test has a label"):
        made.labelled()
    with refuses("no windows in the split 'train'"):
        listed([nothing.windows("train", SECONDS)])


def test_what_is_written_is_read(tmp_path):
    made = table([1, 0, -1], [[0.9], [1 / 3], [0.5]], ["a,b", 'c"d', "é"])
    made.write(tmp_path / "out.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.npz"]
    read = PredictionTable.read(tmp_path / "out.npz")
    assert read.task == "binary" and read.classes == ("open", "closed") and read.stands_on(made)
    assert np.array_equal(read.outputs, made.outputs) and read.labels.tolist() == [1, 0, -1]
    text = pd.read_csv(tmp_path / "out.csv", float_precision="round_trip")
    assert list(text) == [*PLACES, "label", "probability_open", "probability_closed"]
    assert text.astype(object).to_numpy().tolist() == made.frame.astype(object).to_numpy().tolist()
    with np.load(tmp_path / "out.npz") as arrays:  # without pickles
        assert arrays["recording"].tolist() == ["a,b", 'c"d', "é"]
    np.savez(tmp_path / "old.npz", probabilities=np.zeros(3), labels=np.zeros(3))
    with refuses("old.npz is damaged .*: delete it and evaluate the run again"):
        PredictionTable.read(tmp_path / "old.npz")


def test_predictions_that_are_not_finite_name_their_windows():
    with refuses("predictions of 1 of 3 windows are not finite, .* recording 'b' of made at 2 s; use a checkpoint"):
        table([0, 1, 0], [[0.1], [np.nan], [0.2]], "abc")
    with refuses("4 of 5 windows .* 'd' of made at 6 s and 1 more"):
        table([0] * 5, [[0.1], *[[np.inf]] * 4], "abcde")


def test_recordings_get_the_mean_of_their_windows():
    """Two of three windows of b are wrong, but the sure one is right."""
    made = table([0, 0, 1, 1, 1], [[0.2], [0.4], [0.9], [0.45], [0.4]], "aabbb", "sstuu")
    assert made.scores().values["accuracy"] == 0.6
    recordings = made.by("recording")
    assert recordings.frame["recording"].tolist() == ["a", "b"] and recordings.labels.tolist() == [0, 1]
    np.testing.assert_allclose(recordings.outputs[:, 1], [0.3, 1.75 / 3])
    assert recordings.scores().values["accuracy"] == 1.0
    assert len(made.by("subject")) == 3
    with refuses("Windows of one subject have different labels in 1 of 2"):
        table([0, 1, 0], [[0.2]] * 3, "abc", "sst").by("subject")


def test_levels_are_those_that_say_something_new():
    made = table([0, 0, 1, 1, 1], [[0.2], [0.4], [0.9], [0.45], [0.4]], "aabbb", "ssttt")
    levels, notes = score_levels({"model": made}, seed=0)
    assert [(level.unit, level.units) for level in levels] == [("window", 5), ("recording", 2)]
    assert any("1,000 resamples of the 2 subjects (seed 0)" in note for note in notes)
    assert any("15 bins of equal width" in note for note in notes)
    assert "0.6000 [" in str(levels[0].shown()["model"]["accuracy"])
    mixed, told = score_levels({"model": table([0, 1], [[0.2], [0.3]], "aa")}, seed=0)
    assert len(mixed) == 1 and "no scores per recording: Windows of one recording have different labels in 1 of 1" in (
        " ".join(told)
    )
    assert "no intervals: all windows are of one subject" in told
    with refuses("model, other are not of the same windows"):
        score_levels({"model": made, "other": table([0] * 5, [[0.2]] * 5, "aabbc")}, seed=0)


def test_chance_knows_the_training_split_alone(alpha_corpus):
    corpus = alpha_corpus("unbalanced", windows={"train": 5, "test": 4})  # three of five are open
    own = PredictionTable.of(listed([corpus.windows("test", 2)]), np.zeros((4, 1)), "binary", corpus.classes)
    said = chance(own, [corpus.windows("train", 2)])
    assert said.stands_on(own) and (said.outputs == [0.6, 0.4]).all()
    values = said.scores().values
    assert (values["auroc"], values["balanced_accuracy"], values["auc_pr"]) == (0.5, 0.5, 0.5)
    levels, _ = score_levels({"model": own, "chance": said}, seed=0)
    assert "chance" not in levels[0].intervals  # it says the same of all windows


def test_chance_ties_recordings_of_any_length():
    """A mean that rounds would rank them."""
    recordings = np.repeat([*"abcdefg"], range(1, 8))
    labels = np.repeat([0, 1, 0, 1, 0, 1, 1], range(1, 8))
    said = table(labels, np.full((28, 1), 0.49), recordings).by("recording")
    assert said.frame["start_seconds"].tolist() == [0, 2, 6, 12, 20, 30, 42]
    assert len(np.unique(said.outputs[:, 1])) == 1 and said.scores().values["auroc"] == 0.5


def test_chance_of_values_is_their_mean(alpha_corpus):
    vectors = alpha_corpus("reach", label="vector")
    train = vectors.windows("train", 2)
    own = PredictionTable.of(listed([vectors.windows("test", 2)]), np.zeros((12, 2)), "regression", ())
    np.testing.assert_allclose(chance(own, [train]).outputs[3], np.mean([one.label for one in train], axis=0))
    with refuses("no windows in the split 'train'"):
        chance(own, [alpha_corpus("tests", windows={"test": 2}).windows("train", 2)])
