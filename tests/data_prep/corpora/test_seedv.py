import numpy as np
import pytest
from file_writers import write_cnt
from made_up import noise
from sentences import refuses

from labram_jax.data_prep.corpora.seedv import ELECTRODES, EMOTIONS, TIMES_FILE, Options, open_cnt, read_times, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.data_prep.table import split_table

RATE = 250
CHANNELS = (*ELECTRODES[:40], "M1", *ELECTRODES[40:], "M2", "VEO", "HEO")
STARTS = [1 + 3 * trial for trial in range(15)]


def times(sessions=(1, 2, 3), starts=STARTS, seconds=2) -> str:
    ends = [start + seconds for start in starts]
    return "".join(f"Session {n}:\nstart_second: {starts}\nend_second: {ends}\n\n" for n in sessions)


@pytest.fixture
def seedv(tmp_path):
    """Two sessions of one subject and one of another, each with 15 trials of 2 s and a second between them."""
    root = tmp_path / "SEED-V"
    for seed, name in enumerate(("1_1_20180804", "1_2_20180810", "12_3_20180722")):
        microvolts = noise(len(CHANNELS), RATE, 46, seed)
        write_cnt(root / "EEG_raw" / f"{name}.cnt", microvolts, CHANNELS, RATE)
    (root / TIMES_FILE).write_text(times())
    return root


def test_a_third_of_the_trials_of_each_session_goes_to_each_split(seedv, windows_of, tmp_path):
    report = prepare("seedv", seedv, tmp_path / "out", Options(jobs=1))
    assert [montage.electrodes for montage in report.info.montages] == [ELECTRODES]
    assert report.info.split_by == "time" and report.info.subjects == {"train": 2, "validation": 2, "test": 2}
    assert report.info.window_seconds == 1 and report.info.quality.bad_electrodes is None
    windows = windows_of(tmp_path / "out", 1)
    assert len(windows) == 3 * 15 * 2
    for split, window in windows:
        trial, within = divmod(round(window.start_seconds) - 1, 3)
        assert within in (0, 1) and split == ("train", "validation", "test")[trial // 5]
        assert window.label == EMOTIONS[int(window.recording.split("_")[-2])][trial]


def test_subjects_are_split_whole_on_request(seedv):
    planned = table(seedv, Options(split_by="subject", fractions=(0.5, 0.0, 0.5)))
    rows = split_table(planned.rows, planned.split, {})
    assert len(rows) == 45 and len(rows[["subject", "split"]].drop_duplicates()) == 2


def test_every_session_shows_each_emotion_in_three_trials():
    assert all(np.bincount(labels).tolist() == [3] * 5 for labels in EMOTIONS.values())


def test_a_header_that_does_not_tell_the_width_of_samples_is_read_all_the_same(tmp_path):
    microvolts = noise(3, RATE, 4)
    paths = [
        write_cnt(tmp_path / f"{name}.cnt", microvolts, ("C3", "C4", "VEO"), RATE, place)
        for name, place in (("whole", None), ("lost", 2**31 - 1))
    ]
    for path in paths:
        reader = open_cnt(path)
        assert (reader.header.rate_hz, reader.header.samples) == (RATE, 4 * RATE)
        read = reader.microvolts(("C3", "C4", "VEO"), 0, 4 * RATE)
        np.testing.assert_allclose(read, microvolts, atol=0.051)
    with refuses("Event table offset from header"):
        open_recording(paths[1])


def test_without_its_times_the_corpus_is_refused(seedv):
    (seedv / TIMES_FILE).unlink()
    with refuses(f"put {TIMES_FILE}, which comes with SEED-V, into the folder"):
        table(seedv, Options())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (times((1, 2)), "says nothing of session 3"),
        (times().replace("[1,", "[one,", 1), "no number of seconds"),
        (times(starts=STARTS[:14]), "14 starts and 14 ends"),
        (times(seconds=4), "do not follow each other"),
    ],
)
def test_times_that_cannot_be_are_refused(text, sentence, tmp_path):
    file = tmp_path / TIMES_FILE
    file.write_text(text)
    with refuses(sentence):
        read_times(file)


def test_another_folder_is_refused(tmp_path):
    with refuses("holds no SUBJECT_SESSION_DATE.cnt"):
        table(tmp_path, Options())
