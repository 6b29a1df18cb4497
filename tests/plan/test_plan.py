"""Whole plans: for the devices that are here, and for a TPU slice that is not."""

import dataclasses
import importlib.util
import json
import os
from types import SimpleNamespace

import jax
import pytest
from small_runs import finetuning_config, tokenizer_config

from labram_jax import cli
from labram_jax.config import DataConfig, replace
from labram_jax.errors import InputError
from labram_jax.plan import command, compile, hardware
from labram_jax.plan.command import PlanOptions
from labram_jax.plan.compile import CompiledStage, Memory
from labram_jax.plan.levers import faster, largest_batch, smaller
from labram_jax.plan.workload import Recordings, workload_of

TPU = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None and not os.environ.get("TPU_LIBRARY_PATH"),
    reason="the TPU compiler is not here: `make test` sets it up on Linux",
)
GIB = 2**30
KNOWN = dataclasses.replace(hardware.DEVICES[-1][1], name="a known device", memory=GIB)
RECORDINGS = Recordings(hours=10, electrodes=4)


@pytest.fixture(autouse=True)
def _a_known_device(monkeypatch):
    """What the machine under test can do means nothing here, and measuring it takes seconds."""
    monkeypatch.setattr(hardware, "measured", lambda device, dtype: KNOWN)


@pytest.fixture(scope="module")
def compiled() -> CompiledStage:
    return compile.compile_stage(finetuning_config("run", [], "/no/such/encoder"), None, jax.devices(), GIB)


def with_memory(stage: CompiledStage, name: str, **changes) -> CompiledStage:
    """The stage, with another memory of one of its programs."""
    program = stage.programs[name]
    changed = dataclasses.replace(program, memory=dataclasses.replace(program.memory, **changes))
    return dataclasses.replace(stage, programs={**stage.programs, name: changed})


def test_a_stage_is_planned_without_corpora_or_models(compiled, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "compile_stage", lambda *_: compiled)
    options = PlanOptions(json=tmp_path / "plan.json", recordings=RECORDINGS)
    text = command.run(finetuning_config("run", [], "/no/such/encoder"), options)
    (plan,) = json.loads((tmp_path / "plan.json").read_text())
    step, evaluation = plan["programs"]["train_step"], plan["programs"]["evaluate_batch"]
    estimate, memory = step["estimate"], step["memory"]
    assert "a known device" in text and plan["topology"] == "local" and plan["fits"]
    # AdamW: parameters and two moments, in float32.
    assert (
        3 * 4 * plan["parameters"]
        <= plan["checkpoint"]
        <= memory["state"]
        <= memory["used"]
        < memory["available"]
        == GIB
    )
    # The whole state stays while an evaluation runs, which takes no gradients and is a third of the products.
    assert memory["state"] <= evaluation["memory"]["state"] and evaluation["memory"]["temporary"] < memory["temporary"]
    assert evaluation["estimate"]["flops"] < estimate["model_flops"] / 2.5 and "evaluation, a batch" in text
    seconds = estimate["seconds"]
    assert seconds["overlapped"] == max(seconds["compute"], seconds["memory"]) > 0 == seconds["interconnect"]
    assert seconds["synchronous"] == 0
    assert seconds["limit"] in ("compute", "memory") and estimate["collectives"] == []
    # Two windows of 8 patches in rows of 16 slots; 4 rows a batch.
    assert plan["workload"] == {"windows_per_row": 2, "seconds_per_window": 2, "padding": 0, "windows": 18000}
    assert plan["steps"] == 3 * 18000 / 8
    assert plan["run_hours"][0] == pytest.approx(plan["steps"] * seconds["overlapped"] / 3600)
    assert plan["eeg_hours_per_second"] == pytest.approx(8 * 2 / 3600 / seconds["overlapped"])


def test_what_does_not_fit_says_what_to_do(compiled, monkeypatch):
    small = with_memory(compiled, "train_step", available=2**20)
    monkeypatch.setattr(command, "compile_stage", lambda *_: small)
    text = command.run(finetuning_config("run", []), PlanOptions(recordings=RECORDINGS))
    assert "does not fit (training), by" in text
    places = [text.index(lever) for lever in ("compute.dtype bfloat16", "compute.remat block", "accumulate 2", "more")]
    assert places == sorted(places)


def test_an_evaluation_that_does_not_fit_is_seen(compiled, monkeypatch):
    large = with_memory(compiled, "evaluate_batch", used=2 * GIB)
    monkeypatch.setattr(command, "compile_stage", lambda *_: large)
    text = command.run(finetuning_config("run", []), PlanOptions(recordings=RECORDINGS))
    assert "does not fit (evaluation), by 1.00 GiB" in text and "2.00 GiB of 1.00 GiB" in text


def test_the_largest_batch_is_planned(compiled, monkeypatch, tmp_path):
    def stage(config, *_):
        return with_memory(compiled, "evaluate_batch", used=config.data.batch_rows * GIB / 32, available=GIB)

    monkeypatch.setattr(command, "compile_stage", stage)
    command.run(finetuning_config("run", []), PlanOptions(fit=True, json=tmp_path / "plan.json", recordings=RECORDINGS))
    (plan,) = json.loads((tmp_path / "plan.json").read_text())
    assert plan["fits"] and 28 <= plan["data"]["batch_rows"] <= 32


@pytest.mark.parametrize(
    "message",
    [
        "Ran out of memory on HBM, the total memory required for HLO temporaries (33.60G) exceeds available HBM "
        "(15.75G).",
        "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 33.60G of 15.75G hbm. Exceeded "
        "hbm capacity by 17.85G.",
    ],
)
def test_the_compiler_says_how_much_is_too_much(message):
    memory = compile._out_of_memory(f"RESOURCE_EXHAUSTED: {message}")
    assert not memory.fits and (memory.used, memory.available) == (33.6 * GIB, 15.75 * GIB)
    assert compile._out_of_memory(f"INTERNAL: {message}") is None


@pytest.mark.parametrize("most", [1, 3, 8, 21, 100, 3000])
@pytest.mark.parametrize("told", [True, False], ids=["compiler reports", "compiler refuses"])
def test_the_largest_batch_is_found_to_an_eighth(most, told):
    config = replace(tokenizer_config("run", []), **{"data.batch_rows": 32})
    tried = []

    def memory_of(changed) -> Memory:
        rows = changed.data.batch_rows
        tried.append(rows)
        # At first less grows with the batch, as long as things stay in fast memory.
        used = (10 + rows + max(0, rows - 100)) / (10 + 4 * most + max(0, 4 * most - 100))
        return Memory(GIB * (used if told or used <= 1 else 99), GIB)

    found = largest_batch(config, 4, memory_of).data.batch_rows
    assert found in tried and 4 * most * 0.8 - 8 <= found <= 4 * most and len(tried) <= 12


def test_no_batch_fits_where_one_row_a_device_does_not():
    assert largest_batch(tokenizer_config("run", []), 4, lambda changed: Memory(2 * GIB, GIB)) is None


def test_levers_are_those_that_are_left():
    small = replace(
        tokenizer_config("run", []), **{"compute.dtype": "bfloat16", "compute.remat": "block", "data.batch_rows": 4}
    )
    mesh = SimpleNamespace(shape={"data": 4, "fsdp": 1, "model": 1})
    assert smaller(small, mesh, 10**6, GIB) == []
    (slices,) = smaller(small, mesh, 10**7, GIB)
    assert slices.flags == "--mesh.fsdp 4 --mesh.data 1"
    # 16 slices do not divide the width of 100: what is proposed must be a mesh that training takes.
    sliced = SimpleNamespace(shape={"data": 16, "fsdp": 4, "model": 1})
    assert not any("--mesh.fsdp" in lever.flags for lever in smaller(small, sliced, 10**8, GIB))


def test_what_makes_a_step_faster_undoes_what_makes_it_smaller():
    base = replace(tokenizer_config("run", []), **{"data.batch_rows": 64})
    small = replace(base, **{"compute.remat": "block", "optimizer.accumulate": 4})
    sliced = SimpleNamespace(shape={"data": 4, "fsdp": 4, "model": 1})
    found = [lever.flags for lever in faster(small, sliced, 10**7, GIB)]
    assert found == [
        *("--compute.remat none", "--optimizer.accumulate 2", "--mesh.fsdp 1 --mesh.data 16"),
        "--optimizer.reduce-dtype bfloat16",
    ]
    # A state that would fill more than a quarter of the memory stays in slices.
    assert "--mesh.fsdp 2 --mesh.data 8" in [lever.flags for lever in faster(small, sliced, 3 * 10**7, GIB)]
    one = SimpleNamespace(shape={"data": 1, "fsdp": 1, "model": 1})
    assert faster(base, one, 10**7, GIB) == []


@pytest.mark.parametrize("fits", [True, False])
def test_levers_are_compiled_and_compared(compiled, monkeypatch, tmp_path, fits):
    def stage(config, *_):
        used = GIB / (8 if config.compute.remat == "block" else 4 if fits else 0.5)
        return with_memory(compiled, "train_step", used=used, available=GIB)

    monkeypatch.setattr(command, "compile_stage", stage)
    config = replace(finetuning_config("run", []), **{"compute.remat": "block" if fits else "none"})
    options = PlanOptions(levers=True, json=tmp_path / "plan.json", recordings=RECORDINGS)
    text = command.run(config, options)
    (plan,) = json.loads((tmp_path / "plan.json").read_text())
    line = next(line for line in text.splitlines() if line.startswith("  --compute.remat"))
    assert ("none" if fits else "block") in line and ("what may make a step faster" in text) == fits
    assert ("0.25 GiB instead of 0.12 GiB" if fits else "0.12 GiB instead of 2.00 GiB") in line and "ms" in line
    lever = next(lever for lever in plan["levers"] if "remat" in lever["flags"])
    seconds = lever["programs"]["train_step"]["estimate"]["seconds"]
    if fits:  # the forward pass of the blocks is spared
        assert seconds["compute"] < plan["programs"]["train_step"]["estimate"]["seconds"]["compute"]


def test_workload_of_corpora_is_that_of_training(corpus):
    config = tokenizer_config("run", [corpus.path])
    workload = workload_of(config.data, Recordings())
    assert workload.windows == len(corpus.windows("train", seconds=2)) and workload.seconds_per_window == 2
    assert 0 <= workload.padding < 0.3
    rows = workload.windows / workload.windows_per_row
    assert workload.steps_per_epoch(4) == -(-rows // 4)


def test_workload_of_the_paper():
    data = DataConfig(patch_slots=256, segments=1, batch_rows=512)
    workload = workload_of(replace(data, stride_seconds=4.0), Recordings(hours=2500, electrodes=19))
    assert workload.windows == 2_250_000 and workload.padding == pytest.approx(1 - 247 / 256)
    assert workload.steps_per_epoch(512) == 4395
    without_overlap = workload_of(replace(data, window_seconds=4), Recordings(hours=2500, electrodes=64))
    assert without_overlap.windows == 2_250_000 and without_overlap.padding == 0
    assert workload_of(data, Recordings()).steps_per_epoch(512) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TPU v4", "TPU v4"),
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
        ("TPU7x", "TPU7x"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB SXM"),
        ("cpu", "a known device"),
    ],
)
def test_devices_are_known_by_their_kind(kind, name):
    device = type("Device", (), {"device_kind": kind, "platform": "none"})()
    assert hardware.hardware_of(device, "bfloat16", present=False).name == name


def test_peaks_are_measured_where_no_table_knows_them(monkeypatch):
    monkeypatch.undo()
    found = hardware.measured(jax.devices()[0], "bfloat16", size=128, elements=2**16)
    assert 1e6 < found.float32 < 1e15 and 1e6 < found.bfloat16 < 1e15 and 1e6 < found.bandwidth < 1e14
    assert found.memory > GIB / 4 and found.tile == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "which configuration to plan"),
        (["demo_tokenizer", "--electrodes", "64", "--data.window-seconds", "10"], "640 patches"),
        (["demo_tokenizer", "--hours", "-1"], "must be positive"),
        (["demo_tokenizer", "--compute.dtype", "float64"], "float32 or bfloat16"),
        (["demo_pretraining", "--tokenizer", "/no/such/run"], "/no/such/run"),
    ],
)
def test_bad_input_is_told_in_a_sentence(arguments, sentence, capsys):
    assert cli.main(["plan", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_without_the_compiler_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(InputError, match=r"labram-jax\[tpu\]"):
        compile.devices_of("v5e:2x2")


@TPU
def test_a_topology_that_does_not_exist():
    with pytest.raises(InputError, match="v5e:16x16"):
        compile.devices_of("v5e:3x5x7")


@TPU
def test_rows_must_divide_over_the_slice():
    config = replace(tokenizer_config("run", []), **{"data.batch_rows": 6})
    with pytest.raises(InputError, match="multiple of 4"):
        command.run(config, PlanOptions(topology=("v5e:2x2",), recordings=RECORDINGS))


@TPU
def test_a_slice_that_is_not_there(tmp_path, capsys):
    """The real compiler: pretraining on 4 chips, parameters in two slices."""
    path = tmp_path / "plan.json"
    assert cli.main(["plan", *small_pretraining(tmp_path), "--topology", "v5e:2x2", "--json", str(path)]) == 0
    (plan,) = json.loads(path.read_text())
    assert plan["hardware"]["name"] == "TPU v5e" and plan["mesh"] == {"data": 2, "fsdp": 2, "model": 1}
    assert plan["fits"] and plan["programs"]["train_step"]["memory"]["available"] == 16 * GIB
    assert set(plan["programs"]) == {"train_step", "evaluate_batch"}
    estimate, evaluation = (plan["programs"][name]["estimate"] for name in ("train_step", "evaluate_batch"))
    # Under the rules an evaluation gathers slices of parameters, and no gradients travel.
    step, batch = (sum(entry["bytes"] for entry in own["collectives"]) for own in (estimate, evaluation))
    assert 0 < batch < step / 2
    # Slices of gradients meet along data once, in the type that is asked for; of two devices each sends half, twice.
    (along,) = (entry for entry in estimate["collectives"] if entry["axes"] == ["data"])
    assert along["kind"] == "all-reduce" and along["count"] <= 3
    assert 0.9 < along["bytes"] / (2 * plan["parameters"] / 2) < 1.5
    waited = [entry["seconds"] for entry in estimate["collectives"] if not entry["asynchronous"]]
    assert estimate["seconds"]["synchronous"] == pytest.approx(sum(waited)) and along["seconds"] in waited
    assert min(entry["bytes"] for entry in estimate["collectives"]) > 0
    assert estimate["seconds"]["interconnect"] > 0 and 0 < estimate["tile_use"] < 1
    assert estimate["batches"]["8"]["compute"] == pytest.approx(8 * estimate["seconds"]["compute"])
    assert "give --hours" in capsys.readouterr().out


def small_pretraining(folder) -> list[str]:
    """A configuration file as a user would write it."""
    path = folder / "small.py"
    path.write_text(
        "from labram_jax.configs.demo_pretraining import config as demo\n"
        "from labram_jax.config import replace\n"
        "config = replace(demo, **{'model.encoder.depth': 1, 'model.codes': 16, 'data.batch_rows': 8,\n"
        "    'data.patch_slots': 60, 'data.segments': 4, 'data.window_seconds': 2,\n"
        "    'compute.dtype': 'bfloat16', 'mesh.fsdp': 2, 'optimizer.accumulate': 2,\n"
        "    'optimizer.reduce_dtype': 'bfloat16'})\n"
    )
    return [str(path), "--electrodes", "4"]
