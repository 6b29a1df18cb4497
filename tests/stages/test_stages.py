"""The three stages on a small corpus: what they learn, what they start from, how they are evaluated."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sentences import refuses
from small_runs import (
    CODES,
    MONTAGES,
    SECONDS,
    finetuning_config,
    pretraining_config,
    small_encoder,
    tokenizer_config,
    write_corpus,
)
from stage_steps import STEPS_PER_EPOCH, assert_equal_trees, batches_of, losses_of, programs_of, ready

from labram_jax.checkpoints.models import load_model
from labram_jax.config import replace
from labram_jax.data.corpus import Corpus
from labram_jax.metrics import binary
from labram_jax.runs import make_stage
from labram_jax.stages.finetuning import predictions_of
from labram_jax.training.evaluating import collect, evaluate
from labram_jax.training.metricslog import read_metrics


def mean_of(lines: list[dict], metric: str) -> float:
    return float(np.mean([line[metric] for line in lines]))


def train_lines(run) -> list[dict]:
    return [line for line in read_metrics(run) if line["split"] == "train"]


# What each stage learns in a few tens of steps, from the runs that all tests share.


def test_tokenizer_learns_past_the_quantizer_and_through_it(tokenizer_run):
    lines = train_lines(tokenizer_run)
    assert lines[0]["amplitude_loss"] == pytest.approx(1, abs=0.2)  # the cost of predicting the mean
    assert lines[-1]["amplitude_loss"] < 0.65 and lines[-1]["phase_loss"] < 0.95
    validation = [line for line in read_metrics(tokenizer_run) if line["split"] == "validation"]
    assert validation[-1]["amplitude_loss"] < 0.65 and validation[-1]["codes_used"] > 0.25


def test_masked_model_learns_the_codes(pretraining_run):
    lines = train_lines(pretraining_run)
    assert lines[-1]["loss"] < 2 * math.log(CODES) < lines[0]["loss"] * 1.3
    assert mean_of(lines[-3:], "loss") < lines[0]["loss"] - 0.3
    assert lines[0]["loss"] == pytest.approx(lines[0]["cross_entropy"] + lines[0]["cross_entropy_complement"])


def test_classifier_tells_the_classes_apart(classifier_run):
    scores = {line["split"]: line for line in read_metrics(classifier_run)}
    assert scores["train"]["loss"] < 0.3 and scores["validation"]["loss"] < 0.5
    assert scores["test"]["auroc"] > 0.95


def test_several_classes_by_the_class_token_with_drop_path(tmp_path, pretraining_run):
    three = write_corpus(tmp_path / "three", MONTAGES[:1], {"train": 48}, classes=3)
    own = {"drop_path": 0.5, "qkv_bias": True}
    wanted = {"model.pooling": "class_token", "model.encoder": small_encoder(depth=7, **own)}
    config = finetuning_config(tmp_path, [three.path], pretraining_run, **wanted)
    stage = make_stage(config, [three], STEPS_PER_EPOCH)
    assert stage.config.model.outputs == 3 and stage.config.model.classes == ("slow", "middle", "fast")
    # The architecture is the checkpoint's, how it is trained the configuration's.
    assert stage.config.model.encoder == small_encoder(**own)
    program, state = ready(stage)
    pretrained = load_model(pretraining_run)[0]["params"]
    encoder = jax.tree.map(np.asarray, state.params["encoder"])
    assert not any(encoder["blocks"]["attention"].pop(name).any() for name in ("q_bias", "v_bias"))  # new ones
    assert_equal_trees(encoder, pretrained["encoder"])
    assert_equal_trees(state.params["norm"], pretrained["norm"])  # which class-token pooling goes on with
    batches = batches_of(config, [three])
    state, losses = losses_of(program, state, batches, 60)
    assert losses[0] == pytest.approx(math.log(3), abs=0.05) and np.mean(losses[-15:]) < 0.75

    def loss_at(step: int) -> float:
        """Of one state and one batch: what differs is drawn."""
        copy = jax.tree.map(jnp.copy, state).replace(step=jnp.int32(step))
        return float(program.train_step(copy, batches[0])[1]["loss"])

    drawn = [loss_at(step) for step in range(4)]
    assert [loss_at(step) for step in range(4)] == drawn and len(set(drawn)) > 1


def test_regression_with_the_head_alone_leaves_the_encoder_as_it_was(tmp_path, pretraining_run):
    vectors = write_corpus(tmp_path / "vectors", MONTAGES[:1], {"train": 48}, label="vector")
    config = finetuning_config(
        tmp_path, [vectors.path], pretraining_run, trainable="head", **{"optimizer.learning_rate": 2e-2}
    )
    stage = make_stage(config, [vectors], STEPS_PER_EPOCH)
    assert (stage.config.model.task, stage.config.model.outputs) == ("regression", 2) and stage.selection[0] == "r2"
    program, state = ready(stage)
    fresh = jax.tree.map(np.asarray, state.params)
    assert_equal_trees(fresh["encoder"], load_model(pretraining_run)[0]["params"]["encoder"])
    assert np.array_equal(fresh["norm"]["scale"], np.ones(100))  # mean pooling has a norm of its own
    state, losses = losses_of(program, state, batches_of(config, [vectors]), 40)
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    assert_equal_trees(state.params["encoder"], fresh["encoder"])
    for part in ("head", "norm"):
        moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.params[part], fresh[part])
        assert all(jax.tree.leaves(moved)), part


def test_a_tokenizer_of_log_amplitudes_has_one_more_term_in_its_loss(tmp_path, corpus):
    config = tokenizer_config(tmp_path, [corpus.path], **{"model.log_amplitude": True})
    program, state = ready(make_stage(config, [corpus], STEPS_PER_EPOCH))
    fresh = jax.tree.map(np.asarray, state.params["log_amplitude_head"])
    terms = ("amplitude_loss", "phase_loss", "log_amplitude_loss")
    for batch in itertools.islice(batches_of(config, [corpus]), 3):  # past the codebook, which has no weight yet
        state, metrics = program.train_step(state, batch)
        assert metrics["loss"] == pytest.approx(sum(float(metrics[name]) for name in terms), rel=1e-5)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.params["log_amplitude_head"], fresh)
    assert all(jax.tree.leaves(moved))
    scores = evaluate(program, state.variables, state.frozen, batches_of(config, [corpus], "validation"))
    assert scores["loss"] == pytest.approx(sum(scores[name] for name in (*terms, "commitment_loss")), rel=1e-5)


# What packing changes: nothing.


def alone(batch) -> dict[str, np.ndarray]:
    """The windows of packed rows one to a row, each with its mask and its label."""
    places = np.argwhere(batch["window_ids"] >= 0)
    longest = max(int((batch["segment_ids"][row] == segment + 1).sum()) for row, segment in places)
    found = {name: [] for name in batch}
    for row, segment in places:
        slots = batch["segment_ids"][row] == segment + 1
        for name, values in batch.items():
            if values.shape[:2] == batch["segment_ids"].shape:
                padding = ((0, longest - slots.sum()), *((0, 0),) * (values.ndim - 2))
                found[name].append(np.pad(values[row, slots], padding))
            else:
                found[name].append(values[row, segment : segment + 1])
    rows = {name: np.stack(values) for name, values in found.items()}
    rows["segment_ids"] = np.minimum(rows["segment_ids"], 1)
    return rows


def metrics_of(stage, variables, batch) -> dict[str, float]:
    collections = dict(variables)
    params = collections.pop("params")

    @jax.jit
    def metrics(params, collections, frozen, batch, step):
        keys = jax.random.split(jax.random.key(0), len(batch["microvolts"]))
        loss, statistics = stage.loss(params, collections, frozen, batch, keys, stage.denominators(batch), step)
        return {"loss": loss, **stage.apply_statistics(collections, statistics, jax.random.key(1), step)[1]}

    found = metrics(params, collections, stage.frozen, batch, jnp.int32(99))
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("name", ["tokenizer", "pretraining", "classifier"])
def test_packed_windows_cost_what_windows_alone_cost(name, tmp_path, corpus, tokenizer_run, request):
    config = {
        "tokenizer": tokenizer_config(tmp_path, [corpus.path]),
        "pretraining": pretraining_config(tmp_path, [corpus.path], tokenizer_run),
        "classifier": finetuning_config(tmp_path, [corpus.path]),
    }[name]
    variables = load_model(request.getfixturevalue(f"{name}_run"))[0]
    pairs = ((packed, alone(packed)) for packed in itertools.islice(batches_of(config, [corpus]), 20))
    packed, dense = next(pair for pair in pairs if set(pair[1]["segment_ids"].sum(axis=1)) == {6, 8})
    assert len(dense["labels"]) > len(packed["labels"])
    found = metrics_of(make_stage(config, [corpus], 1), variables, packed)
    one_to_a_row = replace(config, **{"data.segments": 1})
    expected = metrics_of(make_stage(one_to_a_row, [corpus], 1), variables, dense)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


# Evaluations against the faces that users call.


def test_pretraining_evaluates_every_patch_once(tmp_path, corpus, tokenizer_run, trained_encoder, trained_tokenizer):
    """Hidden by the mask or by its complement, each patch counts once, whatever the packing."""
    config = pretraining_config(tmp_path, [corpus.path], tokenizer_run)
    stage = make_stage(config, [corpus], STEPS_PER_EPOCH)
    assert stage.config.model.codes == CODES
    program, batches = programs_of(stage), list(batches_of(config, [corpus], "validation"))
    scores = evaluate(program, *program.put_model(trained_encoder.variables), batches)
    costs, right = hidden_by_hand(corpus, batches, trained_encoder, trained_tokenizer)
    assert len(costs) == 12 * (8 + 6)
    assert scores["cross_entropy"] == pytest.approx(np.mean(costs), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(np.mean(right)) and scores["loss"] == 2 * scores["cross_entropy"]


def hidden_by_hand(corpus: Corpus, batches, encoder, tokenizer) -> tuple[list[float], list[bool]]:
    """Cross-entropy and correctness of every patch, window by window through the public faces."""
    found = {}
    for batch in batches:
        for row, segment in np.argwhere(batch["window_ids"] >= 0):
            found[int(batch["window_ids"][row, segment])] = batch["mask"][row][batch["segment_ids"][row] == segment + 1]
    costs, right, first = [], [], 0
    for windows in corpus.windows("validation", SECONDS).montages:
        eeg = np.stack([window.eeg for window in windows])
        shape = (len(windows), len(windows.electrodes), SECONDS)
        mask = np.stack([found[first + number] for number in range(len(windows))]).reshape(shape)
        first += len(windows)
        codes = tokenizer.encode(eeg, windows.electrodes, sfreq=200)
        for hidden in (mask, ~mask):
            logits = encoder.code_logits(eeg, windows.electrodes, hidden, sfreq=200)
            logs = np.asarray(jax.nn.log_softmax(logits))
            chosen = np.take_along_axis(logs, codes[..., None], axis=-1)[..., 0]
            costs += (-chosen[hidden]).tolist()
            right += (logits.argmax(-1) == codes)[hidden].tolist()
    return costs, right


def test_predictions_come_in_order_and_are_those_of_the_classifier(tmp_path, corpus, trained_classifier):
    config = finetuning_config(tmp_path, [corpus.path])
    stage = make_stage(config, [corpus], STEPS_PER_EPOCH)
    batches = list(batches_of(config, [corpus], "test"))
    program = programs_of(stage)
    statistics = collect(program, *program.put_model(trained_classifier.variables), batches)
    predictions = predictions_of(statistics)
    assert predictions.window_ids.tolist() == list(range(24)) and not predictions.corpus_ids.any()
    assert predictions.labels.tolist() == [
        window.label for window in corpus.windows("test", SECONDS)
    ] and predictions.logits.shape == (24, 1)
    logits = []
    for windows in corpus.windows("test", SECONDS).montages:
        eeg = np.stack([window.eeg for window in windows])
        logits.append(trained_classifier.predict_logits(eeg, windows.electrodes, sfreq=200))
    np.testing.assert_allclose(predictions.logits, np.concatenate(logits), atol=2e-5)
    scores = stage.summarise(statistics)
    expected = binary(1 / (1 + np.exp(-predictions.logits)), predictions.labels).values
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert scores["loss"] == pytest.approx(scores["log_loss"], rel=1e-5)


def test_scores_that_are_not_finite_are_said_and_choose_nothing(tmp_path, corpus, trained_tokenizer):
    stage = make_stage(tokenizer_config(tmp_path, [corpus.path]), [corpus], STEPS_PER_EPOCH)
    program, variables = programs_of(stage), jax.tree.map(np.copy, trained_tokenizer.variables)
    jax.tree.map(lambda leaf: leaf.fill(np.nan), variables["params"]["decoder"])
    batches = batches_of(stage.config, [corpus], "validation")[:1]
    with refuses("the loss of the evaluated windows is nan, though their EEG is finite: the training has diverged"):
        evaluate(program, *program.put_model(variables), batches)


def test_windows_without_a_label_count_for_nothing(tmp_path, corpus, trained_classifier):
    stage = make_stage(finetuning_config(tmp_path, [corpus.path]), [corpus], STEPS_PER_EPOCH)
    batch = batches_of(stage.config, [corpus], "test")[0]
    program = programs_of(stage)

    def predicted(batch):
        return predictions_of(collect(program, *program.put_model(trained_classifier.variables), [batch])).labelled()

    logits = predicted(batch).logits
    some = {**batch, "labels": np.where(np.arange(4)[:, None] < 2, batch["labels"], -1)}
    predictions = predicted(some)
    count = len(predictions.labels)
    assert 0 < count < len(logits) and np.array_equal(predictions.logits, logits[:count])
    costs = np.log1p(np.exp(-logits[:count, 0] * (2 * predictions.labels - 1)))
    assert metrics_of(stage, trained_classifier.variables, some)["loss"] == pytest.approx(costs.mean(), rel=1e-4)
