"""How the codebook fares on a small corpus, by remedy against collapse.

    python benchmarks/codebook.py CORPUS [--epochs 10] [--only NAME ...] [--window-seconds 4] [--stride-seconds 1]

Trains the small tokenizer of `configs/demo_tokenizer.py` once for each remedy, from the same seed and on the same
batches, and prints losses and use of the codebook on the validation split.
"""

import tempfile
from pathlib import Path

import tyro
from tyro.conf import Positional

from labram_jax.config import CodebookTraining, replace
from labram_jax.configfile import load_file
from labram_jax.runs import train
from labram_jax.tables import text_table


def remedies(epochs: float) -> dict[str, CodebookTraining]:
    """The published recipe, and what can be done about it."""
    quarter = epochs / 4
    return {
        "published": CodebookTraining(),
        "weight-0.1": CodebookTraining(commitment_weight=0.1),
        "warmup": CodebookTraining(commitment_warmup_epochs=2 * quarter),
        "restart": CodebookTraining(restart_below=0.1),
        "bypass": CodebookTraining(bypass_epochs=quarter),
        "bypass-warmup": CodebookTraining(bypass_epochs=quarter, commitment_warmup_epochs=quarter),
        "bypass-warmup-restart": CodebookTraining(
            bypass_epochs=quarter, commitment_warmup_epochs=quarter, restart_below=0.1
        ),
        "bypass-noise-warmup-restart": CodebookTraining(
            bypass_epochs=quarter, bypass_noise=0.05, commitment_warmup_epochs=quarter, restart_below=0.1
        ),
    }


def main(
    corpus: Positional[Path],
    epochs: float = 10.0,
    only: tuple[str, ...] = (),
    window_seconds: int = 4,
    stride_seconds: float | None = None,
) -> None:
    """Compares remedies.

    Args:
        corpus: a corpus with a validation split.
        epochs: of each training.
        only: names of remedies; by default all.
        window_seconds: length of a window.
        stride_seconds: from the start of one window to the next; by default a window's length.
    """
    windows = {"data.window_seconds": window_seconds, "data.stride_seconds": stride_seconds}
    columns = ("loss", "amplitude_loss", "phase_loss", "codes_used", "perplexity")
    rows = []
    for name, codebook in remedies(epochs).items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as run:
            changes = {"run": run, "data.corpora": (str(corpus),), **windows, "codebook": codebook}
            changes |= {"loop.epochs": epochs, "loop.evaluate_every_epochs": epochs}
            result = train(replace(load_file("demo_tokenizer"), **changes))
        rows.append([name, *(result.validation[column] for column in columns)])
    print(text_table(["remedy", *columns], rows))


if __name__ == "__main__":
    tyro.cli(main)
