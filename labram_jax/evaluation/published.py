"""What the LaBraM paper reports, to put beside one's own scores."""

from dataclasses import dataclass

from labram_jax.tables import Spread

SOURCE = "LaBraM paper, arXiv 2405.18765, mean ± standard deviation of 5 seeds"


@dataclass(frozen=True)
class PublishedResult:
    """One model's published test scores on one benchmark."""

    benchmark: str
    model: str
    scores: dict[str, Spread]
    source: str = SOURCE


def _results(benchmark: str, metrics: tuple[str, ...], rows: dict[str, tuple[tuple[float, float], ...]]):
    return tuple(
        PublishedResult(
            benchmark, model, {name: Spread(*value, seeds=5) for name, value in zip(metrics, values, strict=True)}
        )
        for model, values in rows.items()
    )


PUBLISHED: tuple[PublishedResult, ...] = (
    *_results(
        "tuab",
        ("balanced_accuracy", "auc_pr", "auroc"),
        {
            "base": ((0.8140, 0.0019), (0.8965, 0.0016), (0.9022, 0.0009)),
            "large": ((0.8226, 0.0015), (0.9130, 0.0005), (0.9127, 0.0005)),
            "huge": ((0.8258, 0.0011), (0.9204, 0.0011), (0.9162, 0.0016)),
        },
    ),
    *_results(
        "tuev",
        ("balanced_accuracy", "cohen_kappa", "weighted_f1"),
        {
            "base": ((0.6409, 0.0065), (0.6637, 0.0093), (0.8312, 0.0052)),
            "large": ((0.6581, 0.0156), (0.6622, 0.0136), (0.8315, 0.0040)),
            "huge": ((0.6616, 0.0170), (0.6745, 0.0195), (0.8329, 0.0086)),
        },
    ),
    *_results(
        "seed-v",
        ("accuracy", "cohen_kappa", "weighted_f1"),
        {
            "base": ((0.4095, 0.0062), (0.2613, 0.0075), (0.4120, 0.0057)),
            "large": ((0.4096, 0.0075), (0.2639, 0.0090), (0.4127, 0.0079)),
            "huge": ((0.4102, 0.0037), (0.2646, 0.0046), (0.4136, 0.0047)),
        },
    ),
    *_results(
        "mobi",
        ("pearson_r", "r2", "rmse"),
        {
            "base": ((0.5383, 0.0102), (0.2876, 0.0032), (0.1225, 0.0003)),
            "large": ((0.5603, 0.0020), (0.3093, 0.0032), (0.1197, 0.0003)),
            "huge": ((0.5632, 0.0023), (0.3145, 0.0032), (0.1196, 0.0003)),
        },
    ),
)


def published_for(corpus: str) -> dict[str, PublishedResult]:
    """Returns the published results on the benchmark of a corpus' name, by model; empty where there are none."""
    return {result.model: result for result in PUBLISHED if result.benchmark == corpus.lower()}
