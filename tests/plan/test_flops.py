"""The analytic count of products against the programs themselves."""

import dataclasses
import math
from typing import Any

import jax
import pytest
from jax.interpreters import partial_eval
from small_runs import finetuning_config, pretraining_config, small_tokenizer, tokenizer_config

from labram_jax.config import replace
from labram_jax.parallel.sharding import make_mesh
from labram_jax.plan import flops
from labram_jax.plan.compile import abstract_batch, abstract_stage
from labram_jax.training.program import prepare

CONFIGS = {
    "tokenizer": tokenizer_config("run", []),
    "tokenizer of log amplitudes": tokenizer_config("run", [], **{"model.log_amplitude": True}),
    "pretraining": pretraining_config("run", [], ""),
    "fine-tuning": finetuning_config("run", []),
    "fine-tuning the head": finetuning_config("run", [], trainable="head"),
    "fine-tuning the last block": finetuning_config("run", [], trainable="blocks", last_blocks=1),
    "fine-tuning low-rank updates": finetuning_config("run", [], trainable="lora"),
    "fine-tuning electrodes": finetuning_config("run", [], **{"model.pooling": "electrodes", "model.amplitude": True}),
    "fine-tuning filters": finetuning_config("run", [], **{"model.filters": True}),
}
TOKENIZER = small_tokenizer()


def lowered(config) -> dict[str, jax.stages.Lowered]:
    """All programs of a configuration."""
    program = prepare(abstract_stage(config, 10, TOKENIZER), make_mesh(config.mesh), 100, 10)
    return program.lower(abstract_batch(config, program.mesh))


def traced(config) -> dict[str, Any]:
    """All programs of a configuration as JAX traces them."""
    program = prepare(abstract_stage(config, 10, TOKENIZER), make_mesh(config.mesh), 100, 10)
    state, batch = program.abstract, abstract_batch(config, program.mesh)
    found = {
        "train_step": (program.train_step, (state, batch, program.train_step.seed)),
        "evaluate_batch": (program.evaluate_batch, (state.variables, state.frozen, batch)),
        **{event.name: (event, (state.params, state.collections, batch)) for event in program.events.values()},
    }
    with jax.set_mesh(program.mesh):
        return {name: own.jitted.trace(*shapes).jaxpr for name, (own, shapes) in found.items()}


def counted(jaxpr, used=None) -> int:
    """FLOP of all products in a traced function, loops times their length, without what nobody uses."""
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, used or [True] * len(jaxpr.outvars), instantiate=True)
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += times * counted(inner)
    return total


@pytest.mark.parametrize(("remat", "parts"), [("none", 2), ("block", 1)])
@pytest.mark.parametrize("stage", CONFIGS)
def test_products_are_those_of_the_programs(stage, remat, parts):
    changes = {"compute.remat": remat, "optimizer.accumulate": parts, "data.patch_slots": 60}
    config = replace(CONFIGS[stage], **changes)
    programs = traced(config)
    assert ("start_codebook" in programs) == stage.startswith("tokenizer")
    for name, closed in programs.items():
        products = flops.products_of(name, config, TOKENIZER)
        assert flops.total(products) == pytest.approx(counted(closed.jaxpr), rel=0.005), name


@pytest.mark.parametrize("stage", CONFIGS)
def test_products_are_most_of_what_the_compiler_counts(stage):
    """Without loops, in which it counts one turn; what is left is elementwise work."""
    config = replace(CONFIGS[stage], **{"compute.unroll": 2, "data.patch_slots": 60})
    cost = lowered(config)["train_step"].cost_analysis()["flops"]
    assert 1 < cost / flops.total(flops.products_of("train_step", config, TOKENIZER)) < 1.06


def test_recomputing_is_work_that_nobody_asked_for():
    plain, again = (
        flops.products_of("train_step", replace(CONFIGS["fine-tuning"], **{"compute.remat": remat}), None)
        for remat in ("none", "block")
    )
    assert flops.total(plain, asked_for=True) == flops.total(again, asked_for=True) < flops.total(again)
    assert flops.total(plain) < flops.total(again)


def test_products_grow_with_the_batch():
    one, two = (
        flops.products_of("train_step", replace(CONFIGS["pretraining"], **{"data.batch_rows": rows}), TOKENIZER)
        for rows in (4, 8)
    )
    assert flops.total(two) == 2 * flops.total(one)
    assert sum(flops.by_part(two).values()) == flops.total(two)


def test_tiles_are_filled_up():
    scores = flops.Product("attention", rows=257, inner=20, columns=257)
    assert scores.tiled_flops(1) == scores.flops == 2 * 257 * 20 * 257
    assert scores.tiled_flops(128) == 2 * 264 * 128 * 384
    assert dataclasses.replace(scores, row_tile=128).tiled_flops(128) == 2 * 384 * 128 * 384


def test_splash_fills_blocks_of_128_tokens_up_and_asks_for_no_more():
    config = CONFIGS["tokenizer"]
    splash, xla = (
        flops.products_of(flops.TRAINING, replace(config, **{"compute.attention": kernel}), None)
        for kernel in ("splash", "xla")
    )
    assert flops.total(splash) == flops.total(xla)
    tiled = [sum(p.tiled_flops(128) for p in products if p.part == "attention") for products in (splash, xla)]
    tokens = config.data.patch_slots + config.data.segments
    assert tiled[0] / tiled[1] == pytest.approx((-(-tokens // 128) * 128) / (-(-tokens // 8) * 8))


def test_float32_products_take_their_own_rate():
    products = [flops.Product("a", 8, 128, 128), flops.Product("b", 8, 128, 128, exact=True)]
    one = products[0].flops
    assert flops.compute_seconds(products, "bfloat16", 4.0 * one, 1.0 * one, 128, 1) == pytest.approx(1.25)
    assert flops.compute_seconds(products, "float32", 4.0 * one, 1.0 * one, 128, 2) == pytest.approx(1)


def test_steps_of_a_dispatch_are_so_many_steps():
    config = tokenizer_config("run", [], **{"loop.steps_per_dispatch": 3})
    one, several = (flops.products_of(name, config, None) for name in (flops.TRAINING, flops.SEVERAL))
    assert flops.total(several) == 3 * flops.total(one) > 0
