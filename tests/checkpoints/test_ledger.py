"""Whom a model saw: carried from stage to stage and from form to form, and told beside its scores."""

import dataclasses
import json

import pandas as pd
from golden_data import FOLDER
from sentences import refuses
from toy_stage import STEPS_PER_EPOCH, toy_config, train_toy

import labram_jax
from labram_jax.checkpoints.branch import Branch, Origin
from labram_jax.checkpoints.files import SEEN
from labram_jax.checkpoints.ledger import Count, Entry, Ledger, overlap
from labram_jax.checkpoints.models import find_model, read_meta
from labram_jax.checkpoints.released import among_the_paper_s
from labram_jax.convert import source
from labram_jax.data.digest import corpus_digest
from labram_jax.inspect import inspect
from labram_jax.jsonfile import sealed
from labram_jax.weights import convert, read_ledger

STAGES = ("tokenizer", "pretraining", "fine-tuning")


def rows(*places: tuple[str, str, str], split: str = "test") -> pd.DataFrame:
    """Windows by corpus, subject and recording."""
    return pd.DataFrame(places, columns=["corpus", "subject", "recording"]).assign(split=split)


def digests_of(entry: Entry) -> list[str]:
    return [entry.subjects[start : start + 16] for start in range(0, len(entry.subjects), 16)]


def forget(run) -> None:
    """Makes the checkpoints of a run those of an earlier version."""
    for path in run.glob("checkpoints/*/meta/metadata"):
        meta = json.loads(path.read_text())
        del meta[SEEN]
        path.write_text(json.dumps(sealed(meta)))


def test_a_classifier_knows_whom_its_encoder_and_its_tokenizer_saw(classifier_run, corpus):
    training, validation = read_ledger(classifier_run).entries
    for entry, split in ((training, "training"), (validation, "validation")):
        assert (entry.corpus, entry.split, entry.stages) == ("small", split, STAGES)
    digest, subjects, recordings = corpus_digest(corpus), corpus.subjects("train"), corpus.recordings("train")
    expected = Entry.of("small", digest, "training", "tokenizer", subjects, recordings)
    assert training == dataclasses.replace(expected, stages=STAGES)
    names = ["train0", "validation0", "test0", "train2"]
    assert training.knows("subject", names).tolist() == [True, False, False, True]
    assert validation.knows("recording", [f"{name}/1" for name in names]).tolist() == [False, True, False, False]
    meta = json.dumps(read_meta(find_model(classifier_run))[SEEN])
    assert "train0" not in meta
    other = Entry.of("small", "another corpus", "training", "tokenizer", subjects, recordings)
    assert not {*digests_of(other)} & {*digests_of(training)}


def test_overlap_counts_subjects_and_windows_by_corpus_and_name():
    one = Ledger((Entry.of("c", "d", "training", "pretraining", ["a", "b"], ["a/0", "b/0"]),))
    two = Ledger((Entry.of("c", "d", "training", "tokenizer", ["a", "b"], ["a/0", "b/0"]),))
    chosen = Ledger((Entry.of("c", "d", "validation", "fine-tuning", ["e"], ["e/0"]),))
    ledger = one.joined(two, chosen, one)
    assert [entry.stages for entry in ledger.entries] == [("pretraining", "tokenizer"), ("fine-tuning",)]
    tested = rows(("c", "a", "a/9"), ("c", "a", "a/9"), ("c", "z", "b/0"), ("c", "e", "x"), ("other", "a", "a/0"))
    found = overlap([(ledger, tested)])
    # a by name, z by a recording that was b's; the a of another corpus is another person
    assert found.scored == Count(4, 5) and found.trained_on["pretraining"] == Count(2, 3)
    assert found.told() == [
        "2 of the 4 test subjects (3 of 5 windows) were seen in pretraining and the tokenizer's training",
        "1 of the 4 test subjects (1 of 5 windows) helped to choose the checkpoint of fine-tuning",
    ]
    unseen = rows(("c", "y", "y/0"), ("c", "x", "x/0"))
    assert overlap([(ledger, unseen)]).told() == [
        "none of the 2 test subjects was seen in training, by the names of corpora, subjects and recordings"
    ]
    folds = overlap([(Ledger(), tested), (one, tested), (chosen, unseen)])  # who tests twice is one
    assert folds.scored == Count(6, 12) and folds.trained_on == {"pretraining": Count(2, 3)} and not folds.chosen_on
    assert overlap([(Ledger.read(None, "old"), unseen)]).told() == [
        "unknown: old carries no ledger of whom it saw, as checkpoints of earlier versions"
    ]
    assert Ledger.read(json.loads(json.dumps(ledger.plain())), "x") == ledger
    with refuses("the ledger of x has the unknown name 'people'"):
        Ledger.read({"people": []}, "x")


def test_the_ledger_goes_along_in_every_form(pretraining_run, tmp_path):
    ledger = read_ledger(pretraining_run)
    labram_jax.load(pretraining_run).save(tmp_path / "exported")
    convert(tmp_path / "exported", tmp_path / "official.safetensors")
    convert(tmp_path / "official.safetensors", tmp_path / "again")
    convert(pretraining_run, tmp_path / "folder", "braindecode", seconds=2)
    for name in ("exported", "official.safetensors", "again", "folder"):
        assert read_ledger(tmp_path / name) == ledger
    assert "saw small, training of tokenizer, pretraining: 3 subjects, 6 recordings" in inspect(tmp_path / "again")


def test_of_released_weights_the_paper_names_the_corpora(tmp_path, monkeypatch):
    file = FOLDER / "labram.pth"
    tested = rows(("eegmmidb", "S001", "S001R01"))
    assert overlap([(read_ledger(file), tested)]).told() == [
        f"unknown: {file} carries no ledger of whom it saw",
        "the corpus eegmmidb is among the pretraining corpora of LaBraM (EEGMMIDB), so that it was seen if these "
        "weights derive from the published ones",
    ]
    monkeypatch.setattr(source, "_known", lambda path: "labram-base.pth, the released encoder")
    convert(file, tmp_path / "model")
    ledger = read_ledger(tmp_path / "model")
    told = {name: overlap([(ledger, rows((name, "a", "a")))]).told() for name in ("eegmmidb", "tuab", "mine")}
    assert told["eegmmidb"] == [
        "the corpus eegmmidb is among the pretraining corpora of LaBraM (EEGMMIDB): labram-base.pth, the released "
        "encoder, saw it"
    ]
    of = "none of the pretraining corpora that LaBraM's paper names (labram-base.pth, the released encoder)"
    assert told["mine"] == [f"mine is {of}"]
    assert told["tuab"] == [f"tuab is {of}, but TUAR, TUEP, TUSZ and TUSL are, which may share patients with it"]
    assert among_the_paper_s("SEED-V") and not among_the_paper_s("seedlings")


def test_runs_that_go_on_keep_what_was_seen_before(tmp_path):
    """Also where another model lies where theirs lay, and where an earlier version began them."""
    own, inherited, other = (
        Ledger((Entry.of(name, name, "training", "toy", ["a"], ["a/0"]),)) for name in ("own", "inherited", "other")
    )

    def trained(run, origin: Origin, epochs: float) -> Ledger:
        train_toy(toy_config(run, **{"loop.epochs": epochs}), made_from=origin)
        return read_ledger(run / "checkpoints" / str(round(epochs * STEPS_PER_EPOCH)))

    run, branch = tmp_path / "run", tmp_path / "branch"
    assert trained(run, Origin(seen=own, inherited=inherited), 1) == inherited.joined(own)
    assert trained(run, Origin(seen=own, inherited=other), 2) == inherited.joined(own)
    branched = Origin(branch=Branch(run), seen=other)
    assert trained(branch, branched, 3) == inherited.joined(own, other)
    forget(run)
    assert trained(run, Origin(seen=own, inherited=inherited), 3) == Ledger(own.entries, silent=(str(run),))
