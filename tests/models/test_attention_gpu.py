"""The kernels for GPUs on a GPU itself: `make bench-gpu` runs this part, which is skipped where there is none."""

import jax
import pytest
from attention_cases import assert_as_xla

from labram_jax.config import ComputeConfig
from labram_jax.models.attention import KERNELS, kernel_for


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU here: `make bench-gpu` where there is one")
@pytest.mark.parametrize(("kernel", "segments"), [("cudnn", 1), ("triton", 1), ("triton", 4)])
@pytest.mark.parametrize("tokens", [257, 231, 512])
@pytest.mark.parametrize("head", [20, 25, 50])
def test_kernels_on_a_gpu_give_what_plain_products_give(kernel, segments, tokens, head):
    compute = ComputeConfig(dtype="bfloat16", attention=kernel)
    assert kernel_for(compute, jax.devices()[0], tokens, segments, head).kernel == kernel
    assert_as_xla(KERNELS[kernel], tokens, segments, "bfloat16", head)
