"""From a corpus' name and a folder to a corpus on disk, in Python and on the command line."""

import pandas as pd
import pytest
from sentences import refuses

from labram_jax import cli
from labram_jax.data.schema import FINITE_ONLY, CorpusInfo
from labram_jax.data_prep.corpora import MODULES, corpus_module, eegmat, folder
from labram_jax.data_prep.prepare import prepare


def test_a_folder_becomes_a_corpus(write_edf, tmp_path):
    source = write_edf("a.edf").parent
    write_edf("b.edf", seed=1)
    options = folder.Options(split_by="none", jobs=1, quality="finite", notch=60.0, names="old-to-new")
    report = prepare("folder", source, tmp_path / "out", options)
    assert len(report.recordings) == 2 and not report.unusable
    info = CorpusInfo.read(tmp_path / "out")
    assert info.filters == {"high_pass": 0.1, "low_pass": 75.0, "notch": 60.0} and info.quality == FINITE_ONLY
    with refuses("exists already"):
        prepare("folder", source, tmp_path / "out", options)


def test_without_options_a_corpus_has_its_own(write_edf, tmp_path):
    for subject in range(3):
        path = write_edf(f"sub-{subject}.edf", seed=subject)
    report = prepare("folder", path.parent, tmp_path / "out")
    assert report.info.subjects == {"train": 1, "validation": 1, "test": 1}


def test_an_unknown_corpus_and_options_of_another_are_refused(tmp_path):
    with refuses("eegmat"):
        prepare("eegmatt", tmp_path, tmp_path / "out")
    rooms = "labram_jax.data_prep.corpora"
    with refuses(f"folder takes {rooms}.folder.Options, not {rooms}.eegmat.Options"):
        prepare("folder", tmp_path, tmp_path / "out", eegmat.Options())


def test_the_command_line_lists_the_corpora(capsys):
    assert cli.main(["prepare"]) == 2
    listed = capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare", "--help"])
    assert stopped.value.code == 0 and capsys.readouterr().out == listed
    for name in MODULES:
        assert f"  {name} " in listed and corpus_module(name).__doc__.partition("\n")[0] in listed
    assert cli.main(["prepare", "tuabb", "in", "out"]) == 2
    assert "choose one of folder, eegmat" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("corpus", "own", "foreign"),
    [
        ("tuab", ("--split-by {subject,official}", "Abnormal", "edf/train"), ("--task", "--manifest", "--start-frac")),
        ("tuev", ("--fractions", "Events Corpus"), ("--split-by", "--window-seconds")),
        ("mobi", ("--minutes", "--stride-seconds", "within subjects"), ("--task", "--window-seconds")),
        ("seedv", ("--split-by {time,subject,none}", "within subjects", "117,744"), ("--task", "--window-seconds")),
        ("eegmmidb", ("--task", "--subjects", "imagined-fists"), ("--manifest",)),
        ("official-hdf5", ("--start-fraction", "--stride-seconds"), ("--notch", "--task")),
        ("official-pickles", ("--dtype",), ("--notch", "--split-by", "--seed")),
        ("folder", ("--subject-pattern", "--events-column", "--manifest"), ("--task", "--window-seconds")),
    ],
)
def test_every_corpus_has_a_help_of_its_own(corpus, own, foreign, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["prepare", corpus, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and f"usage: labram-jax prepare {corpus} " in text
    assert "SOURCE" in text and "OUT" in text
    assert all(word in text for word in own) and not any(word in text for word in foreign)


def test_what_follows_beam_is_beams(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("labram_jax.data_prep.prepare.build", lambda table, out, **options: asked.append(options))
    arguments = ["prepare", "folder", str(tmp_path), str(tmp_path / "out"), "--split-by", "none"]
    (tmp_path / "a.edf").touch()
    assert cli.main([*arguments, "--beam", "--runner", "FlinkRunner", "--jobs", "3"]) == 0
    assert cli.main([*arguments, "--jobs", "3"]) == 0
    assert [(options["beam"], options["jobs"]) for options in asked] == [
        (("--runner", "FlinkRunner", "--jobs", "3"), asked[0]["jobs"]),
        (None, 3),
    ]


def test_the_split_does_not_depend_on_what_cannot_be_read(write_edf, tmp_path):
    for subject in range(4):
        path = write_edf(f"sub-{subject}.edf", seed=subject)
    whole = prepare("folder", path.parent, tmp_path / "whole", folder.Options(jobs=1))
    (path.parent / "sub-0.edf").write_bytes(b"no recording")
    part = prepare("folder", path.parent, tmp_path / "part", folder.Options(jobs=1))

    def splits(out):
        spans = pd.read_csv(out / "spans.csv")
        return dict(zip(spans["subject"], spans["split"], strict=True))

    assert splits(tmp_path / "whole").items() > splits(tmp_path / "part").items()
    assert (len(whole.unusable), len(part.unusable)) == (0, 1)


def test_an_impossible_split_is_told_before_any_file_is_opened(write_edf, tmp_path, monkeypatch):
    path = write_edf("sub-1.edf")
    monkeypatch.setattr("labram_jax.data_prep.build.survey", lambda *_: pytest.fail("a file would have been opened"))
    with refuses(r"1 subject\(s\) cannot fill 3 splits"):
        prepare("folder", path.parent, tmp_path / "out")
