"""The commands of `labram-jax`: each reads its arguments and imports a room when it runs."""

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """In which module of this room a command is, the arguments that it needs, and what it does in a few words."""

    module: str
    takes: str
    what: str


COMMANDS = {
    "demo": Command("training", "[--out DIR]", "from recordings to scores, on simulated ones"),
    "prepare": Command("preparing", "CORPUS SOURCE OUT", "recordings to a corpus on disk"),
    "train": Command(
        "training", "CONFIG [--dotted.override V]", "train a stage: tokenizer, pretraining or fine-tuning"
    ),
    "tokenize": Command("models", "TOKENIZER CORPUS", "codes of all windows, kept beside the corpus for pretraining"),
    "evaluate": Command("models", "CHECKPOINT SOURCE", "scores on a split of a corpus, or on recordings"),
    "predict": Command("models", "CHECKPOINT SOURCE OUT", "predictions for all windows, as one table"),
    "audit": Command(
        "models", "CHECKPOINT CORPUS", "what features say of subjects, of labels, and of labels without subjects"
    ),
    "benchmark": Command(
        "training", "PROTOCOL --corpus DIR", "all folds and seeds of a benchmark, beside what is published"
    ),
    "embed": Command("models", "CHECKPOINT SOURCE OUT", "features of a corpus or of recordings, to .npz or Zarr"),
    "convert": Command("models", "SOURCE DEST", "PyTorch, safetensors and braindecode to JAX and back"),
    "push": Command(
        "models", "SOURCE OWNER/NAME --licence L", "a model to the Hub, with a card of data, scores and digests"
    ),
    "plan": Command(
        "training",
        "CONFIG [--topology v5e:16x16]",
        "compile for devices without having them: memory, step time, levers",
    ),
    "inspect": Command("models", "PATH", "what a recording, corpus or checkpoint holds"),
    "report": Command(
        "models", "RUN|BENCHMARK|CORPUS", "figures and tables of a run, a benchmark or a corpus, as one HTML page"
    ),
    "completion": Command("completing", "SHELL", "a script by which bash or zsh completes all of these"),
}


def command(name: str) -> Callable[[Sequence[str]], int | None]:
    """The function behind a command, which takes the arguments that follow its name; its module is imported now."""
    return getattr(importlib.import_module(f"labram_jax.commands.{COMMANDS[name].module}"), name)
