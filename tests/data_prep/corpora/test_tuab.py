import mne
import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.corpora.tuab import Options, table
from labram_jax.data_prep.corpora.tuh import ELECTRODES
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table


@pytest.fixture
def tuab(tmp_path):
    """Empty files laid out as TUAB: 10 normal and 10 abnormal training subjects, of whom 5 are both; 2 for eval."""
    root = tmp_path / "tuab"
    for index in range(15):
        for kind in (["abnormal"] if index < 10 else []) + (["normal"] if index >= 5 else []):
            touch(root / f"edf/train/{kind}/01_tcp_ar/aaaaaa{index:02d}_s00{len(kind)}_t000.edf")
    touch(root / "edf/eval/normal/01_tcp_ar/aaaaaazy_s001_t000.edf")
    touch(root / "edf/eval/abnormal/01_tcp_ar/aaaaaazz_s001_t000.edf")
    return root


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def split(planned):
    return split_table(planned.rows, planned.split, {})


def test_the_folder_is_the_label_and_eval_is_the_test_set(tuab):
    planned = table(tuab, Options())
    assert (planned.classes, planned.window_seconds) == (("normal", "abnormal"), 10)
    for row in split(planned).itertuples():
        assert row.label == int("/abnormal/" in str(row.path))
        assert (row.split == "test") == ("/eval/" in str(row.path))
    assert planned.rows["recording"].iloc[-1] == "eval/abnormal/01_tcp_ar/aaaaaazz_s001_t000"
    assert planned.rows.equals(table(tuab / "edf", Options()).rows)


def test_a_subject_is_on_one_side_unless_the_official_way_is_asked_for(tuab):
    straddling = 0
    for seed in range(5):
        ours = split(table(tuab, Options(seed=seed)))
        assert (ours.groupby("subject")["split"].nunique() == 1).all()
        assert ours["subject"][ours["split"] == "validation"].nunique() == 3
        official = split(table(tuab, Options(seed=seed, split_by="official")))
        assert official["label"][official["split"] == "validation"].value_counts().to_dict() == {0: 2, 1: 2}
        straddling += (official.groupby("subject")["split"].nunique() == 2).sum()
    assert straddling > 0


def test_the_split_of_a_seed_stays_what_it_was(tuab):
    ours = split(table(tuab, Options()))
    validating = sorted(ours["subject"][ours["split"] == "validation"].unique())
    assert validating == ["aaaaaa01", "aaaaaa09", "aaaaaa11"]
    official = split(table(tuab, Options(split_by="official")))
    own = official[official["split"] == "validation"]
    assert [*zip(own["subject"], own["label"], strict=True)] == [
        ("aaaaaa06", 0),
        ("aaaaaa13", 0),
        ("aaaaaa03", 1),
        ("aaaaaa06", 1),
    ]


def test_windows_follow_the_protocol_and_refusals_have_reasons(write_tuh, windows_of, tmp_path):
    folder = "tuab/edf/{}/01_tcp_ar/{}_s004_t000.edf"
    whole = write_tuh(folder.format("train/abnormal", "aaaaaaaq"))
    write_tuh(folder.format("train/normal", "aaaaaaar"))
    write_tuh(folder.format("train/normal", "aaaaaaas"), without="T1")
    write_tuh(folder.format("eval/normal", "aaaaaaat"), reference="LE")
    path = write_tuh(folder.format("eval/abnormal", "aaaaaaau"), seconds=30)
    options = Options(fractions=(1.0, 0.0, 0.0), dtype="float32", jobs=1)
    report = prepare("tuab", path.parents[4], tmp_path / "out", options)
    reasons = {entry.subject: entry.reason for entry in report.unusable}
    assert reasons.keys() == {"aaaaaaas", "aaaaaaat"}
    assert "lacks T1" in reasons["aaaaaaas"]
    assert "linked ears" in reasons["aaaaaaat"]
    assert [entry.electrodes for entry in report.info.montages] == [ELECTRODES]
    windows = windows_of(tmp_path / "out", 10)
    assert sorted((window.subject, split, window.label, window.start_seconds) for split, window in windows) == [
        ("aaaaaaaq", "train", 1, 0.0),
        ("aaaaaaaq", "train", 1, 10.0),
        ("aaaaaaar", "train", 0, 0.0),
        ("aaaaaaar", "train", 0, 10.0),
        ("aaaaaaau", "test", 1, 0.0),
        ("aaaaaaau", "test", 1, 10.0),
        ("aaaaaaau", "test", 1, 20.0),
    ]
    expected = officially(whole)
    for _, window in windows:
        assert window.eeg.shape == (23, 2000) and not window.bad.any()
        if window.subject == "aaaaaaaq":
            first = round(200 * window.start_seconds)
            np.testing.assert_array_equal(window.eeg, expected[:, first : first + 2000])


def officially(path):
    """The steps of the published protocol on a whole recording, in float32 microvolts."""
    raw = mne.io.read_raw(path, verbose="ERROR")
    rate = raw.info["sfreq"]
    eeg = raw.get_data(picks=[f"EEG {name}-REF" for name in ELECTRODES]) * 1e6
    eeg = mne.filter.filter_data(eeg, rate, 0.1, None, verbose="ERROR")  # 75 Hz lie beyond what 100 Hz can carry
    return mne.filter.resample(eeg, up=200, down=rate, npad="auto", verbose="ERROR").astype(np.float32)


def test_another_layout_and_shares_for_the_test_set_are_refused(tuab, tmp_path):
    with refuses("neither edf/train nor edf/eval"):
        table(tmp_path, Options())
    (tmp_path / "other" / "train").mkdir(parents=True)
    with refuses("give the folder of TUAB"):
        table(tmp_path / "other", Options())
    with refuses("its own test recordings"):
        Options(fractions=(0.8, 0.1, 0.1))
