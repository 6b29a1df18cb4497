"""Which kernel computes attention: the configured one, or xla with the reason where that one does not apply."""

from dataclasses import dataclass

import jax
from jax.sharding import AbstractDevice

from labram_jax.config import AnyStageConfig, ComputeConfig

Device = jax.Device | AbstractDevice

AUTO = ("splash", "cudnn", "triton", "xla")  # the first that applies and pays
LONG_ROW = 1024  # tokens from which splash pays: with fewer a TPU moves less by plain products (docs/plan.md)
SMALLEST_HEAD, LARGEST_HEAD = 16, 128  # features that the kernels for GPUs take


@dataclass(frozen=True)
class Choice:
    """A kernel, and in words why it is not the one that was asked for (empty if it is)."""

    kernel: str
    reason: str = ""

    @property
    def told(self) -> str:
        return f"attention by {self.kernel}" + (self.reason and f": {self.reason}")


def kernel_for(compute: ComputeConfig, device: Device, tokens: int, segments: int, head_dim: int) -> Choice:
    """The kernel for rows of `tokens` tokens in at most `segments` segments, and heads of `head_dim` features."""
    asked = compute.attention
    if asked == "auto":
        able = [name for name in AUTO if _obstacle(name, compute, device, segments, head_dim) is None]
        return Choice(next(name for name in able if name != "splash" or tokens >= LONG_ROW))
    obstacle = _obstacle(asked, compute, device, segments, head_dim)
    if obstacle is None:
        return Choice(asked)
    return Choice("xla", f"compute.attention {asked} does not apply ({obstacle})")


def kernel_of(config: AnyStageConfig, device: Device) -> Choice:
    """The kernel of a stage's encoder, for those who tell people."""
    encoder, data = config.model.encoder, config.data
    tokens = data.segments + data.patch_slots
    return kernel_for(config.compute, device, tokens, data.segments, encoder.width // encoder.heads)


def target() -> Device:
    """What is compiled for: a device of the mesh, which need not be here; without a mesh, JAX's first."""
    return jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]


def _obstacle(kernel: str, compute: ComputeConfig, device: Device, segments: int, head_dim: int) -> str | None:
    """Why a kernel cannot compute this."""
    if kernel == "xla":
        return None
    if kernel == "splash":
        if device.platform != "tpu":
            return f"it is for TPUs and this is a {device.device_kind}"
        return "it does not compute in float64" if compute.dtype == "float64" else None
    if device.platform != "gpu" or "NVIDIA" not in device.device_kind:
        return f"it is for GPUs of NVIDIA and this is a {device.device_kind}"
    if compute.dtype != "bfloat16":
        return f"it computes in bfloat16 and compute.dtype is {compute.dtype}"
    if kernel == "cudnn" and segments > 1:
        return f"it takes rows of one segment and data.segments is {segments}"
    if not SMALLEST_HEAD <= head_dim <= LARGEST_HEAD:
        return f"it takes heads of {SMALLEST_HEAD} to {LARGEST_HEAD} features and these have {head_dim}"
    return None
