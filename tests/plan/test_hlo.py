"""Programs that a compiler made here, and lines as compilers for TPUs write them."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labram_jax.plan.collectives import collectives, groups_of, mesh_axes, ring, sent_bytes, traffic
from labram_jax.plan.estimate import Seconds
from labram_jax.plan.hardware import DEVICES
from labram_jax.plan.hlo import Array, HloModule

TPU = """HloModule jit_step, is_scheduled=true

%fused_start (param_0: bf16[4,64]) -> (bf16[4,64], bf16[8,64], s32[2]) {
  %param_0 = bf16[4,64]{1,0:T(8,128)(2,1)} parameter(0)
  %gather.1 = bf16[8,64]{1,0:T(8,128)(2,1)} all-gather(%param_0), channel_id=7, replica_groups=[2,2]<=[4], dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %start = (bf16[4,64]{1,0}, bf16[8,64]{1,0:S(1)}, s32[2]{0:S(4)}) custom-call(%gather.1), custom_call_target="AsyncCollectiveStart"
}

%fused_done (param_0.1: bf16[4,64]) -> bf16[8,64] {
  %param_0.1 = bf16[4,64]{1,0:T(8,128)(2,1)} parameter(0)
  %gather.2 = bf16[8,64]{1,0:T(8,128)(2,1)} all-gather(%param_0.1), channel_id=7, replica_groups=[2,2]<=[4], dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %done = bf16[8,64]{1,0:T(8,128)(2,1)S(1)} custom-call(%gather.2), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter.1 (input: f32[256,100]) -> f32[256,50] {
  %input = f32[256,100]{1,0:T(8,128)} parameter(0)
  %reduce = f32[256,100]{1,0:T(8,128)} all-reduce(%input), channel_id=1, replica_groups={{0,2},{1,3}}, use_global_device_ids=true, to_apply=%add
  %zero = s32[] constant(0)
  ROOT %slice = f32[256,50]{1,0:T(8,128)S(1)} dynamic-slice(%reduce, %zero, %zero), dynamic_slice_sizes={256,50}
}

%body (carry: (s32[], bf16[4,64], f32[256,100])) -> (s32[], bf16[4,64], f32[256,100]) {
  %carry = (s32[]{:T(128)}, bf16[4,64]{1,0:T(8,128)(2,1)}, /*index=2*/f32[256,100]{1,0:T(8,128)}) parameter(0)
  %count = s32[]{:T(128)} get-tuple-element(%carry), index=0
  %part = bf16[4,64]{1,0:T(8,128)(2,1)} get-tuple-element(%carry), index=1
  %sums = f32[256,100]{1,0:T(8,128)} get-tuple-element(%carry), index=2
  %fusion.1 = (bf16[4,64]{1,0}, bf16[8,64]{1,0:S(1)}, s32[2]{0:S(4)}) fusion(%part), kind=kCustom, calls=%fused_start
  %fusion.2 = bf16[8,64]{1,0:T(8,128)(2,1)S(1)} fusion(%part), kind=kCustom, calls=%fused_done
  %fusion.3 = f32[256,50]{1,0:T(8,128)S(1)} fusion(%sums), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %next = (s32[]{:T(128)}, bf16[4,64]{1,0:T(8,128)(2,1)}, f32[256,100]{1,0:T(8,128)}) tuple(%count, %part, %sums)
}

%condition (carry.1: (s32[], bf16[4,64], f32[256,100])) -> pred[] {
  %carry.1 = (s32[]{:T(128)}, bf16[4,64]{1,0:T(8,128)(2,1)}, f32[256,100]{1,0:T(8,128)}) parameter(0)
  %bound = s32[]{:T(128)} constant(12)
  %count.1 = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%count.1, %bound), direction=LT
}

ENTRY %main (arg: (s32[], bf16[4,64], f32[256,100])) -> (s32[], bf16[4,64], f32[256,100]) {
  %arg = (s32[]{:T(128)}, bf16[4,64]{1,0:T(8,128)(2,1)}, f32[256,100]{1,0:T(8,128)}) parameter(0)
  ROOT %while.1 = (s32[]{:T(128)}, bf16[4,64]{1,0:T(8,128)(2,1)}, f32[256,100]{1,0:T(8,128)}) while(%arg), condition=%condition, body=%body
}
"""  # noqa: E501


def test_collectives_count_once_a_run_of_their_loop():
    found = {
        own.kind: (own.times, own.instruction, groups_of(own.instruction.attributes, 4))
        for own in collectives(HloModule(TPU))
    }
    assert set(found) == {"all-gather", "reduce-scatter"}  # the gather in two parts, the reduction that is scattered
    times, gather, groups = found["all-gather"]
    assert times == 12 and groups == [[0, 1], [2, 3]]
    assert sent_bytes("all-gather", gather, 2) == 8 * 64 * 2 / 2
    times, scatter, groups = found["reduce-scatter"]
    assert times == 12 and groups == [[0, 2], [1, 3]]
    assert sent_bytes("reduce-scatter", scatter, 2) == 256 * 100 * 4 / 2


WORK = "  %work = f32[256,100]{1,0} fusion(%sums), kind=kOutput, calls=%products\n"


@pytest.mark.parametrize(
    ("after", "beside"), [("%fusion.1 = ", True), ("%fusion.2 = ", False), ("%sums = ", False)], ids=str
)
def test_a_collective_in_fusions_runs_beside_what_stands_between_its_ends(after, beside):
    lines = TPU.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if line.strip().startswith(after))
    for text, expected in ((TPU, False), ("".join([*lines[: place + 1], WORK, *lines[place + 1 :]]), beside)):
        found = {own.kind: own.asynchronous for own in collectives(HloModule(text))}
        assert found == {"all-gather": expected, "reduce-scatter": False}


ENTRY = """HloModule jit_step, is_scheduled=true

%sent (part: f32[64]) -> f32[64] {{
  %part = f32[64]{{0}} parameter(0)
  ROOT %sum = f32[64]{{0}} all-reduce(%part), channel_id=1, replica_groups={{{{0,1}}}}, to_apply=%add
}}

ENTRY %main (arg: f32[64]) -> f32[64] {{
  %arg = f32[64]{{0}} parameter(0)
  {start}
  {between}
  ROOT %done = f32[64]{{0}} {done}
}}
"""
ENDS = {
    "plain": (
        "%start = (f32[64]{0}, f32[64]{0}) all-reduce-start(%arg), replica_groups={{0,1}}, to_apply=%add",
        "all-reduce-done(%start)",
    ),
    "wrapped": (
        "%start = ((f32[64]{0}), f32[64]{0}) async-start(%arg), calls=%sent",
        "async-done(%start), calls=%sent",
    ),
    "neither": ("%start = f32[64]{0} all-reduce(%arg), replica_groups={{0,1}}, to_apply=%add", "copy(%start)"),
}


@pytest.mark.parametrize("ends", list(ENDS))
@pytest.mark.parametrize("between", ["fusion(%arg), kind=kLoop, calls=%products", "bitcast(%arg)"])
def test_a_collective_runs_beside_what_stands_between_its_start_and_its_end(ends, between):
    start, done = ENDS[ends]
    text = ENTRY.format(start=start, between=f"%other = f32[64]{{0}} {between}", done=done)
    (found,) = collectives(HloModule(text))
    assert (found.kind, found.times) == ("all-reduce", 1)
    assert found.asynchronous == (ends != "neither" and between.startswith("fusion"))


def test_a_step_waits_for_what_nothing_hides():
    seconds = Seconds(compute=5, memory=3, interconnect=7, synchronous=4)
    assert (seconds.overlapped, seconds.serial, seconds.limit) == (5 + 4, 15, "interconnect")
    assert dataclasses.replace(seconds, synchronous=0).overlapped == 7


def test_memory_traffic_is_that_of_tiles_in_main_memory():
    # Both gathers read 8 x 128 bfloat16 tiles; of their results one part of the first is in main memory, untiled. The
    # reduction reads whole tiles and its result stays in fast memory.
    loop = 2 * 8 * 128 * 2 + 4 * 64 * 2 + 256 * 128 * 4
    assert HloModule(TPU).memory_traffic() == pytest.approx(12 * loop, abs=200)  # and a few scalars


@pytest.mark.parametrize(
    ("layout", "expected"), [("", 4 * 3 * 100), ("1,0:T(8,128)", 4 * 8 * 128), ("1,0:T(8,128)S(1)", 0)]
)
def test_arrays_take_whole_tiles(layout, expected):
    assert Array("f32", (3, 100), layout).memory_bytes == expected


def test_nested_loops_multiply():
    def function(x):
        def inner(carry, _):
            return jnp.sin(carry), None

        def outer(carry, _):
            return jax.lax.scan(inner, carry, None, length=3)[0] + 1, None

        return jax.lax.scan(outer, x, None, length=5)[0]

    program = HloModule(jax.jit(function).lower(jnp.ones(100_000)).compile().as_text())
    assert {3, 5} <= {program.trips(i) for i in instructions(program) if i.opcode == "while"}
    assert 15 in program.times.values()
    # Each of the 15 + 5 passes reads and writes the array, if the compiler copies nothing.
    assert 20 * 800_000 <= program.memory_traffic() <= 40 * 800_000


def test_slices_and_updates_move_their_own_size():
    def function(table):
        return jax.lax.fori_loop(0, 100, lambda i, t: t.at[i].set(2 * t[i]), table)

    table = jax.ShapeDtypeStruct((100, 1000), jnp.float32)
    program = HloModule(jax.jit(function, donate_argnums=0).lower(table).compile().as_text())
    assert program.memory_traffic() < 4 * 100 * 1000 * 4  # not 100 times the table


def instructions(program: HloModule):
    return [i for computation in program.computations.values() for i in computation.instructions.values()]


@pytest.mark.parametrize(
    ("attributes", "groups"),
    [
        ("replica_groups={{0,1},{2,3}}, x", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'b'}, x", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=1,'c'=2] {'a','c'}, x", [[0, 1, 2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}, x", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}, x", [[0, 1], [2, 3]]),
        ("replica_groups={}, x", [[0, 1, 2, 3]]),
        ("source_target_pairs={{0,1},{2,3}}, x", [[0, 1], [2, 3]]),
    ],
)
def test_every_way_to_write_groups(attributes, groups):
    assert groups_of(attributes, 4) == groups


class Chip:
    """What a collective's time depends on: where a device sits."""

    process_index = slice_index = 0

    def __init__(self, *coords: int):
        self.coords = coords


def pod(*shape: int) -> SimpleNamespace:
    """data x fsdp x model = rows x columns x 1 of a slice, as far as collectives ask."""
    chips = np.array([Chip(*place, 0) for place in np.ndindex(shape)], dtype=object).reshape(*shape, 1)
    return SimpleNamespace(devices=chips, axis_names=("data", "fsdp", "model"), size=chips.size)


def test_groups_name_the_axes_that_they_run_along():
    mesh = pod(4, 2)
    assert mesh_axes([0, 1], mesh) == ("fsdp",)
    assert mesh_axes([1, 3, 5, 7], mesh) == ("data",)
    assert mesh_axes(range(8), mesh) == ("data", "fsdp")


@pytest.mark.parametrize(
    ("target", "moved"),
    [("tpu_custom_call", 1024 + 2048), ("__cudnn$fmhaSoftmax", 1024 + 2048), ("AssumeGatherIndicesInBound", 0)],
)
def test_kernels_move_their_operands_and_results_and_notes_move_nothing(target, moved):
    program = HloModule(
        "ENTRY %main (q: bf16[4,128]) -> f32[4,128] {\n"
        "  %q = bf16[4,128]{1,0} parameter(0)\n"
        '  %held = bf16[4,128]{1,0:S(1)} custom-call(), custom_call_target="AllocateBuffer"\n'
        f'  ROOT %out = f32[4,128]{{1,0}} custom-call(%q, %held), custom_call_target="{target}"\n'
        "}\n"
    )
    assert program.memory_traffic() == moved


def test_rings_use_the_links_of_the_dimensions_that_they_span():
    v5e = next(hardware for _, hardware in DEVICES if hardware.name == "TPU v5e")
    everyone = list(pod(16, 16).devices.flat)
    column, row = everyone[:16], everyone[::16]
    closed, _ = ring(row, everyone, v5e)
    assert closed == 2 * v5e.link  # 16 chips in a row are joined to a ring: both directions
    assert ring(everyone, everyone, v5e)[0] == 2 * closed
    assert ring(column[:4], everyone, v5e)[0] == closed / 2  # a part of a row is a line
    assert ring(row, everyone, v5e)[1] == pytest.approx(8 * v5e.hop_seconds)


def test_a_mesh_over_one_device_sends_nothing():
    mesh = pod(1, 1)
    program = HloModule(TPU.replace("[2,2]<=[4]", "[4,1]<=[4]").replace("{{0,2},{1,3}}", "{{0},{1},{2},{3}}"))
    assert traffic(program, mesh, DEVICES[0][1]) == []


def test_traffic_is_summed_by_kind_and_axes():
    v5e = next(hardware for _, hardware in DEVICES if hardware.name == "TPU v5e")
    scatter, gather = traffic(HloModule(TPU), pod(2, 2), v5e)
    assert (scatter.kind, scatter.axes, scatter.count) == ("reduce-scatter", ("data",), 12)
    assert (gather.kind, gather.axes, gather.bytes) == ("all-gather", ("fsdp",), 12 * 8 * 64 * 2 / 2)
    assert gather.seconds == pytest.approx(gather.bytes / v5e.link + 12 * v5e.hop_seconds)
