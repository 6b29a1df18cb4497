"""From a stage's configuration to a training run: corpora, models to start from, the stage, the loop."""

import dataclasses
import hashlib
import platform
import warnings
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from labram_jax.adaptation.labels import balanced_weights, training_labels, with_labels
from labram_jax.adaptation.probe import fit_probe
from labram_jax.adaptation.probing import make_probing
from labram_jax.checkpoints.branch import Branch, Origin
from labram_jax.checkpoints.carryover import read_resumption
from labram_jax.checkpoints.digests import model_digest
from labram_jax.checkpoints.files import local_directory
from labram_jax.checkpoints.ledger import Entry, Ledger
from labram_jax.checkpoints.models import find_model, read_meta
from labram_jax.config import (
    AnyStageConfig,
    EncoderConfig,
    FinetuningStageConfig,
    MaskedModelConfig,
    PretrainingStageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
)
from labram_jax.configfile import to_dict
from labram_jax.convert.importing import import_model
from labram_jax.convert.moments import read_moments
from labram_jax.convert.source import is_foreign
from labram_jax.data.codes import KeptCodes, codes_of
from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.reader import BatchReader, codes_for, open_corpora
from labram_jax.data.remote import cache_folder
from labram_jax.errors import InputError
from labram_jax.models.attention import kernel_of
from labram_jax.obtain import located
from labram_jax.parallel.processes import told_by_first
from labram_jax.parallel.sharding import agreed, make_mesh, process_rows
from labram_jax.parallel.stopping import StopRequest
from labram_jax.plan import flops
from labram_jax.plan.hardware import known_hardware
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.stage import Resumption, Stage
from labram_jax.stages.tokenizer import TokenizerStage
from labram_jax.training import train as training
from labram_jax.training.interval import StepCost
from labram_jax.training.program import Programs
from labram_jax.weights import read_ledger, read_model, read_tokenizer


def train(
    config: AnyStageConfig,
    *,
    tensorboard: bool = False,
    wandb: bool = False,
    profile: int = 0,
    branch_from: str = "",
    programs: Programs | None = None,
) -> training.TrainingResult:
    """Runs a stage in `config.run`, from its latest checkpoint if there is one.

    What the data and the models to start from determine (classes, codes, the encoder's size) is filled in and saved
    with the run. `tensorboard`, `wandb`, `profile`, `programs` as for `training.train`; `branch_from` is a checkpoint
    of another run to begin with (RUN@STEP, or RUN for its latest). Raises InputError for what cannot be used.
    """
    local_directory(config.run)  # refuses an address before corpora are fetched
    with StopRequest(config.loop.stop_seconds) as stop:
        shown = {"tensorboard": tensorboard, "wandb": wandb, "profile": profile}
        return _train(config, stop, branch_from, programs, **shown)


def _train(
    config: AnyStageConfig, stop: StopRequest, branch_from: str, programs: Programs | None, **shown: bool | int
) -> training.TrainingResult:
    corpora = open_corpora(config.data)
    masked, probe = isinstance(config, PretrainingStageConfig), None
    mesh = make_mesh(config.mesh)
    rows = process_rows(mesh, config.data.batch_rows)
    balanced = isinstance(config, FinetuningStageConfig) and config.balance == "sampling"
    reader = BatchReader(config.data, corpora, config.loop.seed, masked, rows, balanced)
    stage = make_stage(config, corpora, reader.steps_per_epoch)
    origin = _origin(stage, corpora, branch_from)
    notes = [reader.counts, *reader.within_subjects, reader.occupancy, kernel_of(config, mesh.devices.flat[0]).told]
    if isinstance(stage, FinetuningStage):
        reader.labels(config.data.test_split)  # a split that cannot be scored is refused before the first step
        validation = reader.labels(config.data.validation_split)
        stage, note = (stage, None) if validation is None else stage.selecting_on(validation)
        notes += [note] if note else []
        if config.trainable == "probe":
            probed = fit_probe(stage, mesh, reader.corpora, notes, origin.ledger, programs)
            return training.TrainingResult(1, True, *probed)
    if config.optimizer.ema_decay is not None:
        notes.append("moving averages of the parameters are the model: what is scored, chosen and handed on")
    if isinstance(stage, PretrainingStage):
        kept, note = kept_codes(stage, corpora, origin.inputs["tokenizer"])
        notes += [note] if note else []
        if kept:
            stage, reader = stage.without_tokenizer(), reader.with_codes(kept)
        if config.probe.corpora:
            probing = make_probing(stage.config, mesh)
            probe, notes = probing.probe, [*notes, *probing.notes]
            if config.probe.select:
                stage = stage.selecting_by(*probing.selection)
                origin = dataclasses.replace(origin, seen=origin.seen.joined(probing.seen(stage.name)))
    return training.train(
        stage,
        config.run,
        reader.training,
        reader.steps_per_epoch,
        stop=stop,
        validation=reader.split(config.data.validation_split),
        test=reader.split(config.data.test_split),
        mesh=mesh,
        cost=_step_cost(stage, reader.eeg_seconds_per_step, mesh),
        **shown,
        notes=notes,
        windows_of=reader.windows_of_step,
        made_from=origin,
        probe=probe,
        programs=programs,
    )


def _origin(stage: Stage, corpora: list[Corpus], branch_from: str) -> Origin:
    """What a run is made from, and whom it sees."""
    inputs, config = _inputs(stage, corpora), stage.config
    splits = {"training": config.data.train_split, "validation": config.data.validation_split}
    entries = [
        Entry.of(corpus.name, digest, kind, stage.name, corpus.subjects(split), corpus.recordings(split))
        for corpus, digest in zip(corpora, inputs["data.corpora"], strict=True)
        for kind, split in splits.items()
        if corpus.subjects(split)
    ]
    models = (getattr(config, name, "") for name in ("tokenizer", "start_from", "encoder"))
    inherited = [read_ledger(path) for path in models if path]
    branch = Branch.parse(branch_from) if branch_from else None
    return Origin(inputs, branch, Ledger(tuple(entries)), Ledger().joined(*inherited))


def _inputs(stage: Stage, corpora: list[Corpus]) -> dict[str, Any]:
    """Digests of the corpora and models that a stage is made from, by their names in its configuration.

    The first process works them out. Raises InputError where a corpus is another one here.
    """

    def find() -> dict[str, Any]:
        found: dict[str, Any] = {"data.corpora": [corpus_digest(corpus) for corpus in corpora]}
        if isinstance(stage, PretrainingStage):
            found["tokenizer"] = tokenizer_digest(stage)
        if start := stage.initial():
            found["start_from" if isinstance(stage, PretrainingStage) else "encoder"] = model_digest(start, {})
        return found

    inputs = told_by_first(find)
    for corpus, digest in zip(corpora, inputs["data.corpora"], strict=True):
        if corpus.info.digest not in ("", digest):
            raise InputError(f"{corpus.address} is another corpus here than on the first host: give all the same one.")
    return inputs


def tokenizer_digest(stage: PretrainingStage) -> str:
    """By what the tokenizer of a stage is known, wherever it was read from."""
    return model_digest(stage.frozen, to_dict(stage.tokenizer.config))


def kept_codes(stage: PretrainingStage, corpora: list[Corpus], tokenizer: str) -> tuple[list[KeptCodes], str | None]:
    """The codes of the stage's tokenizer (its digest) that are kept beside all corpora, if any, and what to tell."""
    config = stage.config
    if config.kept_codes == "never":
        return [], None
    kept, reason = codes_for(config.data, corpora, tokenizer, config.compute.dtype)
    if not agreed(bool(kept)):
        kept, reason = [], reason or "another process finds none"
    if kept:
        return kept, "the tokenizer does not run: the codes of all windows are kept beside the corpora"
    if config.kept_codes == "required":
        raise InputError(
            f'kept_codes is "required", but {reason}: give the windows and the compute.dtype with which `labram-jax '
            "tokenize` was called, or call it again."
        )
    if not any(map(codes_of, corpora)):
        return [], None  # who never kept codes need not hear of it
    return [], f"the tokenizer runs: {reason}"


def keep_compiled() -> None:
    """Keeps what is compiled from now on for later starts, in the user's cache, unless JAX was told where or not to.

    JAX_COMPILATION_CACHE_DIR names another folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    """
    if jax.config.jax_compilation_cache_dir is None:
        # What is compiled for a CPU uses the instructions of that CPU, and home folders are shared by unlike machines.
        folder = cache_folder() / "compiled" / _instruction_set()
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _instruction_set() -> str:
    """A name for what this machine's processor can do; of its architecture where the system tells no more."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    able = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(able.encode()).hexdigest()[:12]}"


def _step_cost(stage: Stage, eeg_seconds: float, mesh: Mesh) -> StepCost:
    """What a step of a stage goes through, and what the devices of a table could do meanwhile."""
    tokenizer = stage.tokenizer.config if isinstance(stage, PretrainingStage) else None
    products = flops.products_of(flops.TRAINING, stage.config, tokenizer)
    if tokenizer is not None and not stage.frozen:  # codes are kept
        products = [product for product in products if product.part != "labelling"]
    operations = flops.total(products, asked_for=True)
    hardware, low = known_hardware(mesh.devices.flat[0]), stage.config.compute.dtype == "bfloat16"
    peak = hardware and (hardware.bfloat16 if low else hardware.float32) * mesh.size
    return StepCost(eeg_seconds, operations, peak)


def make_stage(config: AnyStageConfig, corpora: list[Corpus], steps_per_epoch: int) -> Stage:
    """The stage of a configuration, with the models it starts from."""
    if isinstance(config, TokenizerStageConfig):
        return TokenizerStage(config, steps_per_epoch)
    if isinstance(config, PretrainingStageConfig):
        return _pretraining(config)
    return _finetuning(config, corpora)


def _pretraining(config: PretrainingStageConfig) -> PretrainingStage:
    if not config.tokenizer:
        raise InputError("Pretraining predicts the codes of a trained tokenizer: give --tokenizer RUN.")
    variables, tokenizer = read_tokenizer(config.tokenizer)
    model = dataclasses.replace(config.model, codes=tokenizer.quantizer.codes)
    params = resumption = None
    if config.start_from:
        start = str(located(config.start_from))
        params, source, resumption = _start(start)
        if config.start_moments and resumption is None:
            resumption = _moments(start, params)
        if "code_head" in params and source.codes != model.codes:
            raise InputError(
                f"{config.start_from} predicts {source.codes} codes, but the tokenizer {config.tokenizer} has "
                f"{model.codes}: give the tokenizer that it was pretrained with."
            )
        model = dataclasses.replace(model, encoder=_sized_like(source.encoder, model.encoder))
    return PretrainingStage(dataclasses.replace(config, model=model), tokenizer, variables, params, resumption)


def _start(path: str) -> tuple[dict, MaskedModelConfig, Resumption | None]:
    """Parameters to start pretraining from, and the optimizer's state where an official checkpoint has one."""
    imported = import_model(path) if is_foreign(path) else None
    variables, config = read_model(path) if imported is None else (imported.variables, imported.config)
    if isinstance(config, TokenizerConfig):
        return {"encoder": variables["params"]["encoder"]}, MaskedModelConfig(config.encoder), None
    if not isinstance(config, MaskedModelConfig):
        raise InputError(
            f"{path} is nothing that pretraining can start from: give a run of pretraining or of the tokenizer."
        )
    params = dict(variables["params"])
    if imported is None:
        return params, config, None
    # What the source lacks starts as everything else of a new run does: from the run's own seed.
    lacking = {line.path.split("/")[1] for line in imported.report.fresh} - {"encoder"}
    params = {name: part for name, part in params.items() if name not in lacking}
    moments, epoch = read_moments(imported), imported.source.beside.get("epoch")
    if moments is None:
        return params, config, None
    epochs = epoch + 1 if type(epoch) is int and epoch >= 0 else 0
    return params, config, Resumption(moments.first, moments.second, moments.updates, epochs)


def _moments(path: str, params: dict) -> Resumption:
    """AdamW's moments and their count in a run of pretraining, or in one of its checkpoints."""
    pretrained = "code_head" in params and not is_foreign(path)
    where = find_model(path) if pretrained else None
    found = read_resumption(where, read_meta(where)) if where else None
    if found is None:
        raise InputError(
            f"{path} has no moments that pretraining could keep: give a run of pretraining or one of its checkpoints, "
            "or leave start_moments out."
        )
    return found


def _finetuning(config: FinetuningStageConfig, corpora: list[Corpus]) -> FinetuningStage:
    model = with_labels(config, corpora)
    params = None
    if config.encoder:
        variables, source = read_model(config.encoder)
        if isinstance(source, TokenizerConfig):
            warnings.warn(f"{config.encoder} is a tokenizer: what is fine-tuned starts from its encoder", stacklevel=2)
        model = dataclasses.replace(model, encoder=_sized_like(source.encoder, model.encoder))
        params = {"encoder": variables["params"]["encoder"]}
        if isinstance(source, MaskedModelConfig) and model.pooling == "class_token":
            # The reference keeps the pretrained norm only where it pools by the class token.
            params["norm"] = variables["params"]["norm"]
    weights: tuple[float, ...] = ()
    if config.balance == "loss" and model.task == "classification":
        weights = balanced_weights(training_labels(config.data, corpora), config.data.weights, len(model.classes))
    return FinetuningStage(dataclasses.replace(config, model=model), params, weights)


def _sized_like(source: EncoderConfig, wanted: EncoderConfig) -> EncoderConfig:
    """The size and the options that weights depend on from `source`; how it is fine-tuned from `wanted`."""
    own = {name: getattr(wanted, name) for name in ("drop_path", "class_position", "initialisation")}
    # Biases of q and v and the map of the amplitude may start fresh, but those that were trained are never dropped.
    own |= {name: getattr(wanted, name) or getattr(source, name) for name in ("qkv_bias", "amplitude")}
    return dataclasses.replace(source, **own)
