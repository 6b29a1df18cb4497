"""An audit of a model's features on a labelled corpus: `labram-jax audit`.

Features of the frozen encoder are read as a probe reads them, with and without amplitude, and band powers of the same
windows; what is found is left in the run, for its report.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labram_jax.adaptation.band_powers import shared_electrodes
from labram_jax.adaptation.features import Features, blocks_of, electrode_rows, power_features
from labram_jax.adaptation.labels import with_labels
from labram_jax.adaptation.probe import check_classes
from labram_jax.checkpoints.files import AUDIT, CONFIG
from labram_jax.checkpoints.ledger import overlap
from labram_jax.checkpoints.models import find_model, read_meta
from labram_jax.config import PENALTIES, ClassifierConfig, FinetuningStageConfig, MaskedModelConfig, StageConfig
from labram_jax.configfile import from_dict
from labram_jax.convert.source import is_foreign
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import SplitWindows, labelled
from labram_jax.errors import InputError, sentence_of
from labram_jax.evaluation.evaluate import BASELINE
from labram_jax.evaluation.examine import Part, Splits, examine, factors_of
from labram_jax.evaluation.findings import Audit, Found, leave
from labram_jax.evaluation.predict import as_trained, collected, for_evaluation, window_lengths
from labram_jax.evaluation.predictions import PredictionTable, listed
from labram_jax.evaluation.references import chance
from labram_jax.evaluation.variance import Factors
from labram_jax.metrics import METRICS
from labram_jax.progress import Progress
from labram_jax.stages.finetuning import FinetuningStage, labelled_windows, task_of
from labram_jax.stages.reading import ReadingStage
from labram_jax.weights import read_ledger, read_model

PyTree = Any
# Features by kind ("mean + amplitude") and split.
Kinds = dict[str, dict[str, Features]]

MOST_WINDOWS, MOST_SUBJECTS = 2000, 64
AMPLITUDE, VALIDATION = "amplitude", "validation"
# Of an encoder: the reference's, and the one that keeps the topography.
_READOUTS = ("mean", "electrodes")
_SHOWN_METRICS = 2


def audit(
    checkpoint: str | Path,
    corpus: str | Path,
    readouts: Sequence[str] = (),
    most_windows: int = MOST_WINDOWS,
    most_subjects: int = MOST_SUBJECTS,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
    penalties: tuple[float, ...] = PENALTIES,
) -> Audit:
    """Audits a model's features on a labelled corpus, in windows as it was trained on unless others are asked for.

    Features are those of `readouts`, by default a classifier's own, and of an encoder the mean and those of each
    electrode; each with and without amplitude, beside amplitude alone and band powers. Of a split at most so many
    windows of so many subjects are read, drawn by the seed of the run. `penalties` are those of the probes, of which
    validation chooses. In a run the audit is also left, for its report. All is computed by this process on its own
    devices. Raises InputError for a model or a corpus that cannot be used.
    """
    if most_windows < 2 or most_subjects < 1:
        raise InputError(
            f"{most_windows} windows of {most_subjects} subjects are too few to audit features on: give more."
        )
    variables, model = read_model(checkpoint)
    config = model
    if not is_foreign(checkpoint):
        config = from_dict(read_meta(find_model(checkpoint))["config"], str(checkpoint))
    seed = config.loop.seed if isinstance(config, StageConfig) else 0
    opened = as_trained(config, Corpus.open(corpus))
    data = dataclasses.replace(window_lengths(config, window_seconds, stride_seconds), corpora=(opened.address,))
    probe = FinetuningStageConfig(run="", data=data, model=_classifier(checkpoint, model), penalties=penalties)
    probe = dataclasses.replace(probe, model=with_labels(probe, [opened]))
    if not readouts:
        readouts = (model.pooling,) if isinstance(model, ClassifierConfig) else _READOUTS
    drawn, told = _drawn(probe, opened, most_windows, most_subjects, seed)
    kinds, notes = _features(checkpoint, probe, variables["params"], readouts, drawn)
    by_kind = {kind: _splits(probe, drawn, features) for kind, features in kinds.items()}
    splits = next(iter(by_kind.values()))
    found, reasons = _examined(probe, by_kind, seed)
    notes += [*reasons, *_notes(config, splits.train.factors, told)]
    reference = {}
    if splits.test is not None:
        reference = _chance(probe, splits.test, drawn["train"])
        notes += overlap([(read_ledger(checkpoint), splits.test.places)]).told()
    result = Audit(
        f"Features of {_named(checkpoint)} on {opened.name}",
        found,
        {split: own for split, own in told.items() if split != VALIDATION},
        splits.train.factors.crossed,
        len(np.unique(splits.train.factors.subjects)),
        reference,
        METRICS[task_of(probe)][:_SHOWN_METRICS],
        tuple(notes),
    )
    return _left(Path(checkpoint), opened.name, result)


def _named(checkpoint: str | Path) -> str:
    """A run with the step of the checkpoint that was read; anything else by its path."""
    is_run = (Path(checkpoint) / CONFIG).is_file()
    return f"{checkpoint}, step {find_model(checkpoint).name}," if is_run else str(checkpoint)


def _classifier(checkpoint: str | Path, model: object) -> ClassifierConfig:
    """A classifier with the encoder of a model, as it is fine-tuned; InputError for a tokenizer."""
    if isinstance(model, ClassifierConfig):
        return model
    if not isinstance(model, MaskedModelConfig):
        raise InputError(
            f"{checkpoint} has no norm of features, as tokenizers have none: give a run of pretraining or fine-tuning."
        )
    # The class token has its own row of the electrode embedding, as when it is fine-tuned.
    return ClassifierConfig(dataclasses.replace(model.encoder, class_position="class_row"))


def _drawn(
    probe: FinetuningStageConfig, corpus: Corpus, most_windows: int, most_subjects: int, seed: int
) -> tuple[dict[str, SplitWindows], dict[str, str]]:
    """The windows of each split that are read, where there are any, and what to tell of them."""
    drawn, told = {}, {}
    for split in Splits._fields:
        (whole,) = windows_of(probe.data, [corpus], split)
        own = whole.labelled_sample(most_windows, seed, most_subjects)
        if not len(own):
            continue
        subjects, recordings = (len(set(listed([own])[unit])) for unit in ("subject", "recording"))
        seconds = " or ".join(f"{length} s" for length in sorted({montage.seconds for montage in own.montages}))
        counts = f"{len(own):,} windows of {seconds}, {recordings:,} recordings and {subjects:,} subjects"
        drawn[split], told[split] = own, f"{counts} of {corpus.told(split)}"
        if len(own) < (all_of_them := int(labelled(whole.labels()).sum())):
            told[split] += f"; drawn by seed {seed} from {all_of_them:,}, of {len(corpus.subjects(split)):,} subjects"
    if "train" not in drawn:
        raise InputError(
            f"The corpus {corpus.path} has no labelled window in the split 'train', on which an audit stands: prepare "
            "it with one, or ask for shorter windows with --window-seconds."
        )
    return drawn, told


def _features(
    checkpoint: str | Path,
    probe: FinetuningStageConfig,
    params: Mapping[str, PyTree],
    readouts: Sequence[str],
    drawn: Mapping[str, SplitWindows],
) -> tuple[Kinds, list[str]]:
    """All kinds of features of the windows, and why some are not there."""
    windows, kinds = list(drawn.values()), {}
    electrodes = electrode_rows([windows[0].corpus])
    for readout in dict.fromkeys(readouts):
        names = {"encoder", "norm"} | ({"query"} if readout == "attention" else set())
        if lacking := names - params.keys():
            raise InputError(
                f"{checkpoint} has no {lacking.pop()} for the readout {readout!r}, since it was trained without it: "
                "ask for another with --readouts."
            )
        model = dataclasses.replace(probe.model, pooling=readout, amplitude=True)
        reading = ReadingStage(for_evaluation(dataclasses.replace(probe, model=model), windows), electrodes)
        rows = labelled_windows(collected(reading, {"params": {name: params[name] for name in names}}, windows))
        for number, split in enumerate(drawn):
            own = np.flatnonzero(rows["corpus_ids"] == number)
            own = own[np.argsort(rows["window_ids"][own])]
            found = {name: values[own] for name, values in rows.items()}
            blocks, labels = blocks_of(found, readout == "electrodes"), found["labels"]
            for kind, part in ((readout, blocks[:1]), (f"{readout} + {AMPLITUDE}", blocks), (AMPLITUDE, blocks[1:])):
                kinds.setdefault(kind, {})[split] = Features(part, labels)
    kinds[AMPLITUDE] = kinds.pop(AMPLITUDE)  # the same of all readouts, and last of them
    try:
        powers = shared_electrodes(windows)
    except InputError as error:
        return kinds, [f"{BASELINE}: left out ({error})"]
    kinds[BASELINE] = {split: power_features(own, powers) for split, own in drawn.items()}
    return kinds, []


def _splits(
    probe: FinetuningStageConfig, drawn: Mapping[str, SplitWindows], features: Mapping[str, Features]
) -> Splits:
    classes = None if probe.model.task == "regression" else len(probe.model.classes)
    return Splits(
        **{
            split: Part(places := listed([own]), factors_of(places, features[split].labels, classes), features[split])
            for split, own in drawn.items()
        }
    )


def _examined(
    probe: FinetuningStageConfig, by_kind: Mapping[str, Splits], seed: int
) -> tuple[dict[str, Found], list[str]]:
    """What is found of each kind of features, and what to tell of the probes; they may not be possible."""
    try:
        stage, note = _probed_by(probe, next(iter(by_kind.values())))
    except InputError as error:
        stage, note = FinetuningStage(probe, None), f"no scores: {error}"
        by_kind = {kind: own._replace(validation=None) for kind, own in by_kind.items()}
    found = {}
    with Progress("kinds of features", len(by_kind)) as progress:
        for kind, own in by_kind.items():
            found[kind] = examine(stage, own, seed)
            progress.update()
    return found, [note] if note else []


def _probed_by(probe: FinetuningStageConfig, splits: Splits) -> tuple[FinetuningStage, str | None]:
    """The stage whose probes can be fitted, chosen and tested on some windows, and what to tell of its selection."""
    for split, part in splits._asdict().items():
        if part is None:
            raise InputError(f"the corpus has no labelled window in the split {split!r}.")
    if probe.model.task == "classification":
        check_classes(probe.model, splits.train.features.labels)
    return FinetuningStage(probe, None).selecting_on(splits.validation.features.labels)


def _chance(probe: FinetuningStageConfig, test: Part, train: SplitWindows) -> dict[str, float]:
    """Scores of what training windows say without any features, on the test windows."""
    task = task_of(probe)
    table = PredictionTable.of(
        test.places, np.zeros((len(test.places), probe.model.outputs)), task, probe.model.classes
    )
    return chance(table, [train]).scores().values


def _notes(config: object, factors: Factors, told: Mapping[str, str]) -> list[str]:
    """What a reader of the numbers must know."""
    notes = [f"{VALIDATION}, which choose the probes' penalties: {told[VALIDATION]}"] if VALIDATION in told else []
    if not factors.crossed:
        notes.append(
            "every subject has one label, so that the directions of subjects are also those of labels: what is left "
            "without them says little of either"
        )
    if len(factors.owners) == len(np.unique(factors.owners)):
        notes.append("every training subject has one recording, so that the two cannot be told apart")
    if isinstance(config, FinetuningStageConfig) and config.trainable not in ("head", "probe"):
        notes.append("the encoder was fine-tuned on labels, which flatters what labels explain on its training windows")
    encoder = getattr(config, "model", config).encoder
    if encoder.amplitude:
        notes.append("the encoder itself is given amplitude (encoder.amplitude): no features here are without it")
    return notes


def _left(run: Path, corpus: str, found: Audit) -> Audit:
    """The audit, which is left in the run, if it is of one."""
    if not (run / CONFIG).is_file():
        return found
    try:
        leave(run / AUDIT, corpus, found)
    except OSError as error:  # a run of somebody else, say: no reason to withhold the findings
        note = f"nothing was left in the run for its report: {sentence_of(error)}"
        return dataclasses.replace(found, notes=(*found.notes, note))
    return found
