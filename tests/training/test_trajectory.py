"""From the same weights, batches, masks and learning rates, training takes the same way as the official implementation.

Tolerances are those of the trajectories' README. What separates float32 runs is a near tie between two codes: until
one patch takes the other code all agrees to about 1e-6, and float64 runs agree to rounding at any length. All steps
are taken with LABRAM_TRAJECTORY_FULL=1, the first ones otherwise.
"""

import functools

import jax
import numpy as np
import pytest
import trajectory
from golden_data import is_degenerate
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from trajectory import DENSE, FULL, PACKED, Layout, Run, run

pytestmark = pytest.mark.skipif(
    not (trajectory.FOLDER / "runs.npz").exists(),
    reason=f"the official training runs are not in {trajectory.FOLDER}; set LABRAM_TRAJECTORY to their folder",
)

EARLY = 30  # steps before which hardly any near tie has been met
FEW = 12  # steps that show a packed row to be as good as a dense one
LAYOUTS = pytest.mark.parametrize("layout", [DENSE, PACKED], ids=str)
# Otherwise packed rows are followed on the run that has both montages.
LAYOUTS_IF_FULL = pytest.mark.parametrize("layout", [DENSE, PACKED] if FULL else [DENSE], ids=str)
TOKENIZER = {"commitment_loss": "commitment", "amplitude_loss": "amplitude", "phase_loss": "phase", "loss": "total"}
PRETRAINING = {
    "cross_entropy": "loss_rec",
    "cross_entropy_complement": "loss_rec_sym",
    "accuracy": "acc",
    "accuracy_complement": "acc_sym",
}
FINETUNING = {"loss": "loss", "accuracy": "accuracy"}


def steps(total: int, layout: Layout) -> int:
    return total if FULL else 50 if layout is DENSE else FEW


def relative(mine: Run, metric: str, curve: str) -> np.ndarray:
    """Relative difference at each step; where both are 0 it is 0."""
    expected = run(curve)[: len(mine.curves[metric])]
    return np.abs(mine.curves[metric] - expected) / np.where(expected == 0, 1, np.abs(expected))


def check_parameters(mine: Run, name: str, start: dict, tolerances: dict[int, float]) -> None:
    """After some of the steps every tensor's samples differ by little of the way that they have gone."""
    for step in tolerances.keys() & mine.parameters.keys():
        for tensor, row in zip(run(f"{name}/param_names"), run(f"{name}/f32/param_samples/step{step}"), strict=True):
            if is_degenerate(str(tensor)):
                continue
            row = row[np.isfinite(row)]
            difference = np.linalg.norm(trajectory.samples(mine.parameters[step][str(tensor)]) - row)
            moved = np.linalg.norm(row - trajectory.samples(start[str(tensor)]))
            assert difference <= tolerances[step] * moved, f"{tensor}: {difference:.2g} of {moved:.2g}, step {step}"


@pytest.mark.parametrize(("kind", "name"), [("tokenizer", "tokenizer_a"), ("pretrain",) * 2, ("finetune",) * 2])
def test_learning_rates(kind, name):
    start = {"tokenizer": "tokenizer_init", "pretrain": "pretrain_init"}
    tensors = trajectory.file(f"{start[kind]}.safetensors") if kind in start else trajectory.classifier_tensors()
    own = trajectory.trainer(kind, 1, "float32")
    own.state(tensors)
    rates = run(f"{name}/lr")
    np.testing.assert_allclose(own.learning_rate(np.arange(len(rates))), rates, rtol=1e-5, atol=1e-12)


def check_tokenizer(mine: Run, name: str, first: float, early: dict[str, float]) -> None:
    """`first` bounds step 1, `early` the losses and the gradient's norm of steps 1 to 30; later, ties may part them."""
    for metric, curve in {**TOKENIZER, "grad_norm": "grad_norm"}.items():
        difference = relative(mine, metric, f"{name}/f32/{curve}")
        assert difference[0] <= (1e-5 if metric == "commitment_loss" and first > 2e-6 else first), metric
        bound = early.get(metric, early["loss"])
        assert difference[:EARLY].max() <= bound, f"{metric} differs by {difference[:EARLY].max():.2g}"
        if metric != "grad_norm":
            assert difference.max() <= max(1e-2, bound), f"{metric} differs by {difference.max():.2g}"
            ten = [
                values[: len(difference) // 10 * 10].reshape(-1, 10).mean(axis=1)
                for values in (mine.curves[metric], run(f"{name}/f32/{curve}"))
            ]
            np.testing.assert_allclose(*ten, rtol=3e-3, err_msg=metric)


@LAYOUTS_IF_FULL
def test_tokenizer_from_random_codes(layout: Layout):
    mine = trajectory.train_tokenizer("a", layout, "float32", steps(150, layout))
    check_tokenizer(mine, "tokenizer_a", 2e-6, {"loss": 1e-5, "grad_norm": 1e-3})
    np.testing.assert_array_equal(mine.curves["unused"][:EARLY], run("tokenizer_a/f32/unused")[:EARLY])
    used = np.round(mine.curves["codes_used"] * trajectory.CODES)
    np.testing.assert_array_equal(used[:EARLY], run("tokenizer_a/f32/codes_in_batch")[:EARLY])
    check_parameters(mine, "tokenizer_a", trajectory.tokenizer_tensors("init"), {10: 1e-3, 50: 1e-3})
    if FULL:
        check_end(mine, "tokenizer_a", equal_codes=0.95)


@LAYOUTS_IF_FULL
def test_tokenizer_from_kmeans(layout: Layout):
    mine = trajectory.train_tokenizer("b", layout, "float32", steps(150, layout))
    check_tokenizer(mine, "tokenizer_b", 3e-6, {"loss": 1e-4, "grad_norm": 5e-3})
    check_parameters(mine, "tokenizer_b", trajectory.tokenizer_tensors("init"), {10: 1e-3, 50: 0.1})
    if FULL:
        check_end(mine, "tokenizer_b", equal_codes=0.95)


@LAYOUTS
def test_tokenizer_on_two_montages_in_turn(layout: Layout):
    mine = trajectory.train_tokenizer("c", layout, "float32", steps(150, layout))
    check_tokenizer(mine, "tokenizer_c", 3e-6, {"loss": 1e-4, "grad_norm": 5e-3})
    check_parameters(mine, "tokenizer_c", trajectory.tokenizer_tensors("init"), {10: 1e-3, 50: 0.1})
    if FULL:
        check_end(mine, "tokenizer_c", equal_codes=0.95)


@LAYOUTS_IF_FULL
def test_tokenizer_that_collapses(layout: Layout):
    """From the official initialisation all patches take one code within 50 steps; so they do here."""
    for name, values in trajectory.summary()["recipe_check_tokenizer_s"].items():
        tensor = trajectory.tokenizer_tensors("recipe")[name].reshape(-1)
        np.testing.assert_allclose(tensor[:3], np.float32(values), rtol=1e-6)
    mine = trajectory.train_tokenizer("s", layout, "float32", steps(150, layout))
    check_tokenizer(mine, "tokenizer_s", 3e-6, {"loss": 3e-4, "commitment_loss": 3e-3, "grad_norm": 5e-3})
    assert mine.curves["codes_used"][0] > 0.1
    assert np.round(mine.curves["codes_used"][49] * trajectory.CODES) == 1
    if FULL:
        for metric, curve in TOKENIZER.items():
            bound = 2e-3 if metric == "commitment_loss" else 1e-5
            assert relative(mine, metric, f"tokenizer_s/f32/{curve}")[-1] <= bound
        check_end(mine, "tokenizer_s", equal_codes=1)


def check_end(mine: Run, name: str, equal_codes: float) -> None:
    """Codes of all windows and the codebook at the end of a run."""
    stage = trajectory.trainer("tokenizer", 1, "float32").stage
    for group in ("eegmat", "eegmmidb") if name == "tokenizer_c" else ("eegmat",):
        packed = trajectory.rows_of(trajectory.windows(group), DENSE)
        codes = jax.jit(functools.partial(stage.model.apply, method="encode"))(
            mine.state.variables, stage.stream(trajectory.batch_of(packed))
        )
        assert np.mean(codes == run(f"{name}/f32/codes/{group}")) >= equal_codes
    codebook = mine.state.collections["codebook"]["quantizer"]["vectors"]
    np.testing.assert_allclose(codebook, run(f"{name}/f32/final/quantize.embedding.weight"), atol=5e-2)


def test_codes_of_the_trained_tokenizer():
    """They are the labels of pretraining: equal wherever two codes are not as good as equally near."""
    stage = trajectory.trainer("pretrain", 1, "float32").stage
    packed = trajectory.rows_of(trajectory.windows("eegmat"), DENSE)
    codes = jax.jit(stage.label)(stage.frozen, stage.stream(trajectory.batch_of(packed)))
    clear = run("tokenizer_a/f32/code_margin/eegmat") > 1e-3
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(np.asarray(codes)[clear], run("pretrain/labels")[clear])


@LAYOUTS
def test_pretraining(layout: Layout):
    mine = trajectory.pretrain(layout, "float32", steps(450, layout))
    for metric, curve in PRETRAINING.items():
        difference = relative(mine, metric, f"pretrain/f32/{curve}")
        if "accuracy" not in metric:
            assert difference[0] <= 1e-6 and difference[:50].max() <= 2e-6 and difference.max() <= 5e-5, metric
        else:
            assert difference[:50].max() <= 1e-6, metric
    norm = relative(mine, "grad_norm", "pretrain/f32/grad_norm_before_clip")
    assert norm[:50].max() <= 1e-5 and norm.max() <= 5e-3
    start = trajectory.file("pretrain_init.safetensors")
    check_parameters(mine, "pretrain", start, {10: 1e-3, 50: 1e-3, 450: 2e-3})


@LAYOUTS
def test_finetuning(layout: Layout):
    mine = trajectory.finetune(layout, "float32", 80 if layout is DENSE else steps(80, layout))
    difference, norm = (
        relative(mine, "loss", "finetune/f32/loss"),
        relative(mine, "grad_norm", "finetune/f32/grad_norm"),
    )
    assert difference[0] <= 1e-6 and difference.max() <= 5e-6 and norm.max() <= 2e-5
    np.testing.assert_allclose(mine.curves["accuracy"], run("finetune/f32/accuracy")[: len(norm)], rtol=1e-6)
    check_parameters(mine, "finetune", trajectory.classifier_tensors(), {10: 1e-3, 50: 2e-3, 80: 2e-3})
    if len(norm) == 80:
        check_predictions(mine)


def check_predictions(mine: Run) -> None:
    stage = trajectory.trainer("finetune", 1, "float32").stage
    packed = trajectory.rows_of(trajectory.windows("eegmat"), DENSE)
    patches = stage.stream(trajectory.batch_of(packed))
    logits = np.asarray(jax.jit(stage.model.apply)(mine.state.variables, patches))[:, 0, 0]
    np.testing.assert_allclose(logits, run("finetune/f32/logits"), atol=2e-5)
    test, expected = run("finetune/test_windows"), trajectory.summary()["runs"]["finetune"]["test_metrics_f32"]
    labels = trajectory.file("windows.npz")["eegmat/label"][test]
    np.testing.assert_allclose(roc_auc_score(labels, logits[test]), expected["roc_auc"])
    np.testing.assert_allclose(balanced_accuracy_score(labels, logits[test] > 0), expected["balanced_accuracy"])


FLOAT64 = {
    "tokenizer_a": (lambda layout, n: trajectory.train_tokenizer("a", layout, "float64", n), TOKENIZER, 150),
    "tokenizer_b": (lambda layout, n: trajectory.train_tokenizer("b", layout, "float64", n), TOKENIZER, 150),
    "tokenizer_c": (lambda layout, n: trajectory.train_tokenizer("c", layout, "float64", n), TOKENIZER, 150),
    "tokenizer_s": (lambda layout, n: trajectory.train_tokenizer("s", layout, "float64", n), TOKENIZER, 150),
    "pretrain": (lambda layout, n: trajectory.pretrain(layout, "float64", n), PRETRAINING, 450),
    "finetune": (lambda layout, n: trajectory.finetune(layout, "float64", n), FINETUNING, 80),
}


@pytest.mark.parametrize("name", FLOAT64 if FULL else ["tokenizer_b", "pretrain", "finetune"])
@LAYOUTS_IF_FULL
def test_float64_to_rounding(name, layout):
    """Nothing in the models, losses or optimizer is held back in float32, and no step differs in its formula."""
    train, curves, total = FLOAT64[name]
    norm = {"grad_norm": "grad_norm_before_clip" if name == "pretrain" else "grad_norm"}
    with jax.enable_x64(True):
        mine = train(layout, total if FULL else 20)
    for metric, curve in {**curves, **norm}.items():
        difference = relative(mine, metric, f"{name}/f64/{curve}").max()
        assert difference <= 1e-9, f"{metric} differs by {difference:.2g}"
