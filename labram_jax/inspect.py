"""What a path holds: a recording, a corpus, a checkpoint or a run, as text for a person."""

from pathlib import Path

import numpy as np

from labram_jax.checkpoints.files import BRANCHED, SEEN
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.models import find_model, load_model, read_meta
from labram_jax.config import ClassifierConfig, MaskedModelConfig, ModelConfig, StageConfig, TokenizerConfig, kind_of
from labram_jax.configfile import from_dict
from labram_jax.convert.importing import import_model
from labram_jax.convert.source import SUFFIXES, is_foreign
from labram_jax.data.corpus import Corpus
from labram_jax.data.describe import describe
from labram_jax.data.schema import CORPUS_FILE
from labram_jax.errors import InputError
from labram_jax.obtain import located


def inspect(path: str | Path) -> str:
    """Describes whatever lies at `path`; raises InputError where there is nothing, or nothing known."""
    path = located(path)
    try:
        there, is_corpus = path.exists(), (path / CORPUS_FILE).is_file()
    except PermissionError as error:
        raise InputError(
            f"{path} may not be read (permission denied): change its permissions, or its folder's."
        ) from error
    if not there:
        raise InputError(f"There is nothing at {path}: check the path.")
    if is_corpus:
        return describe(Corpus.open(path))
    if path.suffix.lower() in SUFFIXES or (path.is_dir() and is_foreign(path)):
        return import_model(path).report.summary()
    if path.is_file() or path.suffix.lower() in (".mff", ".ds", ".mefd"):
        from labram_jax.data_prep.summary import inspect as inspect_recording

        return str(inspect_recording(path))
    return describe_checkpoint(path)


def describe_checkpoint(path: Path) -> str:
    """Kind, size, training and score of a checkpoint, an exported model, or a run's best checkpoint."""
    where = find_model(path)
    meta = read_meta(where)
    variables, values = load_model(where)
    config = from_dict(values, str(where))
    model = getattr(config, "model", config)
    lines = [f"{path}: {what(model)}"]
    if where != path.absolute():
        lines.append(f"  read from {where}")
    lines += [f"  {line}" for line in model_lines(model)]
    counts = {name: sum(int(np.size(a)) for a in _leaves(tree)) for name, tree in variables.items()}
    lines.append("  " + ", ".join(f"{name} {count:,} numbers" for name, count in sorted(counts.items(), reverse=True)))
    if isinstance(config, StageConfig):
        corpora = ", ".join(config.data.corpora) or "none"
        lines.append(f"  stage {kind_of(config)}, seed {config.loop.seed}, corpora {corpora}")
        lines.append(f"  after {meta.get('step', 0):,} batches of {config.data.batch_rows} rows")
        if BRANCHED in meta:
            lines.append("  begun at step {step:,} of {run}".format(**meta[BRANCHED]))
    lines += [f"  {line}" for line in Ledger.read(meta.get(SEEN), str(path)).told()]
    if meta.get("metrics"):
        lines.append("  validation: " + ", ".join(f"{name} {value:.4g}" for name, value in meta["metrics"].items()))
    return "\n".join(lines)


def what(model: ModelConfig) -> str:
    """What a model is, in two or three words."""
    return {
        TokenizerConfig: "a tokenizer",
        MaskedModelConfig: "a pretrained encoder",
        ClassifierConfig: "a classifier",
    }[type(model)]


def model_lines(model: ModelConfig) -> list[str]:
    """Its size and options, a line each."""

    def encoder(name, config):
        amplitude = ", with the amplitude of patches" if config.amplitude else ""
        return f"{name}: {config.depth} blocks, width {config.width}, {config.heads} heads{amplitude}"

    lines = [encoder("encoder", model.encoder)]
    if isinstance(model, TokenizerConfig):
        quantizer = model.quantizer
        lines += [encoder("decoder", model.decoder), f"codebook: {quantizer.codes:,} codes of {quantizer.dimension}"]
    elif isinstance(model, MaskedModelConfig):
        lines.append(f"predicts {model.codes:,} codes")
    else:
        names = f" ({', '.join(model.classes)})" if model.classes else ""
        readout = f"pooling by {model.pooling.replace('_', ' ')}" + ", with amplitudes" * model.amplitude
        readout += ", with those of filters" * model.filters
        lines.append(f"{model.task}, {model.outputs} output(s){names}, {readout}")
    return lines


def _leaves(tree) -> list:
    return [leaf for part in tree.values() for leaf in _leaves(part)] if isinstance(tree, dict) else [tree]
