"""An audit of made-up features says what they were made with; one of a run is left in it, and its report shows it."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from made_corpora import MadeRecording, make_corpus
from pages import text_of
from sentences import refuses
from small_runs import MONTAGES, window, write_corpus

from labram_jax.adaptation.features import Features
from labram_jax.adaptation.linear import Block
from labram_jax.config import ClassifierConfig, EncoderConfig, FinetuningStageConfig
from labram_jax.evaluation import audit as audits
from labram_jax.evaluation.audit import audit
from labram_jax.evaluation.examine import Part, Splits, examine, factors_of
from labram_jax.evaluation.findings import AS_THEY_ARE, OWN_MEANS, REMOVED, leave, read_audits
from labram_jax.reporting.report import write_report
from labram_jax.stages.finetuning import FinetuningStage

STAGE = FinetuningStage(
    FinetuningStageConfig(run="", model=ClassifierConfig(classes=("rest", "task")), penalties=(0.01, 1.0)), None
)
PEOPLE, WINDOWS, WIDTH = 8, 30, 24


def part(split: str, labels: np.ndarray, values: np.ndarray, subjects: np.ndarray, classes: int | None = 2) -> Part:
    """Windows of one recording each subject, one after another."""
    starts = 4.0 * np.concatenate([np.arange(count) for count in np.bincount(subjects)])
    names = [f"s{own}" for own in subjects]
    columns = {"label": labels} if labels.ndim == 1 else {f"label_{n}": own for n, own in enumerate(labels.T)}
    places = {"corpus": "made", "split": split, "recording": names, "subject": names, "start_seconds": starts}
    places = pd.DataFrame(places | columns)
    return Part(places, factors_of(places, labels, classes), Features([Block(values)], labels))


def splits(of_class: float, fingerprint: float, label_of=None, people=None) -> Splits:
    """Windows of the same people in all splits: features with a fingerprint of each, and a shift by class.

    `label_of` says everybody's class; else windows have either.
    """
    generator = np.random.default_rng(0)
    prints, direction = generator.standard_normal((PEOPLE, WIDTH)), np.eye(WIDTH)[0]
    found = []
    for split in Splits._fields:
        subjects = np.repeat(np.arange(PEOPLE), WINDOWS)
        classes = generator.integers(0, 2, len(subjects)) if label_of is None else np.asarray(label_of)[subjects]
        values = generator.standard_normal((len(subjects), WIDTH)) + fingerprint * prints[subjects]
        found.append(part(split, classes, values + of_class * classes[:, None] * direction, subjects))
    return Splits(*found)


def test_who_knows_the_subject_knows_its_label_and_nothing_else():
    """Labels of people, features of people, the same people everywhere: a perfect score, and chance without them."""
    found = examine(STAGE, splits(0.0, 2.0, label_of=[0, 1, 1, 0, 0, 1, 0, 1]), 0)
    assert found.scores[AS_THEY_ARE]["auroc"] > 0.99 and found.told_apart > 0.99
    assert found.scores[REMOVED]["auroc"] == pytest.approx(0.5, abs=0.07)
    assert OWN_MEANS not in found.scores  # would take the label away with the subject
    assert (found.directions, found.dimensions) == (7, WIDTH) and found.held == pytest.approx(1)


def test_what_a_label_moves_within_subjects_stays():
    found = examine(STAGE, splits(2.0, 2.0), 0)
    scores = {variant: own["auroc"] for variant, own in found.scores.items()}
    assert min(scores.values()) > 0.85 and set(scores) == {AS_THEY_ARE, REMOVED, OWN_MEANS}
    assert set(found.variance) == {"train", "test"} and found.variance["test"]["subject"].share > 0.7
    assert 0 < found.intervals[REMOVED]["auroc"].low < scores[REMOVED] < found.intervals[REMOVED]["auroc"].high


def test_kinds_of_unlike_size_weigh_the_same():
    """One feature that moves with the label beside 23 that do not: as a block it has half of the variance."""
    train = splits(3.0, 1.0).train
    values = train.features.blocks[0].values
    apart = Features([Block(values[:, 1:]), Block(values[:, :1])], train.features.labels)
    joined, blocks = (
        examine(STAGE, Splits(own), 0).variance["train"] for own in (train, train._replace(features=apart))
    )
    assert blocks["label"].share > 5 * joined["label"].share


@pytest.mark.parametrize(("task", "outputs"), [("classification", 3), ("regression", 2)])
def test_classes_and_targets_are_examined(task, outputs):
    classes = tuple("abc") if task == "classification" else ()
    model = ClassifierConfig(task=task, outputs=outputs, classes=classes)
    stage = FinetuningStage(FinetuningStageConfig(run="", model=model, penalties=(0.01,)), None)
    generator, subjects, found = np.random.default_rng(0), np.arange(160) // 40, []
    for split in Splits._fields:
        labels = generator.integers(0, 3, 160) if classes else generator.standard_normal((160, 2)).astype(np.float32)
        moved = np.eye(3)[labels] if classes else labels
        values = 4 * moved @ np.eye(outputs, 20) + generator.standard_normal((160, 20))
        found.append(part(split, labels, values, subjects, len(classes) or None))
    found = examine(stage, Splits(*found), 0)
    metric = "cohen_kappa" if classes else "r2"
    assert all(own[metric] > 0.6 for own in found.scores.values()) and len(found.scores) == 3
    assert found.variance["test"]["label"].share > 3 * found.variance["test"]["label"].shuffled


def test_readers_are_told_what_limits_the_numbers():
    whole = splits(0.0, 1.0, label_of=[0, 1] * 4)
    encoder = EncoderConfig(amplitude=True)
    config = FinetuningStageConfig(run="", model=ClassifierConfig(encoder))
    told = " ".join(audits._notes(config, whole.train.factors, {"validation": "240 windows"}))
    for what in (
        "penalties: 240 windows",
        "every subject has one label",
        "one recording",
        "fine-tuned",
        "given amplitude",
    ):
        assert what in told
    assert not audits._notes(
        ClassifierConfig(), splits(0.0, 1.0).train.factors._replace(subjects=np.arange(240) // 60), {}
    )


def test_without_a_split_there_is_variance_and_no_score():
    whole = splits(2.0, 2.0)
    found = examine(STAGE, whole._replace(validation=None), 0)
    assert not found.scores and not found.intervals and set(found.variance) == {"train", "test"}
    assert set(examine(STAGE, Splits(whole.train), 0).variance) == {"train"}


def test_what_cannot_be_audited_is_refused(tokenizer_run, pretraining_run, corpus, tmp_path):
    with refuses("has no norm of features, as tokenizers have none: give a run of pretraining or fine-tuning"):
        audit(tokenizer_run, corpus.path)
    with refuses("has no query for the readout 'attention'"):
        audit(pretraining_run, corpus.path, ("attention",))
    with refuses("0 windows of 64 subjects are too few"):
        audit(pretraining_run, corpus.path, most_windows=0)
    only = write_corpus(tmp_path / "only", MONTAGES[:1], {"test": 6})
    with refuses("no labelled window in the split 'train'"):
        audit(pretraining_run, only.path)


@pytest.fixture(scope="module")
def loud_corpus(tmp_path_factory):
    """Two recordings of each person, which differ in their gain alone: three people in each split."""
    recordings = []
    for number, split in enumerate(Splits._fields):
        for person in range(3):
            for loud in range(2):
                eeg = (1 + 0.7 * loud) * window(4, 16, (0, 20, 0), (number, person, loud))
                name = f"{split}{person}"
                recordings.append(MadeRecording(f"{name}-{loud}", name, MONTAGES[0], eeg, [(0, 16, split, loud)]))
    folder = tmp_path_factory.mktemp("audited") / "loud"
    return make_corpus(folder, recordings, ("quiet", "loud"), window_seconds=2, dtype="float32")


@pytest.fixture(scope="module")
def audited(pretraining_run, loud_corpus, tmp_path_factory):
    """A run with the audit that was left in it, and the audit."""
    run = shutil.copytree(pretraining_run, tmp_path_factory.mktemp("audited") / "run")
    return run, audit(run, loud_corpus.path, ("mean",), most_windows=40, penalties=(0.01, 1.0))


def test_amplitude_tells_what_norms_hide(audited):
    _, found = audited
    assert list(found.features) == ["mean", "mean + amplitude", "amplitude", "band powers"]
    scores = {kind: own.scores[AS_THEY_ARE]["auroc"] for kind, own in found.features.items()}
    assert min(scores["mean + amplitude"], scores["amplitude"], scores["band powers"]) > 0.95 > scores["mean"] + 0.1
    labels = {kind: own.variance["test"]["label"].share for kind, own in found.features.items()}
    assert labels["amplitude"] > 0.5 > 2 * labels["mean"]
    assert found.chance["auroc"] == 0.5 and found.crossed and found.subjects == 3


def test_an_audit_stays_in_the_run_for_its_report(audited):
    run, found = audited
    assert read_audits(run / "audit.json") == {"loud": found}
    text = str(found).splitlines()
    assert text[0].startswith(f"Features of {run}, step ") and text[0].endswith(", on loud")
    assert any(
        line.startswith("Shares of the variance of standardised features, test (40 windows of 2 s, 6") for line in text
    )
    tested = "40 windows of 2 s, 6 recordings and 3 subjects of loud, test; drawn by seed 1 from 48, of 3 subjects"
    assert f"AUROC of a linear probe, {tested}" in text
    assert text[-1].startswith("none of the 3 test subjects was seen in training")
    write_report(run)
    page = (run / "report.html").read_text()
    assert 'id="figure-variance-loud"' in page and "Audit: what features say on loud</h2>" in page
    page = text_of(page)
    for kind, own in found.features.items():
        assert f"| {kind} | {own.shown(AS_THEY_ARE, 'auroc')} |" in page
        assert f"| {kind} | {own.variance['test']['subject']} | {own.variance['test']['label']} |" in page


def test_a_changed_audit_is_damage(audited, tmp_path):
    _, found = audited
    path = tmp_path / "audit.json"
    leave(path, "one", found)
    leave(path, "two", dataclasses.replace(found, title="another"))
    assert list(read_audits(path)) == ["one", "two"] and read_audits(path)["one"] == found
    for change in (
        lambda own: own.pop("title"),
        lambda own: own["features"]["mean"]["variance"]["test"]["label"].update(share=7.0),
        lambda own: own["features"]["mean"]["variance"]["test"].pop("label"),
        lambda own: own["features"]["mean"]["variance"].pop("test"),
        lambda own: own.update(subjects=0),
        lambda own: own.update(windows=[]),
    ):
        values = json.loads((tmp_path / "audit.json").read_text())
        change(values["two"])
        (tmp_path / "changed.json").write_text(json.dumps(values))
        with refuses("changed.json is damaged.*: delete it and audit the run again"):
            read_audits(tmp_path / "changed.json")
