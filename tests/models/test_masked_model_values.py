"""The pretraining model gives the values of the official one."""

import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import arrays, check, check_gradients, check_loss, tiny_masked_model, weights, windows

from labram_jax.config import replace
from labram_jax.convert.official import from_official
from labram_jax.models import MaskedModel

GOLDEN = "pretrain"


def joined(tokens):
    """Class tokens before patch tokens, as the official arrays have them."""
    return np.concatenate(tokens, axis=1)


def view_losses(scores, mask):
    """Cross-entropy and accuracy of both views: each a mean over the patches that it hid."""
    means = [(jnp.mean(x, where=mask), jnp.mean(x, where=~mask)) for x in (scores.cross_entropy, scores.correct)]
    return means[0] + means[1]


def total_loss(model, batch, codes):
    return sum(view_losses(model(batch, codes), batch.mask)[:2])


def everything(model, batch, codes):
    """Features of the first view, logits, and scores, in one compiled function."""
    return model.features(batch, batch.mask), model.logits(model.hidden(batch)), model(batch, codes)


@pytest.fixture(scope="module")
def cases():
    """Windows with their mask, and their codes, by number of patches."""
    golden = arrays(GOLDEN)
    return {
        name: (windows(golden[f"{name}/x"], mask=golden[f"{name}/bool_masked_pos"]), golden[f"{name}/labels_all"])
        for name in ("main", "patches1", "patches16")
    }


@pytest.mark.parametrize("name", ["main", "patches1", "patches16"])
def test_logits_losses_and_accuracies(masked_model, cases, name):
    batch, codes = cases[name]
    features, logits, scores = masked_model.run(everything, batch, codes)
    check(np.asarray(logits)[batch.mask], GOLDEN, f"{name}/logits_masked")
    check(np.asarray(logits)[~batch.mask], GOLDEN, f"{name}/logits_sym")
    if name == "patches16":
        check(joined(features)[:, ::7], GOLDEN, "patches16/features_all_tokens@tokens_stride7")
    else:
        check(joined(features), GOLDEN, f"{name}/features_all_tokens")
    loss, loss_of_complement, accuracy, accuracy_of_complement = view_losses(scores, batch.mask)
    check_loss(loss, GOLDEN, f"{name}/loss_rec")
    check_loss(loss_of_complement, GOLDEN, f"{name}/loss_rec_sym")
    check_loss(loss + loss_of_complement, GOLDEN, f"{name}/loss")
    np.testing.assert_allclose(accuracy, arrays(GOLDEN)[f"{name}/acc"], rtol=1e-6)
    np.testing.assert_allclose(accuracy_of_complement, arrays(GOLDEN)[f"{name}/acc_sym"], rtol=1e-6)


def test_encoder_step_by_step(masked_model, cases):
    batch, _ = cases["main"]
    embeddings = masked_model.run(lambda model, batch: model.encoder.embed(batch), batch)
    check(embeddings, GOLDEN, "main/patch_embed")
    masked = jnp.where(batch.mask[..., None], masked_model.variables["params"]["mask_token"], embeddings)
    addressed = masked_model.run(lambda model, x, batch: model.encoder.address(x, batch), masked, batch)
    check(addressed, GOLDEN, "main/tokens_in")
    check(joined(masked_model.run("tokens", batch, batch.mask)), GOLDEN, "main/block1")
    config = replace(masked_model.config, **{"encoder.depth": 1})
    first = MaskedModel(config).apply(from_official(weights("labram"), config), batch, batch.mask, method="tokens")
    check(joined(first), GOLDEN, "main/block0")


def test_features_without_a_mask(masked_model, cases):
    batch, _ = cases["main"]
    check(joined(masked_model.run("features", batch)), GOLDEN, "main/features_all_tokens_nomask")


def test_gradients(masked_model, cases):
    loss, gradients = masked_model.gradients(total_loss, *cases["main"])
    check_loss(loss, GOLDEN, "main/loss")
    check_gradients(gradients, GOLDEN, "main/grad/")
    rows = np.flatnonzero(np.abs(gradients["student.pos_embed"][0]).sum(axis=-1))
    np.testing.assert_array_equal(rows, arrays(GOLDEN)["main/grad_pos_embed_rows_nonzero"])


def test_class_position_is_a_choice(masked_model, cases):
    """The reference's class token takes the row of the first electrode; mended, it takes its own."""
    batch, _ = cases["main"]
    table = masked_model.variables["params"]["encoder"]["electrode_embedding"]
    token = masked_model.variables["params"]["encoder"]["class_token"]
    for position, row in (("first_electrode", 20), ("class_row", 0)):
        model = MaskedModel(tiny_masked_model(class_position=position)).bind(masked_model.variables)
        addressed = model.encoder.address(model.encoder.embed(batch), batch)
        np.testing.assert_allclose(addressed[:, 0], np.broadcast_to(token + table[row], (3, 100)), atol=1e-7)
