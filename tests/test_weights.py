"""`labram-jax convert` and `inspect` as a user types them."""

import re

import jax
import numpy as np
import pytest
from golden_data import FOLDER
from sentences import assert_one_sentence

import labram_jax
from labram_jax import cli


def test_the_three_lines_of_the_documentation(tmp_path, capsys):
    assert cli.main(["convert", str(FOLDER / "labram.pth"), str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out
    assert "54 of 58 tensors imported, 4 left out; 37 of 37 parameters filled" in said
    assert "student.norm.weight [100] float32 -> params/norm/scale" in said
    model = labram_jax.load(tmp_path / "model")
    eeg = np.random.default_rng(0).normal(scale=20, size=(2, 3, 400))
    assert model.features(eeg, ["Fp1", "Cz", "O2"], sfreq=200).shape == (2, 100)


def test_every_form_and_back(tmp_path, capsys):
    source, model = FOLDER / "labram.pth", tmp_path / "model"
    steps = [
        (source, model), (model, tmp_path / "out.safetensors"), (tmp_path / "out.safetensors", tmp_path / "again"),
        (model, tmp_path / "folder", "--to", "braindecode", "--seconds", "4"),
        (source, tmp_path / "direct", "--to", "braindecode", "--pooling", "class_token"),
    ]  # fmt: skip
    for step in steps:
        assert cli.main(["convert", *map(str, step)]) == 0, capsys.readouterr().err
    first, again = labram_jax.load(model), labram_jax.load(tmp_path / "again")
    assert first.config == again.config
    jax.tree.map(np.testing.assert_array_equal, first.variables, again.variables)
    capsys.readouterr()
    for path, text in (
        (source, "an official pretraining checkpoint"), (tmp_path / "out.safetensors", "58 tensors imported"),
        (tmp_path / "folder", "braindecode's Labram"), (model, "a pretrained encoder"),
    ):  # fmt: skip
        assert cli.main(["inspect", str(path)]) == 0
        assert text in capsys.readouterr().out


BAD = {
    "absent.pth out": "There is no file absent.pth|absent.pth does not exist",
    "labram.pth taken": "taken exists already",
    "labram.pth out.bin --to official": "out.bin must end with .safetensors",
    "labram.pth absent/out.safetensors": "There is no directory .*absent",
    "vqnsp.pth out --to braindecode": "braindecode has no tokenizer",
    "labram.pth out --weights model_ema": "no weights 'model_ema'",
    "labram.safetensors out --weights model_ema": "holds one set of tensors",
    "model out": "a checkpoint of this project already: give a DEST that ends with .safetensors",
    "model out.safetensors --strict": "--weights and --strict are for files of PyTorch",
    "empty out": "empty is neither a run",
    "notes.pth out": "notes.pth is no file of torch.save",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    for name in ("labram.pth", "vqnsp.pth", "labram.safetensors"):
        (root / name).write_bytes((FOLDER / name).read_bytes())
    for name in ("taken", "empty"):
        (root / name).mkdir()
    (root / "notes.pth").write_text("no checkpoint")
    cli.main(["convert", str(root / "labram.pth"), str(root / "model")])
    return root


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_sentence_and_touches_nothing(arguments, inputs, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    before = sorted(inputs.rglob("*"))
    assert cli.main(["convert", *arguments.split()]) == 2
    captured = capsys.readouterr()
    sentence = captured.err.removeprefix("labram-jax: ").removesuffix("\n")
    assert_one_sentence(sentence)
    assert re.search(BAD[arguments], sentence), sentence
    assert captured.out == "" and sorted(inputs.rglob("*")) == before
