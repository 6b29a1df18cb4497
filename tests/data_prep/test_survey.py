"""What is read of headers, and how recordings are dealt out into shards."""

from pathlib import Path

import pytest
from made_up import noise, open_arrays, write_arrays

from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.shard import RecordingFile
from labram_jax.data_prep.survey import Survey, SurveyJob, montages, shards, survey

RECIPE = Recipe(open=open_arrays)
PAIR, SINGLE = ("C3", "C4"), ("CZ",)


def file(path: Path) -> RecordingFile:
    return RecordingFile(path, "", path.stem, "anna")


def test_a_header_gives_electrodes_and_length(tmp_path):
    path = write_arrays(tmp_path / "a.npz", noise(3, 128.0, 20.5), 128.0, ("EEG C4-REF", "EEG C3-REF", "EKG"))
    assert survey(SurveyJob(RECIPE, file(path))) == Survey(("C4", "C3"), 20.5)


@pytest.mark.parametrize(("names", "says"), [(("E1", "E2"), "known electrode"), (None, "FileNotFoundError")])
def test_whatever_is_wrong_is_a_reason(tmp_path, names, says):
    path = tmp_path / "a.npz"
    if names is not None:
        write_arrays(path, noise(2, 200.0, 4.0), 200.0, names)
    found = survey(SurveyJob(RECIPE, file(path)))
    assert not found.electrodes and says in found.reason
    assert found.seconds == (0.0 if names is None else 4.0)


def test_montages_are_sets_of_electrodes_in_the_order_of_the_first():
    surveys = {0: Survey(PAIR), 2: Survey(SINGLE), 3: Survey(PAIR[::-1]), 7: Survey(("O1", "O2"))}
    assert [(found.name, found.electrodes, found.members) for found in montages(surveys)] == [
        ("1ch", SINGLE, (2,)),
        ("2ch", PAIR, (0, 3)),
        ("2ch-2", ("O1", "O2"), (7,)),
    ]


def test_shards_hold_so_many_recordings_and_long_ones_fewer(tmp_path):
    files = [file(Path(f"{name}.npz")) for name in "abcdefg"]
    surveys = {place: Survey(PAIR, 100.0) for place in range(7)}
    surveys[3] = Survey(SINGLE, 100.0)
    surveys[4] = Survey(PAIR, 1e6)

    def dealt(recordings_per_shard: int) -> list[tuple[str, str, str]]:
        jobs = shards(montages(surveys), files, surveys, RECIPE, tmp_path, recordings_per_shard, "")
        return [(job.folder.name, job.name[:5], "".join(file.recording for file in job.recordings)) for job in jobs]

    single = ("1ch", "00000", "d")
    assert dealt(2) == [
        single,
        ("2ch", "00000", "ab"),
        ("2ch", "00001", "c"),
        ("2ch", "00002", "e"),
        ("2ch", "00003", "fg"),
    ]
    assert dealt(9) == [single, ("2ch", "00000", "abc"), ("2ch", "00001", "e"), ("2ch", "00002", "fg")]
