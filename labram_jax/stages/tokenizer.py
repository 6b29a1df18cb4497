"""The tokenizer stage: spectra of patches through the codebook."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labram_jax.config import TokenizerStageConfig
from labram_jax.models import PatchBatch, TokenizerModel
from labram_jax.models.patches import empty_batch
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
from labram_jax.models.spectrum import log_amplitude_targets, spectral_targets
from labram_jax.models.tokenizer import TokenizerOutput
from labram_jax.stages.stage import Batch, Event, PyTree, Stage, Statistics

SAMPLING_KEY = 1  # beside the step, keeps these random numbers apart from the step's


def tokenizer_losses(
    output: TokenizerOutput, batch: PatchBatch, patches: Float[Array, ""] | None = None
) -> dict[str, Float[Array, ""]]:
    """The terms of the loss (equation 8; that of the log amplitude where the model predicts it), each a mean over all
    elements of the patches that count.

    `patches`: how many count in the whole batch, if this is a part of it.
    """
    amplitude, phase = spectral_targets(batch.patches, batch.membership)
    quantized, beyond = output.quantized, {}
    if output.log_amplitude is not None:
        error = output.log_amplitude - log_amplitude_targets(batch.patches, batch.membership)
        beyond["log_amplitude_loss"] = valid_mean(error**2, batch.valid, patches)
    return {
        "commitment_loss": commitment_loss(quantized.latents, quantized.vectors, quantized.weights, patches),
        "amplitude_loss": valid_mean((output.amplitude - amplitude) ** 2, batch.valid, patches),
        "phase_loss": valid_mean((output.phase - phase) ** 2, batch.valid, patches),
        **beyond,
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

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        return self.model.init(key, empty_batch())

    def denominators(self, batch: Batch) -> dict[str, Float[Array, ""]]:
        return {"patches": (batch["segment_ids"] > 0).sum()}

    def loss(
        self,
        params: PyTree,
        collections: dict[str, PyTree],
        frozen: PyTree,
        batch: Batch,
        keys: Key[Array, " B"],
        denominators: Mapping[str, Float[Array, ""]],
        step: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Statistics]:
        """Amplitude + phase (+ log amplitude) + weight * commitment, and what each code got."""
        stream = self.stream(batch)
        output = self.model.apply(
            {"params": params, **collections},
            stream,
            bypass=step < self.bypass_steps if self.bypass_steps else False,
            noise=self._noise(keys, stream),
        )
        losses = tokenizer_losses(output, stream, denominators["patches"])
        loss = losses["amplitude_loss"] + losses["phase_loss"] + losses.get("log_amplitude_loss", 0)
        loss = loss + self._commitment_weight(step) * losses["commitment_loss"]
        quantized = jax.lax.stop_gradient(output.quantized)
        counts, sums = code_statistics(quantized.latents, quantized.codes, quantized.weights, self._codes)
        rows = {}
        if self.config.codebook.restart_below > 0:
            shape = stream.valid.shape
            rows = {"latents": quantized.latents.reshape(*shape, -1), "weights": quantized.weights.reshape(shape)}
        metrics = {"loss": loss, **losses, "patches": stream.valid.sum()}
        return loss, Statistics(metrics, {"counts": counts, "sums": sums}, rows)

    def apply_statistics(
        self, collections: dict[str, PyTree], statistics: Statistics, key: Key[Array, ""], step: Int[Array, ""]
    ) -> tuple[dict[str, PyTree], dict[str, Float[Array, ""]]]:
        """Moves the codebook by its moving average over the whole batch."""
        counts, sums = statistics.sums["counts"], statistics.sums["sums"]
        _, moved = self.model.apply(
            collections, counts, sums, method=TokenizerModel.move_codebook, mutable=["codebook"]
        )
        moved = self._keep_alive(moved, statistics.rows, key, step < self.bypass_steps)
        usage = {"perplexity": perplexity(counts), "codes_used": (counts > 0).mean()}
        return moved, {**statistics.metrics, **usage}

    def events(self) -> Mapping[int, Event]:
        """The codebook starts by k-means on the global batch of the first step that uses it."""
        return {self.bypass_steps: self.start_codebook} if self.config.codebook.kmeans_start else {}

    def start_codebook(
        self, params: PyTree, collections: dict[str, PyTree], batch: Batch, key: Key[Array, ""]
    ) -> dict[str, PyTree]:
        """Pure and traced: the codebook after k-means on the latents of a batch, from random ones of them."""
        stream = self.stream(batch)
        latents = self.model.apply({"params": params, **collections}, stream, method=TokenizerModel.latents)
        latents = unit(latents.reshape(-1, latents.shape[-1]))
        # A window that is not finite makes its step count for nothing (`training/guard.py`), but this happens once.
        finite = jnp.isfinite(latents).all(axis=-1)
        latents, weights = (
            jnp.where(finite[:, None], latents, 0),
            (stream.valid.reshape(-1) & finite).astype(latents.dtype),
        )
        means = sample_latents(jax.random.fold_in(key, SAMPLING_KEY), latents, weights, self._codes)
        iterations, chunk = self.config.codebook.kmeans_iterations, self.config.compute.code_chunk
        vectors, _ = kmeans(latents, weights, means, iterations, chunk)
        # Where unused codes are restarted, each has the same time to be hit.
        usage = jnp.full_like(collections["codebook"]["quantizer"]["usage"], 2 * self.config.codebook.restart_below)
        return {"codebook": {"quantizer": {"vectors": vectors, "usage": usage}}}

    def evaluate_batch(self, variables: dict[str, PyTree], frozen: PyTree, batch: Batch) -> Statistics:
        """Sums of the losses over patches, patches, and how many of them each code got."""
        stream = self.stream(batch)
        output = self.model.apply(variables, stream)
        quantized, losses = output.quantized, tokenizer_losses(output, stream, jnp.ones(()))
        counts, _ = code_statistics(quantized.latents, quantized.codes, quantized.weights, self._codes)
        return Statistics(sums={"losses": losses, "counts": counts, "patches": stream.valid.sum()})

    def summarise(self, statistics: Statistics) -> dict[str, float]:
        """Losses over all patches of the split, the share of codes that it uses, and their perplexity."""
        sums, counts = statistics.sums, statistics.sums["counts"]
        losses = {name: float(total / sums["patches"]) for name, total in sums["losses"].items()}
        return {
            "loss": sum(losses.values()),
            **losses,
            "codes_used": float((counts > 0).mean()),
            "perplexity": float(perplexity(jnp.asarray(counts))),
        }

    def warn_about(self, step: int, metrics: Mapping[str, float | np.floating]) -> str | None:
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
