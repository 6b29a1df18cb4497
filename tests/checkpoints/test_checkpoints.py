"""What is saved comes back, and what was damaged is not taken for good."""

import errno
import gc
import json
import re
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_disk import fill

from labram_jax.checkpoints import models
from labram_jax.checkpoints.digests import sha256_digests
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.models import load_model, save_model
from labram_jax.errors import DamageError, InputError, exit_code
from labram_jax.parallel.state import TrainState


def state_at(step: int) -> TrainState:
    kernel = jax.random.normal(jax.random.key(step), (2, 64, 64))
    params = {"encoder": {"blocks": {"kernel": kernel}}, "bias": jnp.arange(3.0)}
    optimizer = optax.chain(optax.clip(1.0), optax.masked(optax.adam(1e-3), {"encoder": True, "bias": False}))
    # Moments of real gradients: zeros would shrink to nothing on disk, with no array left to damage.
    _, moments = optimizer.update(jax.tree.map(jnp.sin, params), optimizer.init(params), params)
    return TrainState(
        step=jnp.int32(step),
        params=params,
        collections={"codebook": {"usage": jnp.full(4, float(step))}},
        opt_state=moments,
        guard={"loss": jnp.float32([step / 3, 0.1]), "in_a_row": jnp.int32(2)},
        frozen={},
    )


def abstract(state: TrainState) -> TrainState:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of steps 10, 20 and 30, of which 20 is best."""
    with CheckpointDirectory(tmp_path / "run", keep=3, selection=("auroc", "max")) as checkpoints:
        for step, auroc in ((10, 0.6), (20, 0.9), (30, 0.7)):
            checkpoints.save(step, state_at(step), {"kind": "toy", "size": 3}, {"auroc": auroc})
    return tmp_path / "run"


def damage(checkpoint, item="model"):
    """Flips one bit in the middle of the largest file of an item."""
    path = max((p for p in (checkpoint / item).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def test_latest_comes_back_bit_for_bit(run):
    with CheckpointDirectory(run) as checkpoints:
        state = checkpoints.restore(checkpoints.steps[-1], abstract(state_at(0)))
    assert int(state.step) == 30
    assert jax.tree.structure(state) == jax.tree.structure(state_at(30))
    jax.tree.map(np.testing.assert_array_equal, state, state_at(30))


def test_scores_that_came_later_count(run):
    with CheckpointDirectory(run, selection=("auroc", "max")) as checkpoints:
        checkpoints.add_metrics(30, {"auroc": 0.95})
        assert checkpoints.best["step"] == 30
    with CheckpointDirectory(run, selection=("auroc", "max")) as again:
        assert again.best == {"step": 30, "metric": "auroc", "value": 0.95}
    assert json.loads((run / "best.json").read_text()) == again.best


def test_checkpoints_of_earlier_versions_are_read(run):
    """They say their position, have sha256 digests and none of themselves, and know nothing of the numbers before."""
    path, state = run / "checkpoints" / "30" / "meta" / "metadata", state_at(30)
    known = sha256_digests({"model": state.variables, "optimizer": state.opt_state})
    meta = json.loads(path.read_text()) | {"position": 30, "format": 1, "digests": known}
    path.write_text(json.dumps({name: value for name, value in meta.items() if name not in ("digest", "guard")}))
    with CheckpointDirectory(run) as checkpoints:
        restored = checkpoints.restore(30, abstract(state_at(0)))
    assert int(restored.step) == 30 and not any(np.any(value) for value in restored.guard.values())
    jax.tree.map(np.testing.assert_array_equal, load_model(run / "checkpoints" / "30")[0], state_at(30).variables)


def test_last_ones_and_the_best_one_stay(tmp_path):
    with CheckpointDirectory(tmp_path, keep=2, selection=("loss", "min")) as checkpoints:
        for step, loss in enumerate((0.5, 0.1, 0.4, 0.3, float("nan"))):
            checkpoints.save(step, state_at(step), {}, {"loss": loss})
        checkpoints.wait()
        assert checkpoints.steps == [1, 3, 4]
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 1, "metric": "loss", "value": 0.1}
    with CheckpointDirectory(tmp_path, keep=2, selection=("loss", "min")) as again:
        assert again.best["step"] == 1 and again.improves({"loss": 0.05}) and not again.improves({"loss": 0.2})


def test_model_alone_is_read_from_run_checkpoint_and_export(run, tmp_path):
    for path, step in ((run, 20), (run / "checkpoints" / "30", 30)):
        variables, config = load_model(path)
        assert config == {"kind": "toy", "size": 3}
        jax.tree.map(np.testing.assert_array_equal, variables, state_at(step).variables)
    (run / "best.json").unlink()
    assert load_model(run)[0]["codebook"]["usage"][0] == 30
    save_model(tmp_path / "export", variables, {"kind": "toy"})
    exported, config = load_model(tmp_path / "export")
    assert config == {"kind": "toy"} and isinstance(exported["params"]["bias"], np.ndarray)
    jax.tree.map(np.testing.assert_array_equal, exported, variables)
    with pytest.raises(InputError, match="exists already"):
        save_model(tmp_path / "export", variables, {})


@pytest.mark.parametrize("item", ["model", "optimizer", "meta"])
def test_a_damaged_checkpoint_is_named_and_set_aside_for_the_one_before(run, item):
    damage(run / "checkpoints" / "30", item)
    said, asked = [], []
    with CheckpointDirectory(run, selection=("auroc", "min"), say=said.append) as checkpoints:
        step, state = checkpoints.restore_latest(abstract(state_at(0)), asked.append)
        assert (step, checkpoints.steps, checkpoints.best["step"]) == (20, [10, 20], 10)
    jax.tree.map(np.testing.assert_array_equal, state, state_at(20))
    assert len(said) == 1 and re.search(r"checkpoints/30 is damaged \(.*: going on from step 20", said[0])
    assert ("array" in said[0]) != (item == "meta") and (run / "checkpoints" / "damaged-30" / "model").is_dir()
    assert [meta["step"] for meta in asked] == ([20] if item == "meta" else [30, 20])


def test_a_checkpoint_that_was_half_removed_stops_nobody(run):
    """As a kill leaves one that was removed under its own name."""
    shutil.rmtree(run / "checkpoints" / "10" / "meta")
    with CheckpointDirectory(run, selection=("auroc", "max")) as checkpoints:
        step, _ = checkpoints.restore_latest(abstract(state_at(0)), lambda meta: None)
        assert step == 30 and checkpoints.best["step"] == 20


@pytest.mark.parametrize(
    "field", [("step", 0), ("metrics", {"auroc": 1.0}), ("config", {"kind": "toy"}), ("digests", {})]
)
def test_no_edit_of_meta_goes_unnoticed(run, field):
    path = run / "checkpoints" / "30" / "meta" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict([field])))
    with pytest.raises(DamageError, match="its meta is not what was saved"):
        load_model(run / "checkpoints" / "30")


def test_what_may_not_be_read_is_not_called_damaged(run):
    path = run / "checkpoints" / "30" / "meta" / "metadata"
    path.unlink()
    path.mkdir()  # an OSError also for root, whom no mode keeps out
    with pytest.raises(OSError, match="Is a directory") as caught:
        load_model(run / "checkpoints" / "30")
    assert exit_code(caught.value) == 2


def test_storage_that_hiccups_is_asked_again(monkeypatch):
    monkeypatch.setattr(models, "RETRY_PAUSES", (0.0, 0.0))
    tries = []

    def read(fails: int):
        tries.append(None)
        if len(tries) <= fails:
            raise ValueError(f"INTERNAL: Failed to read: \"/run/1\": Input/output error [os_error_code='{errno.EIO}']")
        return "contents"

    assert models.reading(lambda: read(2), Path("run")) == "contents" and len(tries) == 3
    tries.clear()
    with pytest.raises(OSError, match="Input/output error") as caught:
        models.reading(lambda: read(9), Path("run"))
    assert len(tries) == 3 and exit_code(caught.value) == 1 and caught.value.filename == "/run/1"


def test_truncated_file_names_the_array(run):
    path = max((run / "checkpoints" / "30" / "model").rglob("d/*"), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"array params/encoder/blocks/kernel cannot be read"):
        load_model(run / "checkpoints" / "30")


def test_damage_that_stops_orbax_halfway_is_told_in_one_sentence_alone(run, recwarn):
    """Coroutines that nobody awaits any more say so when they are collected, unless they are ended before."""
    path = run / "checkpoints" / "30" / "model" / "_METADATA"
    whole = path.read_text()
    place = whole.rindex('"value_type": ')  # of the last array, when the others have been begun
    path.write_text(whole[:place] + re.sub('"value_type": "[^"]*"', '"value_type": true', whole[place:]))
    with pytest.raises(DamageError, match="it cannot be read") as caught:
        load_model(run / "checkpoints" / "30")
    del caught
    gc.collect()
    assert not [str(one.message) for one in recwarn.list if "never awaited" in str(one.message)]


def test_arrays_that_arrive_after_a_failure_say_nothing_and_other_errors_do(run, capsys, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    damage(run / "checkpoints" / "30")
    with pytest.raises(DamageError):
        load_model(run / "checkpoints" / "30")
    late, other = (SimpleNamespace(exc_value=RuntimeError(text)) for text in ("Event loop is closed", "other"))
    for unraisable in (late, other):
        sys.unraisablehook(unraisable)
    assert other in said and not any("Event loop" in str(one.exc_value) for one in said)


@pytest.mark.parametrize(
    "content", ['{"commit_timestamp_nsecs": 1.5}', '{"commit_timestamp_nsecs": 1' + 40 * "0" + "}", "{"]
)
def test_damaged_times_of_a_checkpoint_hold_nothing_up(run, content):
    said, path = [], run / "checkpoints" / "20" / "_CHECKPOINT_METADATA"
    path.write_text(content)
    with CheckpointDirectory(run, selection=("auroc", "max"), say=said.append) as checkpoints:
        assert checkpoints.steps == [10, 20, 30] and checkpoints.best["step"] == 20
        assert checkpoints.restore_latest(abstract(state_at(0)), lambda meta: None)[0] == 30
    if content != "{":  # which Orbax itself takes for nothing
        assert said == [f"{path} is damaged: it is {path.name}.damaged now, and nothing but a time is lost"]
        assert path.with_name(f"{path.name}.damaged").read_text() == content and not path.exists()


def test_damage_everywhere_says_so_and_leaves_all_in_place(run):
    for step in ("10", "20", "30"):
        damage(run / "checkpoints" / step)
    with CheckpointDirectory(run) as checkpoints:
        with pytest.raises(DamageError, match=r"checkpoints/30 is .*no earlier one is whole: start again") as caught:
            checkpoints.restore_latest(abstract(state_at(0)), lambda meta: None)
        assert checkpoints.steps == [10, 20, 30] and exit_code(caught.value) == 65


def test_a_full_disk_is_told_and_nothing_earlier_is_lost(disk):
    said = []
    checkpoints = CheckpointDirectory(disk, keep=5, selection=("auroc", "max"), say=said.append)
    checkpoints.save(10, state_at(10), {}, {"auroc": 0.6})
    checkpoints.wait()
    other = fill(disk, leave=20_000)
    checkpoints.save(20, state_at(20), {}, {"auroc": 0.9})
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoints.wait()
    assert exit_code(caught.value) == 1
    assert len(said) == 1 and "step 20 could not be written: No space left on device" in said[0]
    assert checkpoints.steps == [10] and checkpoints.best["step"] == 10
    other.unlink()
    checkpoints.save(30, state_at(30), {}, {"auroc": 0.7})
    checkpoints.close()
    assert json.loads((disk / "best.json").read_text())["step"] == 30
    with CheckpointDirectory(disk) as again:
        jax.tree.map(np.testing.assert_array_equal, again.restore(30, abstract(state_at(0))), state_at(30))
        assert again.steps == [10, 30]


def test_a_full_disk_that_takes_no_best_json_ends_nothing_but_the_last_wait(disk):
    """The checkpoint is whole: training goes on, and its name is written as soon as there is room."""
    said = []
    checkpoints = CheckpointDirectory(disk, keep=5, selection=("auroc", "max"), say=said.append)
    checkpoints.save(10, state_at(10), {}, {"auroc": 0.6})
    while not (disk / "checkpoints" / "10" / "_CHECKPOINT_METADATA").exists():
        time.sleep(0.01)
    other = fill(disk, leave=0)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoints.wait()
    assert exit_code(caught.value) == 1 and checkpoints.steps == [10] and not (disk / "best.json").exists()
    assert len(said) == 1 and "best.json could not be written: No space left on device" in said[0]
    other.unlink()
    checkpoints.save(20, state_at(20), {}, {"auroc": 0.5})
    checkpoints.close()
    assert json.loads((disk / "best.json").read_text())["step"] == 10 and checkpoints.steps == [10, 20]


def test_half_written_checkpoint_is_ignored_and_said(run):
    shutil.copytree(run / "checkpoints" / "30", run / "checkpoints" / "40.orbax-checkpoint-tmp")
    said = []
    with CheckpointDirectory(run, say=said.append) as checkpoints:
        assert checkpoints.steps == [10, 20, 30]
    assert len(said) == 1 and "half-written checkpoint of step 40" in said[0]


def test_other_format_version_is_refused(run):
    path = run / "checkpoints" / "30" / "meta" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match=r"format 99.*reads formats up to 2"):
        load_model(run / "checkpoints" / "30")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither a run"):
        load_model(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="no finished checkpoint"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="mount the bucket"):
        load_model("gs://bucket/run")
