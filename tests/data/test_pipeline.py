import itertools

import numpy as np
import pytest
from made_corpora import MadeRecording
from made_corpora import make_corpus as build_corpus

from labram_jax.data import pipeline
from labram_jax.data.schema import QualityLimits
from labram_jax.data.signal import Signal
from labram_jax.errors import DamageError, InputError
from labram_jax.montage import ELECTRODES

SHAPE = {"batch_rows": 4, "patch_slots": 20, "segments": 3}


@pytest.fixture
def corpora(make_corpus):
    return [
        make_corpus("first", [(3, {"train": 9, "test": 3}), (2, {"train": 6, "test": 2})], seconds=2),
        make_corpus("second", [(5, {"train": 12, "test": 5})], seconds=2),
    ]


def of(corpora, split="train"):
    return [corpus.windows(split, seconds=2) for corpus in corpora]


def test_a_batch_holds_the_windows_it_names(corpora):
    windows = of(corpora)
    batch = pipeline.training(windows, seed=1, masked=True, **SHAPE)[2]
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "microvolts": ((4, 20, 200), np.float16),
        "electrode_ids": ((4, 20), np.int32),
        "time_ids": ((4, 20), np.int32),
        "segment_ids": ((4, 20), np.int32),
        "mask": ((4, 20), bool),
        "labels": ((4, 3), np.int32),
        "window_ids": ((4, 3), np.int32),
        "corpus_ids": ((4, 3), np.int32),
    }
    found = 0
    for row in range(4):
        for segment in range(3):
            _check_window(windows, {name: array[row] for name, array in batch.items()}, segment)
            found += batch["window_ids"][row, segment] >= 0
        padding = batch["segment_ids"][row] == 0
        for name in ("microvolts", "electrode_ids", "time_ids", "mask"):
            assert not batch[name][row][padding].any()
    assert found > 4


def _check_window(windows, row, segment):
    slots = np.flatnonzero(row["segment_ids"] == segment + 1)
    number, corpus = row["window_ids"][segment], row["corpus_ids"][segment]
    if number < 0:
        assert corpus == -1 and row["labels"][segment] == -1 and not len(slots)
        return
    window = windows[corpus][number]
    patches = window.eeg[~window.bad].reshape(-1, 200)
    assert len(slots) == len(patches) and np.ptp(slots) == len(slots) - 1
    assert row["labels"][segment] == window.label
    np.testing.assert_array_equal(row["microvolts"][slots], patches)
    np.testing.assert_array_equal(row["electrode_ids"][slots], np.repeat(np.flatnonzero(~window.bad) + 1, 2))
    np.testing.assert_array_equal(row["time_ids"][slots], np.tile([0, 1], len(patches) // 2))
    assert row["mask"][slots].sum() == len(patches) // 2


def test_patches_of_bad_electrodes_take_no_slot(tmp_path):
    """In training and in evaluation; of four windows the first has two bad electrodes and the third another."""
    eeg = np.random.default_rng(0).normal(scale=20, size=(10, 200 * 8))
    eeg[2, 100:300], eeg[7, 900:1100] = 9000.0, 9000.0
    recording = MadeRecording("r", "s", ELECTRODES[:10], eeg, [(0.0, 8.0, "train", 1)], bads=["FP1"])
    # The file says that FP1 is bad: that is no tenth of the others, so no window is dropped for one more.
    corpus = build_corpus(tmp_path / "bad", [recording], quality=QualityLimits(bad_electrodes=0.2))
    windows = [corpus.windows("train", seconds=2)]
    assert [window.bad.nonzero()[0].tolist() for window in windows[0]] == [[0, 2], [0], [0, 7], [0]]
    shape = {"batch_rows": 2, "patch_slots": 40, "segments": 2}
    for dataset in (
        pipeline.training(windows, seed=1, masked=True, **shape),
        pipeline.evaluation(windows, masked=True, **shape),
    ):
        batch = dataset[0]
        for row in range(2):
            for segment in range(2):
                _check_window(windows, {name: array[row] for name, array in batch.items()}, segment)
        assert (batch["segment_ids"] > 0).sum() == sum(2 * (10 - int(window.bad.sum())) for window in windows[0])


def test_batches_depend_on_seed_and_step_alone(corpora):
    def make(seed=1):
        return pipeline.training(of(corpora), seed=seed, masked=True, **SHAPE)

    expected = [make()[step] for step in range(6)]
    resumed = itertools.islice(pipeline.batches(make(), start_step=3, threads=2, prefetch=2), 3)
    for batch, again in zip(resumed, expected[3:], strict=True):
        _assert_equal(batch, again)
    assert (make(seed=2)[0]["window_ids"] != expected[0]["window_ids"]).any()
    assert (expected[0]["mask"] != expected[1]["mask"]).any()


def test_worker_processes_give_the_same_batches_in_the_same_order(corpora):
    dataset = pipeline.training(of(corpora), seed=1, masked=True, **SHAPE)
    prepared = pipeline.batches(dataset, start_step=3, prefetch=2, workers=2)
    for step in range(3, 8):
        _assert_equal(next(prepared), dataset[step])
    prepared.close()


def test_windows_of_one_montage_get_different_masks(make_corpus):
    corpus = make_corpus("one", [(5, {"train": 12})])
    masks = pipeline.training(of([corpus]), seed=0, masked=True, **SHAPE)[0]["mask"].reshape(8, 10)
    assert len(np.unique(masks, axis=0)) > 4


@pytest.mark.parametrize("name", ["training", "evaluation"])
def test_the_parts_of_two_hosts_make_the_batch_of_one(corpora, name):
    make = getattr(pipeline, name)
    arguments = {"seed": 1, "masked": True, **SHAPE}
    windows = of(corpora, "test")
    whole = make(windows, **arguments)
    rows = ([0, 3], [1, 2])  # not one stretch each: a TPU's mesh follows the wiring of its chips
    parts = [make(windows, rows=own, **arguments) for own in rows]
    assert len(whole) == len(parts[0]) == len(parts[1])
    order = np.argsort(np.concatenate(rows))
    for step in range(3):
        joined = {key: np.concatenate([part[step][key] for part in parts])[order] for key in whole[step]}
        _assert_equal(joined, whole[step])


def test_evaluation_visits_every_window_once_in_order_and_pads_the_last_batch(corpora):
    found = list(pipeline.batches(pipeline.evaluation(of(corpora, "test"), **SHAPE)))
    ids = np.concatenate([np.stack([b["corpus_ids"], b["window_ids"]], -1).reshape(-1, 2) for b in found])
    assert ids[ids[:, 1] >= 0].tolist() == [*([0, n] for n in range(5)), *([1, n] for n in range(5))]
    assert all(batch["microvolts"].shape == (4, 20, 200) and "mask" not in batch for batch in found)
    assert not found[-1]["segment_ids"][-1].any()


def test_classes_are_drawn_equally_often_on_request(tmp_path, make_corpus):
    """From two montages, one of which lacks the rarer class; windows without a label are not drawn."""
    random, recordings = np.random.default_rng(0), []
    for electrodes, labels in ((3, [0, 0, 1, 0, None, 0, 1, 0, 0]), (2, [0, 0])):
        spans = [(2 * n, 2 * n + 2, "train", label) for n, label in enumerate(labels)]
        eeg = random.normal(scale=30, size=(electrodes, 400 * len(labels))).astype(np.float16)
        recordings.append(MadeRecording(str(electrodes), str(electrodes), ELECTRODES[:electrodes], eeg, spans))
    corpus = build_corpus(tmp_path / "uneven", recordings, window_seconds=2)
    windows = corpus.windows("train", seconds=2)
    balanced = windows.by_class()
    assert [[window.label for window in own] for own in balanced.montages] == [[0, 0], [0] * 6, [1, 1]]

    def drawn(*windows, weights=()):
        batches = pipeline.training(windows, weights=weights, seed=0, **SHAPE)
        labels = np.concatenate([batches[step]["labels"].ravel() for step in range(60)])
        places = np.concatenate([batches[step]["corpus_ids"].ravel() for step in range(60)])
        return labels, places

    labels, places = drawn(windows)
    assert np.mean(labels[places == 0] == 1) == pytest.approx(2 / 11, abs=0.05)
    labels, places = drawn(balanced)
    assert np.mean(labels[places == 0] == 1) == pytest.approx(1 / 2, abs=0.05) and (labels[places == 0] >= 0).all()
    # Beside another corpus its share is the one that was asked for.
    labels, places = drawn(balanced, make_corpus("other", [(3, {"train": 9})]).windows("train", 2), weights=(1, 3))
    assert np.mean(places[places >= 0] == 0) == pytest.approx(1 / 4, abs=0.05)
    assert np.mean(labels[places == 0]) == pytest.approx(1 / 2, abs=0.07)
    vectors = make_corpus("vectors", [(3, {"train": 4})], label="vector")
    with pytest.raises(InputError, match="has no classes"):
        vectors.windows("train", 2).by_class()


def test_weights_set_the_share_of_each_corpus(corpora):
    batches = pipeline.training(of(corpora), weights=(1, 3), seed=0, **SHAPE)
    ids = np.concatenate([batches[step]["corpus_ids"].ravel() for step in range(60)])
    assert np.mean(ids[ids >= 0] == 1) == pytest.approx(0.75, abs=0.06)
    rows = pipeline.training_rows(of(corpora), weights=(1, 3), patch_slots=20, segments=3, seed=0)
    assert (ids >= 0).sum() / (60 * 4) == pytest.approx(rows.windows_per_row, rel=0.1)


def test_vector_labels_are_nan_where_there_is_no_window(make_corpus):
    corpus = make_corpus("vectors", [(3, {"test": 3})], label="vector", outputs=2)
    labels = pipeline.evaluation(of([corpus], "test"), **SHAPE)[0]["labels"]
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels[0], [[0, 1], [1, 2], [2, 3]])
    assert np.isnan(labels[1:]).all()


def test_corpora_without_class_labels_mix_with_others(corpora, make_corpus):
    bare = make_corpus("bare", [(3, {"test": 2})], label=None)
    labels = pipeline.evaluation(of([bare, corpora[1]], "test"), **SHAPE)[0]["labels"]
    np.testing.assert_array_equal(labels[:2], [[-1, -1, -1], [0, 1, -1]])


def test_corpora_of_unlike_precision_mix_in_the_wider_one(corpora, make_corpus):
    wide = make_corpus("wide", [(3, {"test": 2})], dtype="float32")
    windows = of([wide, corpora[1]], "test")
    batch = pipeline.evaluation(windows, **SHAPE)[0]
    assert batch["microvolts"].dtype == np.float32
    np.testing.assert_array_equal(batch["microvolts"][1, :10].reshape(5, 400), windows[1][0].eeg)


def test_bad_arguments_are_told(corpora, make_corpus):
    windows = of(corpora)
    with pytest.raises(InputError, match=r"5ch have 5 electrodes x 2 s.* at least 10 patch slots instead of 9"):
        pipeline.training(windows, batch_rows=4, patch_slots=9, segments=3, seed=0)
    with pytest.raises(InputError, match="1 weights for 2 corpora"):
        pipeline.training(windows, seed=0, weights=(1.0,), **SHAPE)
    with pytest.raises(InputError, match=r"no windows in .*first \(validation\), .*second \(validation\)"):
        pipeline.evaluation(of(corpora, "validation"), **SHAPE)
    tests = make_corpus("tests", [(3, {"test": 2})])
    with pytest.raises(InputError, match=r"no windows in .*tests \(train\)"):
        pipeline.training([*windows, tests.windows("train", 2)], seed=0, **SHAPE)


def test_a_damaged_shard_is_told_from_a_reading_thread(corpora):
    dataset = pipeline.evaluation(of(corpora, "test"), **SHAPE)
    shard = corpora[1].path / "5ch" / "pieces-signal.array_record-00000-of-00001"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DamageError, match=r"recording 'test5' at 0 s: 1 of 10 windows are damaged so far, and data\."):
        list(pipeline.batches(dataset, threads=1))  # of several threads, another one may count too meanwhile


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_samples_that_are_not_finite_are_damage(value, corpora, monkeypatch):
    decode = Signal._decode

    def decoded(signal, record):
        eeg = decode(signal, record).copy()
        eeg[1, 7] = value if b"test5" in record else eeg[1, 7]
        return eeg

    monkeypatch.setattr(Signal, "_decode", decoded)
    dataset = pipeline.evaluation(of(corpora, "test"), **SHAPE)
    with pytest.raises(
        DamageError, match=r"not finite \(in record .*, in the recording 'test5' at 0 s: 1 of 10 windows"
    ):
        list(pipeline.batches(dataset, threads=1))
    with pytest.raises(DamageError, match=r"5ch/pieces-signal.* holds samples that are not finite"):
        list(corpora[1].windows("test", 2))


def test_damaged_windows_are_left_out_up_to_a_share(corpora, capsys):
    windows = of(corpora)
    whole = pipeline.training(windows, seed=1, masked=True, **SHAPE)
    expected = [whole[step] for step in range(8)]
    shard = corpora[1].path / "5ch" / "pieces-signal.array_record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[content.index(b"train5") - 200] ^= 1  # a sample of the record before its name
    shard.write_bytes(content)
    stopping = pipeline.training(of(corpora), seed=1, masked=True, **SHAPE)
    with pytest.raises(
        DamageError, match=r"1 of 27 windows are damaged so far, and data\.damaged_share lets 0 of them"
    ):
        list(map(stopping.__getitem__, range(8)))
    dataset = pipeline.training(of(corpora), seed=1, masked=True, damaged_share=0.05, **SHAPE)
    missing = set()
    for step, batch in enumerate(expected):
        left = dataset[step]
        for row, segment in zip(*np.nonzero(batch["window_ids"] != left["window_ids"]), strict=True):
            missing.add((int(batch["corpus_ids"][row, segment]), int(batch["window_ids"][row, segment])))
            slots = batch["segment_ids"][row] == segment + 1
            for name, array in batch.items():
                place = segment if name in ("labels", "window_ids", "corpus_ids") else slots
                array[row][place] = -1 if name in ("labels", "window_ids", "corpus_ids") else 0
        _assert_equal(left, batch)
    assert len(missing) == 1 and next(iter(missing))[0] == 1
    assert capsys.readouterr().err.count("left out: damaged windows of the recording 'train5'") == 1
    _assert_equal(pipeline.training(of(corpora), seed=1, masked=True, damaged_share=0.05, **SHAPE)[3], dataset[3])


def _assert_equal(batch, expected):
    assert batch.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(batch[name], array, err_msg=name)
