"""Predictions of a classifier or regressor on windows, by the evaluation of its stage: `labram-jax predict`."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from labram_jax import metrics
from labram_jax.adaptation.features import FrozenFeatures, outputs_of
from labram_jax.config import ClassifierConfig, DataConfig, FinetuningStageConfig, MeshConfig, StageConfig, replace
from labram_jax.data import pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import evaluation_rows
from labram_jax.data.splits import with_splits
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.evaluation.predictions import PredictionTable, listed
from labram_jax.evaluation.sources import corpus_of
from labram_jax.parallel.sharding import make_mesh
from labram_jax.progress import Progress
from labram_jax.stages.finetuning import FinetuningStage, predictions_of, task_of
from labram_jax.stages.stage import Stage, Statistics
from labram_jax.training.evaluating import collect
from labram_jax.training.program import Programs
from labram_jax.weights import read_trained

PyTree = Any


def predict(
    checkpoint: str | Path,
    source: str | Path,
    out: str | Path,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
    notch: float | None = 50.0,
) -> str:
    """Writes the predictions for all windows of all splits of a corpus to `out` (.npz) and a .csv file beside it.

    A corpus without labels will do, and so will recordings (`source` and `notch` are as for `sources.corpus_of`).
    Returns what was written, for a person. Raises InputError for a model that is no classifier, a corpus that cannot be
    used, one with another task, and where a file exists.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise InputError(f"{out} does not end with .npz: give such a name, beside which a .csv file is written.")
    for path in (out, out.with_suffix(".csv")):
        if path.exists():
            raise InputError(f"{path} exists already: choose another name or remove it first.")
    variables, config = read_trained(checkpoint)
    if not isinstance(getattr(config, "model", config), ClassifierConfig):
        raise InputError(f"{checkpoint} is no classifier: fine-tune it first, or take its features (labram-jax embed).")
    with corpus_of(source, notch=notch) as (corpus, told):
        opened, data = as_trained(config, corpus), window_lengths(config, window_seconds, stride_seconds)
        windows = [opened.windows(split, data.window_seconds, data.stride_seconds) for split in opened.splits]
        if not any(map(len, windows)):
            raise InputError(
                f"The corpus {opened.path} has no windows of this length: give a smaller --window-seconds."
            )
        if opened.info.label is not None:
            check_task(checkpoint, getattr(config, "model", config), opened)
        table = predictions(config, variables, windows)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.write(out)
    return "\n".join([*told, f"{len(table):,} windows of {opened.name}: {out} and {out.with_suffix('.csv')}"])


def predictions(
    config: FinetuningStageConfig | ClassifierConfig,
    variables: Mapping[str, PyTree],
    windows: Sequence[SplitWindows],
    programs: Programs | None = None,
) -> PredictionTable:
    """The predictions for all windows, in the order of `predictions.listed`, computed as the stage computes them.

    `programs`: what was compiled for others, to be shared. Raises InputError, which names the windows, where a
    prediction is not finite.
    """
    if isinstance(config, ClassifierConfig):
        config = FinetuningStageConfig(run="", model=config)
    stage = FinetuningStage(for_evaluation(config, windows), None)
    found = predictions_of(collected(stage, variables, windows, programs=programs))
    return _table(config, found.logits[np.lexsort((found.window_ids, found.corpus_ids))], windows)


def probe_predictions(
    config: FinetuningStageConfig, variables: Mapping[str, PyTree], windows: SplitWindows
) -> PredictionTable:
    """The same of a probe for windows that its configuration asks for, by kept features of its encoder.

    They are those of `predictions` but for rounding, since windows lie in other rows (`FrozenFeatures`).
    """
    if config.kept_features == "never":
        return predictions(config, variables, [windows])
    mesh, whole = make_mesh(MeshConfig(), jax.local_devices()), replace(config, **{"data.damaged_share": 0.0})
    features = FrozenFeatures(whole, mesh, variables["params"], [windows.corpus], say=lambda _: None)
    outputs = outputs_of(config, variables["params"], features.blocks([windows]), features.rows)
    return _table(config, outputs, [windows])


def _table(config: FinetuningStageConfig, logits: np.ndarray, windows: Sequence[SplitWindows]) -> PredictionTable:
    """Predictions by the logits of all windows, in order."""
    names = config.model.classes or windows[0].corpus.classes or ()
    outputs = metrics.probabilities_of(logits, task_of(config))
    return PredictionTable.of(listed(windows), outputs, task_of(config), names)


def for_evaluation(config: StageConfig, windows: Sequence[SplitWindows]) -> Any:
    """A stage's configuration with rows for these windows, whole, on the devices of this process."""
    data = evaluation_rows(DataConfig(), windows, jax.local_device_count())
    data = dataclasses.replace(data, corpora=tuple(dict.fromkeys(own.corpus.address for own in windows)))
    optimizer = dataclasses.replace(config.optimizer, accumulate=1)
    return dataclasses.replace(config, data=data, optimizer=optimizer)


def collected(
    stage: Stage,
    variables: Mapping[str, PyTree],
    windows: Sequence[SplitWindows],
    masked: bool = False,
    programs: Programs | None = None,
) -> Statistics:
    """What the stage's evaluation finds in all windows; none is left out."""
    data = stage.config.data
    shape = {"batch_rows": data.batch_rows, "patch_slots": data.patch_slots, "segments": data.segments}
    dataset = pipeline.evaluation(windows, **shape, masked=masked)
    mesh = make_mesh(MeshConfig(), jax.local_devices())
    program = (programs or Programs()).prepare(stage, mesh, total_steps=1, steps_per_epoch=1)
    batches = pipeline.batches(dataset, 0, data.threads, data.prefetch)
    return collect(program, *program.put_model(variables), _shown(batches, sum(map(len, windows))))


def _shown(batches: Iterable[pipeline.Batch], windows: int) -> Iterator[pipeline.Batch]:
    with Progress("evaluating windows", windows) as progress:
        for batch in batches:
            yield batch
            progress.update(int((batch["window_ids"] >= 0).sum()))


def window_lengths(config: object, window_seconds: int | None, stride_seconds: float | None) -> DataConfig:
    """Windows as asked for, else as the model was trained on, else as the corpus has them."""
    own = config.data if isinstance(config, StageConfig) else DataConfig()
    if window_seconds is None:
        window_seconds, stride_seconds = own.window_seconds, stride_seconds or own.stride_seconds
    return DataConfig(window_seconds=window_seconds, stride_seconds=stride_seconds)


def trained_on(config: object, corpus: Corpus) -> bool:
    """Whether a configuration is that of a training on this corpus."""
    corpora = config.data.corpora if isinstance(config, StageConfig) else ()
    return corpus.address in corpora or corpus.path.resolve() in {Path(name).resolve() for name in corpora}


def as_trained(config: object, corpus: Corpus) -> Corpus:
    """The corpus with the splits of the training, where the configuration is that of one on this corpus."""
    return with_splits(config.data, corpus) if trained_on(config, corpus) else corpus


def check_task(checkpoint: str | Path, model: ClassifierConfig, corpus: Corpus) -> None:
    """Raises InputError where the labels of a corpus are not what a model predicts."""
    of_corpus = f"the corpus {corpus.path} has the classes {', '.join(corpus.classes or ('none',))}"
    if model.task == "regression":
        outputs = corpus.info.outputs if corpus.info.label == "vector" else None
        fits, says = outputs == model.outputs, f"predicts {model.outputs} value(s)"
        of_corpus = of_corpus if outputs is None else f"the corpus {corpus.path} has {outputs}"
    elif model.classes:
        fits, says = corpus.classes == model.classes, f"tells {', '.join(model.classes)} apart"
    else:
        # Two classes have one output, or one each in models from elsewhere.
        count = max(2, model.outputs)
        fits, says = len(corpus.classes or ()) == count, f"tells {count} classes apart"
    if not fits:
        raise InputError(f"{checkpoint} {says}, but {of_corpus}: give a corpus with the same task.")
