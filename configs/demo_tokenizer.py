"""A small tokenizer for a small corpus and a laptop, with a codebook that stays alive on little data.

    labram-jax train demo_tokenizer --run runs/tokenizer --data.corpora CORPUS [CORPUS ...]

The quantizer is bypassed at first, k-means starts the codebook on latents that the decoder already has use for, the
commitment weight rises from there, and codes that nobody uses are restarted. On few recordings the published
configuration (`tokenizer`) collapses onto one code within some fifty steps. `labram-jax evaluate` puts its losses
beside those of the training split's mean spectra, which need no code and are far below 1 in amplitude.

Windows of 4 s without overlap; `--data.stride-seconds 1` begins one every second, as the published tokenizer does.
"""

from labram_jax.config import (
    CodebookTraining,
    DataConfig,
    EncoderConfig,
    LoopConfig,
    OptimizerConfig,
    QuantizerConfig,
    TokenizerConfig,
    TokenizerStageConfig,
)

config = TokenizerStageConfig(
    run="runs/demo_tokenizer",
    model=TokenizerConfig(
        encoder=EncoderConfig(
            width=100, depth=3, heads=5, temporal_channels=4, qkv_bias=True, qk_norm=False, layer_scale=0.0
        ),
        decoder=EncoderConfig(
            width=100, depth=1, heads=5, temporal_channels=4, qkv_bias=True, qk_norm=False, layer_scale=0.0
        ),
        quantizer=QuantizerConfig(codes=64, dimension=16),
    ),
    codebook=CodebookTraining(bypass_epochs=4, commitment_warmup_epochs=4, restart_below=0.1),
    data=DataConfig(window_seconds=4, batch_rows=8, patch_slots=256, segments=3),
    optimizer=OptimizerConfig(
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        warmup_epochs=1,
        betas=(0.9, 0.99),
        weight_decay=1e-4,
        clip_norm=3.0,
    ),
    loop=LoopConfig(epochs=16, evaluate_every_epochs=4, save_every_epochs=4),
)
