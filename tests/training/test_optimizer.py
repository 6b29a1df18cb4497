"""The optimizer against the official groups, schedules and updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_data import arrays, facts, is_degenerate, weights

from labram_jax.config import OptimizerConfig
from labram_jax.training.optimizer import decay_mask, layer_scales, make_optimizer, warmup_cosine

LEAVES = {
    "pos_embed": "electrode_embedding",
    "cls_token": "class_token",
    "time_embed": "time_embedding",
    "mask_token": "mask_token",
    "gamma_1": "scale_1",
    "gamma_2": "scale_2",
}
MODULES = {
    "patch_embed": "temporal_convolution",
    "conv": "convolution",
    "attn.proj": "attention.out",
    "attn": "attention",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
    "fc_norm": "norm",
}


def our_path(official: str) -> tuple[str, ...]:
    """Where our tree has an official parameter of an encoder with its head; "blocks.3.x" keeps its number."""
    *modules, leaf = official.split(".")
    modules = ".".join(modules)
    for theirs, ours in MODULES.items():
        modules = f".{modules}.".replace(f".{theirs}.", f".{ours}.").strip(".")
    for kind in ("conv", "norm"):
        for i in "123":
            ours = "convolution" if kind == "conv" else "norm"
            modules = f".{modules}.".replace(f".{kind}{i}.", f".{ours}_{i}.").strip(".")
    is_norm = any("norm" in part for part in modules.split(".")[-1:])
    leaf = LEAVES.get(leaf, leaf if leaf != "weight" else "scale" if is_norm else "kernel")
    path = (*filter(None, modules.split(".")), leaf)
    outside = path[0] in ("norm", "head", "code_head", "mask_token")
    return path if outside else ("encoder", *path)


def tree_of(named: dict[str, np.ndarray]) -> dict:
    """Official arrays as our tree: blocks stacked along a leading axis, shapes otherwise theirs."""
    tree, blocks = {}, {}
    for name, value in named.items():
        path = our_path(name)
        if "blocks" in path:
            number = int(path[2])
            blocks.setdefault((*path[:2], *path[3:]), {})[number] = value
        else:
            _set(tree, path, value)
    for path, values in blocks.items():
        _set(tree, path, np.stack([values[i] for i in range(len(values))]))
    return tree


def of_tree(tree: dict, official: str) -> np.ndarray:
    path = our_path(official)
    number = int(path[2]) if "blocks" in path else None
    for name in path if number is None else (*path[:2], *path[3:]):
        tree = tree[name]
    return np.asarray(tree) if number is None else np.asarray(tree)[number]


def _set(tree: dict, path: tuple[str, ...], value) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


@pytest.mark.parametrize("number", range(6))
def test_schedules_equal_the_official_ones(number):
    expected = arrays("schedules_metrics_losses")[f"schedule{number}"]
    given = facts("schedules_metrics")["schedules"][f"schedule{number}"]
    warmup = given.get("warmup_steps") or int(given.get("warmup_epochs", 0) * given["niter_per_ep"])
    ours = jax.jit(
        lambda step: warmup_cosine(
            step,
            given["base_value"],
            given["final_value"],
            total=given["epochs"] * given["niter_per_ep"],
            warmup=warmup,
            start=given.get("start_warmup_value", 0.0),
        )
    )(jnp.arange(len(expected)))
    np.testing.assert_allclose(ours, expected, rtol=5e-7, atol=1e-7 * given["base_value"])


@pytest.mark.parametrize("decay", [0.65, 0.9])
def test_groups_equal_the_official_ones(decay):
    official = facts("optim_groups")[f"finetune_base_layer_decay_{decay}"]["params"]
    shapes = {name: np.zeros((2, 2)) for name in official}
    params = tree_of(shapes)
    scales, decays = layer_scales(params, 12, decay), decay_mask(params)
    scales = jax.tree.map(np.broadcast_to, scales, jax.tree.map(lambda p: (*p.shape[:-2], 1, 1), params))
    for name, group in official.items():
        np.testing.assert_allclose(of_tree(scales, name).squeeze(), group["lr_scale"], rtol=1e-6, err_msg=name)
        path = our_path(name)
        path = path if "blocks" not in path else (*path[:2], *path[3:])
        leaf = decays
        for part in path:
            leaf = leaf[part]
        assert leaf == (group["weight_decay"] > 0), name


def test_time_embedding_can_go_to_the_bottom_layer():
    params = {"encoder": {"time_embedding": np.zeros((16, 4))}, "head": {"kernel": np.zeros((4, 1))}}
    assert layer_scales(params, 12, 0.5)["encoder"]["time_embedding"] == 1
    mended = layer_scales(params, 12, 0.5, "bottom")
    assert mended["encoder"]["time_embedding"] == np.float32(0.5**13) and mended["head"]["kernel"] == 1


def test_pretraining_decays_what_the_official_groups_decay():
    official = facts("optim_groups")["pretrain_base"]["params"]
    for name, group in official.items():
        leaf = our_path(name.removeprefix("student."))[-1]
        assert decay_mask({leaf: 0})[leaf] == (group["weight_decay"] > 0), name


@pytest.mark.parametrize("head", ["cls1", "cls6"])
def test_one_finetuning_update_equals_the_official_one(head):
    """Elementwise, so strided excerpts of gradients and weights do; rates are scaled layer by layer."""
    stored = arrays("finetune")
    start = {name.removeprefix("student."): value for name, value in weights("labram").items()}
    prefix = f"{head}/extra/"
    start |= {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
    gradients, before, after = {}, {}, {}
    for key, gradient in stored.items():
        name, _, excerpt = key.removeprefix(f"{head}/grad/").partition("@")
        if not key.startswith(f"{head}/grad/") or (excerpt and not excerpt.startswith("stride")):
            continue
        stride = int(excerpt.removeprefix("stride") or 1)
        moved = stored[key.replace("/grad/", "/adamw_step1/param/")]
        gradients[name], after[name] = gradient.ravel(), moved.ravel()
        before[name] = start[name].ravel()[::stride]
    assert len(gradients) > 30

    config = OptimizerConfig(
        learning_rate=5e-4,
        final_learning_rate=5e-4,
        warmup_epochs=0,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        clip_norm=None,
        layer_decay=0.65,
    )
    params = tree_of(before)
    optimizer, _ = make_optimizer(config, params, depth=2, total_steps=10, steps_per_epoch=5)
    updates, _ = jax.jit(optimizer.update)(tree_of(gradients), optimizer.init(params), params)
    moved = optax.apply_updates(params, updates)
    for name, expected in after.items():
        size = np.abs(gradients[name])
        sure = size >= 1e-3 * size.max()
        if not is_degenerate(name):
            np.testing.assert_allclose(of_tree(moved, name)[sure], expected[sure], atol=3e-7, err_msg=name)


def small_params():
    return {
        "encoder": {"class_token": jnp.ones(3), "blocks": {"kernel": jnp.ones((2, 3))}},
        "head": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)},
    }


def test_clipping_is_by_the_norm_of_all_gradients():
    """Adam forgets a common factor, so its first moment is looked at."""
    params = small_params()
    gradients = jax.tree.map(lambda p: 2.0 * jnp.ones_like(p), params)
    norm = float(optax.global_norm(gradients))
    for limit, factor in ((1.0, 1.0 / (norm + 1e-6)), (100.0, 1.0)):
        optimizer, _ = make_optimizer(OptimizerConfig(clip_norm=limit), params, 2, 10, 5)
        _, state = optimizer.update(gradients, optimizer.init(params), params)
        moment = optax.tree_utils.tree_get(state, "mu")["head"]["kernel"]
        np.testing.assert_allclose(moment, 0.1 * 2.0 * factor, rtol=1e-6)


def test_frozen_parameters_do_not_move_and_have_no_moments():
    params = small_params()
    trainable = {
        "encoder": jax.tree.map(lambda _: False, params["encoder"]),
        "head": jax.tree.map(lambda _: True, params["head"]),
    }
    config = OptimizerConfig(warmup_epochs=0, layer_decay=0.5)
    optimizer, _ = make_optimizer(config, params, 2, 10, 5, trainable)
    state = optimizer.init(params)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert not np.any(updates["encoder"]["blocks"]["kernel"]) and np.all(updates["head"]["kernel"])
    sizes = [leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert sum(sizes) == 2 * (6 + 2)
