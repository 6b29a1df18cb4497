"""Corpora and configurations so small that every stage trains in seconds, and learns all the same.

A window holds pink-ish noise and a rhythm, whose frequency its label decides: 6, 12 or 25 Hz for the classes 0, 1
and 2. Where labels are vectors they are the amplitudes of two rhythms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from made_corpora import MadeRecording, make_corpus

from labram_jax.config import (
    ClassifierConfig,
    CodebookTraining,
    DataConfig,
    EncoderConfig,
    FinetuningStageConfig,
    LoopConfig,
    MaskedModelConfig,
    OptimizerConfig,
    PretrainingStageConfig,
    QuantizerConfig,
    StageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
    replace,
)
from labram_jax.data.corpus import Corpus

RHYTHMS_HZ = (6, 12, 25)
CLASSES = ("slow", "middle", "fast")
# Two montages of different size, so that rows hold windows of both: 8 and 6 patches. They share one electrode.
MONTAGES = (("FP1", "FP2", "O1", "O2"), ("C3", "C4", "O2"))
SECONDS = 2
SUBJECTS = 3  # of each split
SPLITS = {"train": 72, "validation": 12, "test": 12}
CODES = 16


def window(electrodes: int, seconds: int, amplitudes: Sequence[float], seed: Any) -> Float[np.ndarray, "C samples"]:
    """Noise of 10 microvolts and rhythms of the given amplitudes, each electrode at its own phase.

    Its mean is not zero: of a zero, rounding alone would decide whether the angle at 0 Hz is 0 or pi.
    """
    generator = np.random.default_rng(seed)
    time = np.arange(seconds * 200) / 200
    noise = np.cumsum(generator.standard_normal((electrodes, len(time))), axis=1)
    eeg = 10 * (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
    for frequency, amplitude in zip(RHYTHMS_HZ, amplitudes, strict=False):
        phases = generator.uniform(0, 2 * np.pi, (electrodes, 1))
        eeg += amplitude * np.sin(2 * np.pi * frequency * time + phases)
    return eeg + generator.uniform(5, 10, (electrodes, 1))


def write_corpus(
    folder: Path,
    montages=MONTAGES,
    splits: dict[str, int] = SPLITS,
    label: str | None = "class",
    classes: int = 2,
    seed: int = 0,
) -> Corpus:
    """Writes a corpus with as many windows of each montage in each split as `splits` says; classes alternate.

    Windows of one subject follow each other in one recording; each is a span of its own.
    """
    recordings = []
    for montage, electrodes in enumerate(montages):
        for place, (split, count) in enumerate(splits.items()):
            for subject in range(min(SUBJECTS, count)):
                numbers = range(subject, count, SUBJECTS)
                made = [_window(len(electrodes), label, classes, (seed, montage, place, n), n) for n in numbers]
                spans = [(n * SECONDS, (n + 1) * SECONDS, split, own) for n, (_, own) in enumerate(made)]
                name = f"{split}{subject}"
                eeg = np.concatenate([eeg for eeg, _ in made], axis=1)
                recordings.append(MadeRecording(f"{name}/{montage}", name, electrodes, eeg, spans))
    names = CLASSES[:classes] if label == "class" else None
    return make_corpus(folder, recordings, names, window_seconds=SECONDS, dtype="float32")


def _window(electrodes: int, label: str | None, classes: int, seed: tuple, number: int) -> tuple[np.ndarray, Any]:
    if label == "vector":
        amplitudes = np.random.default_rng((*seed, 1)).uniform(0, 60, 2)
        target = tuple((amplitudes / 60).tolist())
    else:
        amplitudes = 40 * np.eye(len(RHYTHMS_HZ))[number % classes]
        target = number % classes if label == "class" else None
    return window(electrodes, SECONDS, amplitudes, seed), target


def small_encoder(**changes) -> EncoderConfig:
    """Width 100, the smallest that the temporal convolution's four groups allow; two blocks, for drop path."""
    return EncoderConfig(**{"width": 100, "depth": 2, "heads": 5, "temporal_channels": 4} | changes)


def small_tokenizer() -> TokenizerConfig:
    encoder = small_encoder(qkv_bias=True, qk_norm=False, layer_scale=0.0)
    return TokenizerConfig(encoder, replace(encoder, depth=1), QuantizerConfig(CODES, 8))


def tokenizer_config(run: Path, corpora: Sequence[Path], **changes) -> TokenizerStageConfig:
    """One epoch past the quantizer, then two with the codebook; a checkpoint after each."""
    codebook = CodebookTraining(bypass_epochs=1, commitment_warmup_epochs=0.5, restart_below=0.2)
    return _config(TokenizerStageConfig, run, corpora, 3, changes, model=small_tokenizer(), codebook=codebook)


def pretraining_config(run: Path, corpora: Sequence[Path], tokenizer: Path, **changes) -> PretrainingStageConfig:
    encoder = small_encoder(class_position="first_electrode", initialisation="pretraining")
    model = MaskedModelConfig(encoder, codes=8192)  # the tokenizer's 16 take its place
    return _config(PretrainingStageConfig, run, corpora, 3, changes, model=model, tokenizer=str(tokenizer))


def finetuning_config(run: Path, corpora: Sequence[Path], encoder: Path | str = "", **changes) -> FinetuningStageConfig:
    """A probe keeps no features, so that nothing comes to lie beside corpora that tests share."""
    model = ClassifierConfig(small_encoder())
    changes = {"kept_features": "never"} | changes
    return _config(FinetuningStageConfig, run, corpora, 3, changes, model=model, encoder=str(encoder))


def _config(stage: type[StageConfig], run: Path, corpora: Sequence[Path], epochs: float, changes: dict, **fields):
    config = stage(
        run=str(run),
        data=DataConfig(
            tuple(map(str, corpora)),
            window_seconds=SECONDS,
            batch_rows=4,
            patch_slots=16,
            segments=4,
            threads=1,
            prefetch=2,
        ),
        # A constant rate, so that how long a run is to last does not change its beginning.
        optimizer=OptimizerConfig(learning_rate=2e-3, final_learning_rate=2e-3, warmup_epochs=0, layer_decay=0.9),
        loop=LoopConfig(epochs=epochs, log_every=5, seed=1),
        **fields,
    )
    return replace(config, **changes)
