"""What is reported of the benchmarks whose splits a corpus itself has, to put beside one's own scores."""

from labram_jax.config import DataConfig
from labram_jax.configfile import protocols
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.schema import SPLITS
from labram_jax.protocol import OwnSplits, Published, withheld

COLUMN = "published, "  # how the columns of tables begin that hold it
_TEST = "test"  # the split that is reported


def published_for(corpus: str) -> dict[str, Published]:
    """Returns the published results on the benchmark of a corpus' name, by model; empty where there are none."""
    own = [one for one in protocols() if isinstance(one.split, OwnSplits) and one.corpus == corpus.lower()]
    return {result.model: result for protocol in own for result in protocol.published}


def comparable(
    corpus: Corpus, data: DataConfig, split: str, own_splits: bool
) -> tuple[dict[str, Published], list[str]]:
    """Returns the published results that scores on a split may stand beside, by model, and why others may not.

    Only those on the test split that the corpus was prepared with (`own_splits`) are of the same windows, and only if
    the corpus has as many as the published one; `data` says how long they are.
    """
    found = published_for(corpus.name)
    if not found or split != _TEST:
        return {}, []
    if not own_splits:
        return {}, ["what is published is not shown, since the configuration makes another split than the corpus has"]
    windows = sum(len(own) for name in SPLITS for own in windows_of(data, [corpus], name))
    return {model: one for model, one in found.items() if one.is_of(windows)}, withheld([*found.values()], windows)
