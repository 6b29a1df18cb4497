"""Probes of an encoder that is being pretrained: the same as of one that was, and nothing else changes by them."""

import json

import jax
import numpy as np
import pytest
from sentences import refuses
from small_runs import MONTAGES, finetuning_config, pretraining_config, write_corpus

from labram_jax.adaptation import probing
from labram_jax.adaptation.probing import make_probing
from labram_jax.checkpoints.models import load_model, read_meta
from labram_jax.config import PretrainingStageConfig, ProbeConfig, replace
from labram_jax.configfile import load_file
from labram_jax.parallel.sharding import make_mesh
from labram_jax.reporting.report import write_report
from labram_jax.runs import train
from labram_jax.training.metricslog import read_metrics
from labram_jax.weights import read_ledger

SUBJECTS = ["train0", "validation0", "test0"]
OPTIONS = {"probe.every_epochs": 0.5, "probe.penalties": (0.01, 1.0), "probe.pooling": "electrodes"}


def last(run):
    return max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))


@pytest.fixture(scope="module")
def probed(corpus, tokenizer_run, tmp_path_factory):
    """The first epoch of `pretraining_run`, with probes on the side."""
    run = tmp_path_factory.mktemp("probed") / "run"
    options = {"probe.corpora": (str(corpus.path),), "probe.select": True, "loop.epochs": 1.0, **OPTIONS}
    return run, train(pretraining_config(run, [corpus.path], tokenizer_run, **options))


def test_a_probe_is_that_of_the_checkpoint_and_trains_nothing(probed, corpus, pretraining_run, tmp_path):
    run, _ = probed
    found = [line for line in read_metrics(run) if line["split"] == "probe/small"]
    total = int(last(run).name)
    assert [line["step"] for line in found] == [0, total // 2, total]
    changes = {"trainable": "probe", "penalties": (0.01, 1.0), "model.pooling": "electrodes"}
    result = train(finetuning_config(tmp_path / "own", [corpus.path], last(run), **changes))
    assert found[-1]["auroc"] == pytest.approx(result.validation["auroc"], abs=1e-6)
    assert found[-1]["loss"] == pytest.approx(result.validation["loss"], abs=1e-4)
    assert found[-1]["penalty"] == read_metrics(tmp_path / "own")[0]["penalty"]
    digests = [read_meta(where / "checkpoints" / str(total))["digests"] for where in (run, pretraining_run)]
    assert len(digests[0]) > 30 and digests[0] == digests[1]
    assert not any(line["split"].startswith("probe") for line in read_metrics(pretraining_run))
    assert not (corpus.path / "features").exists()  # nothing is kept of an encoder that moves


def test_a_report_shows_probes_beside_their_references(probed):
    run, _ = probed
    page = write_report(run).read_text()
    (table,) = (part for part in page.split("<h3 ") if "Probe of small</h3>" in part)
    found = [line["auroc"] for line in read_metrics(run) if line["split"].startswith("probe/small")]
    assert "band powers" in table and "step 0" in table and table.count(f"{found[0]:.4f}") >= 1


def test_windows_are_drawn_by_the_seed(corpus):
    windows = corpus.windows("train", 2)
    some, again, other = (windows.labelled_sample(20, seed) for seed in (1, 1, 2))
    places = [[(own.recording, own.start_seconds, own.label) for own in drawn] for drawn in (some, again, other)]
    assert places[0] == places[1] != places[2] and len(set(places[0])) == 20 == len(some)
    assert set(places[0]) <= {(own.recording, own.start_seconds, own.label) for own in windows}
    assert some.labels().tolist() == [label for *_, label in places[0]] and set(some.labels()) == {0, 1}
    assert len(windows.labelled_sample(10**6, 1)) == len(windows)
    of_two = windows.labelled_sample(10**6, 1, most_subjects=2)
    assert len({window.subject for window in of_two}) == 2 and 0 < len(of_two) < len(windows)
    assert len({window.subject for window in windows.labelled_sample(7, 1, 2)}) <= 2
    assert len(windows.labelled_sample(7, 1, most_subjects=2)) == 7


def test_who_chooses_by_the_probe_is_in_the_ledger(probed, pretraining_run):
    """Those too whose labels fit its map, and nobody where it does not select."""
    of_validation, of_the_probe = [False, True, False], [True, True, False]
    for run, expected in ((probed[0], [of_validation, of_the_probe]), (pretraining_run, [of_validation])):
        entries = [entry for entry in read_ledger(run).entries if entry.split == "validation"]
        choosing = [entry for entry in entries if "pretraining" in entry.stages]
        for kind, names in (("subject", SUBJECTS), ("recording", [f"{name}/1" for name in SUBJECTS])):
            assert sorted(entry.knows(kind, names).tolist() for entry in choosing) == expected


def test_the_best_checkpoint_is_the_probes(probed):
    run, result = probed
    scores = {line["step"]: line["auroc"] for line in read_metrics(run) if line["split"] == "probe/small"}
    del scores[0]  # no checkpoint
    assert result.best["metric"] == "probe/small/auroc" and result.best["value"] == max(scores.values())
    assert json.loads((run / "best.json").read_text()) == result.best and scores[result.best["step"]]
    powers = [line for line in read_metrics(run) if line["split"] == "probe/small/band_powers"]
    assert [line["step"] for line in powers] == [0] and powers[0]["auroc"] > 0.9


def test_other_processes_hear_what_the_first_one_found(pretraining_run, tmp_path, monkeypatch):
    """They read features as well, since the mesh is theirs too, but fit nothing; what they hear is plain data."""
    vectors = write_corpus(tmp_path / "vectors", MONTAGES[:1], {"train": 24, "validation": 12}, label="vector")
    config = pretraining_config(tmp_path, [], "", **{"probe.corpora": (str(vectors.path),), **OPTIONS})
    probe = make_probing(config, make_mesh(config.mesh)).probe
    params, told = load_model(pretraining_run)[0]["params"], []

    def tell(find):
        told.append(json.dumps(find()))
        return json.loads(told[-1])

    monkeypatch.setattr(probing, "told_by_first", tell)
    first = probe.scores(params, lambda: False), probe.references()
    assert "r2" in first[0]["probe/vectors"] and "r2" in first[1]["probe/vectors/band_powers"]
    monkeypatch.setattr(probing, "told_by_first", lambda _: json.loads(told.pop(0)))
    monkeypatch.setattr(probing, "choose", None)
    assert (probe.scores(params, lambda: False), probe.references()) == first and not told
    assert probe.scores(params, lambda: True) is None
    with refuses("features of some windows are not finite"):
        probe.scores(jax.tree.map(lambda leaf: leaf * np.nan, params), lambda: False)


def test_what_cannot_be_probed_is_refused_before_the_first_step(corpus, tokenizer_run, tmp_path):
    made = {
        "no labels": {"label": None},
        "split 'validation'": {"splits": {"train": 6, "test": 6}},
        "has no window of the class middle": {"splits": {"train": 1, "validation": 6}},
    }
    for number, (sentence, changes) in enumerate(made.items()):
        own = write_corpus(tmp_path / f"corpus{number}", MONTAGES[:1], **changes)
        config = pretraining_config(tmp_path / "run", [corpus.path], tokenizer_run)
        with refuses(sentence):
            train(replace(config, **{"probe.corpora": (str(own.path),)}))
    with refuses("two corpora that are called"):
        train(replace(config, **{"probe.corpora": (str(corpus.path), str(corpus.path))}))
    with refuses("probe.select chooses the best checkpoint by the first"):
        ProbeConfig(select=True)


def test_published_recipes_probe_nothing():
    configs = [load_file(name) for name in ("pretrain_base", "pretrain_large", "pretrain_huge", "demo_pretraining")]
    assert all(isinstance(config, PretrainingStageConfig) and config.probe == ProbeConfig() for config in configs)
