"""What is compiled is compiled in one place, and evaluations are sums and rows over the batches of a split."""

import ast
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import tiny_classifier
from sentences import refuses
from toy_stage import ROWS, STEPS_PER_EPOCH, ToyStage, batch, lines, toy_config, train_toy

from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.models import load_model
from labram_jax.config import DataConfig, FinetuningStageConfig, MeshConfig, OptimizerConfig, replace
from labram_jax.parallel.sharding import make_mesh, put_batch
from labram_jax.parallel.state import TrainState
from labram_jax.plan.compile import abstract_batch
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.stage import Statistics
from labram_jax.training.evaluating import collect
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.program import Program, Programs, prepare
from labram_jax.training.readback import BEHIND, Readback

ROOT = Path(__file__).parents[2]
COMPILING = frozenset({"jit", "pjit", "pmap"})
# Who may compile, beside the program: what users call on arrays, on one device;
# an imported model's first weights; the measurement of a device that no table knows; digests of arrays where they are;
# the heads of a probe, whose features were read by a program.
COMPILERS = frozenset(
    {
        "training/program.py",
        "inference/model.py",
        "convert/importing.py",
        "checkpoints/digests.py",
        "adaptation/features.py",
        "plan/hardware.py",
    }
)


def compiles(tree: ast.Module) -> bool:
    """Whether a module names a function that compiles others."""
    names = {getattr(node, "attr", getattr(node, "id", None)) for node in ast.walk(tree)}
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    return bool(COMPILING & (names | imported))


def test_no_stage_evaluation_or_prediction_is_compiled_outside_the_program():
    package = ROOT / "labram_jax"
    files = {str(path.relative_to(package)): path for path in package.rglob("*.py")}
    assert {name for name, path in files.items() if compiles(ast.parse(path.read_text()))} == COMPILERS


@pytest.mark.parametrize("code", ["import jax\nf = jax.jit(g)", "from jax import jit as j", "@nn.jit\ndef f(): ..."])
def test_the_check_sees_what_compiles(code):
    assert compiles(ast.parse(code)) and not compiles(ast.parse("import jax\njax.grad(f)"))


def test_steps_of_one_dispatch_are_a_program_of_their_own(tmp_path):
    """What `plan` sees of them: the batches, one upon the other, on the shards of one."""
    names = {}
    for several in (1, 4):
        stage = ToyStage(toy_config(tmp_path, **{"loop.steps_per_dispatch": several}))
        program = prepare(stage, make_mesh(MeshConfig()), 10, STEPS_PER_EPOCH)
        shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch(0).items()}
        names[several] = program.lower(shapes)
    assert set(names[1]) == {"train_step", "evaluate_batch", "start_mean"}
    assert set(names[4]) == {*names[1], "train_steps"}
    (_, stacked, _), _ = names[4]["train_steps"].in_avals
    assert {name: x.shape for name, x in stacked.items()} == {"x": (4, ROWS, 8), "y": (4, ROWS)}


def classifier_stage(run: Path, weights: tuple[float, ...] = (), start=None, **changes) -> FinetuningStage:
    data = DataConfig(window_seconds=2, batch_rows=4, patch_slots=8, segments=1)
    model = tiny_classifier(drop_path=0.5)
    config = FinetuningStageConfig(run=str(run), model=model, data=data, optimizer=OptimizerConfig(warmup_epochs=0))
    return FinetuningStage(replace(config, **changes), start, weights)


def random_windows(program: Program) -> dict[str, jax.Array]:
    shapes = abstract_batch(program.stage.config, program.mesh)
    windows = {name: np.ones(own.shape, own.dtype) for name, own in shapes.items()}
    noise = np.random.default_rng(0).normal(scale=20, size=shapes["microvolts"].shape)
    windows["microvolts"] = noise.astype(np.float32)
    windows["labels"][::2] = 0
    return put_batch(windows, program.mesh)


def step(program: Program, state: TrainState) -> TrainState:
    return program.train_step(state, random_windows(program))[0]


def classified(program: Program) -> tuple[dict, dict]:
    """Parameters after two steps on random windows, and the logits that they give of these."""
    state = step(program, step(program, program.create_state()))
    found = program.evaluate_batch(state.variables, state.frozen, random_windows(program))
    return jax.device_get(state.params), jax.device_get(found.rows["logits"])


def test_runs_of_one_recipe_share_what_is_compiled_and_are_what_they_are_alone(tmp_path):
    mesh, norm = make_mesh(MeshConfig()), {"norm": {"bias": np.full(100, 0.5, np.float32)}}
    stages = {
        "first": classifier_stage(tmp_path / "first"),
        "other seed": classifier_stage(tmp_path / "second", start=norm, **{"loop.seed": 1}),
        "other weights": classifier_stage(tmp_path / "third", (0.5, 2.0)),
        "other rate": classifier_stage(tmp_path / "fourth", **{"optimizer.learning_rate": 1e-2}),
    }
    programs = Programs()
    together = {name: programs.prepare(stage, mesh, 10, 5) for name, stage in stages.items()}
    jitted = {name: (own.train_step.jitted, own.evaluate_batch.jitted) for name, own in together.items()}
    assert jitted["first"] == jitted["other seed"] and len({*jitted.values()}) == 3
    assert programs.prepare(stages["first"], mesh, 11, 5).train_step.jitted is not jitted["first"][0]
    # From one state, so that nothing but the seed of the steps, which drop path draws from, can differ.
    states = (jax.tree.map(jnp.copy, together["first"].create_state()) for _ in range(2))
    stepped = [step(together[name], state) for name, state in zip(("first", "other seed"), states, strict=True)]
    assert not np.array_equal(*(state.params["head"]["kernel"] for state in stepped))
    (_, first), second = (classified(together[name]) for name in ("first", "other seed"))
    assert jitted["first"][0]._cache_size() == 1 and not np.array_equal(first, second[1])
    jax.tree.map(np.testing.assert_array_equal, second, classified(prepare(stages["other seed"], mesh, 10, 5)))


def test_what_is_shared_holds_no_arrays(tmp_path):
    stage = classifier_stage(tmp_path, start={"norm": {"bias": np.zeros(100, np.float32)}})
    make, *arguments = stage.recipe()
    assert not make(*arguments).initial() and stage.initial()


def test_results_are_read_some_programs_behind_and_in_order():
    readback = Readback()
    read = [readback.add(number, {"x": jnp.float32(number)}) for number in range(BEHIND + 2)]
    assert [len(results) for results in read] == [0] * BEHIND + [1, 1]
    results = [*read[-2], *read[-1], *readback.rest()]
    assert [(number, float(result["x"])) for number, result in results] == [(n, n) for n in range(BEHIND + 2)]
    assert isinstance(results[0][1]["x"], np.ndarray) and readback.rest() == []


class CountingStage(ToyStage):
    """Sums that 32 bit do not hold, and rows that can be told apart."""

    def evaluate_batch(self, variables, frozen, batch):
        return Statistics(sums={"many": jnp.int32(2**30), "one": jnp.float32(2**24)}, rows={"y": batch["y"]})


@pytest.fixture(scope="module")
def counting(tmp_path_factory) -> tuple[Program, tuple]:
    """A program, and what its evaluation takes beside batches."""
    stage = CountingStage(toy_config(tmp_path_factory.mktemp("counting")))
    program = prepare(stage, make_mesh(MeshConfig()), 10, STEPS_PER_EPOCH)
    return program, program.put_model(jax.device_get(program.create_state().variables))


def test_sums_are_wide_and_rows_stay_in_order(counting):
    program, model = counting
    batches = [batch(number) for number in range(9)]
    found = collect(program, *model, batches)
    assert found.sums["many"] == 9 * 2**30 and found.sums["one"] == 9 * 2**24
    np.testing.assert_array_equal(found.rows["y"], np.concatenate([own["y"] for own in batches]))
    assert len(found.rows["y"]) == 9 * ROWS


def test_an_evaluation_stops_between_batches(counting):
    program, model = counting
    read = []

    def batches():
        for number in range(9):
            read.append(number)
            yield batch(number)

    assert collect(program, *model, batches(), lambda: len(read) > 3) is None and len(read) == 4
    assert collect(program, *model, [batch(0)], lambda: True) is not None  # nothing was left to be stopped
    with refuses("split has no batch"):
        collect(program, *model, [])


def stopping_validation():
    """The request to stop comes while the second batch is read."""
    yield batch(10_000)
    signal.raise_signal(signal.SIGTERM)
    yield batch(10_001)
    yield batch(10_002)


@pytest.mark.parametrize("epochs", [2, 1], ids=["on the way", "at the end"])
def test_an_evaluation_that_is_stopped_leaves_no_scores_and_is_made_up_for(tmp_path, epochs):
    whole, run = tmp_path / "whole", tmp_path / "stopped"
    first, changes = STEPS_PER_EPOCH, {"loop.epochs": epochs}
    expected = train_toy(toy_config(whole, **changes), test=lambda: [batch(20_000)])
    stopped = train_toy(toy_config(run, **changes), validation=stopping_validation, test=lambda: [batch(20_000)])
    assert (stopped.finished, stopped.step) == (False, first) and not stopped.validation and not stopped.test
    assert {line["split"] for line in read_metrics(run)} == {"train"}
    with CheckpointDirectory(run) as checkpoints:
        assert checkpoints.steps == [first] and not checkpoints.meta(first)["metrics"]
    result = train_toy(toy_config(run, **changes), test=lambda: [batch(20_000)])
    assert result == expected and result.finished
    assert lines(run) == lines(whole)
    jax.tree.map(np.testing.assert_array_equal, load_model(run)[0], load_model(whole)[0])


def test_a_stop_between_the_last_step_and_the_test_leaves_the_test_to_the_next_start(tmp_path):
    def testing():
        yield batch(20_000)
        signal.raise_signal(signal.SIGTERM)
        yield batch(20_001)
        yield batch(20_002)

    config = toy_config(tmp_path, **{"loop.epochs": 1})
    stopped = train_toy(config, test=testing)
    assert (stopped.finished, stopped.step, stopped.test) == (False, STEPS_PER_EPOCH, {}) and stopped.validation
    assert train_toy(config, test=lambda: [batch(20_000)]).test
