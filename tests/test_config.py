"""What can be chosen: what is refused, and that the published recipes are the published ones."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from sentences import refuses

from labram_jax.config import (
    ClassifierConfig,
    CodebookTraining,
    ComputeConfig,
    DataConfig,
    EncoderConfig,
    FinetuningStageConfig,
    LoopConfig,
    MaskedModelConfig,
    OptimizerConfig,
    QuantizerConfig,
    TokenizerConfig,
    TokenizerStageConfig,
    base_encoder,
    huge_encoder,
    kind_of,
    large_encoder,
    replace,
)
from labram_jax.configfile import load_file
from labram_jax.models import ClassifierModel, MaskedModel, TokenizerModel
from labram_jax.models.patches import empty_batch

IMPOSSIBLE = [
    (EncoderConfig, {"width": 210}, "width 210 must be 25 x temporal_channels 8 = 200"),
    (EncoderConfig, {"width": 150, "temporal_channels": 6}, "temporal_channels 6 must be a multiple of 4"),
    (EncoderConfig, {"heads": 7}, "cannot be divided into 7 heads"),
    (EncoderConfig, {"heads": 0}, "cannot be divided into 0 heads"),
    (EncoderConfig, {"depth": 0}, "depth 0 must be at least 1"),
    (EncoderConfig, {"mlp_ratio": 0}, "mlp_ratio 0 must be at least 1"),
    (EncoderConfig, {"drop_path": 1.0}, r"drop_path 1.0 must lie in \[0, 1\)"),
    (EncoderConfig, {"layer_scale": -0.1}, "layer_scale -0.1 must not be negative"),
    (QuantizerConfig, {"codes": 1}, "at least 2 codes, not 1"),
    (QuantizerConfig, {"dimension": 1}, "dimension of at least 2, not 1"),
    (QuantizerConfig, {"decay": 1.0}, r"decay 1.0 must lie in \[0, 1\)"),
    (TokenizerConfig, {"decoder": EncoderConfig(amplitude=True)}, "a decoder sees codes and no patches"),
    (ClassifierConfig, {"outputs": 0}, "at least 1 output, not 0"),
    (ComputeConfig, {"unroll": 0}, "compute.unroll must be at least 1, not 0"),
    (ComputeConfig, {"code_chunk": 0}, "compute.code_chunk must be at least 1, not 0"),
    *((DataConfig, {name: 0}, f"data.{name} must be at least 1, not 0")
      for name in ("batch_rows", "patch_slots", "segments", "threads", "prefetch")),
    (DataConfig, {"workers": -1}, "data.workers must be at least 0, not -1"),
    (DataConfig, {"corpora": ("a", "b"), "weights": (1.0,)}, "1 entries for 2 corpora"),
    (DataConfig, {"corpora": ("a", "b"), "weights": (1.0, 0.0)}, "must all be positive"),
    (OptimizerConfig, {"learning_rate": 0.0}, "learning_rate 0.0 must be positive"),
    (OptimizerConfig, {"final_learning_rate": -1e-5}, "final_learning_rate -1e-05 must not be negative"),
    (OptimizerConfig, {"warmup_epochs": -1}, "warmup_epochs -1 must not be negative"),
    (OptimizerConfig, {"betas": (0.9, 1.0)}, r"betas \(0.9, 1.0\) must be two numbers in \[0, 1\)"),
    (OptimizerConfig, {"betas": (0.9,)}, r"betas \(0.9,\) must be two numbers"),
    (OptimizerConfig, {"epsilon": 0.0}, "epsilon 0.0 must be positive"),
    (OptimizerConfig, {"weight_decay": -0.1}, "weight_decay -0.1 must not be negative"),
    (OptimizerConfig, {"clip_norm": 0.0}, "clip_norm 0.0 must be positive"),
    (OptimizerConfig, {"layer_decay": 0.0}, r"layer_decay 0.0 must lie in \(0, 1\]"),
    (OptimizerConfig, {"layer_decay": 1.1}, r"layer_decay 1.1 must lie in \(0, 1\]"),
    (OptimizerConfig, {"accumulate": 0}, "accumulate 0 must be at least 1"),
    (DataConfig, {"validation_subjects": ("a", "b"), "test_subjects": ("b",)}, "test_subjects both name b"),
    (DataConfig, {"time_folds": 2}, "time_folds must be 0 or at least 3"),
    (DataConfig, {"time_folds": 3, "test_fold": 3}, "test_fold 3 must be one of the 3"),
    (DataConfig, {"test_fold": 1}, "test_fold 1 must be one of the 0"),
    (DataConfig, {"time_folds": 3, "test_subjects": ("a",)}, "cannot both say what the splits are"),
    (LoopConfig, {"epochs": 0}, "epochs 0 must be positive"),
    (LoopConfig, {"evaluate_every_epochs": 0}, "evaluate_every_epochs 0 must be positive"),
    (LoopConfig, {"save_every_epochs": -1}, "save_every_epochs -1 must be positive"),
    (LoopConfig, {"log_every": 0}, "log_every and loop.keep must be at least 1"),
    (LoopConfig, {"keep": 0}, "log_every and loop.keep must be at least 1"),
    (LoopConfig, {"seed": -1}, "seed -1 must not be negative"),
    *((CodebookTraining, {name: -1.0}, f"codebook.{name} -1.0 must not be negative")
      for name in ("commitment_weight", "bypass_epochs", "bypass_noise", "commitment_warmup_epochs", "restart_below")),
    (CodebookTraining, {"kmeans_iterations": 0}, "kmeans_iterations must be at least 1"),
    (FinetuningStageConfig, {"run": "x", "label_smoothing": 1.0}, r"label_smoothing 1.0 must lie in \[0, 1\)"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "values", "sentence"), IMPOSSIBLE, ids=lambda value: str(value))
def test_impossible_values_are_refused_in_one_sentence(cls, values, sentence):
    with refuses(sentence):
        cls(**values)


def test_values_that_are_not_numbers_at_all_are_refused():
    for cls, name in ((OptimizerConfig, "learning_rate"), (LoopConfig, "epochs"), (EncoderConfig, "drop_path")):
        with refuses(name):
            cls(**{name: math.nan})


def test_replacing_by_dotted_names_checks_again():
    config = TokenizerStageConfig(run="x")
    changed = replace(config, **{"data.batch_rows": 8, "model.encoder.depth": 2, "run": "y"})
    assert (changed.data.batch_rows, changed.model.encoder.depth, changed.run) == (8, 2, "y")
    assert changed.model.decoder == config.model.decoder and config.data.batch_rows == 64
    with refuses("depth 0"):
        replace(config, **{"model.encoder.depth": 0})
    with pytest.raises(TypeError, match="dept"):
        replace(config, **{"model.encoder.dept": 2})


def test_every_stage_and_model_has_its_kind():
    assert kind_of(TokenizerStageConfig(run="x")) == kind_of(TokenizerConfig()) == "tokenizer"
    assert kind_of(MaskedModelConfig()) == "encoder" and kind_of(FinetuningStageConfig(run="x")) == "fine-tuning"
    with pytest.raises(TypeError, match="DataConfig"):
        kind_of(DataConfig())


# The published hyperparameters, by the name of the configuration.
SIZES = {
    "base": {"depth": 12, "width": 200, "mlp_ratio": 4, "heads": 10, "temporal_channels": 8, "layer_scale": 0.1},
    "large": {"depth": 24, "width": 400, "mlp_ratio": 4, "heads": 16, "temporal_channels": 16, "layer_scale": 1e-5},
    "huge": {"depth": 48, "width": 800, "mlp_ratio": 4, "heads": 16, "temporal_channels": 32, "layer_scale": 1e-6},
}
PUBLISHED = {
    "tokenizer": {
        "model.encoder.depth": 12,
        "model.decoder.depth": 3,
        **{f"model.{part}.{name}": value for part in ("encoder", "decoder") for name, value in
           {"width": 200, "mlp_ratio": 4, "heads": 10, "qkv_bias": True, "qk_norm": False, "layer_scale": 0}.items()},
        "model.quantizer.codes": 8192,
        "model.quantizer.dimension": 64,
        "model.quantizer.decay": 0.99,
        "codebook": CodebookTraining(commitment_weight=1.0, kmeans_start=True, kmeans_iterations=10),
        "data.batch_rows": 1024,
        "data.segments": 1,
        "optimizer.learning_rate": 5e-5 * 1024 / 128,
        "optimizer.final_learning_rate": 1e-5,
        "optimizer.betas": (0.9, 0.99),
        "optimizer.weight_decay": 1e-4,
        "optimizer.epsilon": 1e-8,
        "optimizer.clip_norm": None,
        "optimizer.layer_decay": 1,
        "optimizer.warmup_epochs": 10,
        "loop.epochs": 100,
    },
    **{
        f"pretrain_{size}": {
            **{f"model.encoder.{name}": value for name, value in encoder.items()},
            "model.encoder.qkv_bias": False,
            "model.encoder.qk_norm": True,
            "model.encoder.drop_path": 0,
            "model.encoder.class_position": "first_electrode",
            "model.encoder.initialisation": "pretraining",
            "model.codes": 8192,
            "data.batch_rows": 512,
            "data.patch_slots": 256,
            "optimizer.learning_rate": 5e-4,
            "optimizer.final_learning_rate": 1e-5,
            "optimizer.betas": (0.9, 0.98),
            "optimizer.weight_decay": 0.05,
            "optimizer.epsilon": 1e-8,
            "optimizer.clip_norm": 3.0,
            "optimizer.layer_decay": 1,
            "optimizer.warmup_epochs": 5,
            "loop.epochs": 50,
        }
        for size, encoder in SIZES.items()
    },
    **{
        f"finetune_{corpus}_{size}": {
            **{f"model.encoder.{name}": value for name, value in SIZES[size].items()},
            "model.encoder.qkv_bias": False,
            "model.encoder.qk_norm": True,
            "model.encoder.class_position": "class_row",
            "model.encoder.drop_path": drop_path,
            "model.outputs": outputs,
            "model.pooling": "mean",
            "model.head_scale": 0.001,
            "data.batch_rows": 512,
            "data.patch_slots": slots,
            "data.segments": 1,
            "optimizer.learning_rate": 5e-4,
            "optimizer.final_learning_rate": 1e-6,
            "optimizer.betas": (0.9, 0.999),
            "optimizer.weight_decay": 0.05,
            "optimizer.epsilon": 1e-8,
            "optimizer.clip_norm": None,
            "optimizer.layer_decay": layer_decay,
            "optimizer.time_embedding_layer": "top",
            "optimizer.warmup_epochs": warmup,
            "loop.epochs": epochs,
            "label_smoothing": 0.1,
            "trainable": "all",
        }
        for corpus, outputs, slots in (("tuab", 1, 23 * 10), ("tuev", 6, 23 * 5))
        for size, epochs, warmup, drop_path, layer_decay in (
            ("base", 50, 5, 0.1, 0.65),
            ("large", 30, 3, 0.1, 0.8),
            ("huge", 30, 3, 0.2, 0.8),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_have_the_published_values(name):
    config, found = load_file(name), {}
    for path in PUBLISHED[name]:
        value = config
        for part in path.split("."):
            value = getattr(value, part)
        found[path] = value
    assert found == PUBLISHED[name]


def count(model: nn.Module, *inputs) -> int:
    """Parameters of a model, without making them."""
    params = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs))["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("encoder", "outputs", "published"),
    [
        (base_encoder(), 1, 5_820_137),
        (base_encoder(), 6, 5_821_142),
        (base_encoder(qkv_bias=True), 6, 5_825_942),
        (large_encoder(), 1, 46_259_121),
        (huge_encoder(), 1, 369_236_513),
    ],
)
def test_classifiers_have_as_many_parameters_as_the_official_ones(encoder, outputs, published):
    assert count(ClassifierModel(ClassifierConfig(encoder, outputs)), empty_batch()) == published


@pytest.mark.parametrize(("size", "published"), [("base", 9_153_520), ("large", 52_989_504), ("huge", 383_000_896)])
def test_masked_models_have_the_official_parameters_but_those_that_nothing_uses(size, published):
    """The official model has a second projection onto the codes and a projection head that no loss reaches."""
    config = load_file(f"pretrain_{size}").model
    width, codes = config.encoder.width, config.codes
    unused = (width + 1) * codes + (width + 1) * width
    batch = empty_batch().replace(mask=jnp.ones((1, 1), bool))
    assert count(MaskedModel(config), batch, jnp.zeros((1, 1), jnp.int32)) == published - unused


@pytest.mark.parametrize(("depth", "published"), [(12, 7_522_640), (24, 13_311_440)])
def test_tokenizers_have_as_many_parameters_as_the_official_ones(depth, published):
    model = TokenizerModel(replace(TokenizerConfig(), **{"encoder.depth": depth}))
    assert count(model, empty_batch()) == published
