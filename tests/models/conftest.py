"""The golden models, imported once, with their compiled functions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import imported_encoder, quick_jit, tiny_classifier, tiny_masked_model, tiny_tokenizer, weights

from labram_jax.config import ComputeConfig
from labram_jax.convert.official import from_official, to_official
from labram_jax.models import ClassifierModel, MaskedModel, TokenizerModel


class Loaded:
    """A model with imported weights; its functions are compiled once for each shape."""

    def __init__(self, kind: type[nn.Module], config, tensors: Mapping[str, np.ndarray], compute: ComputeConfig):
        self.config = config
        self.module = kind(config, compute)
        self.variables = jax.tree.map(jnp.asarray, from_official(tensors, config))
        self._compiled: dict[Any, Callable] = {}

    def run(self, method: str | Callable, *inputs, variables=None):
        """Calls a method of the model, or a function whose first argument is the model."""
        if method not in self._compiled:
            self._compiled[method] = quick_jit(functools.partial(self.module.apply, method=method))
        return self._compiled[method](self.variables if variables is None else variables, *inputs)

    def gradients(self, loss: Callable, *inputs) -> tuple[Any, dict[str, np.ndarray]]:
        """The value of `loss(model, *inputs)`, and its gradients under official names."""
        if ("gradients", loss) not in self._compiled:

            def evaluate(params, others, *inputs):
                return self.module.apply({"params": params, **others}, *inputs, method=loss)

            self._compiled["gradients", loss] = quick_jit(jax.value_and_grad(evaluate))
        others = {name: value for name, value in self.variables.items() if name != "params"}
        value, gradients = self._compiled["gradients", loss](self.variables["params"], others, *inputs)
        return value, to_official({**others, "params": gradients}, self.config)


@pytest.fixture(scope="session")
def tokenizer() -> Loaded:
    return Loaded(TokenizerModel, tiny_tokenizer(), weights("vqnsp"), ComputeConfig())


@pytest.fixture(scope="session")
def load_masked_model() -> Callable[[ComputeConfig], Loaded]:
    """The pretraining model, computed in any way."""
    return functools.partial(Loaded, MaskedModel, tiny_masked_model(), weights("labram"))


@pytest.fixture(scope="session")
def masked_model(load_masked_model) -> Loaded:
    return load_masked_model(ComputeConfig())


@pytest.fixture(scope="session")
def classifiers() -> dict[str, Loaded]:
    """By the name of the golden case: one output, six, the class token's, with biases on queries and values."""
    configs = {
        "cls1": tiny_classifier(1),
        "cls6": tiny_classifier(6),
        "use_cls": tiny_classifier(6, "class_token"),
        "qkv_bias_true": tiny_classifier(6, qkv_bias=True),
    }
    return {
        case: Loaded(ClassifierModel, config, imported_encoder(case), ComputeConfig())
        for case, config in configs.items()
    }
