"""Scores of a trained model on a corpus, beside what is reached without it: what `labram-jax evaluate` prints."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labram_jax.checkpoints.files import CONFIG, INPUTS, SCORES
from labram_jax.checkpoints.ledger import overlap
from labram_jax.checkpoints.models import find_model, read_meta
from labram_jax.config import (
    ClassifierConfig,
    DataConfig,
    FinetuningStageConfig,
    PretrainingStageConfig,
    StageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
)
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError, sentence_of
from labram_jax.evaluation import references
from labram_jax.evaluation.baseline import fit_band_powers
from labram_jax.evaluation.predict import (
    as_trained,
    check_task,
    collected,
    for_evaluation,
    predictions,
    trained_on,
    window_lengths,
)
from labram_jax.evaluation.predictions import PredictionTable, listed
from labram_jax.evaluation.published import COLUMN, comparable
from labram_jax.evaluation.scoring import Level, score_levels
from labram_jax.evaluation.sources import corpus_of
from labram_jax.inference import Tokenizer
from labram_jax.jsonfile import read_json, write_json
from labram_jax.runs import make_stage, tokenizer_digest
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.tables import over_seeds, score_rows, text_table
from labram_jax.training.evaluating import summarise
from labram_jax.weights import read_ledger, read_model, read_trained

MODEL, BASELINE = "fine-tuned", "band powers"
PREDICTIONS = {MODEL: "predictions", BASELINE: "baseline"}


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model and of what stands beside it on one split; `str` is a table for each level.

    `levels` are over windows first, then over recordings and subjects where they can be; `notes` say what else there
    is to say; `tables` has the predictions from which the scores of classifiers derive.
    """

    title: str
    levels: tuple[Level, ...]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, PredictionTable] = dataclasses.field(default_factory=dict)

    @property
    def columns(self) -> Mapping[str, Mapping[str, object]]:
        """Scores over windows by column ("fine-tuned", "band powers", ...) and metric."""
        return self.levels[0].columns

    def __str__(self) -> str:
        lines = [self.title]
        for level in self.levels:
            if level.unit != "window":
                lines.append(f"\nper {level.unit}, by the mean of its windows' outputs ({level.units:,})")
            lines.append(text_table(*score_rows(level.shown())))
            lines += [f"{metric} has no value: {reason}" for metric, reason in level.undefined.items()]
        return "\n".join([*lines, *self.notes])


def evaluate(
    checkpoint: str | Path,
    corpus: str | Path,
    split: str = "test",
    baseline: bool = True,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
) -> Evaluation:
    """Scores a model on one split of a corpus, in windows as it was trained on unless others are asked for.

    A classifier gets its metrics beside a band-power regression's and those of chance (both from the corpus' training
    split, if it has one), and the paper's where the split is the paper's; a tokenizer its losses and its use of the
    codebook beside the losses of mean spectra; an encoder the cross-entropy of hidden codes beside that of the codes'
    frequencies. On a corpus and in windows that a run was trained on, the scores, and a classifier's and the baseline's
    predictions, are also left in the run, for its report. All is computed by this process on its own devices.
    On the corpus of a training the splits are those of the training, which its configuration may make. A note says how
    much of the split the model saw in training (`checkpoints/ledger.py`).
    Raises InputError for a model or a corpus that cannot be used, or that do not fit each other.
    """
    variables, config = read_trained(checkpoint)
    opened = as_trained(config, Corpus.open(corpus))
    data = window_lengths(config, window_seconds, stride_seconds)
    windows = _windows(data, opened, split)
    train, validation = (windows_of(data, [opened], name) for name in ("train", "validation"))
    seed = config.loop.seed if isinstance(config, StageConfig) else 0
    if isinstance(getattr(config, "model", config), ClassifierConfig):
        check_task(checkpoint, getattr(config, "model", config), opened)
        tables, lacking = _classifier_tables(config, variables, windows, train, validation, baseline)
        levels, notes = score_levels(tables, seed)
        own_splits = not (trained_on(config, opened) and config.data.resplits)
        published, withheld = comparable(opened, data, split, own_splits)
        papers = {f"{COLUMN}{name}": result.scores for name, result in published.items()}
        levels[0] = dataclasses.replace(levels[0], columns={**levels[0].columns, **papers})
        lacking += withheld
    else:
        columns, lacking = _self_supervised(checkpoint, config, variables, windows, train, seed)
        levels, notes, tables = [Level("window", len(windows), columns)], [], {}
    seen = overlap([(read_ledger(checkpoint), listed([windows]))])
    evaluation = Evaluation(_title(checkpoint, windows), tuple(levels), (*lacking, *notes, *seen.told()), tables)
    # Not one of its checkpoints, nor an exported model.
    is_run = (Path(checkpoint) / CONFIG).is_file() and trained_on(config, opened)
    if not is_run or data != window_lengths(config, None, None):
        return evaluation
    try:
        _leave_in_run(Path(checkpoint), split, evaluation)
    except OSError as error:  # a run of somebody else, say: no reason to withhold the scores
        notes = (*evaluation.notes, f"nothing was left in the run for its report: {sentence_of(error)}")
        evaluation = dataclasses.replace(evaluation, notes=notes)
    return evaluation


def evaluate_seeds(
    checkpoints: Sequence[str | Path],
    source: str | Path,
    split: str = "test",
    baseline: bool = True,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
    manifest: Path | None = None,
    notch: float | None = 50.0,
) -> Evaluation:
    """Scores runs that differ in their seed alone: mean and standard deviation of every metric they share.

    `source`, `manifest` and `notch` are as for `sources.corpus_of`: recordings will do, which are all in `split`.
    """
    classes = () if manifest is None else _classes(checkpoints[0])
    with corpus_of(source, split, manifest, notch, classes) as (corpus, told):
        lengths = (window_seconds, stride_seconds)
        first, *others = [
            evaluate(checkpoint, corpus.address, split, baseline and number == 0, *lengths)
            for number, checkpoint in enumerate(checkpoints)
        ]
    first = dataclasses.replace(first, notes=(*told, *first.notes))
    if not others:
        return first
    name = next(iter(first.columns))
    if any(name not in other.columns for other in others):
        raise InputError("The checkpoints are of different stages: give runs that differ in their seed alone.")
    levels = []
    for number, level in enumerate(first.levels):  # of the same rows, all runs have the same levels
        spread = over_seeds([evaluation.levels[number].columns[name] for evaluation in (first, *others)])
        columns, intervals = {**level.columns, name: spread}, {**level.intervals, name: {}}
        levels.append(dataclasses.replace(level, columns=columns, intervals=intervals))
    title = f"{first.title}, and {len(others)} more: mean ± standard deviation"
    return Evaluation(title, tuple(levels), first.notes)


def _classes(checkpoint: str | Path) -> tuple[str, ...]:
    _, model = read_model(checkpoint)
    return model.classes if isinstance(model, ClassifierConfig) else ()


def stand_beside(
    own: PredictionTable,
    windows: Sequence[SplitWindows],
    train: Sequence[SplitWindows],
    validation: Sequence[SplitWindows],
    names: Sequence[str],
) -> tuple[dict[str, PredictionTable], list[str]]:
    """What stands beside a model's predictions for `windows`, made of the windows `train`; `names` are those wanted.

    The windows `validation` choose what there is to choose.
    What cannot be made is told: no windows to fit it to, or no shared electrode, is no reason to withhold the scores.
    """
    classes = windows[0].corpus.classes or ()
    made: dict[str, Callable[[], PredictionTable]] = {
        BASELINE: lambda: fit_band_powers(train, validation, windows, own.task, classes).predict(windows),
        references.CHANCE: lambda: references.chance(own, train),
    }
    tables, notes = {}, []
    for name in names:
        try:
            tables[name] = made[name]()
        except InputError as error:
            notes.append(f"{name}: no scores ({str(error).rstrip('.')})")
    return tables, notes


def _classifier_tables(
    config: FinetuningStageConfig | ClassifierConfig,
    variables: Mapping,
    windows: SplitWindows,
    train: Sequence[SplitWindows],
    validation: Sequence[SplitWindows],
    baseline: bool,
) -> tuple[dict[str, PredictionTable], list[str]]:
    own = predictions(config, variables, [windows])
    beside, notes = stand_beside(own, [windows], train, validation, (BASELINE, references.CHANCE)[not baseline :])
    return {MODEL: own, **beside}, notes


def _self_supervised(
    checkpoint: str | Path,
    config: object,
    variables: Mapping,
    windows: SplitWindows,
    train: Sequence[SplitWindows],
    seed: int,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Scores of a tokenizer or an encoder beside what is reached without it, and a note on what that is."""
    if not isinstance(config, StageConfig):
        if not isinstance(config, TokenizerConfig):
            raise InputError(
                f"{checkpoint} is an encoder without the run it came from, so the tokenizer whose codes it predicts "
                "is not known: evaluate the run, or fine-tune the encoder."
            )
        config = TokenizerStageConfig(run="", model=config)
    config = for_evaluation(config, [windows])
    assert isinstance(config, TokenizerStageConfig | PretrainingStageConfig)
    stage = make_stage(config, [windows.corpus], steps_per_epoch=1)
    if isinstance(stage, PretrainingStage):
        _check_tokenizer(checkpoint, stage)
    found = collected(stage, variables, [windows], masked=isinstance(stage, PretrainingStage))
    columns = {stage.name: summarise(stage, found)}
    try:
        sample, source = references.sample_of(train, seed)
    except InputError as error:
        return columns, [f"nothing stands beside it: {error}"]
    own = references.drawn([windows], len(windows), seed)
    if isinstance(stage, PretrainingStage):
        tokenizer = Tokenizer(stage.frozen, stage.tokenizer.config, config.compute)
        counts = (references.code_counts(tokenizer, part) for part in (sample, own))
        columns |= references.frequency_references(*counts)
        note = f"{references.FREQUENCIES}: each code as often as it occurs, {source}"
    else:
        beyond = stage.config.model.log_amplitude
        sums = (references.spectral_sums(part, beyond) for part in (sample, own))
        columns |= references.spectral_references(*sums)
        note = f"{references.MEAN}: without any code, {source}"
    return columns, [note]


def _check_tokenizer(checkpoint: str | Path, stage: PretrainingStage) -> None:
    known = read_meta(find_model(checkpoint)).get(INPUTS, {})  # checkpoints of earlier versions have none
    if known.get("tokenizer", now := tokenizer_digest(stage)) != now:
        raise InputError(
            f"{checkpoint} predicts the codes of another tokenizer than {stage.config.tokenizer} holds now, so that "
            "its scores would mean nothing: put the one back that it was trained with."
        )


def _leave_in_run(run: Path, split: str, evaluation: Evaluation) -> None:
    """Adds the columns to scores.json, under their split, and writes the tables of predictions."""
    path = run / SCORES
    scores = read_json(path) if path.is_file() else {}
    computed = {name: dict(own) for name, own in evaluation.columns.items() if not name.startswith(COLUMN)}
    write_json(path, scores | {split: computed})
    for name, stem in PREDICTIONS.items():
        if name in evaluation.tables:
            evaluation.tables[name].write(run / f"{stem}-{split}.npz")


def _windows(data: DataConfig, corpus: Corpus, split: str) -> SplitWindows:
    (windows,) = windows_of(data, [corpus], split)
    if not len(windows):
        raise InputError(
            f"The corpus {corpus.path} has no windows in the split {split!r}: see `labram-jax inspect`, or ask for "
            "shorter ones with --window-seconds."
        )
    return windows


def _title(checkpoint: str | Path, windows: SplitWindows) -> str:
    lengths = " or ".join(f"{seconds} s" for seconds in sorted({montage.seconds for montage in windows.montages}))
    return f"{checkpoint} on {len(windows):,} windows of {lengths} of {windows.corpus.told(windows.split)}"
