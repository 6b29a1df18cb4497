"""LaBraM in JAX: the large brain model for EEG, from raw recordings to a fine-tuned classifier."""

from typing import TYPE_CHECKING

from labram_jax.errors import InputError

if TYPE_CHECKING:
    from labram_jax.data.corpus import open_corpus
    from labram_jax.inference import Classifier, Encoder, Tokenizer, load
    from labram_jax.publish import push
    from labram_jax.windows import Windows

__version__ = "0.1.0"
__all__ = ["Classifier", "Encoder", "InputError", "Tokenizer", "Windows", "load", "open_corpus", "push"]


def __getattr__(name: str):
    # Data preparation imports this package in every worker and must not wait for jax.
    if name in ("Classifier", "Encoder", "Tokenizer", "load"):
        from labram_jax import inference

        return getattr(inference, name)
    if name == "Windows":
        from labram_jax.windows import Windows

        return Windows
    if name == "open_corpus":
        from labram_jax.data.corpus import open_corpus

        return open_corpus
    if name == "interop":
        import importlib

        return importlib.import_module("labram_jax.interop")
    if name == "push":
        from labram_jax.publish import push

        return push
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
