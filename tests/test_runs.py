"""Whole runs from their configurations: what they leave behind, and that a killed one ends like any other."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from made_corpora import MadeRecording, make_corpus
from sentences import refuses
from small_runs import (
    CODES,
    MONTAGES,
    finetuning_config,
    pretraining_config,
    small_encoder,
    tokenizer_config,
    write_corpus,
)

from labram_jax.checkpoints.models import load_model, read_meta
from labram_jax.config import replace
from labram_jax.configfile import from_dict
from labram_jax.plan.flops import TRAINING, products_of, total
from labram_jax.runs import keep_compiled, make_stage, train
from labram_jax.training.metricslog import read_metrics

TESTS = Path(__file__).parent
CACHE_OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)
# As a user would write it into a file, but for where the values come from.
CONFIGURATION = "from small_runs import tokenizer_config\n\nconfig = tokenizer_config({run!r}, [{corpus!r}])\n"


def start(file: Path, run: Path) -> subprocess.Popen:
    """`labram-jax train FILE --run RUN` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "labram_jax", "train", str(file), "--run", str(run)],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def saved(run: Path) -> list[int]:
    return sorted(int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit())


def test_killed_run_goes_on_from_the_command_line_and_ends_bit_for_bit_the_same(tmp_path, corpus, tokenizer_run):
    """SIGKILL after the first checkpoint, where the codebook starts: parameters, codes and moments are equal."""
    run, file = tmp_path / "killed", tmp_path / "mine.py"
    file.write_text(CONFIGURATION.format(run="elsewhere", corpus=str(corpus.path)))
    process, deadline = start(file, run), time.monotonic() + 300
    while not saved(run):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (first,), last = saved(run), saved(tokenizer_run)[-1]
    assert first == last / 3  # of three epochs, one goes past the quantizer
    process = start(file, run)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"resuming from step {first} of {last} in {run}" in output
    assert re.search(r"rows of \d+ patch slots hold \d\.\d\d windows, and \d+\.\d% of the slots are padding", output)
    assert f"run {run}: complete at step {last}" in output
    ended = [read_meta(where / "checkpoints" / str(last))["digests"] for where in (run, tokenizer_run)]
    assert len(ended[0]) > 50 and ended[0] == ended[1]
    logs = [
        [(line["step"], line["split"], line["loss"]) for line in read_metrics(where)] for where in (run, tokenizer_run)
    ]
    assert logs[0] == logs[1]


def test_run_says_all_that_it_was_made_from(corpus, tokenizer_run, pretraining_run, classifier_run):
    """Checkpoints carry what data and models filled in: classes, codes, outputs."""
    for run, filled in (
        (tokenizer_run, {}),
        (pretraining_run, {"codes": CODES}),
        (classifier_run, {"outputs": 1, "classes": ("slow", "middle")}),
    ):
        config = from_dict(json.loads((run / "config.json").read_text()))
        assert config == from_dict(load_model(run)[1])
        assert config.data.corpora == (str(corpus.path),)
        assert {name: getattr(config.model, name) for name in filled} == filled
    best = json.loads((classifier_run / "best.json").read_text())
    scores = {line["step"]: line["loss"] for line in read_metrics(classifier_run) if line["split"] == "validation"}
    assert best["metric"] == "loss" and best["value"] == min(scores.values()) == scores[best["step"]]
    last = read_metrics(classifier_run)[-1]
    assert last["split"] == "test" and last["step"] == best["step"]  # the best model is the one that is tested


def test_complete_run_is_left_as_it_is(corpus, classifier_run, pretraining_run, capsys):
    before = (classifier_run / "config.json").read_bytes(), saved(classifier_run)
    result = train(finetuning_config(classifier_run, [corpus.path], pretraining_run, select_by="loss"))
    assert result.finished and "is complete at step" in capsys.readouterr().err
    assert ((classifier_run / "config.json").read_bytes(), saved(classifier_run)) == before


def test_weights_of_a_masked_model_go_on(tmp_path, corpus, tokenizer_run, pretraining_run):
    config = pretraining_config(tmp_path, [corpus.path], tokenizer_run, start_from=str(pretraining_run))
    # What the configuration says of the size gives way to what is there.
    stage = make_stage(replace(config, **{"model.encoder.depth": 5}), [corpus], 1)
    assert stage.config.model.encoder.depth == small_encoder().depth
    expected = load_model(pretraining_run)[0]["params"]
    jax.tree.map(np.testing.assert_array_equal, stage.initial()["params"], expected)
    assert stage.resumption() is None


def test_classifiers_start_from_classifiers_too(tmp_path, corpus, classifier_run):
    stage = make_stage(finetuning_config(tmp_path, [corpus.path], classifier_run), [corpus], 1)
    initial = stage.initial()["params"]
    expected = load_model(classifier_run)[0]["params"]["encoder"]
    assert set(initial) == {"encoder"}  # the head belongs to the task, and so does its norm
    jax.tree.map(np.testing.assert_array_equal, initial["encoder"], expected)


def test_labels_decide_what_a_classifier_puts_out(tmp_path):
    splits, found = {"train": 3}, {}
    for name, options in (
        ("two", {"classes": 2}),
        ("three", {"classes": 3}),
        ("vector", {"label": "vector"}),
    ):
        corpus = write_corpus(tmp_path / name, MONTAGES[:1], splits, **options)
        stage = make_stage(finetuning_config(tmp_path / "run", [corpus.path]), [corpus], 1)
        model = stage.config.model
        found[name] = model.outputs, model.task, len(model.classes), *stage.selection
    assert found == {
        "two": (1, "classification", 2, "auroc", "max"),
        "three": (3, "classification", 3, "cohen_kappa", "max"),
        "vector": (2, "regression", 0, "r2", "max"),
    }


@pytest.mark.parametrize(("metric", "direction"), [("loss", "min"), ("accuracy", "max"), ("balanced_accuracy", "max")])
def test_best_model_by_the_metric_asked_for(tmp_path, corpus, metric, direction):
    stage = make_stage(finetuning_config(tmp_path, [corpus.path], select_by=metric), [corpus], 1)
    assert stage.selection == (metric, direction)


def test_a_metric_that_the_task_lacks_is_refused_before_anything_is_written(tmp_path, corpus):
    three = write_corpus(tmp_path / "three", MONTAGES[:1], {"train": 3, "validation": 3}, classes=3)
    vector = write_corpus(tmp_path / "vector", MONTAGES[:1], {"train": 3, "validation": 3}, label="vector")
    for own, metric, sentence in (
        (
            three,
            "auroc",
            "'auroc', which a task of 3 classes does not have: choose one of loss, balanced_accuracy, coh",
        ),
        (corpus, "cohen_kappa", "'cohen_kappa', which a task of two classes does not have: .* auroc"),
        (vector, "accuracy", "'accuracy', which a task of regression does not have: .* pearson_r, r2, rmse"),
    ):
        with refuses(sentence):
            train(finetuning_config(tmp_path / "run", [own.path], select_by=metric))
    assert not (tmp_path / "run").exists()


def test_a_metric_that_validation_cannot_define_is_replaced_or_refused(tmp_path):
    """One validation window is of one class alone."""
    corpus = write_corpus(tmp_path / "one", MONTAGES[:1], {"train": 6, "validation": 1})
    config = finetuning_config(tmp_path / "run", [corpus.path], select_by="auroc")
    with refuses(r"'auroc', which has no value on the validation windows \(all 1 labels are 0\): choose another"):
        train(config)
    assert not (tmp_path / "run").exists()
    stage = make_stage(replace(config, select_by="auto"), [corpus], 1)
    assert stage.selection == ("auroc", "max")
    replaced, told = stage.selecting_on(np.array([1, 1]))
    assert replaced.selection == ("loss", "min") and replaced.config.select_by == "loss"
    assert "the best checkpoint is chosen by its loss, since auroc has no value" in told
    assert stage.selecting_on(np.array([0, 1])) == (stage, None) and stage.selection == ("auroc", "max")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_labels_is_refused_before_the_training(split, tmp_path):
    recordings = [
        MadeRecording(name, name, ["O1", "O2"], np.random.default_rng(0).normal(size=(2, 1200)) * 10, spans)
        for name, spans in (("a", [(0, 2, "train", 0), (2, 4, "train", 1)]), ("b", [(0, 6, split, None)]))
    ]
    corpus = make_corpus(tmp_path / "some", recordings, window_seconds=2)
    with refuses(f"No window of the split '{split}' has a label, so that nothing can be scored on it"):
        train(finetuning_config(tmp_path / "run", [corpus.path]))
    assert not (tmp_path / "run").exists()


def test_what_is_compiled_is_kept_unless_the_user_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("LABRAM_CACHE", str(tmp_path))
    before = {name: getattr(jax.config, name) for name in CACHE_OPTIONS}
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_compiled()
        for name, value in zip(CACHE_OPTIONS[1:], (True, 0.0), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        jax.jit(lambda x: x * 3)(np.arange(5))
        (kept,) = (tmp_path / "compiled").iterdir()
        assert any(kept.iterdir())
        jax.config.update("jax_compilation_cache_dir", "elsewhere")
        keep_compiled()
        assert jax.config.jax_compilation_cache_dir == "elsewhere"
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_a_run_tells_its_speed(corpus, classifier_run):
    """On a processor that no table knows: how many operations a second, but of no peak."""
    config = from_dict(load_model(classifier_run)[1])
    line = next(line for line in reversed(read_metrics(classifier_run)) if line["split"] == "train")
    assert line["step_seconds"] > line["data_wait_seconds"] >= 0 and 0 < line["goodput"] < 1
    operations = total(products_of(TRAINING, config, None), asked_for=True)
    assert line["model_flops_per_second"] == pytest.approx(operations / line["step_seconds"])
    windows = corpus.windows("train", config.data.window_seconds)
    seconds = config.data.window_seconds * len(windows) / (line["step"] / line["epoch"])
    assert line["eeg_hours_per_second"] == pytest.approx(seconds / 3600 / line["step_seconds"], rel=0.1)
    assert "share_of_peak" not in line and "peak_memory_bytes" not in line


def test_nothing_is_written_before_everything_fits(tmp_path, corpus):
    run = tmp_path / "run"
    for config, sentence in (
        (
            tokenizer_config("gs://bucket/run", [tmp_path / "absent"]),
            "is an address, not a directory: mount the bucket",
        ),
        (tokenizer_config(run, []), "names no corpus"),
        (tokenizer_config(run, [tmp_path / "absent"]), "no corpus"),
        (tokenizer_config(run, [corpus.path], **{"data.patch_slots": 7}), "raise data.patch_slots"),
        (pretraining_config(run, [corpus.path], ""), "give --tokenizer RUN"),
        (finetuning_config(run, [corpus.path], **{"mesh.fsdp": 2}), "mesh .* does not fit 1 device"),
    ):
        with refuses(sentence):
            train(config)
        assert not run.exists()
