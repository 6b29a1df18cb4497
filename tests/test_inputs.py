"""A run is known by what it is made from, wherever that lies."""

import json
import shutil
from pathlib import Path

import pytest
from sentences import refuses
from small_runs import MONTAGES, finetuning_config, pretraining_config, write_corpus

from labram_jax import cli, runs
from labram_jax.checkpoints.models import find_model, read_meta
from labram_jax.data.digest import corpus_digest
from labram_jax.evaluation.evaluate import evaluate
from labram_jax.jsonfile import sealed
from labram_jax.runs import train


@pytest.fixture
def run(pretraining_run, tmp_path) -> Path:
    return shutil.copytree(pretraining_run, tmp_path / "run")


def edit_inputs(run: Path, **changes) -> None:
    """Has the checkpoints of a run say other inputs; None takes one away."""
    for path in run.glob("checkpoints/*/meta/metadata"):
        meta = json.loads(path.read_text())
        inputs = {name: digest for name, digest in (meta["inputs"] | changes).items() if digest is not None}
        path.write_text(json.dumps(sealed({**meta, "inputs": inputs})))


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


def test_the_same_inputs_elsewhere_are_the_same_run(run, corpus, tokenizer_run, classifier_run, tmp_path, capsys):
    assert read_meta(checkpoints(run)[0])["inputs"].keys() == {"data.corpora", "tokenizer"}
    mount, tokenizer = tmp_path / "mount" / "small", tmp_path / "tokenizer"
    shutil.copytree(corpus.path, mount)
    shutil.copytree(tokenizer_run, tokenizer)
    assert train(pretraining_config(run, [f"{mount}/"], tokenizer)).finished
    assert "is complete at step" in capsys.readouterr().err
    classifier = shutil.copytree(classifier_run, tmp_path / "classifier")
    assert train(finetuning_config(classifier, [mount], find_model(run), select_by="loss")).finished
    with refuses("was started with the model .*pretraining, and .* is another one: give that one again to resume"):
        train(finetuning_config(classifier, [mount], checkpoints(run)[0], select_by="loss"))


def test_other_inputs_are_another_run(run, corpus, tokenizer_run, tmp_path):
    before = (run / "metrics.jsonl").read_bytes()
    other = write_corpus(tmp_path / "other", seed=7)
    with refuses(f"was started with the corpus {corpus.path}, and {other.path} is another one"):
        train(pretraining_config(run, [other.path], tokenizer_run))
    with refuses("was started with the tokenizer .*, and .* is another one: .* with --branch-from"):
        train(pretraining_config(run, [corpus.path], checkpoints(tokenizer_run)[0]))
    edit_inputs(run, **{"data.corpora": [corpus_digest(other)]})  # as if that one had been prepared in its place
    with refuses(f"the corpus {corpus.path} is not the one that {run} was started with"):
        train(pretraining_config(run, [corpus.path], tokenizer_run))
    assert (run / "metrics.jsonl").read_bytes() == before


def test_scores_of_another_tokenizer_are_refused(run, corpus):
    edit_inputs(run, tokenizer="0" * 64)
    with refuses("run predicts the codes of another tokenizer than .* holds now, so that its scores would mean"):
        evaluate(run, corpus.path)
    edit_inputs(run, tokenizer=None)  # as an earlier version left it
    assert "cross_entropy" in evaluate(run, corpus.path).columns["pretraining"]


def test_hosts_with_another_corpus_are_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "told_by_first", lambda find: find() | {"data.corpora": ["0" * 64]})
    with refuses(f"{corpus.path} is another corpus here than on the first host"):
        train(finetuning_config(tmp_path / "run", [corpus.path]))


def test_a_branch_from_the_command_line(classifier_run, corpus, tmp_path, capsys):
    file, run = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(f"from small_runs import *\n\nconfig = finetuning_config({str(run)!r}, [{str(corpus.path)!r}])\n")
    assert cli.main(["train", str(file), "--branch-from", f"{classifier_run}@1"]) == 2
    steps = ", ".join(path.name for path in checkpoints(classifier_run))
    assert f"{classifier_run} has no checkpoint of step 1: give one of {steps} after the @." in capsys.readouterr().err
    small = write_corpus(tmp_path / "unlike", MONTAGES[:1], {"train": 3}, classes=3)
    with refuses(r"has params/head/bias \(1,\), and the configured model params/head/bias \(3,\)"):
        train(finetuning_config(run, [small.path], **{"loop.epochs": 99}), branch_from=str(classifier_run))
