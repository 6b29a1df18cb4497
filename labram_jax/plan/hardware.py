"""What devices can do: one table, by the public documents of their makers; what no table knows is measured."""

import os
import re
import time
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.lax import Precision


@dataclass(frozen=True)
class Hardware:
    """One device as JAX counts them. Rates are per second; bytes of bandwidth are bytes, not bits.

    Attributes:
        name: what people call it.
        memory: bytes of its main memory.
        bfloat16: floating-point operations of bfloat16 products with float32 sums.
        float32: the same of float32 products to full precision (`Precision.HIGHEST`).
        bandwidth: bytes of main memory.
        link: bytes that one link carries in one direction (torus), or a device sends to its neighbours in a node.
        network: bytes that a device sends outside its slice or node.
        torus: whether links run to the neighbours of a torus.
        closed_from: a dimension of the torus has joined ends where its length is a multiple of this.
        tile: rows and columns of the product unit; smaller operands are padded to it. 1 where nothing is padded.
        hop_seconds: what one hop adds to a collective.
        source: document of the numbers.
    """

    name: str
    memory: float
    bfloat16: float
    float32: float
    bandwidth: float
    link: float
    network: float
    torus: bool
    closed_from: int
    tile: int
    hop_seconds: float
    source: str


GB, GIB, TERA = 1e9, 2**30, 1e12
# Seconds that one hop of a collective takes: assumptions, no maker's numbers (for TPUs a common rule of thumb).
TPU_HOP, GPU_HOP = 1e-6, 5e-6


def _tpu(name: str, gib: float, teraflops: float, hbm: float, ici: float, links: int, network: float, **extra):
    """A TPU from its data sheet: `ici` counts all links and both directions; a product to full float32 precision takes
    6 passes in bfloat16 (documentation of `jax.lax.Precision`)."""
    peak = teraflops * TERA
    shape = {"torus": True, "closed_from": 4 if links == 6 else 16, "tile": 128, "hop_seconds": TPU_HOP} | extra
    source = f"Google Cloud documentation, {name}"
    return Hardware(
        name, gib * GIB, peak, peak / 6, hbm * GB, ici * GB / links / 2, network * GB / 8, source=source, **shape
    )


def _gpu(name: str, gb: float, bfloat16: float, float32: float, hbm: float, nvlink: float) -> Hardware:
    """A GPU from its data sheet: dense bfloat16; float32 outside the tensor cores; half of NVLink each way; a network
    adapter of 400 Gb/s (200 for A100) for each GPU, as in DGX systems."""
    network = (200 if name.startswith("A100") else 400) * GB / 8
    peaks = (bfloat16 * TERA, float32 * TERA, hbm * GB, nvlink * GB / 2)
    return Hardware(name, gb * GB, *peaks, network, False, 1, 1, GPU_HOP, f"NVIDIA data sheet, {name}")


# By a pattern of `device_kind`. A TPU's numbers are of a chip, which is one device but on TPU7x, where it is two.
# memory GiB, bfloat16 TFLOP/s, HBM GB/s, links GB/s (both directions, all links), links, network Gb/s a chip.
# v4's links are of the paper (Jouppi et al. 2023, 50 GB/s a link and direction); its network is v5e's, for want of one.
DEVICES: tuple[tuple[str, Hardware], ...] = (
    (r"TPU v4$", _tpu("TPU v4", 32, 275, 1200, 600, 6, 25)),
    (r"TPU v5 ?(lite|e)", _tpu("TPU v5e", 16, 197, 819, 400, 4, 25)),
    (r"TPU v5p?$", _tpu("TPU v5p", 95, 459, 2765, 1200, 6, 50)),
    (r"TPU v6", _tpu("TPU v6e", 32, 918, 1638, 800, 4, 100, tile=256)),
    (r"TPU ?(v7|7x)", _tpu("TPU7x", 96, 1153.5, 3690, 600, 6, 50, tile=256)),
    # GB, bfloat16 TFLOP/s (dense), float32 TFLOP/s, HBM GB/s, NVLink GB/s (both directions)
    (r"H200", _gpu("H200 SXM", 141, 989, 67, 4800, 900)),
    (r"H100.*(PCIe|NVL)", _gpu("H100 PCIe", 80, 756, 51, 2000, 600)),
    (r"H100", _gpu("H100 SXM", 80, 989, 67, 3350, 900)),
    (r"A100.*80GB", _gpu("A100 80GB SXM", 80, 312, 19.5, 2039, 600)),
    (r"A100", _gpu("A100 40GB SXM", 40, 312, 19.5, 1555, 600)),
)


def hardware_of(device: jax.Device, dtype: str, present: bool) -> Hardware:
    """The table's entry for a device, with the memory that it has to give if it is `present`.

    One that no table knows, such as a CPU, is measured now with products of `dtype`.
    """
    hardware = known_hardware(device)
    if hardware is None:
        return measured(device, dtype)
    limit = (device.memory_stats() or {}).get("bytes_limit") if present else None
    return replace(hardware, memory=limit) if limit else hardware


def known_hardware(device: jax.Device) -> Hardware | None:
    """The table's entry for a device, if it has one."""
    return next((hardware for pattern, hardware in DEVICES if re.search(pattern, device.device_kind)), None)


def measured(device: jax.Device, dtype: str, size: int = 2048, elements: int = 2**26) -> Hardware:
    """Peaks of a device from a product of two `size` x `size` matrices and a pass over `elements` floats, best of 5.

    Devices that share one machine's processor (virtual ones) share what was measured.
    """
    sharing = jax.local_device_count() if device.platform == "cpu" else 1
    peaks = {}
    for name, precision in (("float32", Precision.HIGHEST), (dtype, None)):
        a = jax.device_put(jnp.ones((size, size), name), device)
        product = jax.jit(lambda x, p=precision: jnp.matmul(x, x, precision=p))
        peaks[name] = 2 * size**3 / _best(product, a) / sharing
    # In place, as a step uses its memory over again: fresh memory costs a processor the time to clear it.
    x = jax.device_put(jnp.ones(elements, jnp.float32), device)
    bandwidth = 2 * 4 * elements / _best(jax.jit(lambda x: x + 1, donate_argnums=0), x, again=True) / sharing
    memory = (device.memory_stats() or {}).get("bytes_limit") or _machine_memory() / sharing
    low = peaks.get("bfloat16", peaks["float32"])
    source = f"measured: product of {size} x {size}, pass over {4 * elements / 2**20:.0f} MiB"
    return Hardware(
        device.device_kind,
        memory,
        low,
        peaks["float32"],
        bandwidth,
        bandwidth / 2,
        bandwidth / 2,
        False,
        1,
        1,
        0,
        source,
    )


def _best(function, argument: jax.Array, again: bool = False, repeats: int = 5) -> float:
    """The shortest of some calls in seconds, after one that does not count; `again` feeds the result back."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        result = jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - begin)
        argument = result if again else argument
    return min(times[1:])


def _machine_memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
