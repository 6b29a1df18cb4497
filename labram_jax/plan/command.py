"""`labram-jax plan`: whether a configuration fits devices, how long a step takes at best, and what limits it."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from labram_jax.config import AnyStageConfig, replace
from labram_jax.errors import InputError
from labram_jax.models.attention import kernel_of
from labram_jax.parallel.sharding import row_devices
from labram_jax.plan.compile import LOCAL, CompiledStage, compile_stage, devices_of, tokenizer_of, without_devices
from labram_jax.plan.estimate import estimate
from labram_jax.plan.hardware import hardware_of
from labram_jax.plan.levers import faster, largest_batch, smaller
from labram_jax.plan.report import Plan, PlannedLever, PlannedProgram, describe, to_dict
from labram_jax.plan.workload import Recordings, workload_of


@dataclass(frozen=True)
class PlanOptions:
    """Where to plan for, and what to say."""

    topology: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Devices to compile for: a TPU slice such as v5e:16x16, or local (those present; the default). May be repeated."""
    fit: bool = False
    """Find the largest data.batch_rows that fits; every try compiles."""
    levers: bool = False
    """Say by how much each option helps that makes a step smaller or faster; compiles with each of them."""
    json: Path | None = None
    """Also write everything to this file."""
    recordings: Annotated[Recordings, tyro.conf.arg(name="")] = field(default_factory=Recordings)


def run(config: AnyStageConfig, options: PlanOptions) -> str:
    """Plans for every topology; returns what to print. Raises InputError for what cannot be planned."""
    if config.compute.dtype == "float64":
        raise InputError("compute.dtype float64 is there to check numerics: plan with float32 or bfloat16.")
    names = options.topology or (LOCAL,)
    if LOCAL not in names:
        without_devices()
    plans = [plan(config, name, options) for name in names]
    if options.json:
        options.json.write_text(json.dumps([to_dict(entry) for entry in plans], indent=1) + "\n", encoding="utf-8")
    return describe(config, plans)


def plan(config: AnyStageConfig, topology: str, options: PlanOptions) -> Plan:
    """Compiles and estimates one configuration on one topology."""
    devices, tokenizer = devices_of(topology), tokenizer_of(config)
    attention = kernel_of(config, devices[0])
    config = replace(config, **{"compute.attention": attention.kernel})
    hardware = hardware_of(devices[0], config.compute.dtype, present=topology == LOCAL)

    stages: dict[AnyStageConfig, CompiledStage] = {}

    def compiled(changed: AnyStageConfig, what: str) -> CompiledStage:
        if changed not in stages:
            print(f"compiling for {topology}, {what}", file=sys.stderr, flush=True)
            workload = workload_of(changed.data, options.recordings, changed.loop.seed)
            steps = workload.steps_per_epoch(changed.data.batch_rows) or 1000
            stages[changed] = compile_stage(changed, tokenizer, devices, hardware.memory, steps)
        return stages[changed]

    def with_rows(changed: AnyStageConfig) -> CompiledStage:
        return compiled(changed, f"a batch of {changed.data.batch_rows} rows")

    def planned(changed: AnyStageConfig, stage: CompiledStage) -> dict[str, PlannedProgram]:
        return {
            name: PlannedProgram(
                program.memory,
                estimate(changed, tokenizer, stage, name, hardware) if program.memory.fits and program.text else None,
            )
            for name, program in stage.programs.items()
        }

    if options.fit:
        shards = row_devices(with_rows(config).mesh)
        config = largest_batch(config, shards, lambda changed: with_rows(changed).memory) or config
    stage = with_rows(config)
    levers = []
    for lever in (faster if stage.memory.fits else smaller)(
        config, stage.mesh, stage.parameters, stage.memory.available
    ):
        changed, programs = replace(config, **lever.changes), {}
        if options.levers:
            programs = planned(changed, compiled(changed, lever.flags))
        levers.append(PlannedLever(lever.flags, lever.effect, programs))
    workload = workload_of(config.data, options.recordings, config.loop.seed)
    epoch = workload.steps_per_epoch(config.data.batch_rows)
    return Plan(
        topology,
        attention,
        hardware,
        len(devices),
        len({device.process_index for device in devices}),
        dict(stage.mesh.shape),
        config.data,
        stage.parameters,
        stage.checkpoint,
        planned(config, stage),
        workload,
        None if epoch is None else max(1, round(config.loop.epochs * epoch)),
        levers,
    )
