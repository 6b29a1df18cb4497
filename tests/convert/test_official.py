"""The table of official tensors against the official models' own lists of names and shapes."""

import jax
import numpy as np
import pytest
from golden_data import (
    facts,
    imported_encoder,
    tiny_classifier,
    tiny_masked_model,
    tiny_tokenizer,
    weights,
)

from labram_jax.config import (
    ClassifierConfig,
    MaskedModelConfig,
    TokenizerConfig,
    base_encoder,
    huge_encoder,
    large_encoder,
    replace,
)
from labram_jax.convert.official import from_official, official_tensors, to_official

PRETRAINING = {"class_position": "first_electrode", "initialisation": "pretraining"}
CONFIGS = {
    "finetune_base_nc1_noqkvbias": ClassifierConfig(),
    "finetune_base_nc6_noqkvbias": ClassifierConfig(outputs=6),
    "finetune_base_nc6_qkvbias_default": ClassifierConfig(base_encoder(qkv_bias=True), outputs=6),
    "finetune_large_nc1_noqkvbias": ClassifierConfig(large_encoder()),
    "finetune_huge_nc1_noqkvbias": ClassifierConfig(huge_encoder()),
    "pretrain_base_vocab8192": MaskedModelConfig(),
    "pretrain_large_vocab8192": MaskedModelConfig(large_encoder(**PRETRAINING)),
    "pretrain_huge_vocab8192": MaskedModelConfig(huge_encoder(**PRETRAINING)),
    "vqnsp_base_8192x64": TokenizerConfig(),
    "vqnsp_large_8192x64": replace(TokenizerConfig(), **{"encoder.depth": 24}),
}
# What the official files hold and no forward pass of theirs reads: a second code head, a projection that nothing
# calls, and the codebook's buffers that its k-means start leaves behind.
UNUSED = {
    "student.lm_head.weight",
    "student.lm_head.bias",
    "projection_head.0.weight",
    "projection_head.0.bias",
    "quantize.embedding.cluster_size",
    "quantize.embedding.embed_avg",
    "quantize.embedding.initted",
}
TINY = {
    "tokenizer": (tiny_tokenizer(), lambda: weights("vqnsp")),
    "masked model": (tiny_masked_model(), lambda: weights("labram")),
    "classifier": (tiny_classifier(6), lambda: imported_encoder("cls6")),
    "class token": (tiny_classifier(6, "class_token"), lambda: imported_encoder("use_cls")),
    "biases": (tiny_classifier(6, qkv_bias=True), lambda: imported_encoder("qkv_bias_true")),
}


@pytest.mark.parametrize("size", CONFIGS)
def test_every_official_tensor_has_its_place(size):
    official = {name: tuple(shape) for name, (shape, _) in facts("state_dict_tables")[size]["state_dict"].items()}
    ours = {tensor.name: tensor.official_shape for tensor in official_tensors(CONFIGS[size])}
    used = {name: shape for name, shape in official.items() if name not in UNUSED}
    assert ours == used


def test_every_model_size_is_in_the_list():
    assert set(CONFIGS) == set(facts("state_dict_tables"))


@pytest.mark.parametrize("kind", TINY)
def test_import_and_export_are_inverse_bit_by_bit(kind):
    config, tensors = TINY[kind]
    variables = from_official(tensors(), config)
    exported = to_official(variables, config)
    for name, tensor in exported.items():
        np.testing.assert_array_equal(tensor, tensors()[name], err_msg=name)
        assert tensor.flags.c_contiguous and tensor.dtype == np.float32
    again = from_official(exported, config)
    jax.tree.map(np.testing.assert_array_equal, variables, again)


def test_import_refuses_another_size():
    with pytest.raises(ValueError, match=r"head.weight has shape \(6, 100\), the model wants \(1, 100\)"):
        from_official(imported_encoder("cls6"), tiny_classifier(1))


def test_import_wants_every_tensor():
    tensors = dict(imported_encoder("cls6"))
    del tensors["blocks.1.mlp.fc1.bias"]
    with pytest.raises(KeyError, match=r"blocks\.1\.mlp\.fc1\.bias"):
        from_official(tensors, tiny_classifier(6))
