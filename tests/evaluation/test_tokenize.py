"""Codes kept beside corpora: those of the tokenizer, and the same training as with labels made at every step."""

import json

import jax
import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus
from sentences import refuses
from small_runs import MONTAGES, SECONDS, pretraining_config, window, write_corpus
from toy_stage import lines

from labram_jax import cli
from labram_jax.checkpoints.models import load_model
from labram_jax.checkpoints.resume import check_resumable
from labram_jax.config import replace
from labram_jax.configfile import to_dict
from labram_jax.data.codes import KeptCodes, codes_of
from labram_jax.data.corpus import Corpus
from labram_jax.evaluation.tokenize import tokenize
from labram_jax.inspect import inspect
from labram_jax.runs import kept_codes, make_stage, tokenizer_digest, train

ELECTRODES = ("FP1", "FP2", "C3", "C4", "O1")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Corpus:
    """Two montages: of five electrodes, of which other ones are bad in each split, and of three."""
    recordings = []
    for split, count, bads in (("train", 24, ("C3",)), ("validation", 6, ("FP1", "O1")), ("test", 6, ())):
        for number, electrodes in enumerate((ELECTRODES, ("C3", "C4", "O2"))):
            made = [window(len(electrodes), SECONDS, (40, 20), (number, count, n)) for n in range(count)]
            spans = [(0, count * SECONDS, split, 0)]
            own = () if number else bads
            eeg = np.concatenate(made, axis=1)
            recordings.append(MadeRecording(f"{split}{number}", split, electrodes, eeg, spans, bads=own))
    return make_corpus(tmp_path_factory.mktemp("coded") / "corpus", recordings, ("one",), window_seconds=SECONDS)


@pytest.fixture(scope="module")
def kept(mixed, tokenizer_run) -> KeptCodes:
    """The codes of `tokenizer_run`, made as a user makes them, in windows of the corpus' protocol."""
    assert cli.main(["tokenize", str(tokenizer_run), str(mixed.path)]) == 0
    (found,) = codes_of(mixed)
    return found


def test_codes_are_those_of_the_tokenizer_and_none_where_an_electrode_is_bad(mixed, kept, trained_tokenizer):
    parts: dict[tuple, list] = {}
    for split in mixed.splits:
        for montage in kept.attach(mixed.windows(split, SECONDS)).montages:
            windows = zip(montage, (montage.codes[number] for number in range(len(montage))), strict=True)
            parts.setdefault(montage.electrodes, []).extend((own.eeg, own.bad, codes) for own, codes in windows)
    assert [len(own) for own in parts.values()] == [36, 36]
    for electrodes, own in parts.items():
        eeg, bad, found = map(np.stack, zip(*own, strict=True))
        np.testing.assert_array_equal(found, trained_tokenizer.encode(eeg, electrodes, sfreq=200, bads=bad))
        assert found.dtype == np.int16 and ((found == -1).all(axis=2) == bad).all() and len(np.unique(found)) > 4


def test_codes_are_told_of(mixed, kept, tokenizer_run):
    assert f"{kept} in {kept.folder}" in inspect(mixed.path)
    assert "codes of 72 windows of 2 s every 2 s, by tokenizer" in str(kept)
    assert "are kept already in" in tokenize(tokenizer_run, mixed.path, SECONDS, SECONDS)
    assert codes_of(mixed) == [kept]


def test_a_call_that_was_stopped_goes_on(mixed, kept, tokenizer_run, capsys):
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir()}
    kept.folder.rename(kept.partial_folder)
    for name in ("train-3ch.npy", "test-5ch.npy"):
        (kept.partial_folder / name).rename(kept.partial_folder / name.replace(".npy", ".part"))
    assert codes_of(mixed) == []
    assert "codes of 72 windows" in tokenize(tokenizer_run, mixed.path)
    assert capsys.readouterr().err.count("are labelled already") == 4
    assert {path.name: path.read_bytes() for path in kept.folder.iterdir()} == before


def test_training_is_the_same_to_the_bit(mixed, kept, tokenizer_run, tmp_path, capsys):
    runs = {}
    for use in ("never", "required"):
        runs[use] = tmp_path / use
        config = pretraining_config(runs[use], [mixed.path], tokenizer_run, kept_codes=use)
        train(replace(config, **{"loop.epochs": 1, "loop.log_every": 1}))
        assert ("the tokenizer does not run" in capsys.readouterr().err) == (use == "required")
    splits = [line["split"] for line in lines(runs["never"])]
    assert splits.count("train") > 5 and splits[-2:] == ["validation", "test"]
    assert lines(runs["required"]) == lines(runs["never"])
    jax.tree.map(np.testing.assert_array_equal, *(load_model(run)[0] for run in runs.values()))


def test_a_run_goes_on_with_codes_that_were_kept_meanwhile(tmp_path):
    """Resuming a run under another `kept_codes` is allowed, since nothing else of it changes."""
    saved, now = (to_dict(pretraining_config("", [], "", kept_codes=value)) for value in ("never", "required"))
    assert check_resumable(tmp_path, json.loads(json.dumps(saved)), now) == []


def test_without_codes_of_these_windows_the_tokenizer_runs_or_training_is_refused(mixed, kept, tokenizer_run):
    config = pretraining_config("", [mixed.path], tokenizer_run, **{"data.stride_seconds": 1.0})
    stage = make_stage(config, [mixed], 1)
    assert kept_codes(stage, [mixed], tokenizer_digest(stage)) == (
        [],
        f"the tokenizer runs: the codes kept beside {mixed.path} are of windows of another length or stride",
    )
    with refuses('kept_codes is "required", but the codes .* another length or stride: give the windows'):
        kept_codes(make_stage(replace(config, kept_codes="required"), [mixed], 1), [mixed], tokenizer_digest(stage))


def test_who_kept_no_codes_hears_nothing_of_them(tokenizer_run, tmp_path):
    plain = write_corpus(tmp_path / "plain", MONTAGES[:1], {"train": 4})
    config = pretraining_config("", [plain.path], tokenizer_run)
    stage = make_stage(config, [plain], 1)
    assert kept_codes(stage, [plain], tokenizer_digest(stage)) == ([], None)


def test_a_corpus_without_windows_of_this_length_is_refused(tokenizer_run, tmp_path):
    short = write_corpus(tmp_path / "short", MONTAGES[:1], {"train": 1})
    with refuses("no windows of this length: give a smaller --window-seconds"):
        tokenize(tokenizer_run, short.path, 16)
