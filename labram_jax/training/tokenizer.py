"""The tokenizer stage: spectra of patches through the codebook."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labram_jax.config import TokenizerStageConfig
from labram_jax.models import PatchBatch, TokenizerModel
from labram_jax.models.quantizer import (
    code_statistics,
    commitment_loss,
    kmeans,
    perplexity,
    restart_unused,
    sample_latents,
    unit,
)
from labram_jax.models.segments import valid_mean
from labram_jax.models.spectrum import spectral_targets
from labram_jax.models.tokenizer import TokenizerOutput
from labram_jax.training.sharding import to_host
from labram_jax.training.stage import Batch, Found, PyTree, Stage
from labram_jax.training.state import TrainState

SAMPLING_KEY = 1  # beside the step, keeps these random numbers apart from the loop's


def tokenizer_losses(
    output: TokenizerOutput, batch: PatchBatch, patches: Float[Array, ""] | None = None
) -> dict[str, Float[Array, ""]]:
    """The three terms of the loss (equation 8), each a mean over all elements of the patches that count.

    `patches`: how many count in the whole batch, if this is a part of it.
    """
    amplitude, phase = spectral_targets(batch.patches, batch.membership)
    quantized = output.quantized
    return {
        "commitment_loss": commitment_loss(quantized.latents, quantized.vectors, quantized.weights, patches),
        "amplitude_loss": valid_mean((output.amplitude - amplitude) ** 2, batch.valid, patches),
        "phase_loss": valid_mean((output.phase - phase) ** 2, batch.valid, patches),
    }


class TokenizerStage(Stage):
    """Trains VQ-NSP; `steps_per_epoch` turns the codebook's epochs into steps."""

    name = "tokenizer"
    selection = ("loss", "min")

    def __init__(self, config: TokenizerStageConfig, steps_per_epoch: int):
        self.config = config
        self.model = TokenizerModel(config.model, config.compute)
        self.encoder_depth = config.model.encoder.depth
        self.frozen: dict = {}
        self.bypass_steps = round(config.codebook.bypass_epochs * steps_per_epoch)
        self.ramp_steps = round(config.codebook.commitment_warmup_epochs * steps_per_epoch)
        self._start = jax.jit(self._start_codebook)
        self._evaluate = jax.jit(self._evaluate_batch)

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        return self.model.init(key, empty_batch())

    def totals(self, batch: Batch) -> dict[str, Float[Array, ""]]:
        return {"patches": (batch["segment_ids"] > 0).sum()}

    def loss(
        self,
        params: PyTree,
        collections: dict[str, PyTree],
        frozen: PyTree,
        batch: Batch,
        keys: Key[Array, " B"],
        totals: Mapping[str, Float[Array, ""]],
        step: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Found]:
        """Amplitude + phase + weight * commitment, and what each code got."""
        stream = self.stream(batch)
        output = self.model.apply(
            {"params": params, **collections},
            stream,
            bypass=step < self.bypass_steps if self.bypass_steps else False,
            noise=self._noise(keys, stream),
        )
        losses = tokenizer_losses(output, stream, totals["patches"])
        weight = self._commitment_weight(step)
        loss = losses["amplitude_loss"] + losses["phase_loss"] + weight * losses["commitment_loss"]
        quantized = jax.lax.stop_gradient(output.quantized)
        counts, sums = code_statistics(quantized.latents, quantized.codes, quantized.weights, self._codes)
        rows = {}
        if self.config.codebook.restart_below > 0:
            shape = stream.valid.shape
            rows = {"latents": quantized.latents.reshape(*shape, -1), "weights": quantized.weights.reshape(shape)}
        metrics = {"loss": loss, **losses, "patches": stream.valid.sum()}
        return loss, Found(metrics, {"counts": counts, "sums": sums}, rows)

    def finish(
        self, collections: dict[str, PyTree], found: Found, key: Key[Array, ""], step: Int[Array, ""]
    ) -> tuple[dict[str, PyTree], dict[str, Float[Array, ""]]]:
        """Moves the codebook by its moving average over the whole batch."""
        counts = found.sums["counts"]
        _, moved = self.model.apply(
            collections, counts, found.sums["sums"], method=TokenizerModel.move_codebook, mutable=["codebook"]
        )
        moved = self._keep_alive(moved, found.rows, key, step < self.bypass_steps)
        usage = {"perplexity": perplexity(counts), "codes_used": (counts > 0).mean()}
        return moved, {**found.metrics, **usage}

    def before_step(self, state: TrainState, batch: Batch, step: int) -> TrainState:
        """Starts the codebook by k-means on the global batch, at the first step that uses it."""
        if step != self.bypass_steps or not self.config.codebook.kmeans_start:
            return state
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config.loop.seed), step), SAMPLING_KEY)
        return state.replace(collections=self._start(state.params, state.collections, batch, key))

    def evaluate(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
        """Losses over all patches of the split, the share of codes that it uses, and their perplexity."""
        sums: dict[str, np.ndarray] = {}
        for batch in batches:
            part = jax.tree.map(to_host, self._evaluate(state.variables, batch))
            sums = {name: sums.get(name, 0) + value for name, value in part.items()}
        counts, patches = sums.pop("counts"), sums.pop("patches")
        losses = {name: float(value / patches) for name, value in sums.items()}
        return {
            "loss": sum(losses.values()),
            **losses,
            "codes_used": float((counts > 0).mean()),
            "perplexity": float(perplexity(jnp.asarray(counts))),
        }

    def watch(self, step: int, metrics: Mapping[str, float | np.floating]) -> str | None:
        """Warns of a codebook that is collapsing."""
        possible = min(self._codes, self.config.data.batch_rows * self.config.data.patch_slots)
        if step <= self.bypass_steps or metrics["perplexity"] >= self.config.codebook.warn_below * possible:
            return None
        used = metrics["codes_used"] * self._codes
        return (
            f"the codebook is collapsing: the patches of this batch use {used:.0f} codes, evenly worth "
            f"{metrics['perplexity']:.1f} of {self._codes}. Train with --codebook.bypass-epochs, "
            "--codebook.commitment-warmup-epochs and --codebook.restart-below (configs/demo_tokenizer.py has values "
            "that work on little data)."
        )

    @property
    def _codes(self) -> int:
        return self.config.model.quantizer.codes

    def _commitment_weight(self, step: Int[Array, ""]) -> Float[Array, ""]:
        since = step - self.bypass_steps
        ramp = jnp.clip((since + 1) / (self.ramp_steps + 1), 0, 1)
        return self.config.codebook.commitment_weight * jnp.where(since < 0, 0, ramp)

    def _noise(self, keys: Key[Array, " B"], stream: PatchBatch) -> Float[Array, "B L d"] | None:
        deviation = self.config.codebook.bypass_noise
        if not self.bypass_steps or deviation == 0:
            return None
        shape = (stream.patches.shape[1], self.config.model.quantizer.dimension)
        return deviation * jax.vmap(lambda key: jax.random.normal(key, shape))(keys)

    def _keep_alive(self, moved: dict, rows: Mapping[str, Array], key: Key[Array, ""], bypassed) -> dict:
        below = self.config.codebook.restart_below
        if below == 0:
            return moved
        codebook, latents = moved["codebook"]["quantizer"], rows["latents"]
        latents, weights = latents.reshape(-1, latents.shape[-1]), rows["weights"].reshape(-1)
        vectors, usage = restart_unused(key, codebook["vectors"], codebook["usage"], latents, weights, below)
        alive = {"vectors": vectors, "usage": usage}
        return {"codebook": {"quantizer": jax.tree.map(lambda a, b: jnp.where(bypassed, a, b), codebook, alive)}}

    def _start_codebook(self, params: PyTree, collections: dict, batch: Batch, key: jax.Array) -> dict:
        stream = self.stream(batch)
        latents = self.model.apply({"params": params, **collections}, stream, method=TokenizerModel.latents)
        latents = unit(latents.reshape(-1, latents.shape[-1]))
        weights = stream.valid.reshape(-1).astype(latents.dtype)
        means = sample_latents(key, latents, weights, self._codes)
        iterations, chunk = self.config.codebook.kmeans_iterations, self.config.compute.code_chunk
        vectors, _ = kmeans(latents, weights, means, iterations, chunk)
        # Where unused codes are restarted, each has the same time to be hit.
        usage = jnp.full_like(collections["codebook"]["quantizer"]["usage"], 2 * self.config.codebook.restart_below)
        return {"codebook": {"quantizer": {"vectors": vectors, "usage": usage}}}

    def _evaluate_batch(self, variables: PyTree, batch: Batch) -> dict[str, Array]:
        stream = self.stream(batch)
        output = self.model.apply(variables, stream)
        quantized, patches = output.quantized, stream.valid.sum()
        counts, _ = code_statistics(quantized.latents, quantized.codes, quantized.weights, self._codes)
        return {"counts": counts, "patches": patches, **tokenizer_losses(output, stream, jnp.ones(()))}


def empty_batch() -> PatchBatch:
    """One row of one patch: enough to learn the shapes of a model's variables, which no batch's shape changes."""
    zeros = jnp.zeros((1, 1), jnp.int32)
    return PatchBatch(jnp.zeros((1, 1, 200), jnp.float32), zeros, zeros, zeros + 1)
