"""What the labels of the training split do to the loss: classes weighed, targets in units of their spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import finetuning_config, small_encoder

from labram_jax.adaptation.labels import balanced_weights, with_targets
from labram_jax.config import ClassifierConfig
from labram_jax.models.patches import dense_batch
from labram_jax.runs import make_stage
from labram_jax.stages.finetuning import FinetuningStage, Predictions, classification_loss, scores_of


def test_classes_weigh_the_same_in_what_is_drawn():
    labels = [np.array([0, 0, 0, 1, -1]), np.array([1, 1])]
    weights = balanced_weights(labels, (), 2)
    assert 3 * weights[0] == pytest.approx(3 * weights[1]) and 3 * weights[0] + 3 * weights[1] == pytest.approx(6)
    # The second corpus is drawn three times as often as the first, a fifth of which has no label.
    weights = balanced_weights(labels, (1, 3), 2)
    assert weights == pytest.approx((3.8 / 2 / 0.6, 3.8 / 2 / 3.2))
    assert balanced_weights([np.array([0, 0])], (), 3)[1:] == (0, 0)  # of a class that nothing is of


def test_weights_make_a_weighted_mean_and_leave_out_what_has_no_label():
    logits = jnp.array([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 3.0]]])
    labels = jnp.array([[0, 2, -1, 2]])
    each = [float(classification_loss(logits[:, i : i + 1], labels[:, i : i + 1], 0.1)) for i in (0, 1, 3)]
    found = classification_loss(logits, labels, 0.1, class_weights=(2.0, 1.0, 0.5))
    assert found == pytest.approx((2 * each[0] + 0.5 * each[1] + 0.5 * each[2]) / 3, rel=1e-5)
    assert classification_loss(logits, labels, 0.1) == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize(("balance", "evenly"), [("none", False), ("loss", True), ("sampling", True)])
def test_classes_that_count_the_same_in_training_do_so_in_the_loss_that_chooses(balance, evenly):
    """Nine windows of one class in ten: who guesses by frequency is good by all windows alike, and worse than one who
    knows nothing where classes count the same."""
    config = finetuning_config("", [], balance=balance)
    labels, numbers = np.array([0] * 9 + [1]), np.arange(10)
    losses = [
        scores_of(config, Predictions(np.full((10, 1), logit, np.float32), labels, numbers, numbers))["loss"]
        for logit in (0.0, np.log(1 / 9))
    ]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-6)
    assert losses[1] == pytest.approx((np.log(10 / 9) + np.log(10)) / 2 if evenly else 0.325083, rel=1e-5)
    assert (losses[1] > losses[0]) == evenly


def test_a_run_takes_the_weights_from_its_training_windows(corpus):
    config = finetuning_config("", [corpus.path], balance="loss")
    stage = make_stage(config, [corpus], 1)
    assert stage.class_weights == pytest.approx((1, 1))  # classes alternate
    stage.class_weights = (0.5, 1.5)
    denominators = stage.denominators({"labels": jnp.array([[0, 1, 1, -1]])})
    assert (int(denominators["labels"]), float(denominators["weights"])) == (3, 3.5)
    assert make_stage(finetuning_config("", [corpus.path]), [corpus], 1).class_weights == ()


def test_a_regressor_begins_at_the_mean_of_its_targets_with_a_loss_of_one():
    """Of ages, say: without it the head would have to grow to 40 first."""
    random = np.random.default_rng(0)
    ages = (40 + 10 * random.standard_normal((500, 1))).astype(np.float32)
    model = with_targets(
        ClassifierConfig(small_encoder(), task="regression"), [ages, np.full((3, 1), np.nan, np.float32)]
    )
    assert model.target_mean[0] == pytest.approx(40, abs=2) and model.target_scale[0] == pytest.approx(10, abs=1)
    stage = FinetuningStage(finetuning_config("", [], model=model), None)
    patches = 10 * random.standard_normal((8, 4, 200)).astype(np.float32)
    stream = dense_batch(patches, np.array([1, 2]))
    batch = {
        "microvolts": patches,
        "labels": ages[:8, None],
        **{name: getattr(stream, name) for name in ("electrode_ids", "time_ids", "segment_ids")},
    }
    stage.config = finetuning_config("", [], model=model, **{"data.segments": 1})

    @jax.jit
    def start(batch):
        params = stage.init(jax.random.key(0))["params"]
        keys = jax.random.split(jax.random.key(1), 8)
        loss, _ = stage.loss(params, {}, {}, batch, keys, stage.denominators(batch), jnp.int32(0))
        return loss, stage.model.apply({"params": params}, stage.stream(batch))

    loss, values = map(np.asarray, start(batch))
    np.testing.assert_allclose(values, model.target_mean[0], atol=0.5)
    assert loss == pytest.approx(np.mean((ages[:8] - model.target_mean[0]) ** 2) / model.target_scale[0] ** 2, rel=0.1)
    scores = scores_of(stage.config, Predictions(values[:, 0], ages[:8], np.arange(8), np.arange(8)))
    assert scores["loss"] == pytest.approx(float(loss), rel=1e-4) and scores["rmse"] > 3


def test_a_target_that_never_changes_keeps_its_unit():
    model = with_targets(
        ClassifierConfig(small_encoder(), 2, task="regression"), [np.array([[1, 5], [3, 5]], np.float32)]
    )
    assert model.target_mean == (2, 5) and model.target_scale == (1, 1)
