"""Examples of the documents run as they stand there, one after another; every command line is at least parsed.

`<!-- not run: WHY -->` above an example keeps it from being run.
"""

import functools
import os
import re
import shlex
import shutil
import string
from collections.abc import Iterator
from pathlib import Path

import mne
import numpy as np
import pytest
import tyro
from golden_data import FOLDER
from made_corpora import MadeRecording, make_corpus

import labram_jax
from labram_jax import cli
from labram_jax.commands import models, preparing, training

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *TUTORIALS]

EXAMPLE = re.compile(
    r"(?P<unrun><!-- not run: .+ -->\n\n)?"
    r"(?:^```python\n(?P<python>[\s\S]*?)^```$|(?P<shell>(?:^ {4,}\S.*\n)+))",
    re.MULTILINE,
)
VARIABLE = re.compile(r'^ +([A-Z_]+)="(.*)"$', re.MULTILINE)
# How a line begins that calls a command, and the words that stand for what the launcher adds.
CALLS = {
    r"labram-jax ": (),
    r"launch/local\.sh (?:--dry-run )?\d+ ": ("train",),
    r"(?:sbatch .*?)?launch/slurm\.sbatch (?:--dry-run )?": ("train",),
    r"launch/(?:tpu_vm|gke)\.sh (?:--dry-run )?(?=train )": (),
}
PLACEHOLDERS = {"CONFIG": "demo_tokenizer"}


def examples(document: Path) -> Iterator[tuple[bool, str, list[list[str]]]]:
    """In their order: whether it is to be run, and either a block of Python or command lines, as their words."""
    text = document.read_text("utf-8")
    variables = dict(VARIABLE.findall(text))
    for match in EXAMPLE.finditer(text):
        lines = (match["shell"] or "").replace("\\\n", " ").splitlines()
        yield (
            match["unrun"] is None,
            match["python"] or "",
            [words for line in lines if (words := call(line, variables))],
        )


def call(line: str, variables: dict[str, str]) -> list[str]:
    """The words after `labram-jax` of a line that calls it, itself or by a launcher; none of any other line."""
    for start, added in CALLS.items():
        if found := re.match(rf" +{start}", line):
            rest = string.Template(line[found.end() :]).safe_substitute(variables)
            words = [word.strip("[]") for word in shlex.split(rest, comments=True) if word != "..."]
            return [*added, *(PLACEHOLDERS.get(word, word) for word in words)]
    return []


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder that holds what the examples name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # recordings are prepared here, not in fresh processes
    Path("recordings").mkdir()
    for number in (3, 2, 1):
        eeg = np.random.default_rng(number).normal(scale=15, size=(3, 200 * 40))
        raw = mne.io.RawArray(eeg * 1e-6, mne.create_info(["EEG Fp1-REF", "Cz", "O2"], 200.0, "eeg"), verbose="ERROR")
        raw.set_annotations(mne.Annotations(2 + 3 * np.arange(12), 2, np.resize(["rest", "task"], 12).tolist()))
        mne.export.export_raw(f"recordings/sub-0{number}.edf", raw, verbose="ERROR")
    shutil.copy(FOLDER / "labram.pth", "labram-base.pth")
    labram_jax.load(FOLDER / "vqnsp.pth").save("runs/tokenizer")
    recording = MadeRecording("a", "a", ("FP1", "CZ", "O2"), eeg, [(0, 40, "test", 0)])
    make_corpus(tmp_path / "corpora" / "mine", [recording], ("rest", "task"))
    return tmp_path


def run(document: Path, names: dict, commands: bool) -> None:
    """Runs the examples of a document; what they define is left in `names`."""
    for number, (wanted, python, calls) in enumerate(examples(document)):
        code = compile(python, f"{document.name}, example {number + 1}", "exec")
        if wanted:
            exec(code, names)
            for words in calls if commands else ():
                assert cli.main(words) == 0, words


def test_examples_of_the_first_page(place):
    names: dict = {}
    run(ROOT / "README.md", names, commands=False)
    assert names["scores"].shape == (2,)
    assert names["features"].shape[1] == 100 and names["codes"].shape[1:] == (3, 4)
    assert names["early"].shape == (10, 100) and set(names["labels"]) == {"rest", "task"}
    assert names["classifier"].config.classes == ("rest", "task")


def test_examples_of_porting(place):
    names = {"eeg": np.random.default_rng(0).normal(scale=15, size=(2, 3, 800)), "electrodes": ["Fp1", "Cz", "O2"]}
    run(ROOT / "docs" / "porting.md", names, commands=False)
    assert names["features"].shape == (2, 100)


def test_example_of_a_protocol():
    names: dict = {}
    run(ROOT / "docs" / "benchmarks.md", names, commands=False)
    assert names["protocol"].finetuning["base"].data.window_seconds == 4


def test_tutorial_of_features(place):
    names: dict = {}
    run(ROOT / "docs" / "tutorials" / "features.md", names, commands=True)
    assert names["patches"].shape == (10, 3, 4, 100) and names["early"].shape == (10, 100)
    with np.load("features.npz") as embedded:
        assert embedded["3ch/features"].shape == names["features"].shape


def test_tutorial_of_fine_tuning(place):
    names: dict = {}
    run(ROOT / "docs" / "tutorials" / "fine_tune.md", names, commands=True)
    assert len(names["rest"]) == 2 and names["rest"].between(0, 1).all()
    assert len(names["classes"]) == 12 and set(names["classes"]) <= {"rest", "task"}


def test_tutorial_of_porting(place):
    run(ROOT / "docs" / "tutorials" / "port.md", {}, commands=True)
    assert Path("braindecode/config.json").is_file()


def test_the_api_has_every_public_name():
    listed = re.findall(r"^::: labram_jax\.(\w+)$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(labram_jax.__all__)


class Parsed(Exception):
    """The command line was understood."""


@pytest.fixture
def parsing(monkeypatch) -> None:
    """Commands end once their arguments are understood."""

    def parse(function, name, arguments, description=None):
        tyro.cli(functools.wraps(function)(lambda *_, **__: None), args=list(arguments), prog=name)
        raise Parsed

    for room in (models, preparing, training):
        monkeypatch.setattr(room, "call", parse)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_commands_are_understood(document, parsing):
    commands = [words for _, _, calls in examples(document) for words in calls]
    assert commands or document.stem in ("api", "design", "promises")
    for words in commands:
        try:
            code = cli.main(words)
        except Parsed:
            continue
        except SystemExit as ended:
            code = ended.code
        raise AssertionError(f"{words} ends with {code}")
