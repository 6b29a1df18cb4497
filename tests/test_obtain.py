"""Models by name and by address: from a server of this machine, through the clients that speak to the real ones."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jax
import numpy as np
import pytest
from foreign_folders import braindecode_folder
from golden_data import FOLDER, imported_encoder
from safetensors.numpy import save_file
from sentences import refuses
from small_runs import finetuning_config, pretraining_config

import labram_jax
from labram_jax import cli, obtain
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.convert import known
from labram_jax.convert.known import KNOWN, KnownFile
from labram_jax.obtain import located
from labram_jax.runs import make_stage
from labram_jax.weights import convert, read_ledger, read_model

COMMIT = "c" * 40
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LABRAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path):
    """Serves files by their paths, and repositories as the Hub does; counts what was asked for."""
    root = tmp_path / "served"
    root.mkdir()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            asked.append(self.path)
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            parts = self.path.strip("/").split("/")
            if parts[:2] == ["api", "models"] and (root / parts[2] / parts[3]).is_dir():
                repo = root / parts[2] / parts[3]
                files = [path.relative_to(repo).as_posix() for path in sorted(repo.rglob("*")) if path.is_file()]
                content = json.dumps(
                    {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                ).encode()
            elif "resolve" in parts and (root / parts[0] / parts[1] / "/".join(parts[4:])).is_file():
                content = (root / parts[0] / parts[1] / "/".join(parts[4:])).read_bytes()
            elif (root / self.path.strip("/")).is_file():
                content = (root / self.path.strip("/")).read_bytes()
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if body:
                self.wfile.write(content)

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", root, asked
    served.shutdown()
    served.server_close()


@pytest.fixture
def tiny(server, monkeypatch) -> KnownFile:
    """A known file at the server's address."""
    address, root, _ = server
    (root / "labram.pth").write_bytes((FOLDER / "labram.pth").read_bytes())
    digest = hashlib.sha256((root / "labram.pth").read_bytes()).hexdigest()
    file = KnownFile("tiny-base", "tiny-base.pth", "a small encoder", digest, "MIT", f"{address}/labram.pth")
    monkeypatch.setattr(known, "KNOWN", (*KNOWN, file))
    monkeypatch.setattr(obtain, "KNOWN", (*KNOWN, file))
    return file


def test_a_known_name_is_fetched_once_and_checked(tiny, cache, server, monkeypatch):
    _, _, asked = server
    loaded = labram_jax.load("tiny-base")
    expected, _ = read_model(FOLDER / "labram.pth")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, expected)
    assert loaded.seen == Ledger(published=("tiny-base.pth, a small encoder",))
    assert len(asked) == 1 and (cache / "weights" / "tiny-base.pth").is_file()
    convert(Path("tiny-base"), cache / "converted")
    assert len(asked) == 1
    (cache / "weights" / "tiny-base.pth").write_bytes(b"another")
    read_ledger("tiny-base")
    assert len(asked) == 2
    monkeypatch.chdir(cache)
    Path("tiny-base").mkdir()
    assert located("tiny-base") == Path("tiny-base")  # what is there has the first word


def test_a_name_opens_every_door(tiny, cache, corpus, tmp_path, capsys):
    expected, _ = read_model(FOLDER / "labram.pth")
    fine = make_stage(finetuning_config(tmp_path / "run", [corpus.path], "tiny-base"), [corpus], 1)
    tokenizer = FOLDER / "vqnsp.pth"
    further = pretraining_config(tmp_path / "run", [corpus.path], tokenizer, start_from="tiny-base")
    for stage in (fine, make_stage(further, [corpus], 1)):
        jax.tree.map(np.testing.assert_array_equal, stage.initial()["params"]["encoder"], expected["params"]["encoder"])
    assert cli.main(["inspect", "tiny-base"]) == 0
    assert "tiny-base.pth, a small encoder" in capsys.readouterr().out


def test_without_a_network_a_sentence_says_where_to_put_the_file(tiny, cache, monkeypatch):
    offline = KnownFile(tiny.name, tiny.file, tiny.what, tiny.sha256, "MIT", f"{NOWHERE}/labram.pth")
    monkeypatch.setattr(known, "KNOWN", (offline,))
    place = cache / "weights" / "tiny-base.pth"
    with refuses(rf"tiny-base cannot be fetched .*: put {NOWHERE}/labram\.pth .sha256 {tiny.sha256}. at {place}\."):
        located("tiny-base")
    place.write_bytes((FOLDER / "labram.pth").read_bytes())
    assert located("tiny-base") == place


def test_another_file_than_the_known_one_is_refused(tiny, cache, server):
    (server[1] / "labram.pth").write_bytes(b"another")
    with refuses("tiny-base cannot be fetched .*hash.*: put"):
        located("tiny-base")


def test_every_known_file_is_whole_and_none_is_met_by_chance():
    for file in KNOWN:
        assert len(file.sha256) == 64 and file.licence and file.address.startswith("https://")
        assert "@" not in file.address and len({part for part in file.address.split("/") if len(part) == 40}) == 1
    assert len({file.name for file in KNOWN}) == len({file.file for file in KNOWN}) == len(KNOWN)
    with refuses("There is no labram-bass: perhaps 'labram-base' is meant"):
        located("labram-bass")
    assert located("runs/encoder") == Path("runs/encoder")


@pytest.fixture
def hub(server, cache, tmp_path, monkeypatch):
    """The Hub's client, which speaks to the server and keeps what it fetches here: `hub(address)`."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def at(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    at(server[0])
    return at


def test_a_folder_of_braindecode_on_the_hub(hub, server, cache):
    _, root, asked = server
    repo = root / "owner" / "name"
    repo.parent.mkdir()
    braindecode_folder(repo)
    (repo / "training.log").write_text("not needed")
    expected, _ = read_model(repo)
    for address in ("hf://owner/name", "hf://owner/name@main", Path("hf://owner/name/model.safetensors")):
        jax.tree.map(np.testing.assert_array_equal, read_model(address)[0], expected)
    fetched = {Path(path).name for path in asked if "resolve" in path}
    assert fetched == {"model.safetensors", "config.json"}
    hub(NOWHERE)  # from now on without a network
    jax.tree.map(np.testing.assert_array_equal, read_model("hf://owner/name")[0], expected)
    place = cache / "weights" / "hub" / "owner" / "other"
    with refuses(rf"hf://owner/other cannot be fetched .*: put the files of .*/owner/other into {place}\."):
        read_model("hf://owner/other")
    place.parent.mkdir(parents=True)
    braindecode_folder(place)
    jax.tree.map(np.testing.assert_array_equal, read_model("hf://owner/other")[0], expected)


def test_repositories_of_other_shapes(hub, server, cache, tmp_path):
    _, root, _ = server
    repo = root / "owner" / "many"
    for name in ("quark/q.safetensors", "atom/a.safetensors", "README.md"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(imported_encoder("cls6"), repo / name) if "/" in name else (repo / name).write_text("read me")
    native = labram_jax.load(FOLDER / "labram.pth")
    native.save(repo / "native")
    with refuses("is not one model: give one of its files after a slash .atom/a.safetensors, quark/q.safetensors"):
        located("hf://owner/many")
    for inner in ("quark", "atom/a.safetensors"):
        assert read_model(f"hf://owner/many/{inner}")[1].outputs == 6
    jax.tree.map(np.testing.assert_array_equal, read_model("hf://owner/many/native")[0], native.variables)
    with refuses("holds nothing: owner/many has README.md"):
        located("hf://owner/many/absent")
    with refuses("There is no hf://owner/absent that can be read: check owner"):
        located("hf://owner/absent")
    with refuses("hf://owner is no address of a model on the Hub: give hf://OWNER/NAME"):
        located("hf://owner")


def test_shards_on_the_hub(hub, server):
    _, root, _ = server
    repo, tensors = root / "owner" / "shards", imported_encoder("cls6")
    repo.mkdir(parents=True)
    table = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for file in set(table.values()):
        save_file({name: tensors[name] for name in tensors if table[name] == file}, repo / file)
    (repo / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert read_model("hf://owner/shards")[1].outputs == 6
