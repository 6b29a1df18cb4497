"""What goes out comes back bit by bit, under the names that PyTorch tools expect."""

import functools
import json

import jax
import numpy as np
import pytest
from golden_data import FOLDER, facts, imported_encoder, tiny_classifier, weights
from safetensors.numpy import load_file
from sentences import refuses

from labram_jax.config import ClassifierConfig, MaskedModelConfig, TokenizerConfig, replace
from labram_jax.convert.exporting import unused_tensors, write_braindecode, write_official
from labram_jax.convert.importing import import_model
from labram_jax.convert.official import from_official, official_tensors
from labram_jax.weights import read_model


def assert_same(actual, expected) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.fixture(scope="module")
def models():
    """Variables and configuration by kind; what tensors cannot tell differs from what would be assumed."""
    found = {name: import_model(FOLDER / f"{name}.pth") for name in ("labram", "vqnsp")}
    models = {name: (imported.variables, imported.config) for name, imported in found.items()}
    for case, pooling in (("cls6", "mean"), ("use_cls", "class_token")):
        config = replace(tiny_classifier(6, pooling), classes=tuple("abcdef"), **{"encoder.drop_path": 0.1})
        models[pooling] = (from_official(imported_encoder(case), config), config)
    return models


@pytest.mark.parametrize("kind", ["labram", "vqnsp", "mean", "class_token"])
def test_official_names_and_back(kind, models, tmp_path):
    variables, config = models[kind]
    path = tmp_path / "model.safetensors"
    write_official(path, variables, config)
    assert_same(read_model(path)[0], variables)
    assert read_model(path)[1] == config
    exported = load_file(path)
    for name, tensor in (weights(kind) if kind in ("labram", "vqnsp") else {}).items():
        if name in exported and name not in unused_tensors(config):
            np.testing.assert_array_equal(exported[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("pretrain_base_vocab8192", MaskedModelConfig()),
        ("vqnsp_base_8192x64", TokenizerConfig()),
        ("finetune_base_nc6_noqkvbias", ClassifierConfig(outputs=6)),
    ],
)
def test_official_classes_would_load_it_strictly(model, config):
    """Every name and shape of the official model is there, and no other."""
    table = {name: tuple(shape) for name, (shape, _) in facts("state_dict_tables")[model]["state_dict"].items()}
    exported = {entry.name: entry.official_shape for entry in official_tensors(config)}
    exported |= {name: tensor.shape for name, tensor in unused_tensors(config).items()}
    assert exported == table


@pytest.mark.parametrize("kind", ["mean", "class_token"])
@pytest.mark.parametrize("seconds", [15, 16])
def test_braindecode_folders_and_back(kind, seconds, models, tmp_path):
    variables, config = models[kind]
    write_braindecode(tmp_path / "folder", variables, config, seconds=seconds)
    assert_same(read_model(tmp_path / "folder")[0], variables)
    assert read_model(tmp_path / "folder")[1] == config
    written = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert (written["n_times"], written["n_outputs"], written["num_heads"]) == (seconds * 200, 6, 5)
    assert written["use_mean_pooling"] is (kind == "mean")
    assert load_file(tmp_path / "folder" / "model.safetensors")["temporal_embedding"].shape == (1, seconds + 1, 100)


def test_encoders_go_out_without_a_head(models, tmp_path):
    variables, config = models["labram"]
    notes = write_braindecode(tmp_path / "folder", variables, config, seconds=15, pooling="mean")
    assert any("divide by 100" in note for note in notes) and any("first electrode" in note for note in notes)
    tensors = load_file(tmp_path / "folder" / "model.safetensors")
    assert "final_layer.weight" not in tensors
    np.testing.assert_array_equal(tensors["fc_norm.weight"], weights("labram")["student.norm.weight"])
    back = import_model(tmp_path / "folder")
    assert_same(back.variables["params"]["encoder"], variables["params"]["encoder"])
    assert_same(back.variables["params"]["norm"], variables["params"]["norm"])


def test_what_cannot_be_written_leaves_nothing_behind(models, tmp_path):
    variables, config = models["vqnsp"]
    with refuses("braindecode has no tokenizer"):
        write_braindecode(tmp_path / "folder", variables, config, seconds=15)
    for option in (
        {"pooling": "electrodes"},
        {"pooling": "attention"},
        {"amplitude": True},
        {"encoder.amplitude": True},
    ):
        other = replace(models["mean"][1], **option)
        for write in (write_official, functools.partial(write_braindecode, seconds=15)):
            with refuses("neither the official classes nor braindecode's have a place"):
                write(tmp_path / "model.safetensors", models["mean"][0], other)
    with refuses("a head for the log amplitude, for which neither"):
        write_official(tmp_path / "model.safetensors", variables, replace(config, log_amplitude=True))
    with refuses("17 s cannot be exported"):
        write_braindecode(tmp_path / "folder", *models["mean"], seconds=17)
    with refuses("There is no directory"):
        write_official(tmp_path / "absent" / "model.safetensors", variables, config)
    assert not list(tmp_path.iterdir())
    (tmp_path / "taken.safetensors").write_text("mine")
    with refuses("exists already"):
        write_official(tmp_path / "taken.safetensors", variables, config)
    assert (tmp_path / "taken.safetensors").read_text() == "mine"
