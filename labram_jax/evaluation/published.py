"""What is reported of the benchmarks whose splits a corpus itself has, to put beside one's own scores."""

from labram_jax.configfile import protocols
from labram_jax.protocol import OwnSplits, Published

COLUMN = "published, "  # how the columns of tables begin that hold it


def published_for(corpus: str) -> dict[str, Published]:
    """Returns the published results on the benchmark of a corpus' name, by model; empty where there are none."""
    own = [one for one in protocols() if isinstance(one.split, OwnSplits) and one.corpus == corpus.lower()]
    return {result.model: result for protocol in own for result in protocol.published}
