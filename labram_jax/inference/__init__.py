"""What a user calls: a Tokenizer, Encoder or Classifier over windows of EEG."""

from labram_jax.inference.classifier import Classifier
from labram_jax.inference.encoder import Encoder
from labram_jax.inference.loading import load
from labram_jax.inference.model import Model
from labram_jax.inference.pooled import Convention, Pooling
from labram_jax.inference.tokenizer import Tokenizer

__all__ = ["Classifier", "Convention", "Encoder", "Model", "Pooling", "Tokenizer", "load"]
