"""A plan as a table for people and as plain data for programs."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labram_jax.config import AnyStageConfig, DataConfig
from labram_jax.models.attention import Choice
from labram_jax.plan.compile import Memory, largest
from labram_jax.plan.estimate import Estimate, Seconds
from labram_jax.plan.flops import SEVERAL, TRAINING
from labram_jax.plan.hardware import Hardware
from labram_jax.plan.workload import Workload
from labram_jax.tables import text_table

SPOT_SECONDS = (15, 30)  # public documents of Google Cloud and others: by kind of machine, and not promised
LANES = 128  # tokens of a row are padded to whole tiles of this many where attention scores are laid out
# What people call the programs of a stage.
CALLED = {
    TRAINING: "training",
    SEVERAL: "steps of a dispatch",
    "evaluate_batch": "evaluation",
    "start_codebook": "k-means start",
}


@dataclass(frozen=True)
class PlannedProgram:
    """Memory and time of one program; where it does not fit, `estimate` is None."""

    memory: Memory
    estimate: Estimate | None


@dataclass(frozen=True)
class PlannedLever:
    """Options that make a step smaller or faster, and why; `programs` are those with them, empty if not compiled."""

    flags: str
    effect: str
    programs: Mapping[str, PlannedProgram]


@dataclass(frozen=True)
class Plan:
    """One configuration on one topology; `levers` make it smaller where a program does not fit, else faster."""

    topology: str
    attention: Choice
    hardware: Hardware
    devices: int
    hosts: int
    mesh: Mapping[str, int]
    data: DataConfig
    parameters: int
    checkpoint: int
    programs: Mapping[str, PlannedProgram]
    workload: Workload
    steps: int | None
    levers: Sequence[PlannedLever]

    @property
    def memory(self) -> Memory:
        """Of the program that needs most."""
        return largest(program.memory for program in self.programs.values())

    @property
    def estimate(self) -> Estimate | None:
        """Of the training step."""
        return self.programs[TRAINING].estimate

    @property
    def tokens(self) -> int:
        """Of one row: patch slots and class tokens."""
        return self.data.patch_slots + self.data.segments

    @property
    def windows_per_second(self) -> float | None:
        if self.estimate is None:
            return None
        return self.workload.windows_per_row * self.data.batch_rows / self.estimate.seconds.overlapped

    def hours(self, seconds: float) -> float | None:
        """Of the configured run, if a step takes `seconds`."""
        return None if self.steps is None else self.steps * seconds / 3600


def describe(config: AnyStageConfig, plans: Sequence[Plan]) -> str:
    """A table with a column for each topology, and what there is to say about each."""
    rows = list(zip(*(_column(plan) for plan in plans), strict=True))
    table = text_table(
        ["", *(plan.topology for plan in plans)], [[cells[0][0], *(c[1] for c in cells)] for cells in rows]
    )
    compute = config.compute
    head = (
        f"{config.run}: {plans[0].parameters / 1e6:.1f} million parameters, {compute.dtype}, remat {compute.remat}, "
        f"accumulate {config.optimizer.accumulate}, rows of {config.data.patch_slots} patch slots"
    )
    notes = [note for plan in plans for note in _notes(plan)]
    return "\n".join([head, "", table, "", *notes]).rstrip()


def _column(plan: Plan) -> list[tuple[str, str]]:
    """Names and values of a plan, from top to bottom."""
    memory, found = plan.programs[TRAINING].memory, plan.estimate
    others = {CALLED[name]: program for name, program in plan.programs.items() if name != TRAINING}
    shards = plan.mesh["data"] * plan.mesh["fsdp"]
    lines = [
        ("device", plan.hardware.name),
        ("devices (data x fsdp x model)", f"{plan.devices} ({' x '.join(map(str, plan.mesh.values()))})"),
        ("rows a batch, a device", f"{plan.data.batch_rows}, {plan.data.batch_rows / shards:g}"),
        ("memory a device, at most", f"{_gib(plan.memory.used)} of {_gib(plan.memory.available)}"),
        ("  state and batch", _gib(memory.state)),
        ("  temporary", _gib(memory.temporary)),
        *((f"  temporary, {called}", _gib(program.memory.temporary)) for called, program in others.items()),
        ("a checkpoint", _megabytes(plan.checkpoint)),
        ("attention", plan.attention.kernel),
        ("padding of rows", f"{100 * plan.workload.padding:.1f} %"),
    ]
    unknown = (None,) * 3
    seconds = found and found.seconds
    lines += [
        ("TFLOP a step (asked for)", found and f"{found.flops / 1e12:.4g} ({found.model_flops / 1e12:.4g})"),
        ("  not padding of tiles", found and f"{100 * found.tile_use:.0f} %"),
        ("sent by a device a step", found and _megabytes(sum(entry.bytes for entry in found.collectives))),
    ]
    for name, value in zip(("compute", "memory", "interconnect"), _parts(seconds) or unknown, strict=True):
        lines.append((f"  {name}", value and f"{1e3 * value:.3g} ms"))
    lines.append(("  of which nothing hides", seconds and f"{1e3 * seconds.synchronous:.3g} ms"))
    lines += [
        ("a step takes", seconds and _bounds(seconds)),
        ("limit", seconds and seconds.limit),
        ("share of peak", found and f"{100 * found.share_of_peak[1]:.0f} to {100 * found.share_of_peak[0]:.0f} %"),
        ("windows a second, at most", found and f"{plan.windows_per_second:,.0f}"),
        (f"  each of {plan.hosts} hosts reads", found and f"{plan.windows_per_second / plan.hosts:,.0f}"),
        (
            "EEG a second, at most",
            found and f"{plan.windows_per_second * plan.workload.seconds_per_window / 3600:.3g} h",
        ),
        *(line for called, program in others.items() for line in _other_lines(called, program.estimate)),
        ("steps of the run", plan.steps and f"{plan.steps:,}"),
        ("the run takes", seconds and plan.steps and _run_hours(plan, seconds)),
    ]
    return [(name, value or "-") for name, value in lines]


def _other_lines(called: str, found: Estimate | None) -> list[tuple[str, str | None]]:
    """Time and limit of a program beside the training step."""
    return [
        (called if called == CALLED[SEVERAL] else f"{called}, a batch", found and _bounds(found.seconds)),
        ("  limit", found and found.seconds.limit),
        ("  sent by a device", found and _megabytes(sum(entry.bytes for entry in found.collectives))),
    ]


def _bounds(seconds: Seconds) -> str:
    return f"{1e3 * seconds.overlapped:.3g} to {1e3 * seconds.serial:.3g} ms"


def _notes(plan: Plan) -> list[str]:
    """What to do or to know, one line each."""
    name = plan.topology
    if not plan.memory.fits:
        over = _gib(plan.memory.used - plan.memory.available)
        which = ", ".join(CALLED[own] for own, program in plan.programs.items() if not program.memory.fits)
        head = f"{name}: does not fit ({which}), by {over} a device. In this order:"
        return [head, *_lever_lines(plan), "  more devices, or devices with more memory"]
    notes = [f"{name}: {plan.attention.told}."] if plan.attention.reason else []
    for entry in plan.estimate.collectives:
        notes.append(
            f"{name}: {entry.kind} over {' x '.join(entry.axes)}: {entry.count:,} a step, {_megabytes(entry.bytes)} a "
            f"device, {1e3 * entry.seconds:.3g} ms, {'beside other work' if entry.asynchronous else 'waited for'}"
        )
    limited = plan.estimate.seconds.limit == "interconnect"
    notes.append(
        f"{name}: {'the interconnect limits, not the devices; ' if limited else ''}on the same devices a batch "
        + ", ".join(
            f"{factor} times as large takes {_bounds(seconds)} ({seconds.limit})"
            for factor, seconds in plan.estimate.batches.items()
        )
    )
    waste = -(-plan.tokens // LANES) * LANES
    if plan.hardware.tile > 1 and waste != plan.tokens:
        notes.append(
            f"{name}: a row of {plan.data.patch_slots} patch slots and {plan.data.segments} class tokens has "
            f"{plan.tokens} tokens, and attention scores are padded to {waste}: make data.patch_slots + data.segments "
            f"a multiple of {LANES}."
        )
    if plan.levers:
        notes += [f"{name}: what may make a step faster, if memory allows:", *_lever_lines(plan)]
    short, long = SPOT_SECONDS
    least, most = (_megabytes(plan.checkpoint / seconds) for seconds in (long, short))
    notes.append(
        f"{name}: a Spot machine ends {short} to {long} s after its notice: storage must take {least} to "
        f"{most} a second of all hosts together, or what was done since the last checkpoint is done again "
        "(loop.save_every_minutes says how much that may be)."
    )
    if plan.steps is None:
        notes.append(f"{name}: give --hours, or --data.corpora, to be told how long the run takes.")
    return notes


def _lever_lines(plan: Plan) -> list[str]:
    """Each lever and, where it was compiled, memory and time of a step with it alone."""
    lines = [f"  {lever.flags} ({lever.effect}){_outcome(plan, lever)}" for lever in plan.levers]
    if lines and not any(lever.programs for lever in plan.levers):
        lines.append("  (--levers compiles with each and says by how much it helps)")
    return lines


def _outcome(plan: Plan, lever: PlannedLever) -> str:
    if not lever.programs:
        return ""
    memory, found = largest(program.memory for program in lever.programs.values()), lever.programs[TRAINING].estimate
    text = f": {_gib(memory.used)} instead of {_gib(plan.memory.used)}"
    if not memory.fits:
        text += ", which does not fit"
    if found:
        text += f", {_bounds(found.seconds)}"
    if found and plan.estimate:
        text += f" instead of {_bounds(plan.estimate.seconds)}"
    return text


def to_dict(plan: Plan) -> dict:
    """Everything as plain data; seconds, bytes, FLOP."""
    values = dataclasses.asdict(plan)
    values["fits"] = plan.memory.fits
    for own, programs in [
        (values["programs"], plan.programs),
        *((own["programs"], lever.programs) for own, lever in zip(values["levers"], plan.levers, strict=True)),
    ]:
        for name, program in programs.items():
            if program.estimate is not None:
                seconds, batches = program.estimate.seconds, program.estimate.batches
                own[name]["estimate"]["seconds"] = _seconds(seconds)
                own[name]["estimate"]["batches"] = {str(f): _seconds(s) for f, s in batches.items()}
    if plan.estimate is not None:
        seconds = plan.estimate.seconds
        values["windows_per_second"] = plan.windows_per_second
        values["eeg_hours_per_second"] = plan.windows_per_second * plan.workload.seconds_per_window / 3600
        values["run_hours"] = [plan.hours(seconds.overlapped), plan.hours(seconds.serial)]
    return values


def _seconds(seconds: Seconds) -> dict:
    own = dataclasses.asdict(seconds)
    return {**own, "overlapped": seconds.overlapped, "serial": seconds.serial, "limit": seconds.limit}


def _parts(seconds: Seconds | None) -> tuple[float, float, float] | None:
    return seconds and (seconds.compute, seconds.memory, seconds.interconnect)


def _run_hours(plan: Plan, seconds: Seconds) -> str:
    hours = (plan.hours(seconds.overlapped), plan.hours(seconds.serial))
    if hours[0] < 1:
        return f"{60 * hours[0]:.3g} to {60 * hours[1]:.3g} min"
    return f"{hours[0]:.3g} to {hours[1]:.3g} h"


def _gib(size: float | None) -> str | None:
    return None if size is None else f"{size / 2**30:.2f} GiB"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
