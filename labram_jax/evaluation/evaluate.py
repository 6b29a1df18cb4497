"""Scores of a trained model on a corpus: what `labram-jax evaluate` prints and leaves in the run."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from labram_jax import metrics
from labram_jax.checkpoints.files import CONFIG, INPUTS, SCORES
from labram_jax.checkpoints.models import find_model, load_model, read_meta
from labram_jax.config import (
    ClassifierConfig,
    DataConfig,
    MaskedModelConfig,
    MeshConfig,
    PretrainingStageConfig,
    StageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
    replace,
)
from labram_jax.configfile import from_dict
from labram_jax.data import pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import evaluation_rows, windows_of
from labram_jax.data.views import Windows
from labram_jax.errors import InputError, sentence_of
from labram_jax.evaluation.baseline import band_power_baseline
from labram_jax.evaluation.heldout import predict
from labram_jax.evaluation.published import published_for
from labram_jax.inference import Classifier, load
from labram_jax.jsonfile import read_json, write_json
from labram_jax.parallel.sharding import make_mesh
from labram_jax.runs import make_stage, tokenizer_digest
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.stage import Stage
from labram_jax.tables import over_seeds, score_rows, text_table
from labram_jax.training.evaluating import evaluate as evaluate_batches
from labram_jax.training.program import prepare


@dataclass(frozen=True)
class Evaluation:
    """Scores by column ("fine-tuned", "band powers", ...) on one split; `str` is a table.

    `undefined` has the reason for each metric without a value, `notes` what else there is to say.
    """

    title: str
    columns: Mapping[str, Mapping[str, object]]
    undefined: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        reasons = [f"{metric} has no value: {reason}" for metric, reason in self.undefined.items()]
        return "\n".join([self.title, text_table(*score_rows(self.columns)), *reasons, *self.notes])


def evaluate(
    checkpoint: str | Path,
    corpus: str | Path,
    split: str = "test",
    baseline: bool = True,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
) -> Evaluation:
    """Scores a model on one split of a corpus, in windows as it was trained on unless others are asked for.

    A classifier gets its metrics beside a band-power regression's (fitted to the corpus' training split, if it can be)
    and the paper's; a tokenizer its losses and its use of the codebook; an encoder the cross-entropy of hidden codes. A
    classifier's scores and predictions on a corpus and in windows that it was trained on are also left in its run, for
    the report.
    Raises InputError for a model or a corpus that cannot be used, or that do not fit each other.
    """
    opened = Corpus.open(corpus)
    variables, values = load_model(checkpoint)
    config = from_dict(values, str(checkpoint))
    model = getattr(config, "model", config)
    data = _lengths(config, window_seconds, stride_seconds)
    if isinstance(model, ClassifierConfig):
        own = data == _lengths(config, None, None)
        return _classifier(Path(checkpoint), model, opened, data, split, baseline, leave=own)
    windows = _windows(data, opened, split)
    rows = evaluation_rows(data, [windows], jax.local_device_count())
    data = dataclasses.replace(rows, corpora=(opened.address,))
    stage = _stage(config, model, data, opened, checkpoint)
    batches = pipeline.evaluation(
        [windows],
        batch_rows=data.batch_rows,
        patch_slots=data.patch_slots,
        segments=data.segments,
        masked=isinstance(model, MaskedModelConfig),
    )
    program = prepare(stage, make_mesh(MeshConfig(), jax.local_devices()), total_steps=1, steps_per_epoch=1)
    scores = evaluate_batches(program, *program.put_model(variables), iter(batches))
    return Evaluation(_title(checkpoint, windows), {stage.name: scores}, {})


def evaluate_seeds(
    checkpoints: Sequence[str | Path],
    corpus: str | Path,
    split: str = "test",
    baseline: bool = True,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
) -> Evaluation:
    """Scores runs that differ in their seed alone: mean and standard deviation of every metric they share."""
    first, *others = [
        evaluate(checkpoint, corpus, split, baseline and number == 0, window_seconds, stride_seconds)
        for number, checkpoint in enumerate(checkpoints)
    ]
    if not others:
        return first
    name = next(iter(first.columns))
    if any(name not in other.columns for other in others):
        raise InputError("The checkpoints are of different stages: give runs that differ in their seed alone.")
    spread = over_seeds([evaluation.columns[name] for evaluation in (first, *others)])
    title = f"{first.title}, and {len(others)} more: mean ± standard deviation"
    return Evaluation(title, {**first.columns, name: spread}, first.undefined)


def _classifier(
    checkpoint: Path, model: ClassifierConfig, corpus: Corpus, data: DataConfig, split: str, baseline: bool, leave: bool
) -> Evaluation:
    if model.classes and corpus.classes != model.classes:
        raise InputError(
            f"{checkpoint} tells {', '.join(model.classes)} apart, but the corpus {corpus.path} has the classes "
            f"{', '.join(corpus.classes or ('none',))}: give a corpus with the same task."
        )
    classifier = load(checkpoint)
    assert isinstance(classifier, Classifier)
    windows = _windows(data, corpus, split)
    predictions, labels = predict(classifier, [windows])
    task = metrics.task_of(model.outputs, model.task == "regression")
    scored = metrics.scorer(task)(predictions, labels)
    columns: dict[str, Mapping[str, object]] = {"fine-tuned": scored.values}
    undefined = dict(scored.undefined)
    if baseline:
        classes = 0 if task == "regression" else max(2, model.outputs)
        try:
            training = windows_of(data, [corpus], "train")
            columns["band powers"] = band_power_baseline(training, [windows], classes).scores
        except InputError as error:
            # No windows to fit it to, no shared electrode: no reason to withhold the model's own scores.
            undefined["the band-power baseline"] = str(error)
    notes: tuple[str, ...] = ()
    if leave and _is_run_on(checkpoint, corpus):
        try:
            _leave_in_run(checkpoint, split, columns, predictions, labels)
        except OSError as error:  # a run of somebody else, say: no reason to withhold the scores
            notes = (f"nothing was left in the run for its report: {sentence_of(error)}",)
    papers = {f"paper, {name}": result.scores for name, result in published_for(corpus.name).items()}
    return Evaluation(_title(checkpoint, windows), {**columns, **papers}, undefined, notes)


def _is_run_on(path: Path, corpus: Corpus) -> bool:
    """Whether a checkpoint is a run (not one of its checkpoints, nor an exported model) trained on this corpus."""
    if not (path / CONFIG).is_file():
        return False
    config = from_dict(read_json(path / CONFIG), str(path / CONFIG))
    corpora = config.data.corpora if isinstance(config, StageConfig) else ()
    return corpus.address in corpora or corpus.path.resolve() in {Path(name).resolve() for name in corpora}


def _leave_in_run(run: Path, split: str, columns: Mapping, predictions: np.ndarray, labels: np.ndarray) -> None:
    """Adds to scores.json and writes the predictions."""
    path = run / SCORES
    scores = read_json(path) if path.is_file() else {}
    scores |= {split: dict(columns["fine-tuned"])}
    if "band powers" in columns:
        scores["baseline"] = dict(columns["band powers"])
    write_json(path, scores)
    path = run / f"predictions-{split}.npz"
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, probabilities=predictions, labels=labels)
    part.replace(path)


def _lengths(config: object, window_seconds: int | None, stride_seconds: float | None) -> DataConfig:
    """Windows as asked for, else as the model was trained on, else as the corpus has them."""
    own = config.data if isinstance(config, StageConfig) else DataConfig()
    if window_seconds is None:
        window_seconds, stride_seconds = own.window_seconds, stride_seconds or own.stride_seconds
    return DataConfig(window_seconds=window_seconds, stride_seconds=stride_seconds)


def _windows(data: DataConfig, corpus: Corpus, split: str) -> Windows:
    (windows,) = windows_of(data, [corpus], split)
    if not len(windows):
        raise InputError(
            f"The corpus {corpus.path} has no windows in the split {split!r}: see `labram-jax inspect`, or ask for "
            "shorter ones with --window-seconds."
        )
    return windows


def _stage(config, model, data: DataConfig, corpus: Corpus, checkpoint: str | Path) -> Stage:
    if not isinstance(config, StageConfig):
        if not isinstance(model, TokenizerConfig):
            raise InputError(
                f"{checkpoint} is an encoder without the run it came from, so the tokenizer whose codes it predicts "
                "is not known: evaluate the run, or fine-tune the encoder."
            )
        config = TokenizerStageConfig(run="", model=model)
    config = replace(dataclasses.replace(config, data=data), **{"optimizer.accumulate": 1})
    assert isinstance(config, TokenizerStageConfig | PretrainingStageConfig)
    stage = make_stage(config, [corpus], steps_per_epoch=1)
    if isinstance(stage, PretrainingStage):
        known = read_meta(find_model(checkpoint)).get(INPUTS, {})  # checkpoints of earlier versions have none
        if known.get("tokenizer", now := tokenizer_digest(stage)) != now:
            raise InputError(
                f"{checkpoint} predicts the codes of another tokenizer than {config.tokenizer} holds now, so that its "
                "scores would mean nothing: put the one back that it was trained with."
            )
    return stage


def _title(checkpoint: str | Path, windows: Windows) -> str:
    lengths = " or ".join(f"{seconds} s" for seconds in sorted({montage.seconds for montage in windows.montages}))
    return f"{checkpoint} on {len(windows):,} windows of {lengths} of {windows.corpus.name}, {windows.split}"
