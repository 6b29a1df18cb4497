"""Every option with which braindecode's Labram computes other numbers is honoured, or refused by its name."""

import warnings

import numpy as np
import pytest
from foreign_folders import braindecode_folder
from golden_data import FOLDER
from safetensors.numpy import load_file
from sentences import refuses
from small_runs import finetuning_config, pretraining_config

import labram_jax
from labram_jax.convert.importing import import_model
from labram_jax.evaluation.evaluate import evaluate
from labram_jax.runs import make_stage
from labram_jax.weights import convert

PATCHER = {"patch_embed.segment_patch.patcher.weight": np.zeros((200, 1, 200), "f4")}
DECODER = {"blocks.0.attn.relative_position_bias_table": np.zeros((10, 5), "f4")}
FEW = {"position_embedding": np.zeros((1, 8, 100), "f4")}
RELU = "torch.nn.modules.activation.ReLU"
NORM = "torch.nn.modules.normalization.RMSNorm"
UNTIL_1_3 = ("learned_patcher", "use_mean_pooling", "activation", "qk_scale", "use_abs_pos_emb")
# By the option: what config.json tells, tensors that differ, what it does not tell, and what the sentence must name.
REFUSED = {
    "learned_patcher": ({"learned_patcher": True}, PATCHER, (), "braindecode 1.8.1 with learned_patcher=True,"),
    "learned_patcher, by its tensors": ({}, PATCHER, ("learned_patcher",), "with learned_patcher=True,"),
    "neural_tokenizer": ({"neural_tokenizer": False}, {}, (), "neural_tokenizer=False"),
    "neural_tokenizer, by its tensors": ({}, DECODER, ("neural_tokenizer",), "neural_tokenizer=False"),
    "interpolation": ({}, {"interpolation_layer.matrix": np.zeros((128, 7), "f4")}, (), "with interpolation_layer"),
    "activation": ({"activation": RELU}, {}, (), f"activation={RELU}"),
    "norm_layer": ({"norm_layer": NORM}, {}, (), f"norm_layer={NORM}"),
    "qk_norm": ({"qk_norm": NORM}, {}, (), f"qk_norm={NORM}"),
    "patch_size": ({"patch_size": 199}, {}, (), "patch_size=199"),
    "n_times": ({"n_times": 199}, {}, (), "n_times=199"),
    "attn_head_dim": (
        {"attn_head_dim": 10}, {"blocks.0.attn.qkv.weight": np.zeros((150, 100), "f4")}, (), "attn_head_dim=10 .q",
    ),
    "mlp_ratio": ({"mlp_ratio": 2.5}, {"blocks.0.mlp.0.weight": np.zeros((250, 100), "f4")}, (), r"mlp_ratio=2\.5"),
    "until 1.3": (
        {"braindecode_version": "1.3.2"}, PATCHER | FEW, UNTIL_1_3,
        r"braindecode 1\.3\.2, one of those until 1\.3, .* with learned_patcher=True, n_chans=7 \(position rows",
    ),
    "position rows of its own": ({}, FEW, (), "n_chans=7"),
    "pooling": ({"use_mean_pooling": False}, {}, (), "says use_mean_pooling=False, but the tensors .* with it"),
    "layer scale": ({"init_values": None}, {}, (), "says init_values=None"),
    "depth": ({"num_layers": 3}, {}, (), "says num_layers=3"),
    "no number": ({"qk_scale": "large"}, {}, (), "says qk_scale=large"),
}  # fmt: skip


@pytest.mark.parametrize("option", REFUSED)
def test_what_no_model_computes_is_refused_by_name(option, tmp_path):
    told, tensors, untold, sentence = REFUSED[option]
    folder = braindecode_folder(tmp_path / "folder", 15, tensors=tensors, untold=untold, **told)
    with refuses(sentence):
        import_model(folder)
    with refuses(sentence):  # the file alone, whose config.json lies beside it
        import_model(folder / "model.safetensors")


def test_bare_files_tell_what_had_to_be_assumed(tmp_path):
    tensors = load_file(braindecode_folder(tmp_path / "folder", 15) / "model.safetensors")
    path = tmp_path / "folder" / "renamed.safetensors"
    (tmp_path / "folder" / "model.safetensors").rename(path)
    with pytest.warns(UserWarning, match="assumed: braindecode's activation GELU and qk_scale None"):
        assert len(import_model(path).report.imported) == len(tensors)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_qk_scale_is_honoured(qk_norm, tmp_path):
    """A power of two beside the usual scale, so that nothing is rounded."""
    scale, tensors, told = 2 / np.sqrt(20), {}, {}
    if not qk_norm:
        tensors, told = {f"blocks.{n}.attn.{x}_norm.{part}": None for n in (0, 1) for x in "qk" for part in
                         ("weight", "bias")}, {"qk_norm": None}  # fmt: skip
    plain = import_model(braindecode_folder(tmp_path / "plain", tensors=tensors, **told)).variables
    imported = import_model(braindecode_folder(tmp_path / "scaled", tensors=tensors, qk_scale=scale, **told))
    assert f"qk_scale {scale:g} was multiplied into the queries'" in imported.report.summary()
    ours, usual = (v["params"]["encoder"]["blocks"]["attention"] for v in (imported.variables, plain))
    if qk_norm:
        for part in ("scale", "bias"):
            np.testing.assert_allclose(ours["q_norm"][part], 2 * usual["q_norm"][part], rtol=1e-7)
        np.testing.assert_array_equal(ours["qkv"]["kernel"], usual["qkv"]["kernel"])
    else:
        queries, others = ours["qkv"]["kernel"][:, :, 0], ours["qkv"]["kernel"][:, :, 1:]
        np.testing.assert_allclose(queries, 2 * usual["qkv"]["kernel"][:, :, 0], rtol=1e-7)
        np.testing.assert_array_equal(others, usual["qkv"]["kernel"][:, :, 1:])


@pytest.mark.parametrize("told", [True, False])
def test_without_positions_the_rows_are_zeros(told, tmp_path):
    untold = () if told else ("use_abs_pos_emb",)
    folder = braindecode_folder(
        tmp_path / "folder", tensors={"position_embedding": None}, untold=untold, use_abs_pos_emb=False
    )
    imported = import_model(folder, strict=True)
    assert not imported.variables["params"]["encoder"]["electrode_embedding"].any()
    assert "electrode_embedding [129 x 100] zeros, since braindecode's use_abs_pos_emb is off" in imported.report.text()
    (tmp_path / "other").mkdir()
    with refuses("lacks pos_embed|holds no LaBraM model"):
        import_model(braindecode_folder(tmp_path / "other" / "folder", tensors={"position_embedding": None}))


def test_what_is_honoured_and_what_is_told(tmp_path):
    folder = braindecode_folder(
        tmp_path / "folder", drop_path_prob=0.2, init_values=0.01, drop_prob=0.3, sfreq=250, rotary=True
    )
    with pytest.warns(UserWarning, match=r"250 samples a second \(sfreq\).*nothing is known here of .* rotary"):
        imported = import_model(folder)
    assert (imported.config.encoder.drop_path, imported.config.encoder.layer_scale) == (0.2, 0.01)
    assert "drop_prob=0.3: left out" in imported.report.summary()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_model(braindecode_folder(tmp_path / "usual"))


@pytest.fixture
def doors(corpus, tmp_path):
    """What each door does with a path."""
    run = tmp_path / "run"
    return {
        "load": labram_jax.load,
        "convert": lambda path: convert(path, tmp_path / "converted"),
        "encoder": lambda path: make_stage(finetuning_config(run, [corpus.path], path), [corpus], 1),
        "start_from": lambda path: make_stage(
            pretraining_config(run, [corpus.path], FOLDER / "vqnsp.pth", start_from=str(path)), [corpus], 1
        ),
    }


@pytest.mark.parametrize("door", ["load", "convert", "encoder", "start_from"])
def test_every_door_refuses_and_warns_alike(door, doors, tmp_path):
    path = braindecode_folder(tmp_path / "relu", without_head=True, activation=RELU)
    with refuses(f"activation={RELU}"):
        doors[door](path)
    path = braindecode_folder(tmp_path / "folder", 4, True, {"extra": np.zeros(3, "f4")}, ("activation",), sfreq=250)
    said = r"assumed: .*activation GELU.*250 samples.*nothing takes extra.*rows 5 to 15 freshly started.*mask_token"
    with pytest.warns(UserWarning, match=said):
        doors[door](path)


def test_nothing_is_evaluated_that_computes_something_else(corpus, tmp_path):
    path = braindecode_folder(tmp_path / "relu", activation=RELU)
    with refuses("with activation=torch.nn.modules.activation.ReLU, with which it computes what no LaBraM here does"):
        evaluate(path, corpus)
