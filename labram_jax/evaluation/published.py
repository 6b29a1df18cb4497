"""What is reported of the benchmarks whose splits a corpus itself has, to put beside one's own scores."""

from labram_jax.configfile import protocols
from labram_jax.protocol import OwnSplits, Published


def published_for(corpus: str) -> dict[str, Published]:
    """Returns the published results on the benchmark of a corpus' name, by size of the model; empty without any."""
    own = [protocol for protocol in protocols() if isinstance(protocol.split, OwnSplits)]
    return {
        result.size: result for protocol in own if protocol.corpus == corpus.lower() for result in protocol.published
    }
