import pytest

from data_prep.corpora import planner
from data_prep.corpora.tuh import ELECTRODES
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from labram_jax.errors import InputError


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


def sides(planned):
    """Returns the splits of every subject."""
    found = {}
    for recording in planned.recordings:
        found.setdefault(recording.subject, set()).add(recording.spans[0].split)
    return found


def test_the_folder_is_the_label_and_eval_is_the_test_set(tuab):
    planned = planner("tuab")(tuab, PrepareOptions())
    assert planned.classes == ("normal", "abnormal")
    for recording in planned.recordings:
        span = recording.spans[0]
        assert span.label == int("/abnormal/" in str(recording.path))
        assert (span.split == "test") == ("/eval/" in str(recording.path))
    assert planned.recordings[-1].recording == "eval/abnormal/01_tcp_ar/aaaaaazz_s001_t000"
    assert planned.recordings == planner("tuab")(tuab / "edf", PrepareOptions()).recordings


def test_a_subject_is_on_one_side_unless_the_official_way_is_asked_for(tuab):
    straddling = 0
    for seed in range(5):
        ours = sides(planner("tuab")(tuab, PrepareOptions(seed=seed)))
        assert all(len(splits) == 1 for splits in ours.values())
        assert sum(splits == {"validation"} for splits in ours.values()) == 3
        official = planner("tuab")(tuab, PrepareOptions(seed=seed, split_by="official"))
        assert sum(r.spans[0].split == "validation" and r.spans[0].label == 0 for r in official.recordings) == 2
        assert sum(r.spans[0].split == "validation" and r.spans[0].label == 1 for r in official.recordings) == 2
        straddling += sum(len(splits) == 2 for splits in sides(official).values())
    assert straddling > 0


def test_windows_follow_the_protocol_and_refusals_have_reasons(write_tuh, windows_of, tmp_path):
    folder = "tuab/edf/{}/01_tcp_ar/{}_s004_t000.edf"
    write_tuh(folder.format("train/abnormal", "aaaaaaaq"))
    write_tuh(folder.format("train/normal", "aaaaaaar"))
    write_tuh(folder.format("train/normal", "aaaaaaas"), without="T1")
    write_tuh(folder.format("eval/normal", "aaaaaaat"), reference="LE")
    path = write_tuh(folder.format("eval/abnormal", "aaaaaaau"), seconds=30)
    options = PrepareOptions(fractions=(1.0, 0.0, 0.0), jobs=1)
    report = prepare("tuab", path.parents[4], tmp_path / "out", options)
    reasons = {entry.subject: entry.reason for entry in report.unusable}
    assert reasons.keys() == {"aaaaaaas", "aaaaaaat"}
    assert "lacks T1" in reasons["aaaaaaas"]
    assert "linked ears" in reasons["aaaaaaat"]
    assert [c.electrodes for c in report.info.configurations] == [ELECTRODES]
    windows = windows_of(tmp_path / "out")
    assert sorted((w["subject"].decode(), w["split"], int(w["label"]), float(w["start_seconds"])) for w in windows) == [
        ("aaaaaaaq", "train", 1, 0.0),
        ("aaaaaaaq", "train", 1, 10.0),
        ("aaaaaaar", "train", 0, 0.0),
        ("aaaaaaar", "train", 0, 10.0),
        ("aaaaaaau", "test", 1, 0.0),
        ("aaaaaaau", "test", 1, 10.0),
        ("aaaaaaau", "test", 1, 20.0),
    ]
    assert {w["eeg"].shape for w in windows} == {(23, 2000)}


def test_another_layout_and_shares_for_the_test_set_are_refused(tuab, tmp_path):
    with pytest.raises(InputError, match="neither edf/train nor edf/eval"):
        planner("tuab")(tmp_path, PrepareOptions())
    (tmp_path / "other" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="give the folder of TUAB"):
        planner("tuab")(tmp_path / "other", PrepareOptions())
    with pytest.raises(InputError, match="its own test recordings"):
        planner("tuab")(tuab, PrepareOptions(fractions=(0.8, 0.1, 0.1)))
