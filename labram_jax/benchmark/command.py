"""`labram-jax benchmark`: what is asked for, held against the protocol; then all runs, and their results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labram_jax.benchmark.modes import changes_of
from labram_jax.benchmark.page import Summary
from labram_jax.benchmark.results import Results, scored, scored_fold_by_fold
from labram_jax.benchmark.running import Benchmark, Tables
from labram_jax.benchmark.writing import write_results
from labram_jax.checkpoints.digests import model_digest
from labram_jax.checkpoints.ledger import Overlap, overlap
from labram_jax.checkpoints.resume import differences
from labram_jax.config import FinetuningStageConfig, size_of
from labram_jax.configfile import to_dict
from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.schema import SPLITS
from labram_jax.errors import InputError
from labram_jax.evaluation.references import CHANCE
from labram_jax.jsonfile import read_json, write_json
from labram_jax.protocol import Fold, OwnSplits, Protocol
from labram_jax.weights import read_ledger, read_model

ASKED = "benchmark.json"
# The benchmark says these itself.
_OWN = ("run", "encoder", "trainable", "data.corpora", "loop.seed")
_OWN_SPLITS = ("data.validation_subjects", "data.test_subjects", "data.time_folds", "data.test_fold")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is run, beside the protocol."""

    corpus: str
    """The prepared corpus, or its address in a bucket."""
    checkpoint: str = ""
    """A pretrained encoder to start from: a run, a checkpoint, or a file of PyTorch; empty starts from scratch. {fold}
    in it stands for the fold's name, where every fold has an encoder of its own."""
    mode: tuple[str, ...] = ("all",)
    """What is trained, a readout and amplitude, joined by +: all head+electrodes+amplitude ..."""
    seeds: int = 5
    """How many runs of each fold and mode: those of the seeds 0, 1, ..."""
    out: Path | None = None
    """Where runs and results go; by default runs/benchmark/PROTOCOL. The same command goes on there."""

    def __post_init__(self):
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds} must be at least 1.")
        if not self.mode or len({*self.mode}) < len(self.mode):
            raise InputError("--mode must name at least one mode, and none twice.")
        for mode in self.mode:
            changes_of(mode)


@dataclass(frozen=True)
class Start:
    """What all runs start from.

    Attributes:
        corpus: that of the protocol.
        folds: the protocol's, of who is in the corpus.
        checkpoints, digests: of the encoder of each fold, by its name; empty texts where it starts from scratch.
        size: published size of the encoders, if they have one.
    """

    corpus: Corpus
    folds: tuple[Fold, ...]
    checkpoints: Mapping[str, str]
    digests: Mapping[str, str]
    size: str | None

    @classmethod
    def read(cls, protocol: Protocol, options: BenchmarkOptions) -> "Start":
        """Raises InputError where the corpus is not that of the protocol, and for checkpoints without an encoder."""
        corpus = Corpus.open(options.corpus)
        _check(protocol, corpus)
        folds = tuple(protocol.split.folds(sorted({*corpus.tables.spans["subject"]})))
        checkpoints = {fold.name: options.checkpoint.replace("{fold}", fold.name) for fold in folds}
        found = {path: _encoder(path) for path in dict.fromkeys(checkpoints.values())}
        sizes = {size for _, size in found.values()}
        if len(sizes) > 1:
            raise InputError(f"The encoders {options.checkpoint} are of several sizes: give those of one.")
        digests = {fold: found[path][0] for fold, path in checkpoints.items()}
        return cls(corpus, folds, checkpoints, digests, sizes.pop())

    def recipe(self, protocol: Protocol) -> tuple[FinetuningStageConfig, list[str]]:
        """The protocol's hyperparameters for this model, and what to tell of them."""
        if self.size in protocol.finetuning:
            return protocol.finetuning[self.size], []
        of = "an encoder of no published size" if self.size is None else f"the size {self.size}"
        return protocol.finetuning["base"], [f"the protocol has no hyperparameters for {of}: those of base are used"]

    def seen(self, tables: Tables) -> Overlap | None:
        """How much of their test windows the encoders of the folds saw; None where runs start from scratch."""
        if not all(self.checkpoints.values()):
            return None
        by_fold = next(iter(next(iter(tables.modes.values())).values()))
        ledgers = {path: read_ledger(path) for path in dict.fromkeys(self.checkpoints.values())}
        return overlap((ledgers[self.checkpoints[fold]], table.frame) for fold, table in by_fold.items())


def run(protocol: Protocol, config: FinetuningStageConfig, start: Start, options: BenchmarkOptions) -> str | None:
    """Trains what is not trained yet, scores everything and writes it; None where it was asked to stop.

    Returns the scores and where the rest is, for a person.
    `config` is the protocol's recipe for the model, or that with changed hyperparameters. Raises InputError for other
    changes, and where the folder holds another benchmark.
    """
    recipe, notes = start.recipe(protocol)
    changed = {name: after for name, _, after in differences(to_dict(recipe), to_dict(config))}
    forbidden = sorted(changed.keys() & {*_OWN, *(() if isinstance(protocol.split, OwnSplits) else _OWN_SPLITS)})
    if forbidden:
        raise InputError(
            f"{', '.join(forbidden)} cannot be changed here: the protocol and --checkpoint, --corpus, --mode, --seeds "
            "and --out say what it is."
        )
    corpus, data = start.corpus, config.data
    windows = sum(len(corpus.windows(split, data.window_seconds, data.stride_seconds)) for split in SPLITS)
    out = options.out or Path("runs") / "benchmark" / protocol.name
    benchmark = Benchmark(corpus, config, start.checkpoints, start.folds, out)
    _claim(benchmark, protocol, start)
    tables = benchmark.tables(options.mode, range(options.seeds))
    if tables is None:
        return None
    results = Results(
        protocol=protocol,
        corpus=corpus,
        checkpoint=options.checkpoint,
        size=start.size if options.checkpoint else size_of(config.model.encoder),
        missing=protocol.missing([*corpus.tables.spans["subject"]]),
        all_windows=windows,
        changed=changed,
        notes=[*notes, *benchmark.notes],
        company=benchmark.company(),
        modes={mode: scored(by_seed) for mode, by_seed in tables.modes.items()},
        beside={
            name: scored_fold_by_fold(own) if name == CHANCE else scored({0: own})
            for name, own in tables.beside.items()
        },
        windows={fold: len(table) for fold, table in tables.modes[options.mode[0]][0].items()},
        costs=benchmark.costs,
        seen=start.seen(tables),
    )
    page = write_results(results, out)
    return f"{Summary.read(out)}\nwritten to {page}"


def _encoder(checkpoint: str) -> tuple[str, str | None]:
    """The digest and the published size of a checkpoint's encoder; of none, what starts from scratch."""
    if not checkpoint:
        return "", "base"
    variables, config = read_model(checkpoint)
    return model_digest(variables, to_dict(config)), size_of(config.encoder)


def _check(protocol: Protocol, corpus: Corpus) -> None:
    """Raises InputError where a corpus is not the one that the protocol is of."""
    advice = f"prepare it with `{protocol.prepare}`"
    if corpus.name != protocol.corpus:
        raise InputError(f"{corpus.address} is the corpus {corpus.name}, not {protocol.corpus}: {advice}.")
    if (corpus.classes or ()) != protocol.classes:
        told = (", ".join(names) or "no classes" for names in (corpus.classes or (), protocol.classes))
        raise InputError(f"{corpus.address} has {next(told)} where the protocol has {next(told)}: {advice}.")
    if corpus.info.split_by == "time" and not isinstance(protocol.split, OwnSplits):
        raise InputError(f"{corpus.address} was split in time, which cuts recordings at other places: {advice}.")


def _claim(benchmark: Benchmark, protocol: Protocol, start: Start) -> None:
    """Writes down what the folder's runs are made from; raises InputError where it holds runs made otherwise."""
    out = benchmark.out
    asked = {
        "protocol": protocol.name,
        "folds": {fold.name: dict(fold.data) for fold in benchmark.folds},
        "corpus": corpus_digest(benchmark.corpus),
        "checkpoints": dict(start.digests),
        "configuration": to_dict(benchmark.config),
    }
    path = out / ASKED
    if path.is_file():
        found = read_json(path)
        plain = json.loads(json.dumps(asked))
        other = [name for name in asked if name != "configuration" and found.get(name) != plain[name]]
        # An option that is younger than the folder is no difference.
        other += ["configuration"] if differences(found.get("configuration", {}), plain["configuration"]) else []
        if other:
            raise InputError(f"{out} holds runs of another {' and '.join(other)}: give another folder with --out.")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)
