"""The analytic count of a step's products against the step itself."""

import math

import jax
import pytest
from jax.interpreters import partial_eval
from small_runs import finetuning_config, pretraining_config, small_tokenizer, tokenizer_config

from labram_jax.config import replace
from labram_jax.plan import flops
from labram_jax.plan.compile import abstract_batch, abstract_stage
from labram_jax.training.sharding import make_mesh
from labram_jax.training.step import prepare

CONFIGS = {
    "tokenizer": tokenizer_config("run", []),
    "pretraining": pretraining_config("run", [], ""),
    "fine-tuning": finetuning_config("run", []),
    "fine-tuning the head": finetuning_config("run", [], trainable="head"),
}
TOKENIZER = small_tokenizer()


def traced(config):
    recipe = prepare(abstract_stage(config, 10, TOKENIZER), make_mesh(config.mesh), 100, 10)
    with jax.set_mesh(recipe.mesh):
        return jax.make_jaxpr(recipe.train_step)(recipe.abstract, abstract_batch(config, recipe.mesh))


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


@pytest.mark.parametrize("remat", ["none", "block"])
@pytest.mark.parametrize("stage", CONFIGS)
def test_products_are_those_of_the_step(stage, remat):
    config = replace(CONFIGS[stage], **{"compute.remat": remat, "data.patch_slots": 60})
    assert flops.total(flops.step_products(config, TOKENIZER)) == pytest.approx(
        counted(traced(config).jaxpr), rel=0.005
    )
