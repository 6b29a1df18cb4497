"""Benchmarks: runs that go on after a kill, scores by seed and fold, and published values shown or withheld."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from pages import text_of
from scipy import stats
from sentences import refuses
from small_runs import MONTAGES, finetuning_config, write_corpus

from labram_jax import cli
from labram_jax.adaptation.features import FrozenFeatures
from labram_jax.benchmark import command, running
from labram_jax.benchmark.command import BenchmarkOptions, Start, run
from labram_jax.benchmark.modes import changes_of
from labram_jax.benchmark.page import write_page
from labram_jax.benchmark.results import compare, scored, scored_fold_by_fold
from labram_jax.benchmark.running import Company
from labram_jax.benchmark.writing import write_results
from labram_jax.checkpoints.ledger import Entry, Ledger
from labram_jax.checkpoints.models import save_model
from labram_jax.config import MaskedModelConfig, base_encoder, large_encoder, replace
from labram_jax.configfile import load_protocol
from labram_jax.errors import MISTAKE
from labram_jax.evaluation.evaluate import evaluate
from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.protocol import Protocol, Published, SubjectFolds, SubjectLists
from labram_jax.tables import Spread, as_markdown

LISTS = SubjectLists(
    ("train0", "train1", "test0", "test1"), ("validation0", "train2"), ("test2", "validation1", "validation2")
)
PUBLISHED = Published("Peer", "base", {"auroc": Spread(0.9, 0.01, 5)}, "a paper", by_seed={"auroc": (0.89, 0.9, 0.91)})


def protocol_of(run: str = "x", **fields) -> Protocol:
    config = finetuning_config(run, [], select_by="loss", **{"loop.epochs": 1, "data.corpora": ()})
    fields = {"split": LISTS, "published": (PUBLISHED,)} | fields
    return Protocol(
        name="small", title="Slow or middle", corpus="small", prepare="by hand", classes=("slow", "middle"),
        metrics=("auroc", "balanced_accuracy"), finetuning={"base": config}, **fields,
    )  # fmt: skip


def go(protocol: Protocol, config, options: BenchmarkOptions) -> str | None:
    return run(protocol, config, Start.read(protocol, options), options)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One montage, nine subjects."""
    return write_corpus(
        tmp_path_factory.mktemp("corpora") / "small", MONTAGES[:1], {"train": 24, "validation": 12, "test": 12}
    )


@pytest.fixture(scope="module")
def done(small, tmp_path_factory):
    """A benchmark of two seeds that was killed in its second run, and its results when it had gone on."""
    out, trained, train = tmp_path_factory.mktemp("benchmark") / "out", [], running.train
    options = BenchmarkOptions(str(small.path), seeds=2, out=out)

    def killed_in_the_second(config, **given):
        if trained:
            raise KeyboardInterrupt
        trained.append(config.run)
        return train(config, **given)

    def counted(config, **given):
        trained.append(config.run)
        return train(config, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "train", killed_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            go(protocol_of(), protocol_of().finetuning["base"], options)
        assert not (out / "results.json").exists()
        patch.setattr(running, "train", counted)
        text = go(protocol_of(), protocol_of().finetuning["base"], options)
    assert trained == [str(out / "all" / "split" / f"seed-{seed}") for seed in (0, 1)]
    return out, options, text


@pytest.fixture
def results(done, monkeypatch):
    """What the benchmark hands to be written, without another training."""
    found = []
    monkeypatch.setattr(running, "train", None)
    monkeypatch.setattr(command, "write_results", lambda results, out: found.append(results))
    go(protocol_of(), protocol_of().finetuning["base"], done[1])
    return found[0]


def test_every_seed_is_a_run_that_evaluate_scores_alike_on_the_protocol_s_subjects(done, small):
    out, _, text = done
    written = json.loads((out / "results.json").read_text())
    mode = written["modes"]["all"]
    evaluation = evaluate(out / "all" / "split" / "seed-1", small.path)
    for metric, value in mode["seeds"]["1"].items():
        assert evaluation.columns["fine-tuned"][metric] == pytest.approx(value, rel=1e-5)
        assert evaluation.columns["band powers"][metric] == written["beside"]["band powers"]["mean"][metric]
    low, high = mode["intervals"]["auroc"]
    assert low <= mode["seeds"]["0"]["auroc"] <= high and f"[{low:.3f}, {high:.3f}]" in text
    aurocs = [mode["seeds"][seed]["auroc"] for seed in "01"]
    assert mode["mean"]["auroc"] == np.mean(aurocs) and mode["std"]["auroc"] == pytest.approx(np.std(aurocs, ddof=1))
    assert written["beside"]["chance"]["mean"]["auroc"] == 0.5
    fold = written["folds"]["split"]
    assert fold["tests"] == ["test2", "validation1", "validation2"]
    assert fold["tests_and_trains"] == fold["validates_and_trains"] == []
    assert fold["windows"] == 12 and mode["trained_parameters"] > 100_000
    assert "No subject who tests trains in the same fold (3 test)." in text


def test_what_is_published_stands_beside_with_welch_s_test(done):
    out, _, text = done
    written = json.loads((out / "results.json").read_text())
    (compared,) = written["compared"]
    assert (compared["mode"], compared["published"], compared["metric"]) == ("all", "Peer", "auroc")
    page = text_of((out / "results.html").read_text())
    assert "0.9000 ± 0.0100" in page and "0.8900 0.9000 0.9100" in page and "Peer: a paper." in page
    assert 'id="figure-scores"' in (out / "results.html").read_text() and "Peer" in text
    markdown = (out / "results.md").read_text()
    assert "| Peer | 0.9000 ± 0.0100 |" in markdown and "- Peer: a paper." in markdown
    for seed, own in written["modes"]["all"]["seeds"].items():
        assert f"| all | {seed} | {own['auroc']:.4f} |" in markdown
    assert all(f"- {as_markdown(sentence)}" in markdown for sentence in written["told"])
    lines = list(csv.DictReader((out / "results.csv").open()))
    own = [line for line in lines if (line["of"], line["seed"], line["metric"]) == ("all", "1", "auroc")]
    assert {line["fold"] for line in own} == {"split", "all folds"}
    assert {float(line["value"]) for line in own} == {written["modes"]["all"]["seeds"]["1"]["auroc"]}


def test_the_page_is_made_anew_of_the_results_alone(done, tmp_path):
    folder = tmp_path / "moved"
    folder.mkdir()
    shutil.copy(done[0] / "results.json", folder)
    assert cli.main(["report", str(folder)]) == 0
    made, written = (text_of((own / "results.html").read_text()) for own in (folder, done[0]))
    assert made == written
    plain = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({name: own for name, own in plain.items() if name != "told"}))
    with refuses("results.json is damaged, or of an earlier version .*: give the command `benchmark` again"):
        write_page(folder)


def test_published_values_are_withheld_where_the_corpus_is_another(results, tmp_path):
    assert results.published == (PUBLISHED,) and results.withheld() == []
    page = write_results(dataclasses.replace(results, missing=["test7", "test8"]), tmp_path)
    text = text_of(page.read_text())
    assert (
        "2 of the protocol's 9 subjects are not in this corpus, so that published values are not shown: test7, test8."
        in text
    )
    assert "Peer" not in text and json.loads((tmp_path / "results.json").read_text())["published"] == []
    larger = dataclasses.replace(results.protocol, published=(dataclasses.replace(PUBLISHED, windows=49),))
    assert results.all_windows == 48 and dataclasses.replace(results, protocol=larger).withheld() == [
        "what is published of 49 windows is not shown, since this corpus has 48"
    ]


def test_changed_hyperparameters_and_shared_subjects_stand_beside_the_scores(results, tmp_path):
    company = {"split": Company(("test2", "test3", "test4"), (), ("test2",), ("test1", "test2"))}
    changed = dataclasses.replace(results, changed={"loop.epochs": 2}, company=company)
    text = text_of(write_results(changed, tmp_path).read_text())
    assert "With changed hyperparameters, not the protocol's: loop.epochs 2." in text
    assert "Within subjects: 1 of the 3 who test are in the training of the same fold." in text
    assert "Who validates also trains, so that the best checkpoint is chosen within subjects: test1." in text
    assert "Nobody validates in split, so that the last checkpoint is scored there." in text


def test_a_folder_holds_one_benchmark_and_a_stopped_one_has_no_results(done, tmp_path, monkeypatch):
    out, options, _ = done
    recipe = protocol_of().finetuning["base"]
    asked = json.loads((out / "benchmark.json").read_text())
    del asked["configuration"]["kept_features"]  # as before there was such an option
    (out / "benchmark.json").write_text(json.dumps(asked))
    assert go(protocol_of(), recipe, options)
    with refuses("holds runs of another configuration: give another folder"):
        go(protocol_of(), replace(recipe, **{"loop.epochs": 2}), options)
    with refuses("data.test_subjects, loop.seed cannot be changed here"):
        go(protocol_of(), replace(recipe, **{"loop.seed": 3, "data.test_subjects": ("a",)}), options)
    monkeypatch.setattr(
        running, "train", lambda config, **_: dataclasses.make_dataclass("Stopped", ["finished"])(False)
    )
    assert go(protocol_of(), recipe, dataclasses.replace(options, out=tmp_path)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.json"]
    # Predictions that `evaluate` made of a run in the midst of its training do not end it.
    half = tmp_path / "all" / "split" / "seed-0"
    half.mkdir(parents=True)
    shutil.copy(done[0] / "all" / "split" / "seed-0" / "predictions-test.npz", half)
    assert go(protocol_of(), recipe, dataclasses.replace(options, out=tmp_path)) is None


def test_all_folds_of_a_probe_use_what_the_encoder_read_once(done, small, tmp_path, monkeypatch):
    read, before = [], FrozenFeatures._read
    monkeypatch.setattr(FrozenFeatures, "_read", lambda *given: read.append(given) or before(*given))
    encoder = str(done[0] / "all" / "split" / "seed-0")
    options = BenchmarkOptions(str(small.path), encoder, ("probe",), seeds=2, out=tmp_path)
    protocol = protocol_of(split=SubjectFolds(3))
    assert go(protocol, replace(protocol.finetuning["base"], penalties=(0.1, 1.0), kept_features="auto"), options)
    assert len(read) == 1 and len(list((small.path / "features").glob("*/features.json"))) == 1
    run = tmp_path / "probe" / "fold-1" / "seed-0"
    assert [*run.parent.iterdir()] == [run]  # nothing in it is drawn, so that another seed would give the same
    evaluation = evaluate(run, small.path, baseline=False)
    scores = PredictionTable.read(run / "predictions-test.npz").scores().values
    assert scores == pytest.approx({name: evaluation.columns["fine-tuned"][name] for name in scores}, rel=1e-4)


def test_corpora_of_something_else_are_refused_with_the_command_that_prepares_the_right_one(small, tmp_path):
    options, recipe = BenchmarkOptions(str(small.path), out=tmp_path), protocol_of().finetuning["base"]
    with refuses("is the corpus small, not other: prepare it with `by hand`"):
        go(dataclasses.replace(protocol_of(), corpus="other"), recipe, options)
    with refuses("has slow, middle where the protocol has middle, slow"):
        go(dataclasses.replace(protocol_of(), classes=("middle", "slow")), recipe, options)
    with refuses("does not know test1: prepare the corpus without"):
        split = SubjectLists(LISTS.train[:3], LISTS.validation, LISTS.test)
        go(protocol_of(split=split), recipe, options)


def test_folds_stand_below_the_scores_of_all_of_them_together(results, tmp_path):
    (split,) = results.company.values()
    twice = {
        seed: {"fold-0": own["split"], "fold-1": {"auroc": 0.5}} for seed, own in results.modes["all"].folds.items()
    }
    mode = dataclasses.replace(results.modes["all"], folds=twice, intervals={})
    company, windows = ({f"fold-{number}": of for number in (0, 1)} for of in (split, 12))
    page = write_results(
        dataclasses.replace(results, modes={"all": mode}, beside={}, company=company, windows=windows), tmp_path
    )
    text = text_of(page.read_text())
    aurocs = [(own["fold-0"]["auroc"] + 0.5) / 2 for own in twice.values()]
    assert f"| all | {np.mean(aurocs):.4f} ± {np.std(aurocs, ddof=1):.4f} |" in text
    assert "| fold-1 | test2, validation1, validation2 | 12 | 0.5000 |" in text
    assert "Of the predictions of all 2 folds together" in text and "no intervals, since" in text


def test_every_fold_may_have_an_encoder_of_its_own(small, tmp_path, monkeypatch):
    """As where it was pretrained on those who train in the fold."""
    encoders = {f"runs/fold-{number}": MaskedModelConfig(base_encoder()) for number in range(3)}
    monkeypatch.setattr(command, "read_model", lambda path: ({"params": {"path": np.array(len(path))}}, encoders[path]))
    protocol, options = protocol_of(split=SubjectFolds(3)), BenchmarkOptions(str(small.path), "runs/{fold}")
    start = Start.read(protocol, options)
    assert start.size == "base" and start.digests.keys() == {"fold-0", "fold-1", "fold-2"}
    benchmark = running.Benchmark(small, protocol.finetuning["base"], start.checkpoints, start.folds, tmp_path)
    assert benchmark.configured("head", 4, start.folds[1]).encoder == "runs/fold-1"
    assert benchmark.configured("head", 4, start.folds[1]).data.test_subjects == start.folds[1].data["test_subjects"]
    encoders["runs/fold-2"] = MaskedModelConfig(large_encoder())
    with refuses("encoders runs/{fold} are of several sizes"):
        Start.read(protocol, options)


def table(outputs, labels, subject: str) -> PredictionTable:
    places = {"corpus": "c", "split": "test", "recording": subject, "subject": subject}
    frame = pd.DataFrame({"start_seconds": np.arange(len(labels), dtype=float)}).assign(**places, label=labels)
    return PredictionTable.of(frame, np.asarray(outputs, float)[:, None], "binary", ("a", "b"))


def test_what_the_encoders_of_the_folds_saw_stands_beside_the_scores(results, small, tmp_path):
    seen = Ledger((Entry.of("c", "digest", "training", "pretraining", ["s0"], []),))
    for fold, ledger in (("fold-0", seen), ("fold-1", Ledger())):
        save_model(tmp_path / fold, {"params": np.zeros(1)}, {}, ledger)
    folds = {"fold-0": table([0.1, 0.2], [0, 1], "s0"), "fold-1": table([0.7], [1], "s1")}
    start = Start(small, (), {fold: str(tmp_path / fold) for fold in folds}, {}, None)
    told = start.seen(running.Tables({"all": {0: folds}}, {}))
    page = write_results(dataclasses.replace(results, seen=told), tmp_path)
    said = "1 of the 2 test subjects (2 of 3 windows) were seen in pretraining"
    assert f"What runs start from: {said}." in text_of(page.read_text())
    assert json.loads((tmp_path / "results.json").read_text())["seen"]["told"] == [said]
    scratch = dataclasses.replace(start, checkpoints=dict.fromkeys(folds, ""))
    assert scratch.seen(running.Tables({"all": {0: folds}}, {})) is None and results.seen is None


def test_folds_are_scored_together_and_apart():
    """Each fold ranks its windows right, but one of them higher than the other: together they are ranked less well."""
    first, second = table([0.1, 0.2], [0, 1], "s0"), table([0.7, 0.9], [0, 1], "s1")
    found = scored({0: {"fold-0": first, "fold-1": second}})
    assert found.pooled[0]["auroc"] == 0.75 and found.over_folds()["auroc"] == 1
    assert found.of_fold("fold-1")["balanced_accuracy"] == 0.5
    chance = scored_fold_by_fold({"fold-0": table([0.3, 0.3], [0, 1], "s0"), "fold-1": table([0.6, 0.6], [0, 1], "s1")})
    assert chance.pooled[0]["auroc"] == 0.5


def test_welch_s_test_is_that_of_the_samples_themselves():
    ours, theirs = np.array([0.7, 0.72, 0.69]), np.array([0.66, 0.75, 0.7, 0.68, 0.71])
    spreads = [Spread(own.mean(), own.std(ddof=1), len(own)) for own in (ours, theirs)]
    found = compare("all", "Peer", "auroc", *spreads)
    assert found.inside and found.p == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
    assert compare("all", "Peer", "auroc", 0.9, spreads[1]).p is None
    assert not compare("all", "Peer", "auroc", 0.9, spreads[1]).inside


def test_modes_say_what_is_trained_and_what_the_head_sees():
    assert changes_of("all") == {"trainable": "all"}
    assert changes_of("head+electrodes+amplitude") == {
        "trainable": "head", "model.pooling": "electrodes", "model.amplitude": True,
    }  # fmt: skip
    assert changes_of("class_token") == {"trainable": "all", "model.pooling": "class_token"}
    with refuses("no mode 'full', since 'full' is neither what is trained"):
        BenchmarkOptions("c", mode=("full",))
    with refuses("names two of one kind"):
        changes_of("mean+attention")


def test_hyperparameters_are_those_of_the_model_s_size_and_take_changes(tmp_path, monkeypatch, capsys):
    tuab, asked = load_protocol("labram-tuab"), []
    large, other = (Start(None, (), {}, {}, size) for size in ("large", None))
    assert large.recipe(tuab) == (tuab.finetuning["large"], [])
    assert other.recipe(tuab)[1] == [
        "the protocol has no hyperparameters for an encoder of no published size: those of base are used"
    ]
    monkeypatch.setattr(command.Start, "read", lambda protocol, options: large)
    monkeypatch.setattr(command, "run", lambda *given: asked.append(given))
    arguments = ["labram-tuab", "--corpus", "c", "--checkpoint", "m", "--mode", "all", "head", "--loop.epochs", "2"]
    cli.main(["benchmark", *arguments])
    _, config, start, options = asked[0]
    assert config == replace(tuab.finetuning["large"], **{"loop.epochs": 2.0}) and start is large
    assert options == BenchmarkOptions("c", "m", ("all", "head"))
    assert cli.main(["benchmark", "labram-tuap", "--corpus", "c"]) == MISTAKE
    assert "no protocol 'labram-tuap'" in capsys.readouterr().err
