"""A model on the Hub: what goes there, and what its card says."""

import hashlib
from pathlib import Path

import jax
import numpy as np
import pytest
from foreign_folders import braindecode_folder
from golden_data import FOLDER
from sentences import refuses

import labram_jax
from labram_jax.checkpoints.ledger import Entry, Ledger
from labram_jax.config import replace
from labram_jax.inference import Encoder
from labram_jax.publish import card, push
from labram_jax.weights import read_ledger, read_model

SEEN = Ledger(
    (Entry.of("eegmat", "d" * 64, "training", "pretraining", ["subject 1", "subject 2"], ["recording 1"]),),
    elsewhere=("/home/someone/labram.pth",),
)


@pytest.fixture
def uploaded(monkeypatch, tmp_path):
    """What the Hub's client was asked to do, in order; the files that it was given are kept in `tmp_path / "hub"`."""
    hub = pytest.importorskip("huggingface_hub")
    calls = []

    class Api:
        def create_repo(self, repo, private, exist_ok):
            calls.append(("create_repo", repo, private, exist_ok))

        def upload_folder(self, repo_id, folder_path, commit_message):
            calls.append(("upload_folder", repo_id))
            Path(folder_path).rename(tmp_path / "hub")

    monkeypatch.setattr(hub, "HfApi", Api)
    return calls


@pytest.fixture
def model(tmp_path) -> Path:
    """An exported encoder that carries a ledger."""
    variables, config = read_model(FOLDER / "labram.pth")
    Encoder(variables, config, seen=SEEN).save(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_goes_with_its_card(model, uploaded, tmp_path):
    assert push(model, "owner/name", licence="cc-by-4.0") == "hf://owner/name"
    assert uploaded == [("create_repo", "owner/name", True, True), ("upload_folder", "owner/name")]
    files = sorted(path.name for path in (tmp_path / "hub").iterdir())
    assert files == ["README.md", "model.safetensors"]
    jax.tree.map(np.testing.assert_array_equal, read_model(tmp_path / "hub")[0], read_model(model)[0])
    assert read_ledger(tmp_path / "hub") == Ledger(SEEN.entries, elsewhere=("labram.pth",))
    text = (tmp_path / "hub" / "README.md").read_text()
    digest = hashlib.sha256((tmp_path / "hub" / "model.safetensors").read_bytes()).hexdigest()
    for part in (
        *("---\nlicense: cc-by-4.0\nlibrary_name: labram-jax\n", 'labram_jax.load("hf://owner/name")'),
        *("a pretrained encoder", "2 blocks, width 100, 5 heads", "eegmat, training of pretraining: 2 subjects"),
        *(
            "labram.pth carries no ledger",
            digest,
            "None are recorded",
            "official PyTorch code",
            "The weights: cc-by-4.0",
        ),
    ):
        assert part in text, part
    for private in ("/home", "subject 1", "recording 1", str(tmp_path)):
        assert private not in text and private.encode() not in (tmp_path / "hub" / "model.safetensors").read_bytes()


def test_what_official_names_cannot_hold_goes_as_it_is(model, uploaded, tmp_path):
    variables, config = read_model(model)
    encoder = dict(variables["params"]["encoder"], amplitude=np.zeros((2, 100), "f4"))
    variables = {"params": {**variables["params"], "encoder": encoder}}
    Encoder(variables, replace(config, **{"encoder.amplitude": True}), seen=SEEN).save(tmp_path / "other")
    push(str(tmp_path / "other"), "owner/name", licence="mit", private=False)
    assert uploaded[0] == ("create_repo", "owner/name", False, True)
    assert read_model(tmp_path / "hub")[1].encoder.amplitude
    assert read_ledger(tmp_path / "hub").entries == SEEN.entries
    assert "official PyTorch code" not in (tmp_path / "hub" / "README.md").read_text()


def test_what_came_from_elsewhere_goes_with_its_name_alone(uploaded, tmp_path):
    folder = braindecode_folder(tmp_path / "folder")
    push(folder, "owner/name", licence="mit")
    assert read_model(tmp_path / "hub")[1] == read_model(folder)[1]
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "- folder carries no ledger of whom it saw" in text and str(tmp_path) not in text


def test_scores_and_what_it_was_made_from_are_in_the_card(model):
    _, config = read_model(model)
    meta = {"inputs": {"data.corpora": ["aaaa", "bbbb"], "tokenizer": "cccc"}, "metrics": {"loss": 0.25}}
    scores = {"test": {"fine-tuned": {"auroc": 0.75}, "chance": {"auroc": 0.5}}}
    text = card("owner/name", "mit", config, SEEN, meta, scores, {"model.safetensors": "dddd"})
    for part in ("| corpora | aaaa |", "| corpora | bbbb |", "| tokenizer | cccc |", "On the test split:"):
        assert part in text
    assert "fine-tuned" in text and "0.75" in text and "chance" in text and "0.25" not in text
    assert "chose this checkpoint: loss 0.25" in card("owner/name", "mit", config, SEEN, meta, {}, {})


def test_what_cannot_be_pushed(model, uploaded, monkeypatch):
    for repo, licence, sentence in (
        ("name", "mit", "name is no repository of the Hub: give OWNER/NAME"),
        ("owner/name", "My licence", "is no licence as the Hub names them"),
    ):
        with refuses(sentence):
            push(model, repo, licence=licence)
    assert not uploaded
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_, **__):
        raise RuntimeError("401 Client Error.\nUnauthorized")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with refuses("The Hub did not take owner/name .401 Client Error.: log in with"):
        labram_jax.push(model, "owner/name", licence="mit")
