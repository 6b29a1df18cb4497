"""What a compiled step keeps in memory: never a number for every patch and every code."""

import math
import re

import jax
import numpy as np
import pytest
from golden_data import QUICK
from small_runs import small_encoder, small_tokenizer

from labram_jax.config import (
    DataConfig,
    MaskedModelConfig,
    MeshConfig,
    PretrainingStageConfig,
    TokenizerStageConfig,
    replace,
)
from labram_jax.models import TokenizerModel
from labram_jax.training.pretraining import PretrainingStage
from labram_jax.training.sharding import make_mesh
from labram_jax.training.step import prepare
from labram_jax.training.tokenizer import TokenizerStage, empty_batch

# So many codes and patches that all else is smaller: parameters, attention, and the MLP of both views.
ROWS, SLOTS, CODES = 8, 64, 2000
TOKENIZER = replace(small_tokenizer(), **{"encoder.depth": 1, "quantizer.codes": CODES})


def stage_of(name: str, chunk: int):
    common = {"run": "", "data": DataConfig(batch_rows=ROWS, patch_slots=SLOTS)}
    if name == "tokenizer":
        config = TokenizerStageConfig(model=TOKENIZER, **common)
        return TokenizerStage(replace(config, **{"compute.code_chunk": chunk}), steps_per_epoch=1)
    model = MaskedModelConfig(small_encoder(depth=1), codes=CODES)
    config = replace(PretrainingStageConfig(model=model, **common), **{"compute.code_chunk": chunk})
    variables = jax.eval_shape(TokenizerModel(TOKENIZER).init, jax.random.key(0), empty_batch())
    return PretrainingStage(config, TOKENIZER, variables)


def largest_buffer(name: str, chunk: int) -> int:
    """Elements of the largest array in the compiled step of a stage."""
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    numbers = jax.ShapeDtypeStruct((ROWS, SLOTS), np.int32)
    batch = {
        "patches": jax.ShapeDtypeStruct((ROWS, SLOTS, 200), np.float32),
        **dict.fromkeys(("electrode_ids", "time_ids", "segment_ids"), numbers),
        "mask": jax.ShapeDtypeStruct((ROWS, SLOTS), np.bool_),
    }
    with jax.set_mesh(mesh):
        recipe = prepare(stage_of(name, chunk), mesh, total_steps=10, steps_per_epoch=10)
        program = recipe.train_step.lower(recipe.abstract, batch).compile(QUICK).as_text()
    shapes = re.findall(r"\b[a-z]+\d*\[([\d,]+)\]", program)
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


@pytest.mark.parametrize("name", ["tokenizer", "pretraining"])
def test_no_one_hot_of_the_codebook_and_no_logits_of_all_patches(name):
    assert largest_buffer(name, chunk=100) < ROWS * SLOTS * CODES / 2


def test_with_all_codes_at_once_there_would_be():
    assert largest_buffer("pretraining", chunk=CODES) >= ROWS * SLOTS * CODES
