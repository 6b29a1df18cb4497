"""The command line: what it does when all is well, and one sentence, exit code 2 and clean hands when it is not."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from sentences import assert_one_sentence
from small_runs import MONTAGES, write_corpus

import labram_jax
from labram_jax import cli, configfile
from labram_jax.commands import COMMANDS, completing, models

# Commands as they are asked for help: those that a first word decides with one of each kind.
ASKED = (
    *((name,) for name in COMMANDS if name not in ("train", "prepare", "plan", "benchmark")),
    *(("train", f"demo_{stage}") for stage in ("tokenizer", "pretraining", "finetuning")),
    *(("prepare", corpus) for corpus in ("folder", "mobi")),
    *(("plan", "demo_tokenizer"), ("benchmark", "eegmmidb_eyes")),
)


def write_edf(path: Path, names: list[str], seconds: int = 6) -> Path:
    """Writes noise of 20 microvolts at 100 Hz."""
    samples = np.random.default_rng(0).normal(scale=20e-6, size=(len(names), 100 * seconds))
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = mne.io.RawArray(samples, mne.create_info(names, 100.0, "eeg"), verbose="ERROR")
    mne.export.export_raw(path, raw, verbose="ERROR")
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, corpus, tokenizer_run) -> Path:
    """A folder in which everything has something wrong with it, but good.edf, ./small, and ./tokenizer."""
    root = tmp_path_factory.mktemp("inputs")
    write_edf(root / "good" / "good.edf", ["Fp1", "Fp2", "O1", "O2"])
    (root / "empty").mkdir()
    (root / "text").mkdir()
    (root / "text" / "notes.edf").write_text("this is no EEG\n" * 100)
    whole = write_edf(root / "truncated" / "cut.edf", ["Fp1", "Fp2"]).read_bytes()
    (root / "truncated" / "cut.edf").write_bytes(whole[: len(whole) // 2])
    write_edf(root / "unknown" / "probes.edf", ["Left", "Right"])
    (root / "missing.csv").write_text("path,label\ngood.edf,rest\nabsent.edf,task\n")
    shutil.copytree(corpus.path, root / "small")
    shutil.copytree(tokenizer_run, root / "tokenizer")
    shutil.copytree(corpus.path, root / "future")
    description = (root / "future" / "corpus.json").read_text()
    (root / "future" / "corpus.json").write_text(description.replace('"format": 2', '"format": 99'))
    splits = {"train": 2}
    write_corpus(root / "unlabelled", MONTAGES[:1], splits, label=None)
    write_corpus(root / "three", MONTAGES[:1], splits, classes=3)
    write_corpus(root / "lonely", MONTAGES[:1], splits, classes=1)
    (root / "misspelt.py").write_text(
        "from labram_jax.config import *\nconfig = TokenizerStageConfig(run='run', loop=LoopConfig(epoch=3))\n"
    )
    (root / "impossible.py").write_text(
        "from labram_jax.config import *\nconfig = TokenizerStageConfig(run='run', loop=LoopConfig(epochs=-3))\n"
    )
    return root


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder; of folders only that they are there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def complaint(stderr: str) -> str:
    """The one sentence after the command's name; what comes before it can only be progress."""
    *before, last = stderr.splitlines()
    assert last.startswith("labram-jax: ") and not any("labram-jax: " in line or "Error" in line for line in before)
    return last.removeprefix("labram-jax: ")


FINETUNE = "train demo_finetuning --run run --data.patch-slots 16 --data.window-seconds 2 --data.corpora"
PRETRAIN = "train demo_pretraining --run run --data.corpora small --data.patch-slots 16 --data.window-seconds 2"
TRAIN = "train demo_tokenizer --data.corpora small --data.window-seconds 2 --run"
BAD = {
    "frobnicate": "no command 'frobnicate'; choose one of demo, prepare, train",
    "inspect absent.edf": "nothing at absent.edf: check the path",
    "inspect text/notes.edf": "text/notes.edf .*EEG|text/notes.edf .*EDF",
    "inspect truncated/cut.edf": "cut.edf .*(truncated|shorter|breaks off)",
    "inspect empty": "empty is neither a run, nor a checkpoint",
    "inspect future": "future has format 99, but this version reads 2: prepare the corpus again",
    "prepare nosuch good out": "no corpus called 'nosuch'; choose one of folder, eegmat",
    "prepare folder absent out": "no folder absent",
    "prepare folder empty out": "empty holds no EEG recording",
    "prepare folder good/good.edf out": "good.edf is one file; give the folder",
    "prepare folder text out --split-by none --jobs 1": "None of the 1 recordings of text .*notes.edf",
    "prepare folder truncated out --split-by none --jobs 1": "None of the 1 recordings of truncated .*cut.edf",
    "prepare folder unknown out --split-by none --jobs 1": "None of its 2 channels .*known electrode",
    "prepare folder good out --manifest missing.csv": "missing.csv, line 3: there is no file good/absent.edf",
    "prepare folder good out --manifest absent.csv": "no manifest absent.csv",
    "prepare folder good out": "--subject-pattern REGEX, .*--split-by time",
    "prepare folder good small --split-by none": "small exists already: choose another folder",
    "prepare folder good empty/.. --split-by none --overwrite": "is not a corpus: it will not be overwritten",
    "train": "Say which configuration to train",
    "train demo_tokeniser": r"no configuration 'demo_tokeniser' \(perhaps 'demo_tokenizer'\?\)",
    "train misspelt.py": "misspelt.py does not run .*unexpected keyword argument 'epoch'",
    "train impossible.py": "impossible.py: loop.epochs -3 must be positive",
    "train demo_tokenizer --run run": "names no corpus: give --data.corpora",
    "train demo_tokenizer --run run --data.corpora absent": "no corpus absent",
    "train demo_tokenizer --run run --data.corpora good": "good is not a corpus",
    "train demo_tokenizer --run run --data.corpora future": "future has format 99",
    f"{TRAIN} run --data.patch-slots 4": "at least 6 patch slots instead of 4",
    f"{TRAIN} run --mesh.data 3": r"mesh \(data 3, .* does not fit 1 device",
    f"{TRAIN} run --profile -1": "--profile -1 must be a number of steps",
    f"{TRAIN} tokenizer": "tokenizer was started with .*give another run direc",
    "train demo_tokenizer --run run --data.corpora small": "no windows in small .train.: .*data.window_seconds",
    f"{TRAIN} run --data.train-split dev": "no split 'dev': choose one of train, validation, test",
    PRETRAIN: "give --tokenizer RUN",
    f"{PRETRAIN} --tokenizer absent": "absent does not exist: give a run",
    f"{PRETRAIN} --tokenizer good": "good is neither a run",
    f"{FINETUNE} unlabelled": "unlabelled has no labels: prepare it with a task or a manifest",
    f"{FINETUNE} small three": "small and three have different labels: train one at a time",
    f"{FINETUNE} lonely": "lonely has one class alone .slow.: nothing can be learnt",
    "tokenize absent small": "absent does not exist: give a run",
    "tokenize tokenizer absent": "no corpus absent",
    "tokenize tokenizer small --window-seconds 17": "window of 17 seconds cannot be used",
    f"{PRETRAIN} --tokenizer tokenizer --kept-codes required": "no codes are kept beside small: give the windows",
    "evaluate absent small": "absent does not exist: give a run",
    "evaluate tokenizer absent": "no corpus, recording or folder of recordings absent",
    "evaluate tokenizer future": "future has format 99",
    "evaluate tokenizer unlabelled": "unlabelled has no windows in the split 'test'",
    "predict tokenizer small out.npz": "tokenizer is no classifier: fine-tune it first",
    "predict absent small out.npz": "absent does not exist: give a run",
    "predict tokenizer small missing.csv": "missing.csv does not end with .npz: give such a name",
    "embed tokenizer absent.edf out.npz": "no corpus, recording or folder of recordings absent.edf",
    "embed tokenizer truncated/cut.edf out.npz": "cut.edf .*(truncated|shorter|breaks off)",
    "embed tokenizer unknown/probes.edf out.npz": "None of its 2 channels .*known electrode",
    "embed tokenizer good/good.edf out.npz --window-seconds 10": "good.edf has no windows .*: give a smaller",
    "embed tokenizer good/good.edf out.npz --window-seconds 0": "window of 0 seconds cannot be used",
    "embed tokenizer good/good.edf out.npz --window-seconds 17": "window of 17 seconds cannot be used",
    "embed tokenizer future out.npz": "future has format 99",
    "embed tokenizer small missing.csv": "missing.csv exists already",
    "convert absent.pth out": "absent.pth",
    "convert missing.csv out": "missing.csv",
    "convert tokenizer small": "small exists already",
    "report absent": "no run absent",
    "report future": "future has format 99",
}  # fmt: skip


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_one_sentence_and_touches_nothing(command, inputs, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    before = contents(inputs)
    assert cli.main(command.split()) == 2
    captured = capsys.readouterr()
    sentence = complaint(captured.err)
    assert_one_sentence(sentence)
    assert re.search(BAD[command], sentence), sentence
    assert captured.out == "" and contents(inputs) == before


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("train demo_tokenizer --data.bach-rows 3", "--data.batch-rows"),
        ("train demo_tokenizer --data.batch-rows 0", "data.batch_rows must be at least 1, not 0"),
        ("train demo_tokenizer --optimizer.learning-rate fast", "--optimizer.learning-rate"),
        ("train demo_tokenizer --compute.dtype float17", "float32"),
        ("inspect", "PATH"),
        ("embed tokenizer small out.npz --pool max", "class_token"),
    ],
)
def test_options_that_do_not_exist_are_answered_with_those_that_do(command, answer, inputs, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    before = contents(inputs)
    with pytest.raises(SystemExit) as stopped:
        cli.main(command.split())
    assert stopped.value.code == 2 and contents(inputs) == before
    assert answer in capsys.readouterr().err


def test_without_a_command_the_usage_is_printed(capsys):
    assert cli.main([]) == 2
    without = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == without and all(f"\n  {command} " in without for command in COMMANDS)


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"labram-jax {labram_jax.__version__} (jax ")


def options_of(arguments: Sequence[str], capsys) -> dict[str, str]:
    """What is said of each option of a command, by its last spelling."""
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--tyro-print-completion", "bash"])
    told = re.search("^COMPLETION_SPEC = (.*)$", capsys.readouterr().out, re.MULTILINE)
    return {option["flags"][-1]: option["description"] for option in ast.literal_eval(told[1])["options"]}


@pytest.mark.parametrize("arguments", ASKED, ids=" ".join)
def test_every_command_explains_itself_and_all_that_it_takes(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, "--help"])
    usage, *_ = capsys.readouterr().out.splitlines()
    assert stopped.value.code == 0 and usage.startswith(f"usage: labram-jax {' '.join(arguments)} [-h]")
    # Positionals are called by what they are, not by their type.
    assert not re.search(r" (PATH|STR|INT)\b", re.sub(r"--\S+ \S+", "", usage)) or arguments in {
        ("inspect",),
        ("report",),
        ("demo",),
    }
    assert arguments != ("embed",) or usage.endswith(" CHECKPOINT SOURCE OUT")
    options = options_of(arguments, capsys)
    for option, told in options.items():
        words = re.sub(r"\((default|required|repeatable).*", "", told.rpartition(" • ")[2], flags=re.DOTALL)
        assert len(words.split()) >= 2, f"{option} is not explained"
        assert option == "--help" or re.search(r"\((default|required|repeatable)", told), option


def test_bash_completes_commands_options_values_and_names(tmp_path, monkeypatch):
    few = {name: COMMANDS[name] for name in ("embed", "train")}
    monkeypatch.setattr(completing, "COMMANDS", few)
    monkeypatch.setattr(configfile, "configurations", lambda: ["demo_tokenizer", "demo_finetuning"])
    (tmp_path / "labram-jax").write_text(completing.script("bash"))
    asked = {
        "em": "embed",
        "embed --po": "--pool",
        "embed --pool cl": "class_token",
        "train demo_t": "demo_tokenizer",
        "train demo_tokenizer --loop.ep": "--loop.epochs",
        "embed recording": "",  # which leaves bash to complete files
    }
    lines = ["source ./labram-jax"]
    for words in asked:
        lines.append(f"COMP_WORDS=(labram-jax {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))")
        lines.append('_labram_jax; echo "${COMPREPLY[*]}"')
    ended = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines() == [*asked.values()] and ended.stderr == ""


def test_an_interrupted_command_says_so(monkeypatch, capsys):
    def inspect(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "inspect", inspect)
    assert cli.main(["inspect", "x"]) == 130
    assert complaint(capsys.readouterr().err) == "interrupted"


def test_an_interruption_of_an_import_says_so_too(tmp_path):
    """Where an exception would end an extension module's start, and the process with it."""
    (tmp_path / "slow.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    code = "import labram_jax.cli\nlabram_jax.cli.program(lambda: __import__('slow'))"
    paths = os.pathsep.join([str(tmp_path), str(Path(labram_jax.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "labram-jax: interrupted\n")


@pytest.mark.parametrize("said", ["'much'", "'more ' * 99999, flush=True"], ids=["at the end", "on the way"])
def test_who_has_read_enough_ends_it_without_a_word(said):
    """As `head` does, whether what was printed is still on its way or the next line finds nobody."""
    reading, writing = os.pipe()
    os.close(reading)
    code = f"from labram_jax import cli\ncli.command = lambda name: lambda rest: print({said})\n"
    code += "cli.program(lambda: cli.main(['inspect', 'x']))"
    environment = os.environ | {"PYTHONPATH": str(Path(labram_jax.__file__).parents[1])}
    called = [sys.executable, "-c", code]
    ended = subprocess.run(called, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_warning_is_a_sentence_and_not_a_line_of_code():
    code = "import warnings\nfrom labram_jax import cli\ndef warn():\n warnings.warn('this is a tokenizer')\n"
    code += " warnings.warn('overflow', RuntimeWarning)\n return 0\ncli.program(warn)"
    environment = os.environ | {"PYTHONPATH": str(Path(labram_jax.__file__).parents[1])}
    called = [sys.executable, "-c", code]
    ended = subprocess.run(called, env=environment, capture_output=True, text=True, timeout=60, check=True)
    told, other, *_ = ended.stderr.splitlines()
    assert told == "labram-jax: this is a tokenizer" and "RuntimeWarning: overflow" in other


def test_a_recording_becomes_a_corpus_and_codes(inputs, tmp_path, capsys):
    """prepare, inspect and embed as a user types them, on a folder of one recording."""
    out = tmp_path / "corpus"
    arguments = ["--split-by", "time", "--jobs", "1"]
    assert cli.main(["prepare", "folder", str(inputs / "good"), str(out), *arguments]) == 0
    assert "4ch" in capsys.readouterr().out
    assert cli.main(["inspect", str(out)]) == 0
    assert "FP1 FP2 O1 O2" in capsys.readouterr().out
    assert cli.main(["inspect", str(inputs / "good" / "good.edf")]) == 0
    assert "100 Hz" in capsys.readouterr().out
    features = tmp_path / "features.npz"
    recording = str(inputs / "good" / "good.edf")
    assert cli.main(["embed", str(inputs / "tokenizer"), recording, str(features), "--window-seconds", "2"]) == 0
    assert "4ch/features: 3 x 4 x 2" in capsys.readouterr().out and features.is_file()


def start(command: str, devices: int, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    arguments = [sys.executable, "-m", "labram_jax", *command.split()]
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_program_ends_with_code_2(inputs):
    """Through a process of its own, once: rows that cannot be divided over three devices."""
    before = contents(inputs)
    ended = start("train demo_tokenizer --run run --data.corpora small", devices=3, cwd=inputs)
    assert ended.returncode == 2 and ended.stdout == ""
    assert "batch_rows 8 cannot be divided over 3 devices" in complaint(ended.stderr)
    assert contents(inputs) == before
