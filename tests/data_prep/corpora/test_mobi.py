import numpy as np
import pytest
from made_up import noise
from sentences import refuses

from labram_jax.data_prep.corpora.mobi import EYE_CHANNELS, JOINTS, Options, open_eeg, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table

# fmt: off
ELECTRODES = (
    "Fp1", "Fp2", "AF7", "AF3", "AF4", "AF8", "F7", "F5", "F3", "F1", "Fz", "F2", "F4", "F6", "F8",
    "FT7", "FC5", "FC3", "FC1", "FC2", "FC4", "FC6", "FT8", "T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8",
    "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8",
    "PO9", "PO7", "PO3", "POz", "PO4", "PO8", "PO10", "O1", "Oz", "O2",
)
# fmt: on
CHANNELS = (*ELECTRODES[:9], *EYE_CHANNELS, *ELECTRODES[9:])
SECONDS, SAMPLES = 16, 1600
MINUTES = (0.05, 0.15, 0.2, 0.25)  # 3, 9, 12 and 15 s


def write_trial(folder, seed=0, step=0.01, joints=JOINTS) -> np.ndarray:
    """Writes a trial whose angles are a tenth of the sample's number and the joint's; returns its microvolts."""
    folder.mkdir(parents=True)
    microvolts = np.round(noise(len(CHANNELS), 100, SECONDS, seed), 1)
    times = step * np.arange(SAMPLES)[:, None]
    angles = np.arange(SAMPLES)[:, None] / 10 + np.arange(12)
    rows = ["\t".join(f"{value:.2f}" for value in row) for row in np.hstack([times, microvolts.T])]
    (folder / "eeg.txt").write_text("64 channels\n" + "".join(f"{row}\t\n" for row in rows))
    rows = ["\t".join(f"{value:.2f}" for value in row) for row in np.hstack([times, angles])]
    (folder / "joints.txt").write_text("\n".join([f"12 joints ({' '.join(joints)})", "Joint Factor 1", *rows, ""]))
    table = [f"#{number}\t {name}\tset\t5\t" for number, name in enumerate(CHANNELS, start=1)]
    table += ["#65\tRef\tset\t5\t", "#66\tGnd\tset\t5\t"]
    lines = ["Impedances", "", "Phys. Chn.\tName\tLabel Set\tImpedance [kOhm]", *table, ""]
    (folder / "impedances-before.txt").write_text("\n".join(lines))
    return microvolts


@pytest.fixture
def mobi(tmp_path):
    """Two trials of one subject and one of another, of 16 s each."""
    for seed, name in enumerate(("SL01-T01", "SL01-T02", "SL02-T01")):
        write_trial(tmp_path / "mobi" / name, seed)
    return tmp_path / "mobi"


def test_every_window_has_the_angles_at_its_end(mobi, windows_of, tmp_path):
    report = prepare("mobi", mobi, tmp_path / "out", Options(minutes=MINUTES, stride_seconds=0.5, jobs=1))
    assert [montage.electrodes for montage in report.info.montages] == [tuple(name.upper() for name in ELECTRODES)]
    assert (report.info.label, report.info.outputs, report.info.window_seconds) == ("vector", 12, 2)
    assert report.info.split_by == "time" and report.info.subjects == {"train": 2, "validation": 2, "test": 2}
    assert "minutes 0.05 to 0.25; validation and test from 0.15 and 0.2; windows 0.5 s" in report.info.provenance
    windows = windows_of(tmp_path / "out", 2)
    # In 6 s, 3 s and 3 s lie 9, 3 and 3 windows of 2 s that are half a second apart.
    assert report.windows == {"train": 3 * 9, "validation": 3 * 3, "test": 3 * 3}
    for split, window in windows:
        start, stop = {"train": (3, 9), "validation": (9, 12), "test": (12, 15)}[split]
        assert start <= window.start_seconds <= stop - 2
        last = round(100 * window.start_seconds) + 199
        np.testing.assert_allclose(window.label, (last / 10 + np.arange(12)) / 90, atol=1e-6)
        assert window.eeg.shape == (60, 400)


def test_samples_are_those_of_the_text(tmp_path):
    microvolts = write_trial(tmp_path / "SL01-T01")
    reader = open_eeg(tmp_path / "SL01-T01" / "eeg.txt")
    assert (reader.header.rate_hz, reader.header.samples) == (100, SAMPLES)
    assert reader.header.channels == ELECTRODES and set(reader.header.others) == set(EYE_CHANNELS)
    for channel in ("Fp1", "O2"):
        read = reader.microvolts([channel], 100, 300)[0]
        np.testing.assert_allclose(read, microvolts[CHANNELS.index(channel), 100:300])
    assert np.allclose(
        open_eeg(tmp_path / "SL01-T01" / "eeg.txt", unit="mV").microvolts(["O2"], 299, 300), 1e3 * read[-1]
    )


def test_subjects_are_split_whole_on_request(mobi):
    planned = table(
        mobi, Options(minutes=MINUTES, stride_seconds=1, split_by="subject", fractions=(0.5, 0.0, 0.5), seed=1)
    )
    rows = split_table(planned.rows, planned.split, {})
    assert len(rows[["subject", "split"]].drop_duplicates()) == 2 and len(rows) == 3 * (5 + 2 + 2)


def test_windows_without_a_known_target_are_left_out(mobi):
    file = mobi / "SL01-T01" / "joints.txt"
    lines = file.read_text().splitlines()
    lines[2 + 499] = lines[2 + 499].rpartition("\t")[0] + "\t"  # the last angle at the end of the first window
    file.write_text("\n".join(lines[: 2 + 1300]))
    rows = table(mobi, Options(minutes=MINUTES, stride_seconds=1)).rows
    starts = {name: own["start"].tolist() for name, own in rows.groupby("recording")}
    assert starts["SL01-T02"] == [3, 4, 5, 6, 7, 9, 10, 12, 13]
    assert starts["SL01-T01"] == [4, 5, 6, 7, 9, 10]
    planned = table(mobi, Options())
    assert planned.rows.empty and len(planned.unusable) == 3
    assert (
        "no angles for a window between minutes 2 and 22 of its 0.2"
        in dict(planned.unusable)[str(file.with_name("eeg.txt"))]
    )


def test_what_is_laid_out_otherwise_is_listed_with_the_reason(mobi, tmp_path):
    (mobi / "SL01-T01" / "joints.txt").unlink()
    write_trial(mobi / "SL03-T01", joints=JOINTS[::-1])
    write_trial(mobi / "SL03-T02", step=0.003)
    (mobi / "SL02-T01" / "impedances-before.txt").unlink()
    text = (mobi / "SL01-T02" / "eeg.txt").read_text()
    (mobi / "SL01-T02" / "eeg.txt").write_text(text.replace("64", "32", 1))
    write_trial(mobi / "SL04-T01")
    report = prepare("mobi", mobi, tmp_path / "out", Options(minutes=MINUTES, stride_seconds=1, jobs=1))
    reasons = {entry.path.split("/")[-2]: entry.reason for entry in report.unusable}
    assert "put the file beside eeg.txt" in reasons.pop("SL01-T01")
    assert "does not name the joints GHR" in reasons.pop("SL03-T01")
    assert "1600 samples between 0 and 4.8 s, which is not 100 Hz" in reasons.pop("SL03-T02")
    assert "which names the channels" in reasons.pop("SL02-T01")
    assert "does not begin with '64 channels'" in reasons.pop("SL01-T02")
    assert not reasons


def test_options_that_cannot_be_are_refused(tmp_path):
    for minutes in ((2, 12, 12, 22), (-1, 12, 17, 22), (2, 12, 17, np.inf)):
        with refuses("each later than the one before"):
            Options(minutes=minutes)
    with refuses("stride_seconds = 0.001: give at least 0.01 s"):
        Options(stride_seconds=0.001)
    with refuses("minutes say the split by time"):
        Options(fractions=(0.6, 0.2, 0.2))
    with refuses("holds no SLnn-Tmm/eeg.txt"):
        table(tmp_path, Options())
