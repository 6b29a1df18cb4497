"""One small corpus and one trained run of each stage, for all tests that need something trained."""

import os
from pathlib import Path

import jax
import pytest
from small_runs import finetuning_config, pretraining_config, tokenizer_config, write_corpus

from labram_jax import inference
from labram_jax.data.corpus import Corpus
from labram_jax.runs import train

pytest_plugins = ["alpha_corpus", "small_disk"]
LONGEST = ("training", "faults")


def pytest_collection_modifyitems(items) -> None:
    """The folders with the longest files first, so that the two processes of `make test` end together."""
    items.sort(key=lambda item: item.path.parent.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory, worker_id) -> None:
    """Keeps away from the user's cache; what one process of the tests has compiled, none compiles again.

    Neither do the processes that tests start, unless they are told of another folder.
    """
    os.environ["LABRAM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    together = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    for name, value in (
        ("jax_compilation_cache_dir", str(together / "compiled")),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
    ):
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    """Two montages, two classes."""
    return write_corpus(tmp_path_factory.mktemp("corpora") / "small")


@pytest.fixture(scope="session")
def tokenizer_run(corpus, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tokenizer"
    train(tokenizer_config(run, [corpus.path]))
    return run


@pytest.fixture(scope="session")
def pretraining_run(corpus, tokenizer_run, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pretraining"
    train(pretraining_config(run, [corpus.path], tokenizer_run))
    return run


@pytest.fixture(scope="session")
def classifier_run(corpus, pretraining_run, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "classifier"
    # By its loss, since the first epoch already ranks all windows right: the best model is then one that is sure.
    train(finetuning_config(run, [corpus.path], pretraining_run, select_by="loss"))
    return run


@pytest.fixture(scope="session")
def trained_tokenizer(tokenizer_run) -> inference.Tokenizer:
    return inference.load(tokenizer_run)


@pytest.fixture(scope="session")
def trained_encoder(pretraining_run) -> inference.Encoder:
    return inference.load(pretraining_run)


@pytest.fixture(scope="session")
def trained_classifier(classifier_run) -> inference.Classifier:
    return inference.load(classifier_run)
