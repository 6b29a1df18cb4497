"""A probe: the head of a classifier fitted once to features of the frozen encoder, as a run like any other."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from labram_jax.adaptation.features import Features, FrozenFeatures, outputs_of
from labram_jax.adaptation.head import head_of
from labram_jax.adaptation.linear import Fit, Scale, folded, logistic_fits, ridge_fits, scale_of, scaled
from labram_jax.checkpoints.carryover import averaging_from
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.files import CONFIG, LOCK, SEEN, local_directory
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.resume import check_resumable
from labram_jax.config import ClassifierConfig, FinetuningStageConfig
from labram_jax.configfile import to_dict
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.errors import InputError
from labram_jax.jsonfile import write_json
from labram_jax.lock import held
from labram_jax.models.classifier import in_target_units
from labram_jax.parallel.sharding import replaced
from labram_jax.parallel.state import TrainState
from labram_jax.stages.finetuning import FinetuningStage, Predictions, scores_of
from labram_jax.stages.stage import Statistics
from labram_jax.training.evaluating import summarise
from labram_jax.training.program import Programs
from labram_jax.training.telemetry import Telemetry

PyTree = Any


class Chosen(NamedTuple):
    """The linear map that was chosen, how features are scaled for it, and its scores on what it was fitted to and on
    what it was chosen by."""

    fit: Fit
    scales: list[Scale]
    training: dict[str, float]
    scores: dict[str, float]


class Probed(NamedTuple):
    """Best checkpoint ({"step", "metric", "value"}, or None), and metrics of the validation and the test split."""

    best: dict | None
    validation: dict[str, float]
    test: dict[str, float]


def draws_nothing(config: FinetuningStageConfig) -> bool:
    """Whether runs of all seeds are the same: a probe of a given encoder."""
    return config.trainable == "probe" and bool(config.encoder)


def fit_probe(
    stage: FinetuningStage,
    mesh: Mesh,
    corpora: Sequence[Corpus],
    notes: Sequence[str] = (),
    seen: Ledger = Ledger(),
    programs: Programs | None = None,
) -> Probed:
    """Fits the head of a stage's classifier and leaves a run in `config.run`: a checkpoint at step 1, log and scores.

    A run that has its checkpoint already is scored on the test split again. The encoder runs over each window once, or
    not at all where its features are kept (`FrozenFeatures`). All features of a split are in memory while it is fitted.

    Args:
        stage: the classifier, with the encoder that it starts from.
        mesh: devices.
        corpora: with the splits that the configuration makes.
        notes: what to tell before.
        seen: whom the classifier will have seen.
        programs: what other runs of this process have compiled, to be shared; None shares nothing.

    Raises:
        InputError: the splits cannot say which penalty is best, or the run was started under another configuration.
        OSError: another training is in the run.
    """
    if jax.process_count() > 1:
        raise InputError("A probe is fitted by one process, on all of its devices: start it alone, on one host.")
    config, run = stage.config, local_directory(stage.config.run)
    _check_penalties(config, corpora)
    program = (programs or Programs()).prepare(stage, mesh, total_steps=1, steps_per_epoch=1)
    run.mkdir(parents=True, exist_ok=True)
    with held(run / LOCK, f"the run {run}"), CheckpointDirectory(run, 1, stage.selection) as checkpoints:
        done = bool(checkpoints.steps)
        with Telemetry(run, "probe", int(done), 1, 1, config=to_dict(config)) as telemetry:
            for note in notes:
                telemetry.say(note)
            if done:
                check_resumable(run, checkpoints.meta(1)["config"], to_dict(config))
                state = program.with_frozen(checkpoints.restore(1, program.abstract))
                telemetry.say(f"{run} is complete: give another run directory to start again")
                validation = checkpoints.meta(1)["metrics"]
                features = FrozenFeatures(config, mesh, state.params, corpora, telemetry.say)
            else:
                checkpoints.beside = {SEEN: seen.plain()}
                write_json(run / CONFIG, to_dict(config))
                state = program.create_state()
                features = FrozenFeatures(config, mesh, state.params, corpora, telemetry.say)
                state, training = _fitted(stage, state, features, telemetry.say)
                telemetry.log(1, "train", training)
                validation = _scores(stage, state, features, "validation", telemetry)
                checkpoints.save(1, state, to_dict(config), validation)
                telemetry.advance()
            test = _scores(stage, state, features, "test", telemetry)
        checkpoints.wait()
        return Probed(checkpoints.best, validation, test)


def _check_penalties(config: FinetuningStageConfig, corpora: Sequence[Corpus]) -> None:
    """Raises InputError, before the encoder runs, where several penalties have no windows to be chosen by."""
    split = config.data.validation_split
    if len(config.penalties) > 1 and not (split and any(map(len, windows_of(config.data, corpora, split)))):
        raise InputError(
            f"A probe chooses among {len(config.penalties)} penalties on the validation split, which has no windows: "
            "prepare the corpus with one, or give one penalty (--penalties 0.01)."
        )


def _scores(
    stage: FinetuningStage, state: TrainState, features: FrozenFeatures, split: str, telemetry: Telemetry
) -> dict[str, float]:
    seen = features.labelled(getattr(stage.config.data, f"{split}_split"))
    if seen is None:
        return {}
    outputs = outputs_of(stage.config, state.params, seen.blocks, features.rows)
    numbers = np.arange(len(outputs))
    windows = {"logits": outputs, "labels": seen.labels, "window_ids": numbers, "corpus_ids": numbers}
    scores = summarise(stage, Statistics(rows={name: values[:, None] for name, values in windows.items()}))
    telemetry.log(1, split, scores)
    telemetry.say(f"{split}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items()))
    return scores


def _fitted(
    stage: FinetuningStage, state: TrainState, features: FrozenFeatures, say: Callable[[str], None]
) -> tuple[TrainState, dict[str, float]]:
    """The state with the fitted head, and what to log of the training split."""
    config = stage.config
    train, validation = (features.labelled(split) for split in (config.data.train_split, config.data.validation_split))
    chosen = choose(stage, train, validation or train, say)
    head = head_of(config.model, folded(chosen.fit, chosen.scales), chosen.fit, features.rows)
    # A probe takes no steps, so that what averages would be of is what was fitted.
    state = averaging_from(state.replace(params=replaced(state.params, head)), head)
    return state, {**chosen.training, "penalty": chosen.fit.penalty}


def choose(stage: FinetuningStage, train: Features, on: Features, say: Callable[[str], None]) -> Chosen:
    """Fits linear maps to `train` and takes that which is best on `on` by the stage's selection.

    Of equals it is that with the strongest penalty. Raises InputError where a class is missing, or nothing can choose.
    """
    metric, mode = stage.selection
    scales = [scale_of(block) for block in train.blocks]
    seen, on_seen, found = scaled(train.blocks, scales), scaled(on.blocks, scales), []
    for fit in _fits(stage.config, seen, train.labels):
        scores = _scored(stage.config, fit, on_seen, on.labels)
        if metric not in scores:
            raise InputError(
                f"{metric} has no value on the validation split, so no penalty can be chosen by it: choose another "
                "metric (--select-by loss), or another split."
            )
        say(f"penalty {fit.penalty:g}: {metric} {scores[metric]:.4f}")
        found.append((scores[metric] if mode == "max" else -scores[metric], fit.penalty, fit, scores))
    *_, fit, scores = max(found, key=lambda own: own[:2])
    return Chosen(fit, scales, _scored(stage.config, fit, seen, train.labels), scores)


def _fits(config: FinetuningStageConfig, seen: np.ndarray, labels: np.ndarray) -> Iterator[Fit]:
    """One fit for each penalty."""
    model = config.model
    if model.task == "regression":
        targets = labels.astype(np.float64)
        if model.target_scale:
            targets = (targets - np.asarray(model.target_mean)) / np.asarray(model.target_scale)
        return ridge_fits(seen, targets, config.penalties)
    check_classes(model, labels)
    return logistic_fits(seen, labels, config.penalties, config.balance == "loss")


def check_classes(model: ClassifierConfig, labels: np.ndarray, where: str = "The training split") -> None:
    """Raises InputError where a class of a classifier has no window among those of these labels, to be fitted to."""
    missing = sorted(set(range(max(2, model.outputs))) - set(np.unique(labels).tolist()))
    if missing:
        name = model.classes[missing[0]] if model.classes else missing[0]
        raise InputError(f"{where} has no window of the class {name}: a probe cannot learn it.")


def _scored(config: FinetuningStageConfig, fit: Fit, seen: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    numbers = np.arange(len(labels))
    logits = in_target_units(config.model, fit(seen)).astype(np.float32)
    return scores_of(config, Predictions(logits, labels, numbers, numbers))
