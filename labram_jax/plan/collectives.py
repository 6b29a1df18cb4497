"""What devices send to each other in one step of a compiled program: how often, how many bytes, for how long."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from labram_jax.plan.hardware import Hardware
from labram_jax.plan.hlo import Computation, HloModule, Instruction

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
WORK = ("fusion", "while", "call", "conditional", "custom-call", "convolution", "dot")
# What the TPU's compiler calls the ends of a collective that it runs beside other work, in fusions of their own.
STARTS, ENDS = '"AsyncCollectiveStart"', '"AsyncCollectiveDone"'


@dataclass(frozen=True)
class Collective:
    """One collective of a compiled program.

    Attributes:
        kind: what it does.
        instruction: the line that says so.
        times: how often a step runs it.
        asynchronous: whether devices have other work between its start and its end, as the program is scheduled.
    """

    kind: str
    instruction: Instruction
    times: int
    asynchronous: bool


@dataclass(frozen=True)
class Traffic:
    """All collectives of one kind over the same axes of the mesh in one step, that run beside other work or not.

    Attributes:
        kind: what they do.
        axes: axes of the mesh that their groups run along.
        asynchronous: whether they run beside other work; devices wait for the others.
        count: how many there are in a step.
        bytes: that each device sends in a step, if every one goes round its ring.
        seconds: that the links need for them, with nothing else going on.
    """

    kind: str
    axes: tuple[str, ...]
    asynchronous: bool
    count: int
    bytes: float
    seconds: float


def traffic(program: HloModule, mesh: Mesh, hardware: Hardware) -> list[Traffic]:
    """The collectives of a program, most bytes first."""
    totals: dict[tuple[str, tuple[str, ...], bool], list[float]] = {}
    for found in collectives(program):
        kind, instruction = found.kind, found.instruction
        groups = groups_of(instruction.attributes, mesh.size)
        group = max(groups, key=len)
        if len(group) < 2:
            continue
        sent = sent_bytes(kind, instruction, len(group))
        devices = [mesh.devices.flat[number] for number in group]
        rate, delay = ring(devices, mesh.devices.flat, hardware)
        seconds = sent / rate + delay * (2 if kind == "all-reduce" else 1)
        entry = totals.setdefault((kind, mesh_axes(group, mesh), found.asynchronous), [0, 0, 0])
        for place, value in enumerate((1, sent, seconds)):
            entry[place] += found.times * value
    traffic = [Traffic(*own, int(count), sent, seconds) for own, (count, sent, seconds) in totals.items()]
    return sorted(traffic, key=lambda entry: -entry.bytes)


def collectives(program: HloModule) -> Iterable[Collective]:
    """Every collective of a program; one that is split over fusions counts once."""
    callers = _callers(program)
    for name, computation in program.computations.items():
        if not program.times[name]:
            continue
        for instruction in computation.instructions.values():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in KINDS or _continues(computation, instruction):
                continue
            scattered = kind == "all-reduce" and name.startswith("all-reduce-scatter")
            kind = "reduce-scatter" if scattered else kind
            beside = _runs_beside_work(program, callers, computation, instruction)
            yield Collective(kind, instruction, program.times[name], beside)


def _callers(program: HloModule) -> dict[str, tuple[Computation, Instruction]]:
    """Where each fused computation is called: every one has one place."""
    return {
        called: (computation, instruction)
        for computation in program.computations.values()
        for instruction in computation.instructions.values()
        if (called := instruction.entered)
    }


def _has(computation: Computation | None, *marks: str) -> bool:
    """Whether each of the marks is the whole of an attribute in some line of a computation."""
    own = computation.instructions.values() if computation else ()
    return all(any(re.search(rf"{re.escape(mark)}(?!\d)", line.attributes) for line in own) for mark in marks)


def _continues(computation: Computation, instruction: Instruction) -> bool:
    """Whether this is a later part of a collective that runs beside other work: the first part starts it."""
    return "chain_id" in instruction.attributes and not _has(computation, STARTS)


def _runs_beside_work(
    program: HloModule,
    callers: dict[str, tuple[Computation, Instruction]],
    computation: Computation,
    instruction: Instruction,
) -> bool:
    """Whether other work stands between what starts a collective and what waits for it, as the program is scheduled."""
    place, start = callers.get(computation.name, (computation, instruction))
    if _has(computation, STARTS):
        channel = re.search(r"channel_id=\d+\b", instruction.attributes)[0]
        end = next(callers[own.name][1] for own in program.computations.values() if _has(own, ENDS, channel))
    else:
        place, start = (place, start) if start.opcode == "async-start" else (computation, instruction)
        if not start.opcode.endswith("-start"):
            return False
        end = next(user for user in place.users[start.name] if user.opcode.endswith("-done"))
    names = list(place.instructions)
    between = names[names.index(start.name) + 1 : names.index(end.name)]
    return any(_works(program, place.instructions[name]) for name in between)


def _works(program: HloModule, instruction: Instruction) -> bool:
    """Whether an instruction keeps a device busy by itself, and not only starts a collective or waits for it."""
    called = program.computations.get(instruction.called("calls") or "")
    return instruction.opcode in WORK and not (_has(called, STARTS) or _has(called, ENDS))


def sent_bytes(kind: str, instruction: Instruction, size: int) -> float:
    """Bytes that each of `size` devices sends on a ring."""
    arrays = [array.bytes for array in instruction.arrays]
    if instruction.opcode.endswith("-start"):  # (operands, results, flags)
        operands = len(instruction.operands)
        arrays = arrays[operands : 2 * operands] if len(arrays) >= 2 * operands else arrays
    whole = sum(arrays)
    if kind == "reduce-scatter" and instruction.opcode.startswith("reduce-scatter"):
        whole *= size  # the result is one device's part
    share = (size - 1) / size
    return {"all-reduce": 2 * share, "collective-permute": 1, "all-to-all": max(share, size / 4)}.get(
        kind, share
    ) * whole


def groups_of(attributes: str, devices: int) -> list[list[int]]:
    """The groups of a collective, as places in the mesh."""
    pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", attributes)
    if pairs:
        return _numbers(pairs[1])
    named = re.search(r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?)\))? \{(.*?)\}", attributes)
    if named:
        return _named_groups(*named.groups())
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", attributes)
    if iota:
        return _iota(iota[2]).reshape([int(size) for size in iota[1].split(",")]).tolist()
    listed = re.search(r"replica_groups=\{(\{.*?\})\}", attributes)
    return _numbers(listed[1]) if listed else [list(range(devices))]


def _numbers(text: str) -> list[list[int]]:
    return [[int(number) for number in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", text)]


def _iota(text: str) -> Int[np.ndarray, "..."]:
    """[2,3]T(1,0): 0..5 laid out as 2 x 3, transposed."""
    sizes, order = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text).groups()
    numbers = np.arange(math.prod(map(int, sizes.split(",")))).reshape([int(size) for size in sizes.split(",")])
    return numbers.transpose([int(axis) for axis in order.split(",")]) if order else numbers


def _named_groups(axes: str, order: str | None, over: str) -> list[list[int]]:
    """Groups along named axes of a mesh; 'a':(2)4 is the part of size 4 that lies under 2 of axis a."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    split = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", over)
    shape, along = [], []
    for name, size in sizes.items():
        parts = sorted((int(before), int(part)) for own, before, part in split if own == name and part)
        if not parts:
            if any(own == name for own, _, _ in split):
                along.append(len(shape))
            shape.append(size)
            continue
        done = 1
        for before, part in parts:
            shape += [before // done, part]
            along.append(len(shape) - 1)
            done = before * part
        shape.append(size // done)
    numbers = (_iota(order) if order else np.arange(math.prod(shape))).reshape(shape)
    length = math.prod(shape[place] for place in along)
    return np.moveaxis(numbers, along, range(-len(along), 0)).reshape(-1, length).tolist()


def mesh_axes(group: Sequence[int], mesh: Mesh) -> tuple[str, ...]:
    """Axes of the mesh along which the members of a group differ."""
    places = np.unravel_index(list(group), mesh.devices.shape)
    return tuple(name for name, place in zip(mesh.axis_names, places, strict=True) if len(set(place.tolist())) > 1)


def ring(devices: Sequence[jax.Device], everyone: Iterable[jax.Device], hardware: Hardware) -> tuple[float, float]:
    """Bytes a second at which each device of a group can send round its rings, and the seconds of one way round.

    On a torus a group uses the links of every dimension that it spans: both directions of them where it fills a
    dimension whose ends are joined, half of them elsewhere.
    """
    if len({getattr(device, "slice_index", None) or 0 for device in devices}) > 1:
        return hardware.network, hardware.hop_seconds * len(devices)
    if not hardware.torus:
        apart = len({device.process_index for device in devices}) > 1
        return hardware.network if apart else hardware.link, hardware.hop_seconds * math.log2(len(devices))
    extents = np.max([device.coords for device in everyone], axis=0) + 1
    rate = hops = 0.0
    for extent, own in zip(extents, np.transpose([device.coords for device in devices]), strict=True):
        spanned = len(set(own.tolist()))
        if spanned > 1:
            closed = spanned == extent and extent % hardware.closed_from == 0
            rate += hardware.link * (2 if closed else 1)
            hops += extent / 2 if closed else own.max() - own.min()
    return rate or hardware.link, hardware.hop_seconds * hops
