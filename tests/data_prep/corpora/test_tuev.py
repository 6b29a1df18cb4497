import numpy as np
import pytest

from data_prep.clean import clean
from data_prep.corpora import planner
from data_prep.corpora.tuev import read_events
from data_prep.corpora.tuh import ELECTRODES
from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY
from data_prep.prepare import prepare
from data_prep.recording import read
from labram_jax.errors import InputError

NAMES = ("train/aaaaaaar/aaaaaaar_00000001", "train/aaaaaaas/aaaaaaas_00000001", "eval/000/bckg_000_a_")


@pytest.fixture
def tuev(write_tuh):
    """Two training recordings and one for evaluation, whose events lie at both ends and in the middle."""
    for name in NAMES:
        path = write_tuh(f"tuev/edf/{name}.edf", seconds=20.0)
        path.with_suffix(".rec").write_text("0,0.4,1.4,1\n5,0.4,1.4,1\n22,10.0,11.0,6\n3,18.9,19.9,4\n")
    return path.parents[3]


def test_every_line_is_a_window_around_its_event_that_wraps_at_the_ends(tuev, windows_of, tmp_path):
    prepare("tuev", tuev, tmp_path / "out", PrepareOptions(fractions=(0.5, 0.5, 0.0), dtype="float32", jobs=1))
    windows = [w for w in windows_of(tmp_path / "out") if w["split"] == "test"]
    assert [int(w["label"]) for w in windows] == [0, 0, 5, 3]
    assert [w["start_seconds"] for w in windows] == pytest.approx([-1.6, -1.6, 8.0, 16.9])
    signal = clean(read(tuev / f"edf/{NAMES[2]}.edf"), ELECTRODES, limits=FINITE_ONLY).eeg
    assert signal.shape == (23, 4000)
    thrice = np.concatenate([signal] * 3, axis=1)
    for window, event_start in zip(windows, (80, 80, 2000, 3780), strict=True):
        expected = thrice[:, 4000 + event_start - 400 : 4000 + event_start + 600]
        np.testing.assert_array_equal(window["eeg"], expected)


def test_eval_is_the_test_set_and_training_subjects_validate(tuev):
    planned = planner("tuev")(tuev, PrepareOptions())
    splits = {r.subject: {span.split for span in r.spans} for r in planned.recordings}
    assert splits.pop("000") == {"test"}
    assert sorted(splits.values(), key=str) == [{"train"}, {"validation"}]
    assert planned.classes[5] == "BCKG"


def test_a_recording_without_its_events_is_listed(tuev):
    (tuev / f"edf/{NAMES[0]}.rec").unlink()
    planned = planner("tuev")(tuev, PrepareOptions())
    assert len(planned.recordings) == 2
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
    with pytest.raises(InputError, match=reason):
        read_events(tmp_path / "a.rec", "train")


def test_an_event_between_samples_begins_at_the_next(tmp_path):
    (tmp_path / "a.rec").write_text("0,10.0012,11.0012,2\n")
    (span,) = read_events(tmp_path / "a.rec", "train")
    assert (span.start_seconds, span.stop_seconds, span.label) == (pytest.approx(8.005), pytest.approx(13.005), 1)


def test_another_window_is_refused(tuev):
    with pytest.raises(InputError, match="one window of 5 s an event"):
        planner("tuev")(tuev, PrepareOptions(window_seconds=4))
