"""The cross-entropy over the codes, computed in parts, against the one from all logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labram_jax.config import ComputeConfig, MaskedModelConfig
from labram_jax.models.code_head import CodeHead

CODES = 50
CONFIG = MaskedModelConfig(codes=CODES)


def inputs():
    keys = jax.random.split(jax.random.key(0), 3)
    features = 3 * jax.random.normal(keys[0], (2, 9, CONFIG.encoder.width))
    codes = jax.random.randint(keys[1], (2, 9), 0, CODES).at[0, 0].set(CODES - 1)
    variables = nn.unbox(CodeHead(CONFIG, ComputeConfig()).init(keys[2], features))
    return variables, features, codes


def from_all_logits(variables, features, codes):
    logits = CodeHead(CONFIG, ComputeConfig()).apply(variables, features)
    right = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - right, logits.argmax(axis=-1) == codes


@pytest.mark.parametrize("chunk", [1, 7, 25, 50, 64])
def test_scores_in_parts_are_those_of_all_logits(chunk):
    variables, features, codes = inputs()
    likeliest = CodeHead(CONFIG, ComputeConfig()).apply(variables, features).argmax(axis=-1)
    codes = jnp.where(jnp.arange(9) < 4, likeliest, codes)
    head = CodeHead(CONFIG, ComputeConfig(code_chunk=chunk))
    scores = head.apply(variables, features, codes, method=CodeHead.scores)
    cross_entropy, correct = from_all_logits(variables, features, codes)
    np.testing.assert_allclose(scores.cross_entropy, cross_entropy, atol=1e-5)
    np.testing.assert_array_equal(scores.correct, correct)
    assert correct[:, :4].all() and not correct.all()


def test_gradients_in_parts_are_those_of_all_logits():
    variables, features, codes = inputs()
    head = CodeHead(CONFIG, ComputeConfig(code_chunk=7))

    def in_parts(variables, features):
        return head.apply(variables, features, codes, method=CodeHead.scores).cross_entropy.mean()

    def whole(variables, features):
        return from_all_logits(variables, features, codes)[0].mean()

    found, expected = (jax.grad(loss, (0, 1))(variables, features) for loss in (in_parts, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)


def test_no_array_holds_all_logits():
    variables, features, codes = inputs()
    head = CodeHead(CONFIG, ComputeConfig(code_chunk=10))

    def loss(variables, features):
        return head.apply(variables, features, codes, method=CodeHead.scores).cross_entropy.mean()

    program = jax.jit(jax.grad(loss)).lower(variables, features).compile().as_text()
    assert "[2,9,10]" in program or "[18,10]" in program
    assert "[2,9,50]" not in program and "[18,50]" not in program
