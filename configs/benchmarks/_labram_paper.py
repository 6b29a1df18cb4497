"""What the LaBraM paper reports (arXiv 2405.18765): mean ± standard deviation of 5 seeds, by size of the model."""

from labram_jax.protocol import Published
from labram_jax.tables import Spread

SOURCE = "LaBraM paper, arXiv 2405.18765, mean ± standard deviation of 5 seeds"


def reported(
    metrics: tuple[str, ...], rows: dict[str, tuple[tuple[float, float], ...]], windows: int
) -> tuple[Published, ...]:
    """The results of each size, of which a row has mean and standard deviation of every metric, on so many windows."""
    return tuple(
        Published(
            f"LaBraM-{size.capitalize()}",
            size,
            {name: Spread(*value, seeds=5) for name, value in zip(metrics, values, strict=True)},
            SOURCE,
            windows,
        )
        for size, values in rows.items()
    )
