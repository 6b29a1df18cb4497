"""Whole training runs of the official implementation on real windows, and the same runs by this project.

The files hold real recordings and do not belong to the repository: they are read from the folder that the
environment variable LABRAM_TRAJECTORY names, or from beside the repository. Their own README tells what they are.
"""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from golden_data import quick_jit, recipe_weights, tiny_classifier, tiny_masked_model, tiny_tokenizer
from packed_rows import Packed, Window, make_window, pack_rows
from safetensors.numpy import load_file

from labram_jax.config import (
    CodebookTraining,
    ComputeConfig,
    DataConfig,
    FinetuningStageConfig,
    OptimizerConfig,
    PretrainingStageConfig,
    TokenizerStageConfig,
)
from labram_jax.convert.official import from_official, to_official
from labram_jax.data import stream
from labram_jax.models import TokenizerModel
from labram_jax.models.quantizer import kmeans, unit
from labram_jax.parallel.state import TrainState
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.tokenizer import TokenizerStage
from labram_jax.training.guard import fresh
from labram_jax.training.optimizer import make_optimizer
from labram_jax.training.step import make_train_step, step_seed

FOLDER = Path(os.environ.get("LABRAM_TRAJECTORY") or Path(__file__).parents[3] / "shared/golden/trajectory")
FULL = os.environ.get("LABRAM_TRAJECTORY_FULL") == "1"
CODES = 128
SAMPLES = 41  # elements of every tensor that the files hold


class Layout(NamedTuple):
    """How the windows of a batch lie in rows: `windows` to a row of `slots` patches, each after `gap` empty ones."""

    windows: int
    slots: int | None
    gap: int
    segments: int

    def __str__(self) -> str:
        return "dense" if self.slots is None else "packed"


DENSE = Layout(windows=1, slots=None, gap=0, segments=1)
# Rows that hold two windows of either montage (76 or 128 patches), so that both share one compiled step.
PACKED = Layout(windows=2, slots=264, gap=3, segments=3)


@functools.cache
def file(name: str) -> Mapping[str, np.ndarray]:
    if name.endswith(".safetensors"):
        return load_file(FOLDER / name)
    with np.load(FOLDER / name) as stored:
        return dict(stored)


@functools.cache
def summary() -> Mapping:
    return json.loads((FOLDER / "summary.json").read_text())


def run(key: str) -> np.ndarray:
    return file("runs.npz")[key]


@functools.cache
def windows(group: str) -> list[Window]:
    """All windows of "eegmat" or "eegmmidb" as patches in microvolts, with their addresses."""
    stored = file("windows.npz")
    microvolts = stored[f"{group}/eeg"].astype(np.float32) * stored["scale_microvolts"]
    seconds = microvolts.shape[-1] // 200
    ids = stream.addresses([str(name) for name in stored[f"{group}/electrodes"]], seconds).electrode_ids[::seconds]
    return [make_window(stream.patches(eeg).reshape(len(ids), -1), ids) for eeg in microvolts]


def rows_of(batch: Sequence[Window], layout: Layout) -> Packed:
    rows = [batch[start : start + layout.windows] for start in range(0, len(batch), layout.windows)]
    return pack_rows(rows, layout.slots or len(batch[0].patches), layout.segments, layout.gap)


def batch_of(packed: Packed, labels: Sequence[int] | None = None, mask: bool = False) -> dict:
    """What a stage takes."""
    batch = {name: getattr(packed.batch, name) for name in ("electrode_ids", "time_ids", "segment_ids")}
    batch["microvolts"] = packed.batch.patches  # not yet divided by 100
    if mask:
        batch["mask"] = packed.batch.mask
    if labels is not None:
        batch["labels"] = np.full((len(packed.batch.patches), packed.batch.segments), -1, np.int32)
        for (row, _, segment), label in zip(packed.places, labels, strict=True):
            batch["labels"][row, segment] = label
    return batch


def tokenizer_tensors(start: str) -> dict[str, np.ndarray]:
    """Official tensors of a tokenizer: "init", "final" (run A at its end, as far as codes go) or "recipe" (run S)."""
    if start == "recipe":
        return recipe_weights(tiny_tokenizer(CODES), summary()["recipe_salt_tokenizer_s"])
    final = file("tokenizer_a_final_encoder.safetensors") if start == "final" else {}
    return {**file("tokenizer_init.safetensors"), **final}


def classifier_tensors() -> dict[str, np.ndarray]:
    """The encoder as pretrained, by the official rules of import, and the run's own head."""
    prefix, new = "student.", "finetune/init/"
    pretrained = {n.removeprefix(prefix): t for n, t in file("pretrain_final.safetensors").items() if prefix in n}
    return pretrained | {n.removeprefix(new): t for n, t in file("runs.npz").items() if n.startswith(new)}


def optimizer_config(kind: str) -> tuple[OptimizerConfig, int]:
    """The run's optimizer in epochs of one step, and its number of steps."""
    told = summary()["hyperparameters"][kind]
    config = OptimizerConfig(
        learning_rate=told["peak_lr"],
        final_learning_rate=told["min_lr"],
        warmup_epochs=told["warmup_steps"],
        betas=tuple(told["betas"]),
        epsilon=told["eps"],
        weight_decay=told["weight_decay"],
        clip_norm=told["clip"],
        layer_decay=told.get("layer_decay", 1.0),
    )
    return config, told["steps"]


class Trainer:
    """A stage with its compiled step, for one layout of rows and one type of numbers."""

    def __init__(self, kind: str, segments: int, dtype: str):
        self.dtype = dtype
        optimizer, self.steps = optimizer_config(kind)
        common = {
            "run": "",
            "data": DataConfig(segments=segments),
            "optimizer": optimizer,
            "compute": ComputeConfig(dtype=dtype),
        }
        if kind == "tokenizer":
            published = CodebookTraining(kmeans_start=False)
            config = TokenizerStageConfig(model=tiny_tokenizer(CODES), codebook=published, **common)
            self.stage = TokenizerStage(config, steps_per_epoch=1)
        elif kind == "pretrain":
            config = PretrainingStageConfig(model=tiny_masked_model(CODES), **common)
            tokenizer = from_official(tokenizer_tensors("final"), tiny_tokenizer(CODES))
            self.stage = PretrainingStage(config, tiny_tokenizer(CODES), tokenizer)
        else:
            config = FinetuningStageConfig(model=tiny_classifier(1), **common)
            self.stage = FinetuningStage(config, None)
        self._step, self._seed = None, step_seed(self.stage.config.loop.seed)

    def state(self, tensors: Mapping[str, np.ndarray]) -> TrainState:
        """The state at the start, widened where the numbers are."""
        variables = self.widen(from_official(tensors, self.stage.config.model))
        params = variables.pop("params")
        depth, config = self.stage.encoder_depth, self.stage.config.optimizer
        optimizer, self.learning_rate = make_optimizer(config, params, depth, self.steps, steps_per_epoch=1)
        if self._step is None:
            jit = quick_jit if self.dtype == "float64" and not FULL else jax.jit
            self._step = jit(make_train_step(self.stage, optimizer, self.learning_rate))
        frozen, guard = self.widen(self.stage.frozen), jax.tree.map(jnp.asarray, fresh(self.stage.config.guard))
        return TrainState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params), guard, frozen)

    def widen(self, tree):
        return jax.tree.map(lambda x: jnp.asarray(x, self.dtype), tree)

    def follow(self, state: TrainState, batches, steps: int) -> "Run":
        """Takes `steps` steps and keeps what the files tell of them."""
        curves, parameters = [], {}
        for number, batch in zip(range(1, steps + 1), batches, strict=False):
            state, metrics = self._step(state, batch, self._seed)
            if "codebook" in state.collections:
                metrics = {**metrics, "unused": (state.collections["codebook"]["quantizer"]["usage"] == 0).sum()}
            curves.append(jax.device_get(metrics))
            if number in (10, 50, self.steps):
                parameters[number] = self.official(state)
        return Run(state, {name: np.array([m[name] for m in curves]) for name in curves[0]}, parameters)

    def official(self, state: TrainState) -> dict[str, np.ndarray]:
        return to_official(jax.device_get(state.variables), self.stage.config.model)


class Run(NamedTuple):
    """Last state, metrics of all steps, official parameters after some of them."""

    state: TrainState
    curves: dict[str, np.ndarray]
    parameters: dict[int, dict[str, np.ndarray]]


@functools.cache
def trainer(kind: str, segments: int, dtype: str) -> Trainer:
    return Trainer(kind, segments, dtype)


def train_tokenizer(name: str, layout: Layout, dtype: str, steps: int) -> Run:
    """Run "a" (random codes), "b" (k-means), "c" (two montages in turn) or "s" (official initialisation)."""
    own = trainer("tokenizer", layout.segments, dtype)
    state = own.state(tokenizer_tensors("recipe" if name == "s" else "init"))
    groups = [windows("eegmat"), windows("eegmmidb")]
    plan = zip(run(f"tokenizer_{name}/group"), run(f"tokenizer_{name}/batches"), strict=True)
    batches = [batch_of(rows_of([groups[g][w] for w in chosen], layout)) for g, chosen in list(plan)[:steps]]
    if name == "b":
        means = run("tokenizer_b/kmeans_initial_means")
        vectors, counts = start_codebook(own, state, batches[0], means)
        np.testing.assert_array_equal(counts, run("tokenizer_b/f32/final/quantize.embedding.cluster_size"))
        codebook = {"vectors": vectors, "usage": jnp.zeros_like(vectors[:, 0])}
        state = state.replace(collections={"codebook": {"quantizer": codebook}})
    return own.follow(state, batches, steps)


def start_codebook(own: Trainer, state: TrainState, batch: Mapping, means: np.ndarray):
    """Codebook and counts after ten iterations of k-means on the latents of a batch."""
    patches = own.stage.stream(batch)
    latents = unit(own.stage.model.apply(state.variables, patches, method=TokenizerModel.latents))
    latents = latents.reshape(-1, latents.shape[-1])
    weights = jnp.asarray(patches.valid.reshape(-1), own.dtype)
    return kmeans(latents, weights, jnp.asarray(means, own.dtype), iterations=10)


def pretrain(layout: Layout, dtype: str, steps: int) -> Run:
    own = trainer("pretrain", layout.segments, dtype)
    state = own.state(file("pretrain_init.safetensors"))

    def batches():
        for chosen, masks in zip(run("pretrain/batches"), run("pretrain/masks"), strict=True):
            batch = [windows("eegmat")[w]._replace(mask=mask) for w, mask in zip(chosen, masks, strict=True)]
            yield batch_of(rows_of(batch, layout), mask=True)

    return own.follow(state, batches(), steps)


def finetune(layout: Layout, dtype: str, steps: int) -> Run:
    own = trainer("finetune", layout.segments, dtype)
    state = own.state(classifier_tensors())
    labels = file("windows.npz")["eegmat/label"]
    batches = (
        batch_of(rows_of([windows("eegmat")[w] for w in chosen], layout), labels[chosen])
        for chosen in run("finetune/batches")
    )
    return own.follow(state, batches, steps)


def samples(tensor: np.ndarray) -> np.ndarray:
    """The elements of a tensor that the files hold."""
    flat = tensor.reshape(-1)
    return flat if flat.size <= SAMPLES else flat[np.arange(SAMPLES) * flat.size // SAMPLES]
