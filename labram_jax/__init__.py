"""LaBraM in JAX: the large brain model for EEG, from raw recordings to a fine-tuned classifier."""

from typing import TYPE_CHECKING

from labram_jax.errors import InputError

if TYPE_CHECKING:
    from labram_jax.data.corpus import open_corpus
    from labram_jax.inference import Classifier, Encoder, Tokenizer, load

__version__ = "0.1.0"
__all__ = ["Classifier", "Encoder", "InputError", "Tokenizer", "load", "open_corpus"]


def __getattr__(name: str):
    # Data preparation imports this package in every worker and must not wait for jax.
    if name in ("Classifier", "Encoder", "Tokenizer", "load"):
        from labram_jax import inference

        return getattr(inference, name)
    if name == "open_corpus":
        from labram_jax.data.corpus import open_corpus

        return open_corpus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
