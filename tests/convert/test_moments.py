"""AdamW's moments by the official order of parameters."""

import jax
import numpy as np
import pytest
from golden_data import FOLDER, facts, weights
from sentences import refuses
from torch_writer import write_torch

from labram_jax.convert.importing import import_model
from labram_jax.convert.moments import official_order, read_moments
from labram_jax.convert.official import from_official
from labram_jax.convert.torchfile import read_torch

UNUSED = ("student.lm_head", "projection_head")


def checkpoint(path, *, updates: int = 7, epoch: int = 2, change=lambda optimizer: optimizer):
    """The golden pretraining checkpoint as it would be after some updates; returns the moments by name too."""
    content = read_torch(FOLDER / "labram.pth")
    model, optimizer = content["model"], content["optimizer"]
    names = [name for group in official_order(model) for name in group]
    generator = np.random.default_rng(0)
    first = {name: generator.normal(size=model[name].shape).astype("f4") for name in names}
    second = {name: generator.uniform(size=model[name].shape).astype("f4") for name in names}
    state = {
        number: {"step": np.array(updates, "f4"), "exp_avg": first[name], "exp_avg_sq": second[name]}
        for number, name in enumerate(names)
        if not name.startswith(UNUSED)
    }
    optimizer = change({"state": state, "param_groups": optimizer["param_groups"]})
    write_torch(path, {"model": dict(model), "optimizer": optimizer, "epoch": epoch})
    return first, second


def test_the_order_is_that_of_the_official_optimizer():
    """Of the base model by its own list of names, and of the golden checkpoint by the sizes of its groups."""
    table = facts("state_dict_tables")["pretrain_base_vocab8192"]["state_dict"]
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, (shape, _) in table.items()}
    golden = facts("optim_groups")["pretrain_base"]["params"]
    names = [name for group in official_order(tensors) for name in group]
    assert names == list(golden)
    groups = [{golden[name]["group"] for name in group} for group in official_order(tensors)]
    assert groups == [{"no_decay"}, {"decay"}]
    content = read_torch(FOLDER / "labram.pth")
    sizes = [len(group["params"]) for group in content["optimizer"]["param_groups"]]
    assert sizes == [len(group) for group in official_order(content["model"])]


def test_moments_reach_their_parameters(tmp_path):
    first, second = checkpoint(tmp_path / "a.pth")
    imported = import_model(tmp_path / "a.pth")
    moments = read_moments(imported)
    assert moments.updates == 7
    for actual, expected in ((moments.first, first), (moments.second, second)):
        jax.tree.map(np.testing.assert_array_equal, actual, from_official(expected, imported.config)["params"])


def test_a_fresh_optimizer_has_none():
    assert read_moments(import_model(FOLDER / "labram.pth")) is None
    assert read_moments(import_model(FOLDER / "labram.safetensors")) is None


def without_a_state(optimizer):
    return {**optimizer, "state": {number: entry for number, entry in optimizer["state"].items() if number != 3}}


def with_one_group(optimizer):
    groups = [number for group in optimizer["param_groups"] for number in group["params"]]
    return {**optimizer, "param_groups": [{"params": groups}]}


def with_other_steps(optimizer):
    return {**optimizer, "state": optimizer["state"] | {0: optimizer["state"][0] | {"step": 8}}}


def with_odd_steps(optimizer):
    return {**optimizer, "state": {number: entry | {"step": "many"} for number, entry in optimizer["state"].items()}}


def reversed_groups(optimizer):
    groups = [{"params": group["params"][::-1]} for group in optimizer["param_groups"]]
    return {**optimizer, "param_groups": groups}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_state, "no moments of shape"),
        (with_one_group, r"its groups have \[58\] parameters"),
        (with_other_steps, "different numbers of updates"),
        (reversed_groups, "no moments of shape"),
        (with_odd_steps, "different numbers of updates"),
        (lambda optimizer: {"state": {0: {}}, "param_groups": 3}, "none of PyTorch's"),
    ],
)
def test_other_optimizers_are_refused(change, message, tmp_path):
    checkpoint(tmp_path / "a.pth", change=change)
    with refuses(f"not the one of official pretraining .*{message}"):
        read_moments(import_model(tmp_path / "a.pth"))


def test_the_golden_weights_are_in_official_order():
    """Safetensors sort names, so that only a file of torch.save tells the order."""
    first = next(iter(read_torch(FOLDER / "labram.pth")["model"]))
    assert first == "student.cls_token" != min(weights("labram"))
