import mne
import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.corpora.tuev import Options, read_events, table
from labram_jax.data_prep.corpora.tuh import ELECTRODES
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table

NAMES = ("train/aaaaaaar/aaaaaaar_00000001", "train/aaaaaaas/aaaaaaas_00000001", "eval/000/bckg_000_a_")


@pytest.fixture
def tuev(write_tuh):
    """Two training recordings and one for evaluation, whose events lie at both ends and in the middle."""
    for name in NAMES:
        path = write_tuh(f"tuev/edf/{name}.edf", seconds=20.0)
        path.with_suffix(".rec").write_text("0,0.4,1.4,1\n5,0.4,1.4,1\n22,10.0,11.0,6\n3,18.9,19.9,4\n")
    return path.parents[3]


def test_every_line_is_a_window_around_its_event_that_wraps_at_the_ends(tuev, windows_of, tmp_path):
    prepare("tuev", tuev, tmp_path / "out", Options(fractions=(0.5, 0.5, 0.0), dtype="float32", jobs=1))
    windows = [window for split, window in windows_of(tmp_path / "out", 5) if split == "test"]
    assert [window.label for window in windows] == [0, 0, 5, 3]
    assert [window.start_seconds for window in windows] == pytest.approx([-1.6, -1.6, 8.0, 16.9])
    thrice = np.tile(officially(tuev / f"edf/{NAMES[2]}.edf"), 3)
    for window, event_start in zip(windows, (80, 80, 2000, 3780), strict=True):
        expected = thrice[:, 4000 + event_start - 400 : 4000 + event_start + 600]
        np.testing.assert_array_equal(window.eeg, expected)
        assert not window.bad.any()


def officially(path):
    """The steps of the published protocol on a whole recording, in float32 microvolts."""
    raw = mne.io.read_raw(path, verbose="ERROR")
    rate = raw.info["sfreq"]
    eeg = raw.get_data(picks=[f"EEG {name}-REF" for name in ELECTRODES]) * 1e6
    eeg = mne.filter.filter_data(eeg, rate, 0.1, None, verbose="ERROR")  # 75 Hz lie beyond what 100 Hz can carry
    eeg = mne.filter.resample(eeg, up=200, down=rate, npad="auto", verbose="ERROR").astype(np.float32)
    assert eeg.shape == (23, 4000)
    return eeg


def test_an_event_behind_the_end_of_its_recording_is_left_out(tuev, windows_of, tmp_path):
    file = tuev / f"edf/{NAMES[2]}.rec"
    file.write_text(file.read_text() + "3,40.0,41.0,4\n")
    prepare("tuev", tuev, tmp_path / "out", Options(fractions=(0.5, 0.5, 0.0), jobs=1))
    assert sum(split == "test" for split, _ in windows_of(tmp_path / "out", 5)) == 4


def test_eval_is_the_test_set_and_training_subjects_validate(tuev):
    planned = table(tuev, Options())
    rows = split_table(planned.rows, planned.split, {})
    splits = {subject: set(own) for subject, own in rows.groupby("subject")["split"]}
    assert splits.pop("000") == {"test"}
    assert sorted(splits.values(), key=str) == [{"train"}, {"validation"}]
    assert (planned.classes[5], planned.window_seconds) == ("BCKG", 5)
    assert planned.recipe.margins_seconds == (2.0, 3.0)


def test_the_split_depends_on_subjects_alone_and_not_on_their_events(tuev):
    before = table(tuev, Options())
    (tuev / f"edf/{NAMES[0]}.rec").write_text("0,0.4,1.4,2\n")
    after = table(tuev, Options())
    tables = [split_table(planned.rows, planned.split, {}) for planned in (before, after)]
    first, second = (dict(zip(rows["subject"], rows["split"], strict=True)) for rows in tables)
    assert first == second


def test_a_recording_without_its_events_is_listed(tuev):
    (tuev / f"edf/{NAMES[0]}.rec").unlink()
    planned = table(tuev, Options())
    assert planned.rows["recording"].nunique() == 2
    assert "put the .rec file beside" in planned.unusable[0][1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lists no event"),
        ("0,1.0,2.0\n", "line 1: '0,1.0,2.0' is not channel, start, stop, label"),
        ("0,1.0,2.0,1\n\n0,a,b,1\n", "line 3: '0,a,b,1' is not"),
        ("0,1.0,2.0,7\n", "the label 7 is none of 1 to 6"),
        ("0,1.0,2.0,1.5\n", "the label 1.5 is none"),
        ("0,1.0,4.0,1\n", "does not last 1 s"),
        ("0,nan,nan,1\n", "does not last 1 s"),
    ],
)
def test_events_that_break_the_protocol_are_refused(tmp_path, text, reason):
    (tmp_path / "a.rec").write_text(text)
    with refuses(reason):
        read_events(tmp_path / "a.rec")


def test_an_event_between_samples_begins_at_the_next(tmp_path):
    (tmp_path / "a.rec").write_text("0,10.0012,11.0012,2\n")
    (event,) = read_events(tmp_path / "a.rec")
    assert event == (pytest.approx(8.005), pytest.approx(13.005), 1)
