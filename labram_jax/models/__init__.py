"""The models: pure functions over the patch stream, used through `init` and `apply`."""

from labram_jax.models.classifier import ClassifierModel
from labram_jax.models.encoder import Encoder
from labram_jax.models.masked_model import MaskedModel
from labram_jax.models.patches import PatchBatch, dense_batch
from labram_jax.models.tokenizer import TokenizerModel

__all__ = ["ClassifierModel", "Encoder", "MaskedModel", "PatchBatch", "TokenizerModel", "dense_batch"]
