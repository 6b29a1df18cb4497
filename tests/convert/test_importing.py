"""What a source is, what of it is taken, and what is said of the rest."""

import hashlib
import os
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from foreign_folders import braindecode_folder
from golden_data import (
    FOLDER,
    facts,
    imported_encoder,
    tiny_classifier,
    tiny_encoder,
    tiny_masked_model,
    tiny_tokenizer,
    weights,
)
from safetensors.numpy import save_file
from sentences import refuses
from torch_writer import write_torch

from labram_jax.config import ClassifierConfig, EncoderConfig, MaskedModelConfig, TokenizerConfig, replace
from labram_jax.convert import known
from labram_jax.convert.importing import import_model, match
from labram_jax.convert.known import KnownFile
from labram_jax.convert.source import Source

PRETRAINING = {"class_position": "first_electrode", "initialisation": "pretraining"}
WIDTHS = {"base": (200, 12, 10, 0.1), "large": (400, 24, 16, 1e-5), "huge": (800, 48, 16, 1e-6)}
UNUSED = {
    "finetune": set(),
    "pretrain": {
        *("student.lm_head.weight", "student.lm_head.bias", "projection_head.0.weight", "projection_head.0.bias"),
    },
    "vqnsp": {f"quantize.embedding.{name}" for name in ("cluster_size", "embed_avg", "initted")},
}


def published(model: str):
    """The configuration of a published model by its name in the golden tables."""
    kind, size = model.split("_")[:2]
    width, depth, heads, scale = WIDTHS[size]
    encoder = EncoderConfig(width, depth, heads, width // 25, layer_scale=scale, qkv_bias="qkvbias_default" in model)
    if kind == "vqnsp":
        return replace(TokenizerConfig(), **{"encoder.depth": depth})
    if kind == "pretrain":
        return MaskedModelConfig(replace(encoder, **PRETRAINING))
    return ClassifierConfig(encoder, outputs=6 if "nc6" in model else 1)


@pytest.mark.parametrize("model", facts("state_dict_tables"))
def test_every_published_size_comes_in_whole(model):
    """Tensors without memory of their own: one number that stands for all."""
    table = facts("state_dict_tables")[model]["state_dict"]
    tensors = {name: np.broadcast_to(np.float32(1), shape) for name, (shape, _) in table.items()}
    taken, config, report = match(Source(FOLDER / model, tensors))
    assert config == published(model)
    assert {line.name for line in report.left_out} == UNUSED[model.split("_")[0]]
    assert not report.fresh and taken.keys() == tensors.keys() - UNUSED[model.split("_")[0]]
    report.check_strict()


GOLDEN = {"labram": tiny_masked_model(), "vqnsp": tiny_tokenizer()}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_golden_files(name, suffix):
    imported = import_model(FOLDER / f"{name}.{suffix}", strict=True)
    assert imported.config == GOLDEN[name]
    kinds = {line.name: line.parameter for line in imported.report.tensors}
    assert kinds.keys() == weights(name).keys()
    paths = {
        jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree.leaves_with_path(imported.variables)
    }
    assert {line.path for line in imported.report.parameters} == paths == set(filter(None, kinds.values()))
    text = imported.report.text()
    assert all(f"  {name} [" in text for name in [*kinds, *paths])


def test_released_files_are_named(monkeypatch):
    digest = hashlib.sha256((FOLDER / "vqnsp.pth").read_bytes()).hexdigest()
    tiny = KnownFile("tiny", "tiny.pth", "known to all", digest, "none", "nowhere")
    monkeypatch.setattr(known, "KNOWN", (tiny,))
    report = import_model(FOLDER / "vqnsp.pth").report
    assert report.title.endswith("vqnsp.pth: tiny.pth, known to all")
    assert not report.warning()  # of a file that everyone has, the heads need not be assumed
    assert import_model(FOLDER / "labram.pth").report.title.endswith("labram.pth: an official pretraining checkpoint")


def test_torch_is_not_needed():
    code = f"import sys, labram_jax; labram_jax.load({str(FOLDER / 'labram.pth')!r}); assert 'torch' not in sys.modules"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


@pytest.fixture
def classifier(tmp_path):
    """A fine-tuned checkpoint of which some entries may be replaced: `classifier(model=..., **changes)`."""

    def write(case: str = "cls6", name: str = "checkpoint.pth", beside: dict | None = None, **changes):
        tensors = {**imported_encoder(case), **changes}
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return write_torch(tmp_path / name, {"model": tensors, **(beside or {})})

    return write


def test_left_over_tensors_are_listed_and_strict_refuses_them(classifier):
    path = classifier(extra=np.zeros(3, "f4"))
    report = import_model(path).report
    reasons = {line.name: line.reason for line in report.left_out}
    assert reasons["extra"] == "no parameter of the model takes it"
    assert reasons["mask_token"] == "for pretraining only" and "fc_norm" in reasons["norm.weight"]
    with refuses("nothing takes extra: leave --strict out"):
        import_model(path, strict=True)


def test_shapes_that_disagree_name_both_sides(classifier):
    path = classifier(pos_embed=np.zeros((1, 65, 100), "f4"))
    with refuses(r"pos_embed has the shape \[1, 65, 100\], but .*electrode_embedding takes \[1, 129, 100\]"):
        import_model(path)


def test_files_that_are_not_whole(classifier, tmp_path):
    with refuses(r"lacks blocks.1.mlp.fc2.bias \[100\]"):
        import_model(classifier(**{"blocks.1.mlp.fc2.bias": None}))
    without_block = {name: None for name in imported_encoder("cls6") if name.startswith("blocks.0.")}
    with refuses("holds no LaBraM model|lacks blocks.0"):
        import_model(classifier(**without_block))
    with refuses("holds no LaBraM model: its 1 tensors"):
        import_model(write_torch(tmp_path / "other.pth", {"conv.weight": np.zeros(3, "f4")}))
    with refuses("no dict of tensors"):
        import_model(write_torch(tmp_path / "list.pth", [1, 2]))
    with refuses("has int64 where"):
        import_model(classifier(cls_token=np.zeros((1, 1, 100), "i8")))


def test_a_codebook_that_was_never_started_is_refused(tmp_path):
    tensors = {**weights("vqnsp"), "quantize.embedding.initted": np.zeros(1, "f4")}
    with refuses("codebook was never started"):
        import_model(write_torch(tmp_path / "vqnsp.pth", {"model": tensors}))


def test_other_weights_of_a_checkpoint(classifier):
    average = {name: 2 * tensor for name, tensor in imported_encoder("cls6").items()}
    path = classifier(beside={"model_ema": average, "args": {"lr": 1}})
    plain, ema = import_model(path), import_model(path, weights="model_ema")
    assert "model_ema: other weights, taken with --weights model_ema" in plain.report.text()
    difference = jax.tree.map(lambda a, b: np.abs(b - 2 * a).max(), plain.variables, ema.variables)
    assert max(jax.tree.leaves(difference)) == 0
    with refuses("no weights 'ema': its entries that could be some are model, model_ema, args"):
        import_model(path, weights="ema")


@pytest.mark.parametrize("dtype", ["f2", "f8", ml_dtypes.bfloat16])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_floating_types_become_float32(dtype, suffix, tmp_path):
    tensors = {name: tensor.astype(dtype) for name, tensor in imported_encoder("cls6").items()}
    path = tmp_path / f"model.{suffix}"
    if suffix == "pth":
        write_torch(path, tensors)
    else:
        save_file(tensors, path)
    imported = import_model(path)
    head = imported.variables["params"]["head"]["kernel"]
    assert head.dtype == np.float32
    np.testing.assert_array_equal(head, tensors["head.weight"].astype("f4").T)
    assert f"some tensors are {np.dtype(dtype)}" in imported.report.summary()


def test_heads_are_assumed_only_where_nothing_tells(classifier):
    assert not import_model(classifier()).report.cautions
    with pytest.warns(UserWarning, match="vqnsp.pth: an official tokenizer: assumed: 5 attention heads"):
        assert "  assumed: 5 attention heads" in import_model(FOLDER / "vqnsp.pth").report.summary()


def test_braindecode_classifier(tmp_path):
    imported = import_model(braindecode_folder(tmp_path / "folder", 15))
    assert imported.config == tiny_classifier(6) and not imported.report.fresh
    expected = imported_encoder("cls6")
    np.testing.assert_array_equal(imported.variables["params"]["encoder"]["time_embedding"], expected["time_embed"][0])
    names = {line.name for line in imported.report.tensors}
    assert {"position_embedding", "final_layer.weight", "blocks.0.mlp.0.weight"} <= names


@pytest.mark.parametrize("seconds", [4, 16])
def test_braindecode_models_of_other_lengths(seconds, tmp_path):
    """Time embeddings that the source lacks start afresh, which is said and which strict refuses."""
    folder = braindecode_folder(tmp_path / "folder", seconds)
    imported = import_model(folder)
    time = imported.variables["params"]["encoder"]["time_embedding"]
    rows = min(seconds + 1, 16)
    np.testing.assert_array_equal(time[:rows], imported_encoder("cls6")["time_embed"][0, :rows])
    assert (time[rows:] != 0).all() and time.shape == (16, 100)
    assert [line.fresh for line in imported.report.fresh] == [
        "rows 5 to 15 freshly started: the source has windows of 4 s"
    ] * (seconds == 4)
    if seconds == 4:
        with refuses("it has nothing for params/encoder/time_embedding"):
            import_model(folder, strict=True)


def test_an_encoder_without_a_head_becomes_one_with_fresh_code_scores(tmp_path):
    imported = import_model(braindecode_folder(tmp_path / "folder", 15, without_head=True))
    assert imported.config == MaskedModelConfig(tiny_encoder())
    assert {line.path for line in imported.report.fresh} == {
        *("params/mask_token", "params/code_head/kernel", "params/code_head/bias"),
    }
    norm = imported_encoder("cls6")["fc_norm.weight"]
    np.testing.assert_array_equal(imported.variables["params"]["norm"]["scale"], norm)


def test_damaged_folders_and_files(tmp_path):
    folder = braindecode_folder(tmp_path / "folder", 4)
    (folder / "config.json").write_text("{")
    with refuses("config.json has a damaged configuration"):
        import_model(folder)
    (folder / "config.json").write_bytes(b'{"n_output\xc8": 6}')
    with refuses("config.json has a damaged configuration"):
        import_model(folder)
    save_file(dict(weights("labram")), tmp_path / "odd.safetensors", {"labram_jax": '{"kind": []}'})
    with refuses(r"odd.safetensors is of the unknown kind \[\]; known are"):
        import_model(tmp_path / "odd.safetensors")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-5])
    with refuses("no whole safetensors file"):
        import_model(folder)
    with refuses("There is no file"):
        import_model(tmp_path / "absent.pth")
    (tmp_path / "empty").mkdir()
    with refuses("holds neither model.safetensors nor pytorch_model.bin"):
        import_model(tmp_path / "empty")
