"""The three stages on a small corpus: what they learn, what they start from, what becomes of the codebook."""

import dataclasses
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

from labram_jax.checkpoints.models import load_model
from labram_jax.config import MeshConfig, replace
from labram_jax.data import pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.metrics import binary
from labram_jax.parallel.sharding import make_mesh
from labram_jax.parallel.state import TrainState
from labram_jax.runs import make_stage
from labram_jax.stages.finetuning import predictions_of
from labram_jax.stages.tokenizer import TokenizerStage
from labram_jax.training.evaluating import collect, evaluate
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.program import Program, prepare

STEPS_PER_EPOCH = 10


def batches_of(config, corpora, split="train"):
    """Batches of training (endless) or of another split, as the stage's run would see them."""
    data = config.data
    shape = {"batch_rows": data.batch_rows, "patch_slots": data.patch_slots, "segments": data.segments}
    read = pipeline.training if split == "train" else pipeline.evaluation
    windows = windows_of(data, corpora, split)
    return read(windows, seed=config.loop.seed, masked=not hasattr(config.model, "pooling"), **shape)


def programs_of(stage) -> Program:
    return prepare(stage, make_mesh(MeshConfig()), total_steps=100, steps_per_epoch=STEPS_PER_EPOCH)


def ready(stage) -> tuple[Program, TrainState]:
    program = programs_of(stage)
    return program, program.create_state()


def losses_of(program, state, batches, steps: int) -> tuple[TrainState, list[float]]:
    losses = []
    for batch in itertools.islice(batches, steps):
        state, metrics = program.train_step(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


def assert_equal_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


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


# The codebook: when it starts, what it costs, how it is kept alive.


@pytest.fixture(scope="module")
def kept_alive(corpus, trained_tokenizer):
    """A tokenizer's stage with 2 steps past the quantizer and a weight that rises over 4; state, batch, and loss.

    The state has learnt, but its codes are random. `loss(state, step)` gives the metrics, the codebook after the
    step, and the gradients.
    """
    config = tokenizer_config("", [corpus.path])
    codebook = dataclasses.replace(config.codebook, bypass_epochs=2, commitment_warmup_epochs=4, restart_below=0.2)
    stage = TokenizerStage(dataclasses.replace(config, codebook=codebook), steps_per_epoch=1)
    batch = batches_of(config, [corpus])[0]
    learnt = TrainState(np.int32(0), trained_tokenizer.variables["params"], {}, (), {}, {})
    state = with_codebook(learnt, random_codes(0), np.zeros(CODES, np.float32))

    @jax.jit
    def differentiated(params, collections, step):
        keys = jax.random.split(jax.random.key(step), len(batch["microvolts"]))
        gradients, statistics = jax.grad(stage.loss, has_aux=True)(
            params, collections, {}, batch, keys, stage.denominators(batch), step
        )
        return gradients, stage.apply_statistics(collections, statistics, keys[0], step)

    def loss(state, step: int):
        collections = jax.tree.map(np.asarray, state.collections)  # of one kind, for one compilation
        gradients, (collections, metrics) = differentiated(state.params, collections, np.int32(step))
        return metrics, collections["codebook"]["quantizer"], gradients

    return stage, state, batch, loss


def random_codes(seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((CODES, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def with_codebook(state, vectors, usage):
    return state.replace(collections={"codebook": {"quantizer": {"vectors": vectors, "usage": usage}}})


def test_commitment_weight_is_none_past_the_quantizer_and_rises_then(kept_alive):
    _, state, _, loss = kept_alive
    weights = []
    for step in range(8):
        metrics, _, _ = loss(state, step)
        spectra = metrics["amplitude_loss"] + metrics["phase_loss"]
        weights.append(float((metrics["loss"] - spectra) / metrics["commitment_loss"]))
    np.testing.assert_allclose(weights, [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1], atol=1e-3)


def test_past_the_quantizer_the_decoder_sees_the_latents_and_teaches_the_encoder(kept_alive):
    _, state, _, loss = kept_alive
    other = with_codebook(state, random_codes(1), np.zeros(CODES, np.float32))
    for step, same in ((0, True), (1, True), (2, False)):
        one, another = loss(state, step)[0], loss(other, step)[0]
        assert bool(one["amplitude_loss"] == another["amplitude_loss"]) is same
        gradients = loss(state, step)[2]
        for part in ("encoder", "latent_head", "decoder"):
            assert float(sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(gradients[part]))) > 1e-3, part


def started(stage, state, batch) -> TrainState:
    """The state after the stage's one event, as its program makes it."""
    (step,) = stage.events()
    return programs_of(stage).before_step(step, state, batch)


def test_codebook_starts_by_kmeans_at_the_first_step_that_uses_it(kept_alive):
    stage, state, batch, loss = kept_alive
    assert list(stage.events()) == [2]
    start = started(stage, state, batch)
    assert start.params is state.params and start.opt_state is state.opt_state
    quantizer = start.collections["codebook"]["quantizer"]
    np.testing.assert_allclose(np.linalg.norm(quantizer["vectors"], axis=1), 1, atol=1e-6)
    # Every code has the same time to be hit before it is restarted; and the codes lie among the latents.
    np.testing.assert_allclose(quantizer["usage"], 0.4)
    assert loss(start, 2)[0]["commitment_loss"] < 0.5 * loss(state, 2)[0]["commitment_loss"]
    # The same state and batch give the same start, as when a run resumes right there.
    assert_equal_trees(started(stage, state, batch).collections, start.collections)


@pytest.mark.parametrize(("changes", "steps"), [({"bypass_epochs": 0.0}, [0]), ({"kmeans_start": False}, [])])
def test_codebook_starts_at_once_or_never_where_it_is_asked_to(kept_alive, changes, steps):
    config = kept_alive[0].config
    config = dataclasses.replace(config, codebook=dataclasses.replace(config.codebook, **changes))
    assert list(TokenizerStage(config, steps_per_epoch=1).events()) == steps


def test_codes_that_nobody_uses_move_onto_latents(kept_alive):
    stage, state, batch, loss = kept_alive
    latents = started(stage, state, batch).collections["codebook"]["quantizer"]["vectors"]
    # All codes are the same one, of which the first takes all latents.
    vectors = jnp.broadcast_to(latents[:1], latents.shape)
    usage = jnp.full(CODES, 1e-3)
    collapsed = with_codebook(state, vectors, usage)
    metrics, after, _ = loss(collapsed, 2)
    assert metrics["perplexity"] == pytest.approx(1) and metrics["codes_used"] == pytest.approx(1 / CODES)
    assert np.all(after["usage"] >= 0.2) and len(np.unique(after["vectors"], axis=0)) == CODES
    revived, _, _ = loss(with_codebook(state, after["vectors"], after["usage"]), 2)
    assert revived["codes_used"] > 0.5
    # Past the quantizer nothing is restarted.
    _, before, _ = loss(collapsed, 1)
    np.testing.assert_allclose(before["vectors"][1:], vectors[1:], atol=1e-6)


def test_collapse_is_said_with_what_to_do(kept_alive):
    stage, _, _, _ = kept_alive
    collapsed = {"perplexity": 0.05 * CODES - 0.1, "codes_used": 2 / CODES}
    warning = stage.warn_about(3, collapsed)
    assert "collapsing" in warning and "use 2 codes" in warning and "--codebook.bypass-epochs" in warning
    assert stage.warn_about(2, collapsed) is None  # the quantizer was not in use yet
    assert stage.warn_about(3, {"perplexity": 0.05 * CODES + 0.1, "codes_used": 0.5}) is None
    assert (stage.frozen, stage.selection) == ({}, ("loss", "min"))


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
