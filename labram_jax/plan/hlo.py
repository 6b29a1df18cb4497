"""Reads the text of a compiled program: its instructions, how often each runs, and the bytes it moves to memory."""

import math
import re
from dataclasses import dataclass, field

BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128}
FAST_MEMORY = "S("  # a TPU's layouts name memory other than HBM: S(1) is the vector memory, S(2) a flag
# What moves no bytes by itself, or whose bytes are counted where they are used.
FREE = frozenset(
    (
        *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call"),
        *("after-all", "partition-id", "replica-id", "opt-barrier", "add-dependency"),
    )
)
# Custom calls that are programs of their own, kernels and products of libraries; all others are notes to the compiler.
KERNELS = re.compile(r'custom_call_target="(tpu_custom_call|__cublas|__cudnn|__gpu\$xla\.gpu\.triton)')


@dataclass(frozen=True)
class Array:
    """One array of an instruction's result."""

    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of the values themselves."""
        return math.prod(self.shape) * _bits(self.dtype) // 8

    @property
    def memory_bytes(self) -> int:
        """Bytes in main memory: 0 for arrays in fast memory, whole tiles where the layout is tiled."""
        if FAST_MEMORY in self.layout:
            return 0
        order = re.match(r"([\d,]+)", self.layout)
        tile = re.search(r"T\(([\d,]+)\)", self.layout)
        if not order or not tile:
            return self.bytes
        minor_first = [self.shape[int(axis)] for axis in order[1].split(",")]
        for place, size in enumerate(reversed([int(size) for size in tile[1].split(",")])):
            if place < len(minor_first):
                minor_first[place] = -(-minor_first[place] // size) * size
        return math.prod(minor_first) * _bits(self.dtype) // 8


@dataclass(frozen=True)
class Instruction:
    """One line of a computation; `attributes` is what follows the operands."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    root: bool

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return match and match[1]

    @property
    def entered(self) -> str | None:
        """The computation that a fusion or the start of something asynchronous runs; the end names the same again."""
        return None if self.opcode in ("async-update", "async-done") else self.called("calls")


@dataclass
class Computation:
    """A named list of instructions; `users` are those that take an instruction as operand, by its name."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)
    users: dict[str, list[Instruction]] = field(default_factory=dict)

    def parameter(self, number: int) -> Instruction | None:
        wanted = (i for i in self.instructions.values() if i.opcode == "parameter" and i.arguments == str(number))
        return next(wanted, None)

    @property
    def root(self) -> Instruction:
        return next(i for i in self.instructions.values() if i.root)


class HloModule:
    """A compiled program. `times[name]`: how often one step runs the computation of that name."""

    def __init__(self, text: str):
        self.computations: dict[str, Computation] = {}
        current, entry = None, None
        for line in text.splitlines():
            header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
            if header and not line.startswith(" "):
                current = self.computations[header[2]] = Computation(header[2])
                entry = header[2] if header[1] else entry
            elif current is not None and (instruction := _instruction(line)):
                current.instructions[instruction.name] = instruction
                for operand in instruction.operands:
                    current.users.setdefault(operand, []).append(instruction)
        self.times = self._count(entry)

    def _count(self, entry: str) -> dict[str, int]:
        times = dict.fromkeys(self.computations, 0)
        times[entry] = 1
        for name in reversed(self.computations):  # callers stand after what they call
            for instruction in self.computations[name].instructions.values():
                for called, factor in self._calls(instruction):
                    if called in times:
                        times[called] += times[name] * factor
        return times

    def _calls(self, instruction: Instruction) -> list[tuple[str, int]]:
        if instruction.opcode == "while":
            trips = self.trips(instruction)
            return [(instruction.called("body"), trips), (instruction.called("condition"), trips + 1)]
        if instruction.opcode == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
            names = re.findall(r"[\w.\-]+", branches[1]) if branches else []
            names += [instruction.called("true_computation"), instruction.called("false_computation")]
            return [(name, 1) for name in names if name]
        if instruction.opcode == "call":
            return [(instruction.called("to_apply"), 1)]
        called = instruction.entered
        return [(called, 1)] if called else []

    def trips(self, loop: Instruction) -> int:
        """How often a loop runs: what the compiler says it knows, else the bound that its condition compares with."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
        if known:
            return int(known[1])
        condition = self.computations[loop.called("condition")]
        bounds = [int(i.arguments) for i in condition.instructions.values() if _is_whole_number(i)]
        return max(bounds, default=1)

    def memory_traffic(self) -> int:
        """Bytes that one step reads from and writes to a device's main memory.

        A fusion reads its operands and writes its results once; of arrays that it only slices or updates in place,
        the slice alone counts.
        """
        fused = {i.called("calls") for c in self.computations.values() for i in c.instructions.values()}
        return sum(
            times * sum(self._moved(computation, i) for i in computation.instructions.values())
            for name, times in self.times.items()
            if times and name not in fused
            for computation in [self.computations[name]]
        )

    def _moved(self, computation: Computation, instruction: Instruction) -> int:
        opcode, arrays = instruction.opcode, instruction.arrays
        if opcode in FREE or opcode.endswith("-done") or not arrays:
            return 0
        if opcode == "custom-call" and not KERNELS.search(instruction.attributes):
            return 0
        operands = [computation.instructions[name] for name in instruction.operands if name in computation.instructions]
        read = sum(a.memory_bytes for operand in operands for a in operand.arrays)
        if opcode == "copy-start":  # (destination, source, flag)
            return sum(a.memory_bytes for a in arrays[:2])
        if opcode.endswith("-start"):  # (operands, result, flags): what is sliced or sent is as long as the result
            result = arrays[min(len(operands), len(arrays) - 1)]
            return result.memory_bytes + min(read, result.bytes)
        if opcode in ("dynamic-slice", "slice", "gather"):
            return arrays[0].memory_bytes + min(read, arrays[0].bytes)
        if opcode in ("dynamic-update-slice", "scatter"):
            return 2 * operands[-1 if opcode == "scatter" else 1].arrays[0].memory_bytes
        body = self.computations.get(instruction.called("calls") or "")
        if opcode != "fusion" or body is None:
            return read + sum(a.memory_bytes for a in arrays)
        read = sum(self._read(body, number) for number in range(len(operands)))
        return read + sum(self._written(body, body.root))

    def _read(self, body: Computation, number: int) -> int:
        """Bytes that a fused computation reads of its parameter."""
        parameter = body.parameter(number)
        if parameter is None or not parameter.arrays:
            return 0
        whole = sum(array.memory_bytes for array in parameter.arrays)
        if not whole:
            return 0
        return min(whole, self._used(body, parameter, whole))

    def _used(self, body: Computation, source: Instruction, whole: int) -> int:
        total = 0
        for user in body.users.get(source.name, []):
            inner = self.computations.get(user.called("calls") or "")
            if user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == source.name:
                total += user.arrays[0].bytes
            elif user.opcode == "dynamic-update-slice" and user.operands[0] == source.name:
                continue
            elif user.opcode == "bitcast":
                total += self._used(body, user, whole)
            elif user.opcode == "fusion" and inner is not None:
                parameter = inner.parameter(user.operands.index(source.name))
                total += self._used(inner, parameter, whole) if parameter else 0
            else:
                return whole
        return total

    def _written(self, body: Computation, root: Instruction) -> list[int]:
        """Bytes that a fused computation writes, for each of its results."""
        if root.opcode == "tuple":
            parts = [body.instructions[name] for name in root.operands if name in body.instructions]
            return [size for part in parts if part.opcode != "parameter" for size in self._written(body, part)]
        inner = self.computations.get(root.called("calls") or "")
        if root.opcode == "fusion" and inner is not None and inner.instructions:
            return self._written(inner, inner.root)
        if root.opcode == "bitcast" and root.operands and root.operands[0] in body.instructions:
            return self._written(body, body.instructions[root.operands[0]])
        if root.opcode == "dynamic-update-slice" and root.operands[1] in body.instructions:
            update = body.instructions[root.operands[1]].arrays[0]
            return [min(root.arrays[0].memory_bytes, update.bytes)]
        return [array.memory_bytes for array in root.arrays]


def _bits(dtype: str) -> int:
    digits = re.search(r"\d+", dtype)
    return BITS.get(dtype) or (int(digits[0]) if digits else 0)


def _is_whole_number(instruction: Instruction) -> bool:
    return instruction.opcode == "constant" and instruction.arguments.isdigit()


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place
    return len(text) - 1


def _instruction(line: str) -> Instruction | None:
    match = re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)
    if not match:
        return None
    rest = line[match.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    kind = re.match(r"\s*([\w\-]+)\(", rest[end:])
    if not kind:
        return None
    opening = end + kind.end() - 1
    closing = _closing(rest, opening)
    arguments = rest[opening + 1 : closing]
    arrays = tuple(
        Array(dtype, tuple(int(size) for size in sizes.split(",") if size), layout)
        for dtype, sizes, layout in re.findall(r"\b([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?", rest[:end])
    )
    operands = () if kind[1] in ("constant", "parameter") else tuple(re.findall(r"%([\w.\-]+)", arguments))
    return Instruction(match[2], arrays, kind[1], operands, arguments, rest[closing + 1 :], root=match[1] is not None)
