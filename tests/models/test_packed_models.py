"""Windows of different montages and lengths in one row give what each gives alone, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import quick_jit
from packed_rows import Window, make_window, pack_rows

from labram_jax.models.spectrum import log_amplitude_targets, spectral_targets

TOLERANCE = 1e-5


def random_window(seed: int, electrodes: int, seconds: int) -> Window:
    """White noise, so that no bin of the spectrum is small enough for its angle to depend on the order of a sum."""
    random = np.random.default_rng(seed)
    eeg = random.standard_normal((electrodes, seconds * 200)).astype(np.float32)
    ids = 1 + random.permutation(128)[:electrodes]
    return make_window(eeg, ids, random.random(electrodes * seconds) < 0.5)


# Two shapes only, so that little is compiled: the first two differ in montage and length and have 28 patches each.
WINDOWS = [random_window(1, 7, 4), random_window(2, 14, 2), random_window(3, 5, 2)]
ROWS = [[0, 2, 1], [1, 0], [2], [2, 1, 0]]
SLOTS, SEGMENTS, GAP = 80, 4, 3


def tokenizer_outputs(model, batch):
    output = model(batch)
    shape = (*batch.segment_ids.shape, -1)
    own = batch.patches, batch.membership
    targets = (*spectral_targets(*own), log_amplitude_targets(*own))
    latents, vectors = (x.reshape(shape) for x in (output.quantized.latents, output.quantized.vectors))
    return {"per patch": (output.amplitude, output.phase, latents, vectors, *targets), "per segment": ()}


def masked_model_outputs(model, batch):
    hidden = model.hidden(batch)
    return {"per patch": (hidden, model.logits(hidden)), "per segment": ()}


def classifier_outputs(model, batch):
    classes, tokens = model.tokens(batch)
    pooled = model.pooled(batch)
    return {"per patch": (tokens,), "per segment": (classes, pooled, model.head(pooled))}


OUTPUTS = {
    "tokenizer": tokenizer_outputs,
    "masked_model": masked_model_outputs,
    "cls6": classifier_outputs,
}


def loss_of(outputs_of):
    """A sum over patches and segments of products with fixed directions, so that it adds up over windows."""

    def loss(model, batch):
        outputs = outputs_of(model, batch)
        present = batch.membership.max(axis=1)
        total = 0.0
        for kind, weight in (("per patch", batch.valid), ("per segment", present)):
            for number, values in enumerate(outputs[kind]):
                direction = jax.random.normal(jax.random.key(number), values.shape[-1:])
                total += jnp.where(weight, values @ direction, 0).sum()
        return total, outputs

    return loss


@pytest.fixture(scope="module", params=OUTPUTS)
def evaluate(request, tokenizer, masked_model, classifiers):
    """Outputs, and gradients of their sum by all parameters, of one of the models."""
    model = {"tokenizer": tokenizer, "masked_model": masked_model, **classifiers}[request.param]
    loss = loss_of(OUTPUTS[request.param])

    def both(params, batch):
        others = {name: value for name, value in model.variables.items() if name != "params"}
        (_, outputs), gradients = jax.value_and_grad(
            lambda p: model.module.apply({"params": p, **others}, batch, method=loss), has_aux=True
        )(params)
        return outputs, gradients

    compiled = quick_jit(both)
    return lambda packed: compiled(model.variables["params"], packed.batch)


def test_packed_windows_give_what_each_gives_alone(evaluate):
    alone = [pack_rows([[window]], len(window.patches), 1) for window in WINDOWS]
    expected = [evaluate(packed) for packed in alone]
    packed = pack_rows([[WINDOWS[number] for number in row] for row in ROWS], SLOTS, SEGMENTS, GAP)
    outputs, gradients = evaluate(packed)
    numbers = [number for row in ROWS for number in row]
    for number, (row, slots, segment) in zip(numbers, packed.places, strict=True):
        for mine, reference in zip(outputs["per patch"], expected[number][0]["per patch"], strict=True):
            np.testing.assert_allclose(mine[row, slots], reference[0], atol=TOLERANCE)
        for mine, reference in zip(outputs["per segment"], expected[number][0]["per segment"], strict=True):
            np.testing.assert_allclose(mine[row, segment], reference[0, 0], atol=TOLERANCE)
    summed = jax.tree.map(lambda *g: sum(g[number] for number in numbers), *(gradients for _, gradients in expected))
    for path, mine in jax.tree_util.tree_leaves_with_path(gradients):
        reference = summed
        for entry in path:
            reference = reference[entry.key]
        name = jax.tree_util.keystr(path)
        if vanishes(name):
            continue
        difference = np.abs(mine - reference).max() / np.abs(reference).max()
        assert difference <= TOLERANCE, f"{name}: {difference:.2g}"


def vanishes(name: str) -> bool:
    """Gradients that are zero but for rounding, see `golden_data.is_degenerate`."""
    return "k_norm']['bias" in name or ("convolution_" in name and name.endswith("['bias']"))


def test_padding_cannot_be_seen(evaluate):
    """Another garbage in the padding, and a row of nothing else, change neither outputs nor gradients."""
    rows = [[WINDOWS[number] for number in row] for row in ROWS]
    quiet = pack_rows([*rows[:3], []], SLOTS, SEGMENTS, GAP, garbage=0)
    loud = pack_rows([*rows[:3], []], SLOTS, SEGMENTS, GAP, garbage=1e4, seed=1)
    (outputs, gradients), (others, other_gradients) = evaluate(quiet), evaluate(loud)
    for row, slots, segment in quiet.places:
        for kind, place in (("per patch", (row, slots)), ("per segment", (row, segment))):
            for mine, other in zip(outputs[kind], others[kind], strict=True):
                np.testing.assert_allclose(mine[place], other[place], atol=1e-7)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((others, other_gradients)))
    for mine, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(other_gradients), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6 * max(1e-3, np.abs(mine).max()))
