"""Every attention kernel gives what plain products give; where one does not apply, xla takes its place and says so."""

import functools
import importlib.util
import os
import re
from collections.abc import Callable
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_cases import HEAD, HEADS, assert_as_xla, random_case
from golden_data import arrays, check_gradients, check_loss, windows
from jax._src.cudnn import fused_attention_stablehlo
from jax.sharding import NamedSharding, PartitionSpec
from small_runs import finetuning_config

from labram_jax.config import ComputeConfig, MeshConfig, replace
from labram_jax.models import attention
from labram_jax.models.attention import TokenSegments, cudnn, kernel_for, kernel_of, splash, triton, xla
from labram_jax.parallel.sharding import RULES, make_mesh
from labram_jax.plan.compile import devices_of
from labram_jax.training.program import Compiled

INTERPRETED = {
    "splash": functools.partial(splash.attend, interpret=True),
    "triton": functools.partial(triton.attend, interpret=True),
}
CPU, TPU, GPU, AMD = (
    SimpleNamespace(platform=platform, device_kind=kind)
    for platform, kind in (("cpu", "cpu"), ("tpu", "TPU v5 lite"), ("gpu", "NVIDIA H100 80GB HBM3"), ("gpu", "AMD"))
)


@pytest.mark.parametrize(("tokens", "segments", "dtype"), [(131, 1, "float32"), (93, 3, "bfloat16")])
@pytest.mark.parametrize("kernel", INTERPRETED)
def test_odd_lengths_packed_segments_and_padding(kernel, tokens, segments, dtype):
    assert_as_xla(INTERPRETED[kernel], tokens, segments, dtype)


@pytest.mark.parametrize("tokens", [30, 31])
def test_cudnn_is_asked_for_the_same(tokens, monkeypatch):
    """With JAX's own implementation of the same call in cuDNN's place."""
    call = jax.nn.dot_product_attention

    def without_cudnn(*operands, implementation, **options):
        assert implementation == "cudnn" and operands[0].shape[1] % 2 == operands[0].shape[3] % 8 == 0
        return call(*operands, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
    assert_as_xla(cudnn.attend, tokens, 1, "float32")


@pytest.mark.parametrize("kernel", INTERPRETED)
def test_golden_values_through_the_kernel(kernel, load_masked_model, monkeypatch):
    taken = []

    def attend(*arguments):
        taken.append(kernel)
        return INTERPRETED[kernel](*arguments)

    monkeypatch.setitem(attention.KERNELS, "xla", attend)
    golden = arrays("pretrain")
    batch = windows(golden["main/x"], mask=golden["main/bool_masked_pos"])
    loss, gradients = load_masked_model(ComputeConfig()).gradients(both_views, batch, golden["main/labels_all"])
    check_loss(loss, "pretrain", "main/loss")
    check_gradients(gradients, "pretrain", "main/grad/")
    assert taken


def both_views(model, batch, codes):
    """The loss of the reference: the means over what each view hid."""
    cross_entropy = model(batch, codes).cross_entropy
    return jnp.mean(cross_entropy, where=batch.mask) + jnp.mean(cross_entropy, where=~batch.mask)


def lowered_for_cuda(attend: Callable, tokens: int) -> str:
    """The program of both passes for an NVIDIA GPU, which need not be there."""
    shape = jax.ShapeDtypeStruct((2, tokens, HEADS, HEAD), jnp.bfloat16)
    ids = jax.ShapeDtypeStruct((2, tokens), jnp.int32)

    def loss(q, k, v, ids):
        return attend(q, k, v, TokenSegments(ids, 1), ComputeConfig(dtype="bfloat16")).sum()

    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(shape, shape, shape, ids)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("tokens", [257, 231])
@pytest.mark.parametrize(
    ("attend", "calls"),
    [
        (cudnn.attend, ["__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"]),
        (triton.attend, ["__gpu$xla.gpu.triton"] * 3),
        (xla.attend, []),
    ],
    ids=["cudnn", "triton", "xla"],
)
def test_kernels_for_gpus_lower_without_an_array_of_token_pairs(attend, calls, tokens, monkeypatch):
    # Lowering asks for the version of a cuDNN that only a GPU's JAX brings.
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    text = lowered_for_cuda(attend, tokens)
    assert re.findall(r"custom_call @([\w$.]+)", text) == calls
    shapes = [[int(n) for n in re.findall(r"\d+(?=x)", kind)] for kind in re.findall(r"tensor<([^>]*)>", text)]
    pairs = [shape for shape in shapes if sum(size >= tokens for size in shape) >= 2]
    assert bool(pairs) == (attend is xla.attend)


@pytest.mark.parametrize(
    ("asked", "device", "segments", "head", "kernel", "reason"),
    [
        ({}, CPU, 1, 20, "xla", ""),
        ({}, TPU, 1, 20, "xla", ""),
        ({}, GPU, 1, 20, "xla", ""),
        ({"dtype": "bfloat16"}, GPU, 1, 20, "cudnn", ""),
        ({"dtype": "bfloat16"}, GPU, 4, 20, "triton", ""),
        ({"dtype": "bfloat16"}, AMD, 1, 20, "xla", ""),
        ({"attention": "splash"}, TPU, 4, 50, "splash", ""),
        ({"attention": "splash"}, CPU, 1, 20, "xla", "it is for TPUs and this is a cpu"),
        ({"attention": "splash", "dtype": "float64"}, TPU, 1, 20, "xla", "does not compute in float64"),
        ({"attention": "cudnn"}, GPU, 1, 20, "xla", "compute.dtype is float32"),
        ({"attention": "cudnn", "dtype": "bfloat16"}, GPU, 4, 20, "xla", "data.segments is 4"),
        ({"attention": "cudnn", "dtype": "bfloat16"}, AMD, 1, 20, "xla", "it is for GPUs of NVIDIA"),
        ({"attention": "triton", "dtype": "bfloat16"}, TPU, 1, 20, "xla", "this is a TPU v5 lite"),
        ({"attention": "triton", "dtype": "bfloat16"}, GPU, 1, 200, "xla", "16 to 128 features and these have 200"),
    ],
)
def test_kernels_are_chosen_with_reasons(asked, device, segments, head, kernel, reason):
    choice = kernel_for(ComputeConfig(**asked), device, 257, segments, head)
    assert choice.kernel == kernel and reason in choice.reason and bool(choice.reason) == bool(reason)


def test_splash_is_taken_for_long_rows():
    assert [kernel_for(ComputeConfig(), TPU, tokens, 8, 20).kernel for tokens in (512, 1024)] == ["xla", "splash"]
    assert kernel_for(ComputeConfig(), CPU, 1024, 8, 20).kernel == "xla"


def test_a_kernel_that_does_not_apply_is_told_and_not_taken():
    config = replace(finetuning_config("run", []), **{"compute.attention": "splash"})
    choice = kernel_of(config, jax.devices("cpu")[0])
    assert choice.told == f"attention by xla: {choice.reason}" and "compute.attention splash" in choice.reason
    (q, k, v, _), segments = random_case(20, 1, "float32")
    found, expected = (
        attention.attend(q, k, v, segments, ComputeConfig(attention=kernel)) for kernel in ("splash", "xla")
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None and not os.environ.get("TPU_LIBRARY_PATH"),
    reason="the TPU compiler is not here: `make test` sets it up on Linux",
)
@pytest.mark.parametrize(("dtype", "split"), [("float32", None), ("bfloat16", "data")])
def test_splash_is_compiled_for_the_rows_and_heads_of_each_device(dtype, split):
    """Also where a caller has split the rows along an axis of the mesh itself."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, model=2), devices_of("v5e:2x2"))
    compute = ComputeConfig(dtype=dtype, attention="splash")
    rules = [(name, None if name == "rows" and split else axes) for name, axes in RULES]
    heads, rows = PartitionSpec("data", None, "model"), PartitionSpec("data")

    def gradients(q, k, v, ids):
        def loss(q, k, v):
            with nn.logical_axis_rules(rules):
                return attention.attend(q, k, v, TokenSegments(ids, 1), compute).astype(jnp.float32).sum()

        return jax.grad(loss, (0, 1, 2))(q, k, v)

    if split:
        gradients = jax.shard_map(gradients, in_specs=rows, out_specs=rows, axis_names={split}, check_vma=False)
    jitted = jax.jit(gradients, out_shardings=NamedSharding(mesh, heads))
    x = jax.ShapeDtypeStruct((4, 231, HEADS, HEAD), dtype, sharding=NamedSharding(mesh, heads))
    ids = jax.ShapeDtypeStruct((4, 231), jnp.int32, sharding=NamedSharding(mesh, rows))
    text = Compiled("gradients", mesh, jitted).lower(x, x, x, ids).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2  # the forward pass and the backward pass
    assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", text)
