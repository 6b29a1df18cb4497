"""PyTorch and braindecode themselves beside this project; runs where the extra `interop` is installed."""

import copy
import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import jax
import numpy as np
import optax
import pytest
from golden_data import arrays, imported_encoder, tiny_classifier, tiny_masked_model, weights, windows
from safetensors.numpy import load_file
from sentences import refuses

import labram_jax
from labram_jax.config import ComputeConfig, MaskedModelConfig, OptimizerConfig, replace
from labram_jax.convert.braindecode_options import COMPUTED, OTHERS
from labram_jax.convert.importing import import_model
from labram_jax.convert.moments import official_order, read_moments
from labram_jax.convert.official import from_official, to_official
from labram_jax.convert.torchfile import read_torch
from labram_jax.inference import Classifier, Encoder
from labram_jax.models import MaskedModel
from labram_jax.training.optimizer import make_optimizer
from labram_jax.weights import convert

torch = pytest.importorskip("torch")

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["FZ", "FP1", "T3", "C3", "PZ", "CZ", "O2"]
SECONDS = 4
SIZE = {"n_chans": 7, "embed_dim": 100, "conv_out_channels": 4, "num_layers": 2, "num_heads": 5}
# What other models and the data sets of braindecode import, and its Labram does not use. The torchaudio that can be
# had does not load beside this torch.
UNUSED = (
    *("torchaudio", "torchaudio.functional", "torchaudio.transforms", "linear_attention_transformer", "wfdb"),
    *("mne_bids", "mne_bids.write"),
)


@pytest.fixture(scope="module")
def labram_class():
    if importlib.util.find_spec("braindecode") is None:
        pytest.skip("braindecode is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name in UNUSED:
            patch.setitem(sys.modules, name, MagicMock(name=name))
        yield importlib.import_module("braindecode.models").Labram


def shaken(model):
    """A model in evaluation whose parameters have all been moved, so that none is 0 or 1 by its start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.eval().parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def eeg() -> np.ndarray:
    """Microvolts [3, 7, 800]."""
    return arrays("tokenizer")["x/main"] * 100


def classifier(pooling: str) -> Classifier:
    """The golden encoder with a head, saved as a model of this project would be."""
    case = {"mean": "cls6", "class_token": "use_cls"}[pooling]
    config = tiny_classifier(6, pooling)
    return Classifier(from_official(imported_encoder(case), config), config)


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
def test_braindecode_opens_an_exported_classifier(pooling, labram_class, eeg, tmp_path):
    """Theirs in float64, so that one rounding stands between the two and not both."""
    ours = classifier(pooling)
    ours.save(tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "folder", "braindecode", seconds=SECONDS)
    theirs = labram_class.from_pretrained(tmp_path / "folder", strict=True).eval().double()
    with torch.no_grad():
        logits = theirs(torch.from_numpy((eeg / 100).astype(np.float64)), ch_names=NAMES).numpy()
    np.testing.assert_allclose(logits, ours.predict_logits(eeg, NAMES, sfreq=200), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
def test_braindecode_opens_an_exported_encoder(pooling, labram_class, eeg, tmp_path):
    """In float64, so that rounding does not stand between the two. Its class token stands where fine-tuning has it."""
    convert(GOLDEN / "labram.pth", tmp_path / "folder", "braindecode", seconds=SECONDS, pooling=pooling)
    theirs = labram_class.from_pretrained(tmp_path / "folder", strict=True).eval().double()
    scaled = eeg.astype(np.float64) / 100
    with torch.no_grad():
        features = theirs(torch.from_numpy(scaled), ch_names=NAMES).numpy()
    pretrained = labram_jax.load(GOLDEN / "labram.pth")
    config = replace(pretrained.config, **{"encoder.class_position": "class_row"})
    with jax.enable_x64(True):
        network = MaskedModel(config, ComputeConfig("float64"))
        variables = jax.tree.map(lambda array: np.asarray(array, np.float64), pretrained.variables)
        batch = windows(scaled)
        classes, tokens = network.apply(variables, batch, method=MaskedModel.tokens)
        pooled = tokens.mean(axis=1, keepdims=True) if pooling == "mean" else classes
        ours = network.apply(variables, pooled, method=lambda network, x: network.norm(x))[:, 0]
        np.testing.assert_allclose(ours, features, rtol=0, atol=1e-6)
    single = Encoder(pretrained.variables, config).features(eeg, NAMES, sfreq=200, pool=pooling)
    np.testing.assert_allclose(single, features, rtol=0, atol=1e-6 * np.abs(features).max())


@pytest.mark.parametrize(("outputs", "pooling"), [(6, True), (2, False), (0, True), (0, False)])
@pytest.mark.parametrize("suffix", ["pth", "folder"])
def test_what_braindecode_saves_is_read(outputs, pooling, suffix, labram_class, eeg, tmp_path):
    theirs = shaken(labram_class(n_times=SECONDS * 200, n_outputs=outputs, use_mean_pooling=pooling, **SIZE))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(eeg / 100), ch_names=NAMES).numpy()
    path = tmp_path / f"model.{suffix}"
    if suffix == "pth":
        torch.save(theirs.state_dict(), path)
    else:
        theirs.save_pretrained(path)
    ours = labram_jax.load(path)
    if outputs:
        actual = ours.predict_logits(eeg, NAMES, sfreq=200)
    else:
        actual = ours.features(eeg, NAMES, sfreq=200, pool="mean" if pooling else "class_token")
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


HONOURED = [
    {"qk_scale": 0.3},
    {"qk_scale": 0.3, "qk_norm": None, "qkv_bias": True},
    {"use_abs_pos_emb": False, "use_mean_pooling": True},
    {"init_values": None, "qkv_bias": True, "drop_path_prob": 0.2, "drop_prob": 0.1},
]


@pytest.mark.parametrize("options", HONOURED, ids=str)
def test_options_of_braindecode_are_honoured(options, labram_class, eeg, tmp_path):
    """Theirs in float64, so that one rounding stands between the two and not both."""
    theirs = shaken(labram_class(n_times=SECONDS * 200, n_outputs=3, **SIZE, **options))
    theirs.save_pretrained(tmp_path / "folder")
    theirs = theirs.double()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(eeg.astype(np.float64) / 100), ch_names=NAMES).numpy()
    actual = labram_jax.load(tmp_path / "folder").predict_logits(eeg, NAMES, sfreq=200)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


REFUSED = {
    "learned_patcher": True, "neural_tokenizer": False, "attn_head_dim": 10, "mlp_ratio": 2.5,
    "activation": torch.nn.ReLU, "norm_layer": torch.nn.RMSNorm, "qk_norm": torch.nn.RMSNorm,
}  # fmt: skip
SHOWN_BY_TENSORS = ("learned_patcher", "neural_tokenizer", "attn_head_dim", "mlp_ratio")


@pytest.mark.parametrize("option", REFUSED)
def test_other_options_of_braindecode_are_refused_by_name(option, labram_class, tmp_path):
    theirs = labram_class(n_times=SECONDS * 200, n_outputs=3, **SIZE, **{option: REFUSED[option]})
    theirs.save_pretrained(tmp_path / "folder")
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    for path in ("folder", "folder/model.safetensors", "model.pth"):
        if path != "model.pth" or option in SHOWN_BY_TENSORS:
            with refuses(f"with {option}="):
                import_model(tmp_path / path)


def test_every_option_of_braindecode_is_known(labram_class):
    options = set(inspect.signature(labram_class.__init__).parameters) - {"self"}
    assert options <= set(COMPUTED) | OTHERS


@pytest.mark.parametrize(
    ("kind", "pool"), [("mean", None), ("class_token", None), ("encoder", "mean"), ("encoder", "class_token")]
)
def test_a_torch_module_gives_the_same_outputs(kind, pool, labram_class, eeg, tmp_path):
    """From microvolts, also of a copy, and of what it saves."""
    model = labram_jax.load(GOLDEN / "labram.pth") if pool else classifier(kind)
    expected = model.features(eeg, NAMES, sfreq=200, pool=pool) if pool else model.predict_logits(eeg, NAMES, sfreq=200)
    module = labram_jax.interop.torch_module(model, [name.title() for name in NAMES], SECONDS, pool=pool or "mean")
    assert isinstance(module, labram_class) and not module.training
    for actual in (module(torch.from_numpy(eeg)), copy.deepcopy(module)(x=torch.from_numpy(eeg))):
        np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    module.save_pretrained(tmp_path / "folder")
    back = labram_jax.load(tmp_path / "folder")
    again = back.features(eeg, NAMES, sfreq=200, pool=pool) if pool else back.predict_logits(eeg, NAMES, sfreq=200)
    np.testing.assert_allclose(again, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_a_torch_module_is_what_a_harness_asks_for(labram_class, eeg):
    """A head of its own as `final_layer`, all of it differentiable."""
    model = labram_jax.load(GOLDEN / "labram.pth")
    module = labram_jax.interop.torch_module(model, NAMES, SECONDS, outputs=3).train()
    output = module(torch.from_numpy(eeg))
    assert output.shape == (3, 3) and "final_layer" in dict(module.named_modules())
    torch.nn.functional.cross_entropy(output, torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    with refuses("braindecode has no tokenizer"):
        labram_jax.interop.torch_module(labram_jax.load(GOLDEN / "vqnsp.pth"), NAMES, SECONDS)
    with refuses("A window of 17 seconds"):
        labram_jax.interop.torch_module(model, NAMES, 17)


SAVE_OLD = """
import sys
from unittest.mock import MagicMock
for name in {absent}:
    sys.modules[name] = MagicMock(name=name)
import torch
from braindecode import __version__
from braindecode.models import Labram
assert __version__ == "1.3.2", __version__
for channels in (7, 128):
    model = Labram(n_times=800, n_outputs=2, **{size} | dict(n_chans=channels))
    model.save_pretrained(f"{folder}/folder-{{channels}}")
    torch.save(model.state_dict(), f"{folder}/model-{{channels}}.pth")
"""


def test_models_of_braindecode_until_1_3_are_refused(tmp_path):
    """Its last version's own files: of 7 electrodes, and of 128, whose tensors have the shapes of today's."""
    old = Path(sys.prefix) / "braindecode-1.3.2"
    if not old.is_dir():
        pytest.skip("braindecode 1.3.2 is not installed")
    absent = (*UNUSED, "rotary_embedding_torch")
    code = SAVE_OLD.format(absent=absent, size=SIZE, folder=tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(old)}, timeout=300)
    for channels in (7, 128):
        with refuses(r"braindecode 1\.3\.2, one of those until 1\.3, .* with learned_patcher=True"):
            import_model(tmp_path / f"folder-{channels}")
        with refuses("with learned_patcher=True"):
            import_model(tmp_path / f"model-{channels}.pth")


TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


def test_tensors_of_every_kind_are_read_as_torch_wrote_them(tmp_path):
    """Types, strided views, shared storages, parameters, scalars, and empty tensors."""
    base = torch.arange(24).reshape(4, 6)
    content = {name: base.to(getattr(torch, name)) for name in TYPES}
    content |= {"transposed": base.T, "strided": base[1:, ::2], "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3)}
    content["parameter"] = torch.nn.Parameter(base.float())
    content |= {"dtype": torch.float32, "device": torch.device("cpu"), "shape": base.shape, "numpy": np.float64(2.5)}
    torch.save(content, tmp_path / "all.pth")
    read = read_torch(tmp_path / "all.pth")
    for name, tensor in content.items():
        if isinstance(tensor, torch.Tensor):
            wanted = tensor.detach()
            np.testing.assert_array_equal(read[name].astype(np.float64), wanted.to(torch.float64).numpy(), err_msg=name)
            assert (
                str(wanted.dtype).removeprefix("torch.") == str(read[name].dtype) and read[name].shape == wanted.shape
            )
    assert read["transposed"].base is not None and np.shares_memory(read["transposed"], read["strided"])
    assert (read["device"], read["shape"], read["numpy"]) == ("cpu", (4, 6), 2.5)


def test_files_of_the_old_format_are_named(tmp_path):
    torch.save({"model": {}}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(labram_jax.InputError, match=r"before 1\.6"):
        import_model(tmp_path / "old.pth")


def test_an_exported_file_is_what_torch_tools_read(tmp_path):
    convert(GOLDEN / "vqnsp.pth", tmp_path / "vqnsp.safetensors")
    theirs, ours = (
        importlib.import_module("safetensors.torch").load_file(tmp_path / "vqnsp.safetensors"),
        load_file(tmp_path / "vqnsp.safetensors"),
    )
    assert theirs.keys() == weights("vqnsp").keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(tensor.numpy(), ours[name])


def test_adamw_goes_on_where_torch_stopped(tmp_path):
    """Three updates in torch, and one more in both: parameters and moments stay together."""
    config: MaskedModelConfig = tiny_masked_model()
    # In the order in which the official model registers its parameters, which is that of its checkpoint.
    order = list(import_model(GOLDEN / "labram.pth").source.tensors)
    tensors = {name: torch.nn.Parameter(torch.from_numpy(weights("labram")[name].copy())) for name in order}
    options = OptimizerConfig(learning_rate=5e-4, final_learning_rate=5e-4, warmup_epochs=0, clip_norm=None)
    names = official_order({name: tensor.detach().numpy() for name, tensor in tensors.items()})
    groups = [
        {"params": [tensors[name] for name in group], "weight_decay": 0.05 if "lm_head.weight" in group else 0.0}
        for group in names
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-4, betas=options.betas, eps=options.epsilon)
    unused = ("student.lm_head", "projection_head")

    def update(seed: int) -> dict[str, np.ndarray]:
        gradients = {}
        for number, (name, tensor) in enumerate(tensors.items()):
            gradient = np.random.default_rng((seed, number)).standard_normal(tuple(tensor.shape)).astype(np.float32)
            tensor.grad = None if name.startswith(unused) else torch.from_numpy(gradient)
            gradients[name] = gradient
        optimizer.step()
        return gradients

    for seed in range(3):
        update(seed)
    state = {"model": {n: t.detach() for n, t in tensors.items()}, "optimizer": optimizer.state_dict(), "epoch": 2}
    torch.save(state, tmp_path / "checkpoint.pth")
    imported = import_model(tmp_path / "checkpoint.pth")
    moments, params = read_moments(imported), imported.variables["params"]
    assert moments.updates == 3
    ours, _ = make_optimizer(options, params, 2, 100, 10)
    adam, *rest = ours.init(params)
    adam = optax.ScaleByAdamState(np.int32(moments.updates), moments.first, moments.second)
    gradients = from_official(update(3), config)["params"]
    updates, _ = ours.update(gradients, (adam, *rest), params)
    moved = to_official({"params": jax.device_get(optax.apply_updates(params, updates))}, config)
    for name, tensor in moved.items():
        np.testing.assert_allclose(tensor, tensors[name].detach().numpy(), rtol=0, atol=1e-6, err_msg=name)
