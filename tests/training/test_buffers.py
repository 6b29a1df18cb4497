"""What compiled programs keep in memory: never a number for every patch and every code."""

import math
import re

import jax
import pytest
from golden_data import QUICK
from small_runs import small_encoder, small_tokenizer

from labram_jax.config import (
    AnyStageConfig,
    DataConfig,
    MaskedModelConfig,
    MeshConfig,
    PretrainingStageConfig,
    TokenizerStageConfig,
    replace,
)
from labram_jax.parallel.sharding import make_mesh
from labram_jax.plan.compile import abstract_batch, abstract_stage
from labram_jax.training.program import prepare

# So many codes and patches that all else is smaller: parameters, attention, and the MLP of both views.
ROWS, SLOTS, CODES = 8, 64, 2000
TOKENIZER = replace(small_tokenizer(), **{"encoder.depth": 1, "quantizer.codes": CODES})


def config_of(name: str, chunk: int) -> AnyStageConfig:
    common = {"run": "", "data": DataConfig(batch_rows=ROWS, patch_slots=SLOTS)}
    if name == "tokenizer":
        config = TokenizerStageConfig(model=TOKENIZER, **common)
    else:
        config = PretrainingStageConfig(model=MaskedModelConfig(small_encoder(depth=1), codes=CODES), **common)
    return replace(config, **{"compute.code_chunk": chunk})


def largest_buffer(name: str, chunk: int) -> int:
    """Elements of the largest array in the compiled programs of a stage."""
    config = config_of(name, chunk)
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    program = prepare(abstract_stage(config, 10, TOKENIZER), mesh, total_steps=10, steps_per_epoch=10)
    texts = [lowered.compile(QUICK).as_text() for lowered in program.lower(abstract_batch(config, mesh)).values()]
    shapes = [shape for text in texts for shape in re.findall(r"\b[a-z]+\d*\[([\d,]+)\]", text)]
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


@pytest.mark.parametrize("name", ["tokenizer", "pretraining"])
def test_no_one_hot_of_the_codebook_and_no_logits_of_all_patches(name):
    assert largest_buffer(name, chunk=100) < ROWS * SLOTS * CODES / 2


def test_with_all_codes_at_once_there_would_be():
    assert largest_buffer("pretraining", chunk=CODES) >= ROWS * SLOTS * CODES
