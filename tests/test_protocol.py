"""Protocols: every one in the folder can be used, its folds test everybody once, and what a corpus lacks is named."""

from collections import Counter

import pytest
from sentences import refuses

from labram_jax.checkpoints.resume import differences
from labram_jax.config import replace
from labram_jax.configfile import load_file, load_protocol, protocols, to_dict
from labram_jax.evaluation.published import published_for
from labram_jax.metrics import METRICS, task_of
from labram_jax.protocol import Protocol, SubjectFolds, SubjectLists, TimeFolds
from labram_jax.stages.finetuning import selection_of

NAMES = (
    *("cbramod-eegmat", "cbramod-physionet-mi", "eegmat-loso", "eegmmidb-eyes", "eegmmidb-eyes-time"),
    *("labram-mobi", "labram-seedv", "labram-tuab", "labram-tuev"),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_has_metrics_windows_and_a_selection_that_fit_its_task(name):
    protocol = load_protocol(name)
    assert protocol.name == name
    for config in protocol.finetuning.values():
        task = task_of(config.model.outputs, config.model.task == "regression")
        assert set(protocol.metrics) <= set(METRICS[task])
        assert len(protocol.classes) == {"binary": 2, "regression": 0}.get(task, config.model.outputs)
        assert selection_of(config)[0] in ("loss", *METRICS[task]) and config.data.window_seconds
    for published in protocol.published:
        assert set(published.scores) <= set(protocol.metrics) and set(published.by_seed) <= set(published.scores)
        for metric, values in published.by_seed.items():
            assert sum(values) / len(values) == pytest.approx(published.scores[metric].mean, abs=1e-4)


def test_there_is_no_protocol_that_is_not_tested_here():
    assert sorted(protocol.name for protocol in protocols()) == sorted(NAMES)


def test_hyperparameters_of_published_protocols_are_those_of_the_configurations():
    assert load_protocol("labram-tuab").finetuning["large"] == load_file("finetune_tuab_large")
    two = load_file("finetune_tuab_base"), load_protocol("cbramod-eegmat").finetuning["base"]
    assert {name: after for name, _, after in differences(*map(to_dict, two))} == {
        "data.window_seconds": 5, "data.patch_slots": 95, "data.batch_rows": 64, "select_by": "auroc",
    }  # fmt: skip


def test_what_is_published_of_a_corpus_is_that_of_its_own_splits():
    assert str(published_for("TUAB")["LaBraM-Huge"].scores["auroc"]) == "0.9162 ± 0.0016"
    assert [one.source[:6] for one in published_for("seedv").values() if one.size == "base"] == ["LaBraM", "CBraMo"]
    assert published_for("eegmat") == {}


@pytest.mark.parametrize("split", [SubjectFolds(None, 2), SubjectFolds(3), SubjectFolds(5, 3)], ids=str)
def test_everybody_tests_once_and_never_in_company_of_their_own(split):
    there = [f"s{number}" for number in range(11)]
    folds = split.folds(there[::-1])
    assert folds == split.folds(there) and len({fold.name for fold in folds}) == len(folds)
    for role in ("test_subjects", "validation_subjects"):
        times = Counter(subject for fold in folds for subject in fold.data[role])
        assert times == dict.fromkeys(there, 1 if role == "test_subjects" else split.validating)
    assert all(not {*fold.data["test_subjects"]} & {*fold.data["validation_subjects"]} for fold in folds)
    with refuses("2 subjects are too few for"):
        split.folds(there[:2])


def test_lists_take_who_is_there_and_refuse_strangers_and_a_test_of_nobody():
    split = SubjectLists(("a", "b"), ("c",), ("d", "e"))
    assert split.folds(["e", "b"])[0].data == {"validation_subjects": (), "test_subjects": ("e",)}
    with refuses("does not know x: prepare"):
        split.folds(["a", "d", "x"])
    with refuses("none of the subjects that test by the protocol: d, e"):
        split.folds(["a", "b", "c"])


def test_stretches_of_time_all_test():
    assert [fold.data["test_fold"] for fold in TimeFolds(4).folds([])] == [0, 1, 2, 3]


def test_who_is_missing_is_named_and_values_of_another_corpus_are_known():
    eegmat, (tuab, *_) = load_protocol("cbramod-eegmat"), load_protocol("labram-tuab").published
    there = eegmat.split.subjects
    assert eegmat.missing(there) == [] and eegmat.missing(there[:34]) == ["Subject34", "Subject35"]
    assert tuab.is_of(409_000) and not tuab.is_of(300_000)
    assert [one.is_of(117_744) for one in load_protocol("labram-seedv").published] == [False, False, False, True]


def test_files_that_are_no_protocols_are_refused(tmp_path):
    with refuses("no protocol 'labram-tuap'.*perhaps 'labram_tuab'"):
        load_protocol("labram-tuap")
    (tmp_path / "mine.py").write_text("protocol = 3\n")
    with refuses("defines no `protocol`"):
        load_protocol(str(tmp_path / "mine.py"))
    with refuses("hyperparameters for giant: give those of base"):
        finetuning = {"giant": replace(load_file("finetune_tuab_base"), run="x")}
        fields = {"title": "", "corpus": "", "prepare": "", "split": TimeFolds(3), "metrics": ()}
        Protocol(name="mine", **fields, finetuning=finetuning)
