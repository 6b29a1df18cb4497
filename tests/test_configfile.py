"""Configurations as plain data and as files: nothing is lost, and what cannot be used is said."""

import json

import pytest
from sentences import refuses

from labram_jax.config import (
    ClassifierConfig,
    FinetuningStageConfig,
    MaskedModelConfig,
    PretrainingStageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
    replace,
)
from labram_jax.configfile import config_folder, from_dict, load_file, to_dict

FILES = sorted(path.stem for path in config_folder().glob("*.py") if path.stem != "__init__")
CHANGED = {
    "data.corpora": ("a", "b"),
    "data.weights": (1.0, 2.0),
    "optimizer.betas": (0.5, 0.6),
    "optimizer.clip_norm": None,
    "mesh.fsdp": 2,
    "compute.dtype": "bfloat16",
}


def through_json(config):
    return from_dict(json.loads(json.dumps(to_dict(config))))


@pytest.mark.parametrize("name", FILES)
def test_every_file_in_configs_comes_back_from_plain_data(name):
    config = load_file(name)
    assert through_json(config) == config
    assert f"labram-jax train {name}" in (config_folder() / f"{name}.py").read_text()


@pytest.mark.parametrize("stage", [TokenizerStageConfig, PretrainingStageConfig, FinetuningStageConfig])
def test_stages_come_back_from_plain_data(stage):
    config = replace(stage(run="runs/x"), **CHANGED)
    assert through_json(config) == config and type(through_json(config)) is stage


@pytest.mark.parametrize(
    "model", [TokenizerConfig(), MaskedModelConfig(codes=7), ClassifierConfig(outputs=3, classes=("a", "b", "c"))]
)
def test_models_come_back_from_plain_data(model):
    assert through_json(model) == model


def broken(**changes) -> dict:
    """A written configuration with some values replaced, by dotted names; DELETE takes one out."""
    values = to_dict(FinetuningStageConfig(run="x"))
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = values
        for parent in parents:
            place = place[parent]
        place[name] = value
    return values


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "finetuning"}, "unknown kind 'finetuning'; known are classifier, encoder, fine-tuning"),
        ({"data__bach_rows": 3}, "unknown name 'bach_rows' in DataConfig; perhaps 'batch_rows' is meant"),
        ({"data__batch_rows": 3.5}, "batch_rows is 3.5, but int is wanted"),
        ({"data__batch_rows": True}, "batch_rows is True, but int is wanted"),
        ({"optimizer__learning_rate": "fast"}, "learning_rate is 'fast', but float is wanted"),
        ({"optimizer__betas": 0.9}, "betas is 0.9, but tuple"),
        ({"optimizer__betas": [0.9, 0.9, 0.9]}, r"betas is \[0.9, 0.9, 0.9\], but tuple"),
        ({"optimizer__clip_norm": "none"}, "clip_norm is 'none', but float is wanted"),
        ({"compute__dtype": "float17"}, "dtype is 'float17', but 'float32' or 'bfloat16' or 'float64' is wanted"),
        ({"compute__dtype": ["float32"]}, "dtype is .'float32'., but 'float32'"),
        ({"data": 3}, "data is 3, but DataConfig is wanted"),
        ({"data__corpora": "one"}, "corpora is 'one', but tuple"),
        ({"data__corpora": [1]}, "corpora is 1, but str is wanted"),
        ({"model__encoder__depth": 0}, "depth 0 must be at least 1"),
    ],
)
def test_plain_data_that_fits_nothing_is_refused(changes, sentence):
    with refuses(sentence):
        from_dict(broken(**changes), "config.json")


def write(tmp_path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(f"from labram_jax.config import *\n{text}\n")
    return str(path)


def test_own_file_is_read_by_its_path(tmp_path):
    text = "config = TokenizerStageConfig(run='x', data=DataConfig(corpora=['a'], batch_rows=3))"
    config = load_file(write(tmp_path, text))
    assert config.data.batch_rows == 3 and config.data.corpora == ("a",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("config = TokenizerStageConfig(run='x', loop=LoopConfig(epochs=-1))", "mine.py: loop.epochs -1 must be pos"),
        ("config = TokenizerStageConfig(run='x', loop=LoopConfig(epoch=1))", "does not run .*'epoch'"),
        ("config = TokenizerStageConfig()", "does not run .*'run'"),
        ("raise SystemExit(0)", r"does not run \(SystemExit: 0\)"),
        (
            "config = TokenizerStageConfig(run='x', compute=ComputeConfig('float17'))",
            "mine.py: compute: dtype is 'float17'",
        ),
        ("config = TokenizerStageConfig(run='x', loop=LoopConfig(epochs='3'))", "mine.py"),
        ("config = TokenizerStageConfig(run=3)", "mine.py: run is 3, but str is wanted"),
        ("import nothing_of_this_name", "does not run .*nothing_of_this_name"),
        ("config = (", "does not run .*SyntaxError"),
        ("configuration = TokenizerStageConfig(run='x')", "defines no `config` of a stage"),
        ("config = TokenizerConfig()", "defines no `config` of a stage"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, text, sentence):
    with refuses(sentence):
        load_file(write(tmp_path, text))


def test_unknown_configurations_are_answered_with_the_known_ones(tmp_path):
    with refuses(r"no configuration 'pretrain_bas' \(perhaps 'pretrain_base'\?\).*tokenizer"):
        load_file("pretrain_bas")
    with refuses("no configuration '.*absent.py'"):
        load_file(str(tmp_path / "absent.py"))
