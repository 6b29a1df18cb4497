"""Weights as other tools leave them: under prefixes, among other entries, in shards, in folders."""

import datetime
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from golden_data import imported_encoder, weights
from safetensors.numpy import save_file
from sentences import refuses
from torch_writer import Call, write_torch

import labram_jax
from labram_jax.convert.importing import import_model
from labram_jax.convert.source import is_foreign


def prefixed(prefix: str, tensors: dict | None = None) -> dict[str, np.ndarray]:
    return {prefix + name: tensor for name, tensor in (tensors or imported_encoder("cls6")).items()}


def assert_same(actual, expected) -> None:
    assert actual.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, actual.variables, expected.variables)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return import_model(write_torch(tmp_path_factory.mktemp("plain") / "model.pth", imported_encoder("cls6")))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.model.", "encoder."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_prefixes_of_all_tensors_are_taken_off_and_told(prefix, suffix, plain, tmp_path):
    path = tmp_path / f"model.{suffix}"
    tensors = prefixed(prefix)
    if suffix == "pth":
        write_torch(path, {**tensors, "n_averaged": np.array(3)})  # as torch's average of models counts
    else:
        save_file(tensors, path)
    imported = import_model(path)
    assert_same(imported, plain)
    assert f"{prefix!r} was taken off the names of all tensors" in imported.report.summary()
    assert f"  {prefix}head.weight [6 x 100] float32 -> params/head/kernel" in imported.report.text()
    assert not imported.report.warning()


def test_the_student_alone_is_the_encoder_of_pretraining(tmp_path):
    student = {name: tensor for name, tensor in weights("labram").items() if name.startswith("student.")}
    with pytest.warns(UserWarning, match="code_head/kernel freshly started"):
        imported = import_model(write_torch(tmp_path / "student.pth", student))
    whole = import_model(write_torch(tmp_path / "whole.pth", dict(weights("labram"))))
    assert imported.config.encoder == whole.config.encoder
    for part in ("encoder", "norm", "mask_token"):
        jax.tree.map(np.testing.assert_array_equal, imported.variables["params"][part], whole.variables["params"][part])


def test_an_encoder_with_heads_of_its_own(tmp_path):
    tensors = {n: t for n, t in weights("labram").items() if n.startswith("student.") and "lm_head" not in n}
    save_file({**tensors, "band_head.weight": np.ones((5, 100), "f4")}, tmp_path / "quark.safetensors")
    with pytest.warns(UserWarning, match="an encoder with other heads: nothing takes band_head.weight; .*code_head"):
        imported = import_model(tmp_path / "quark.safetensors")
    assert imported.config.encoder.class_position == "first_electrode" and imported.config.codes == 8192


def test_prefixes_of_some_tensors_stay(tmp_path):
    tensors = {**prefixed("model."), "loss.weight": np.ones(3, "f4")}
    with refuses("holds no LaBraM model: its .* tensors .loss.weight, model.blocks"):
        import_model(write_torch(tmp_path / "model.pth", tensors))


def test_a_checkpoint_of_lightning(plain, tmp_path):
    """With an average in the same state_dict, and beside it what Lightning and its users keep."""
    average = {name: 2 * tensor for name, tensor in imported_encoder("cls6").items()}
    content = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed("model.") | prefixed("ema.", average) | {"loss.weight": np.ones(3, "f4")},
        "hyper_parameters": Call("lightning.fabric.utilities.data.AttributeDict"),
        "callbacks": {"ModelCheckpoint": {"dirpath": Path("/runs/1"), "best": np.array(0.5)}},
        "saved": datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC),
        "optimizer_states": [{}],
    }
    path = write_torch(tmp_path / "last.ckpt", content)
    assert_same(import_model(path, "model"), plain)
    loaded = labram_jax.load(path, weights="ema")
    difference = jax.tree.map(lambda a, b: np.abs(b - 2 * a).max(), plain.variables, loaded.variables)
    assert max(jax.tree.leaves(difference)) == 0
    with refuses("has no weights 'average': its entries .* are state_dict, hyper_parameters, callbacks"):
        labram_jax.load(path, weights="average")


def test_weights_are_chosen_by_load(plain, tmp_path):
    average = {name: 2 * tensor for name, tensor in imported_encoder("cls6").items()}
    path = write_torch(tmp_path / "best.pth", {"model": imported_encoder("cls6"), "model_ema": average})
    head = labram_jax.load(path, weights="model_ema").variables["params"]["head"]["bias"]
    np.testing.assert_array_equal(head, 2 * plain.variables["params"]["head"]["bias"])
    labram_jax.load(path).save(tmp_path / "native")
    with refuses("native holds one model: leave weights='model_ema' out"):
        labram_jax.load(tmp_path / "native", weights="model_ema")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards(suffix, plain, tmp_path):
    tensors, stem = imported_encoder("cls6"), {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    folder = tmp_path / "folder"
    folder.mkdir()
    table = {name: f"{stem}-0000{1 + number % 2}-of-00002.{suffix}" for number, name in enumerate(tensors)}
    for file in set(table.values()):
        own = {name: tensors[name] for name in tensors if table[name] == file}
        save_file(own, folder / file) if suffix == "safetensors" else write_torch(folder / file, own)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    assert is_foreign(folder)
    assert_same(import_model(folder), plain)
    assert_same(import_model(index), plain)
    index.write_text(json.dumps({"weight_map": {**table, "more": min(table.values())}}))
    with refuses("00001-of-00002.* lacks more, which"):
        import_model(folder)
    for bad, sentence in (
        (json.dumps({"weight_map": {"a": "../secret.safetensors"}}), "outside its folder"),
        (json.dumps({"weight_map": {"a": "absent.bin"}}), "lacks absent.bin, one of the shards"),
        (json.dumps({"weights": {}}), "is no index of shards"),
        (json.dumps({"weight_map": {"a": 3}}), "is no index of shards"),
        ("{", "is damaged"),
    ):
        index.write_text(bad)
        with refuses(sentence):
            import_model(folder)


def test_a_folder_with_one_file_of_any_name(plain, tmp_path):
    save_file(imported_encoder("cls6"), tmp_path / "quark.safetensors")
    assert is_foreign(tmp_path)
    assert_same(import_model(tmp_path), plain)


def test_folders_of_deepspeed(plain, tmp_path):
    states = tmp_path / "checkpoint-best"
    states.mkdir()
    (tmp_path / "latest").write_text("checkpoint-best\n")
    content = {"module": imported_encoder("cls6"), "optimizer": None, "global_steps": 5, "ds_config": {"a": 1}}
    write_torch(states / "mp_rank_00_model_states.pt", content)
    for path in (tmp_path, states, states / "mp_rank_00_model_states.pt"):
        assert is_foreign(path)
        assert_same(import_model(path), plain)
    (states / "mp_rank_01_model_states.pt").write_bytes(b"")
    with refuses("split over several model-parallel ranks: run the zero_to_fp32.py"):
        import_model(tmp_path)
    (states / "mp_rank_01_model_states.pt").unlink()
    (states / "mp_rank_00_model_states.pt").rename(states / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    assert is_foreign(tmp_path)
    with refuses("by ZeRO's third stage: run the zero_to_fp32.py"):
        import_model(tmp_path)
    (tmp_path / "latest").write_text("../elsewhere")
    assert not is_foreign(tmp_path)
