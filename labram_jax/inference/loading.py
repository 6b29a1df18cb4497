"""`labram_jax.load`: whatever holds a model, as the face that suits it."""

from pathlib import Path

from labram_jax.config import ClassifierConfig, ComputeConfig, MaskedModelConfig, TokenizerConfig
from labram_jax.inference.classifier import Classifier
from labram_jax.inference.encoder import Encoder
from labram_jax.inference.tokenizer import Tokenizer
from labram_jax.weights import read_ledger, read_model


def load(
    path: str | Path, compute: ComputeConfig = ComputeConfig(), weights: str | None = None
) -> Tokenizer | Encoder | Classifier:
    """Loads a model from a run (its best checkpoint), a checkpoint, or an exported model, or imports one.

    What can be imported: a .pth file of PyTorch, a .safetensors file, a folder of braindecode, a known name such as
    "labram-base", an address on the Hub ("hf://owner/name"). Of a file that holds several models, `weights` says which
    (such as "model_ema"). Raises InputError where there is none of these, or where it is damaged.
    """
    variables, config = read_model(path, weights)
    face = {TokenizerConfig: Tokenizer, MaskedModelConfig: Encoder, ClassifierConfig: Classifier}[type(config)]
    return face(variables, config, compute, read_ledger(path))
