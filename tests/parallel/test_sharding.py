"""Which part of an array goes where, and what does not fit."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from labram_jax.config import MeshConfig
from labram_jax.errors import InputError, exit_code, sentence_of
from labram_jax.parallel.sharding import make_mesh, partition_spec, process_rows, put_batch, variable_shardings


@pytest.mark.parametrize(
    ("names", "shape", "spec"),
    [
        (("width", "mlp"), (200, 800), P("fsdp", "model")),
        (("mlp", "width"), (800, 200), P("model", "fsdp")),
        (("layers", "width", None, "heads", "head_dim"), (12, 200, 3, 10, 20), P(None, "fsdp", None, "model", None)),
        (("width", "width"), (200, 200), P("fsdp", None)),  # one axis of the mesh serves one dimension
        (("rows", None), (16, 3), P(("data", "fsdp"), None)),
    ],
)
def test_rules_turn_logical_axes_into_places(names, shape, spec):
    assert partition_spec(names, shape, AbstractMesh((2, 4, 2), ("data", "fsdp", "model"))) == spec


def test_logical_axis_without_a_rule_is_a_mistake():
    with pytest.raises(KeyError, match="depth"):
        partition_spec(("depth",), (3,), AbstractMesh((1, 1, 1), ("data", "fsdp", "model")))


def test_axis_that_does_not_divide_is_named_with_what_would():
    boxed = {
        "qkv": nn.Partitioned(jax.ShapeDtypeStruct((200, 10), np.float32), ("width", "heads")),
        "up": nn.Partitioned(jax.ShapeDtypeStruct((200, 800), np.float32), ("width", "mlp")),
    }
    places = variable_shardings(boxed, AbstractMesh((1, 8, 2), ("data", "fsdp", "model")))
    assert places["qkv"].spec == places["up"].spec == P("fsdp", "model")
    with pytest.raises(InputError, match=r"mesh.model 4 does not divide the 10 heads of qkv; .* 16 .* can be 1, 2\."):
        variable_shardings(boxed, AbstractMesh((1, 4, 4), ("data", "fsdp", "model")))
    with pytest.raises(InputError, match=r"mesh.fsdp 16 does not divide the 200 width of qkv; .* can be 1, 2, 4, 8\."):
        variable_shardings(boxed, AbstractMesh((1, 16, 1), ("data", "fsdp", "model")))


def test_mesh_takes_what_is_left_and_refuses_what_does_not_fit():
    devices = jax.device_count()
    assert make_mesh(MeshConfig()).shape == {"data": devices, "fsdp": 1, "model": 1}
    with pytest.raises(InputError, match=f"fsdp {devices + 1}.*does not fit {devices} device"):
        make_mesh(MeshConfig(fsdp=devices + 1))
    with pytest.raises(InputError, match="one of them may be -1"):
        make_mesh(MeshConfig(data=-1, fsdp=-1))


@dataclass(frozen=True)
class Device:
    """As much of a device as its place in a mesh depends on."""

    id: int
    slice_index: int
    platform: str = "gpu"
    device_kind: str = "toy"
    process_index: int = 0


def test_no_device_may_pass(monkeypatch):
    def none():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(jax, "devices", none)
    with pytest.raises(OSError, match="JAX finds no device") as caught:
        make_mesh(MeshConfig())
    assert exit_code(caught.value) == 1 and "JAX_PLATFORMS" in sentence_of(caught.value)


def test_slices_lie_along_an_axis_that_they_divide():
    chips = [Device(number, number // 4) for number in range(8)]
    for config, slices in (
        (MeshConfig(4, 2, 1), [[0, 0], [0, 0], [1, 1], [1, 1]]),
        (MeshConfig(1, 8, 1), [[0, 0, 0, 0, 1, 1, 1, 1]]),
    ):
        devices = make_mesh(config, chips).devices
        assert [[chip.slice_index for chip in row] for row in devices[..., 0]] == slices
    with pytest.raises(InputError, match="are 2 slices; make data or fsdp a multiple"):
        make_mesh(MeshConfig(1, 1, 8), chips)


def test_one_process_loads_every_row():
    mesh = make_mesh(MeshConfig())
    rows = 4 * jax.device_count()
    np.testing.assert_array_equal(process_rows(mesh, rows), np.arange(rows))
    batch = put_batch({"x": np.arange(rows)}, mesh)
    np.testing.assert_array_equal(batch["x"], np.arange(rows))
