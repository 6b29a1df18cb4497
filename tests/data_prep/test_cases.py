"""Recordings as people have them, from files through `prepare` to the windows that `open_corpus` gives."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from file_writers import Signal, stamp
from file_writers import write_edf as write_signals
from made_up import MONTAGE, TEN20, noise, raw_of, saved

from labram_jax import open_corpus
from labram_jax.cli import main
from labram_jax.data.corpus import Corpus
from labram_jax.data.views import Window
from labram_jax.data_prep.corpora import folder as folder_corpus
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.report import BuildReport
from labram_jax.data_prep.summary import inspect

RATE = 200
MICROVOLTS_OFF = 0.2  # rounding of files that hold whole numbers; a filter across a cut is off by hundreds


class Prepared:
    """The corpus of a folder: its report, and its windows by recording."""

    def __init__(self, root: Path, **options):
        chosen = {"jobs": 1, "dtype": "float32", "split_by": "none", **options}
        self.report: BuildReport = prepare("folder", root, root.with_name("out"), folder_corpus.Options(**chosen))
        self.corpus: Corpus = open_corpus(self.report.out)

    def windows(self, seconds: int = 4, stride: float | None = None, split: str = "train") -> dict[str, list[Window]]:
        found = defaultdict(list)
        for window in self.corpus.windows(split, seconds, stride):
            found[window.recording].append(window)
        return found

    def counts(self) -> dict[str, int]:
        """Windows of 4 s of each recording."""
        return {name: len(windows) for name, windows in self.windows().items()}

    def reasons(self) -> dict[str, str]:
        """Why recordings cannot be used, by the names of their files."""
        return {Path(report.path).name: report.reason for report in self.report.unusable}


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder for recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


def edf(path: Path, names: Sequence[str] = TEN20, microvolts: np.ndarray | None = None, seconds: int = 8, **header):
    """Writes an EDF or BDF file of records of 1 s at 200 Hz."""
    microvolts = noise(len(names), RATE, seconds) if microvolts is None else microvolts
    path.parent.mkdir(parents=True, exist_ok=True)
    units = header.pop("units", ["uV"] * len(names))
    signals = [Signal(*signal) for signal in zip(names, microvolts, units, strict=True)]
    return write_signals(path, signals, microvolts.shape[1] // RATE, **header)


# --- where recordings break ---------------------------------------------------------------------------------------

BEFORE, GAP, AFTER = 21, 4, 18  # seconds


def lost_samples(eeg: np.ndarray, path: Path) -> None:
    eeg[:, BEFORE * RATE : -AFTER * RATE] = np.nan
    saved(raw_of(eeg, RATE), path.with_suffix(".fif"))


def skip(eeg: np.ndarray, path: Path) -> None:
    eeg[:, BEFORE * RATE : -AFTER * RATE] = 0
    raw = mne.io.RawArray(eeg * 1e-6, mne.create_info(list(MONTAGE), RATE, "eeg"), first_samp=1234, verbose="ERROR")
    raw.set_annotations(mne.Annotations(BEFORE, GAP, "BAD_ACQ_SKIP"))
    saved(raw, path.with_suffix(".fif"), buffer_size_sec=1)


def joined(eeg: np.ndarray, path: Path) -> None:
    raws = [raw_of(part, RATE) for part in np.split(eeg, [BEFORE * RATE], axis=1)]
    saved(mne.concatenate_raws(raws, verbose="ERROR"), path.with_suffix(".fif"))


def eeglab_boundary(eeg: np.ndarray, path: Path) -> None:
    raw = raw_of(eeg, RATE, annotations=[(BEFORE, 12.5, "boundary")])
    mne.export.export_raw(path.with_suffix(".set"), raw, verbose="ERROR")


def new_segment(eeg: np.ndarray, path: Path) -> None:
    mne.export.export_raw(path.with_suffix(".vhdr"), raw_of(eeg, RATE), verbose="ERROR")
    markers = path.with_suffix(".vmrk")
    second = f"Mk9=New Segment,,{BEFORE * RATE + 1},1,0,20200101120500000000\n"
    markers.write_text(markers.read_text().rstrip("\n") + f"\n{second}")


def clock_that_jumps(eeg: np.ndarray, path: Path) -> None:
    times = [second + 7.25 * (second >= BEFORE) for second in range(eeg.shape[1] // RATE)]
    edf(path.with_suffix(".edf"), MONTAGE, eeg, declared="EDF+D", stamps=[stamp(time) for time in times])


LEAVING_OUT = (lost_samples, skip)
JOINING = (joined, eeglab_boundary, new_segment, clock_that_jumps)


@pytest.mark.parametrize("write", LEAVING_OUT + JOINING, ids=lambda write: write.__name__)
def test_windows_beside_a_cut_are_those_of_the_piece_alone(write: Callable, root):
    parts = {"first": noise(6, RATE, BEFORE, seed=1) + 800, "second": noise(6, RATE, AFTER, seed=2) - 300}
    gap = np.zeros((6, GAP * RATE * (write in LEAVING_OUT)))
    write(np.concatenate([parts["first"], gap, parts["second"]], axis=1), root / "whole")
    for name, eeg in parts.items():
        saved(raw_of(eeg, RATE), root / f"{name}.fif")
    windows = Prepared(root).windows(stride=1)

    begins = {"first": 0, "second": BEFORE + gap.shape[1] / RATE}
    alone = {begins[name] + window.start_seconds: window for name in parts for window in windows[name]}
    assert [window.start_seconds for window in windows["whole"]] == sorted(alone)
    assert len(alone) == BEFORE - 3 + AFTER - 3
    for window in windows["whole"]:
        np.testing.assert_allclose(window.eeg, alone[window.start_seconds].eeg, atol=MICROVOLTS_OFF)


def test_annotations_that_begin_with_bad_drop_windows_and_do_not_cut(root):
    eeg = noise(6, RATE, 24)
    saved(raw_of(eeg, RATE), root / "plain.fif")
    saved(raw_of(eeg, RATE, annotations=[(5.0, 2.0, "BAD_muscle"), (17.0, 0.0, "bad blink")]), root / "marked.fif")
    windows = Prepared(root).windows()
    plain = {window.start_seconds: window.eeg for window in windows["plain"]}
    assert sorted(plain) == [0, 4, 8, 12, 16, 20]
    assert [window.start_seconds for window in windows["marked"]] == [0, 8, 12, 20]
    for window in windows["marked"]:
        np.testing.assert_array_equal(window.eeg, plain[window.start_seconds])


def test_a_file_declared_discontinuous_is_cut_where_its_clock_says_so(root):
    edf(root / "whole.edf", seconds=16, declared="EDF+D", stamps=[stamp(second) for second in range(16)])
    times = [second + 2 * (second >= 6) + 60 * (second >= 11) for second in range(16)]
    edf(root / "gaps.bdf", seconds=16, declared="BDF+D", stamps=[stamp(time) for time in times])
    windows = Prepared(root).windows()
    assert [window.start_seconds for window in windows["whole"]] == [0, 4, 8, 12]
    assert [window.start_seconds for window in windows["gaps"]] == [0, 6, 11]


# --- one recording never ends a build -----------------------------------------------------------------------------


def test_annotations_alone_are_listed_and_the_night_is_prepared(root, capsys):
    write_signals(root / "hypnogram.edf", [], 8, declared="EDF+C", stamps=[stamp(second) for second in range(8)])
    edf(root / "night.edf", [f"EEG {name}" for name in TEN20])
    assert main(["prepare", "folder", str(root), str(root.with_name("out")), "--split-by", "none", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 recordings used" in said and "hypnogram.edf holds annotations alone" in said


def test_what_may_not_be_read_is_listed_with_its_reason(root, monkeypatch):
    for name in ("good.edf", "closed.edf", "shut/inside.edf"):
        edf(root / name)
    (root / "closed.edf").chmod(0)
    (root / "shut").chmod(0)

    def as_another_user(method: str):
        may = getattr(Path, method)

        def call(path: Path, *args, **kwargs):
            if path.name in ("closed.edf", "shut"):  # file modes do not stop root
                raise PermissionError(13, "Permission denied", str(path))
            return may(path, *args, **kwargs)

        monkeypatch.setattr(Path, method, call)

    as_another_user("open")
    as_another_user("iterdir")
    prepared = Prepared(root)
    (root / "shut").chmod(0o700)
    assert prepared.counts() == {"good": 2}
    reasons = prepared.reasons()
    assert "may not be read" in reasons["closed.edf"] and "cannot be listed" in reasons["shut"]


def test_an_annotation_in_latin_1_is_read(root):
    stamps = [stamp(second, *[(3, 0, "Öffnet die Augen".encode("latin-1"))] * (second == 3)) for second in range(8)]
    path = edf(root / "latin1.edf", declared="EDF+C", stamps=stamps)
    assert Prepared(root).counts() == {"latin1": 2}
    assert inspect(path).annotations == {"Öffnet die Augen": 1}


def test_warnings_reach_the_report(root):
    edf(root / "double.edf", ["Fp1", "Cz", "Cz"])
    report = Prepared(root).report
    (note,) = [note for note in report.notes if "not unique" in note]
    assert note in str(report) and note in (report.out / "recordings.csv").read_text()


@pytest.mark.parametrize(("header", "says"), [({"record_seconds": "0"}, "rate is unknown"), ({"pad": b"\0"}, None)])
def test_numbers_of_a_header(root, header, says):
    edf(root / "odd.edf", **header)
    edf(root / "good.edf")
    prepared = Prepared(root)
    assert prepared.counts() == {"good": 2} | ({} if says else {"odd": 2})
    assert not says or says in prepared.reasons()["odd.edf"]


def test_a_trend_is_no_recording_and_can_be_inspected(root, capsys):
    slow = write_signals(root / "slow.edf", [Signal("Cz", np.arange(10.0))], 10, record_seconds="30")
    assert main(["inspect", str(slow)]) == 0 and "too few for EEG" in capsys.readouterr().out
    edf(root / "good.edf")
    assert "too few for EEG" in Prepared(root).reasons()["slow.edf"]


def test_here_is_a_folder_with_a_name(root, monkeypatch):
    saved(raw_of(noise(6, RATE, 8), RATE), root / "a_raw.fif")
    monkeypatch.chdir(root)
    options = folder_corpus.Options(split_by="none", jobs=1)
    assert prepare("folder", Path(), root.with_name("out"), options).info.name == "recordings"
    assert str(inspect(root / "a_raw.fif")).splitlines()[0].endswith(": a recording (FIF)")


# --- which files are recordings, and whose ------------------------------------------------------------------------


@pytest.mark.parametrize("naming", ["bids", "neuromag"])
def test_one_recording_in_parts_is_one_recording(root, naming):
    whole = raw_of(noise(19, RATE, 160, seed=5), RATE, TEN20)
    whole.save(root / "rest_eeg.fif", split_size="2MB", split_naming=naming, fmt="single", verbose="ERROR")
    assert len(list(root.iterdir())) == 3
    first = min(root.iterdir(), key=lambda path: (len(path.name), path.name))
    assert Prepared(root).counts() == {first.stem: 40}


def test_a_renamed_first_part_still_takes_the_others(root):
    whole = raw_of(noise(19, RATE, 160, seed=5), RATE, TEN20)
    whole.save(root / "rest_eeg.fif", split_size="2MB", split_naming="bids", fmt="single", verbose="ERROR")
    (root / "rest_split-01_eeg.fif").rename(root / "the whole night.fif")
    assert Prepared(root).counts() == {"the whole night": 40}


def test_links_lead_to_no_recording_twice(root):
    for number in range(3):
        edf(root / f"s{number}/rest.edf")
    (root / "latest").symlink_to(".")
    (root / "s0/again").symlink_to(root / "s1")
    (root / "s2/loop.edf").symlink_to("loop.edf")
    os.link(root / "s0/rest.edf", root / "s2/hard.edf")
    prepared = Prepared(root)
    assert prepared.counts() == {"s0/rest": 2, "s1/rest": 2, "s2/rest": 2}
    assert "leads nowhere" in prepared.reasons()["loop.edf"]


def test_derivatives_and_source_data_are_no_recordings(root):
    for part in ("", "derivatives/clean/", "sourcedata/"):
        edf(root / f"{part}sub-01/eeg/sub-01_task-rest_eeg.edf")
    prepared = Prepared(root)
    assert prepared.counts() == {"sub-01/eeg/sub-01_task-rest_eeg": 2}
    assert prepared.report.subjects == {"train": ["sub-01"]}


def test_channels_tsv_says_types_and_bad_channels(root):
    path = edf(root / "sub-01/eeg/sub-01_task-rest_eeg.edf")
    rows = [f"{name}\t{'MISC' if name == 'F3' else 'EEG'}\t{'bad' if name == 'Cz' else 'good'}" for name in TEN20]
    path.with_name("sub-01_task-rest_channels.tsv").write_text("\n".join(["name\ttype\tstatus", *rows]))
    (windows,) = Prepared(root).windows().values()
    for window in windows:
        assert len(window.electrodes) == 18 and "F3" not in window.electrodes
        assert [name for name, bad in zip(window.electrodes, window.bad, strict=True) if bad] == ["CZ"]


def test_nobody_is_on_both_sides_of_a_split_by_subject(root):
    for session in ("session1", "session2"):
        for number, name in enumerate(("anna", "ben", "cleo", "dora")):
            edf(root / f"{session}/{name}/rest.edf", MONTAGE, noise(6, RATE, 8, seed=number))
    with pytest.raises(Exception, match="--subject-pattern"):
        Prepared(root, split_by="subject")
    prepared = Prepared(root, split_by="subject", subject_pattern=r"session\d/(\w+)/")
    subjects = prepared.report.subjects
    assert sorted(name for names in subjects.values() for name in names) == ["anna", "ben", "cleo", "dora"]
    assert len(subjects) == 3
    for split, names in subjects.items():
        windows = prepared.windows(split=split)
        assert set(windows) == {f"{session}/{name}/rest" for session in ("session1", "session2") for name in names}


# --- names and units ----------------------------------------------------------------------------------------------


def test_numbered_contacts_are_no_scalp_electrodes(root):
    edf(root / "good.edf")
    edf(root / "biosemi32.bdf", [f"A{number}" for number in range(1, 33)])
    edf(root / "depth.edf", [f"POL {letter}{number}" for letter in "ABCFOPT" for number in range(1, 11)])
    edf(root / "grid.edf", [f"C{number}" for number in range(1, 49)])
    prepared = Prepared(root)
    assert prepared.counts() == {"good": 2}
    reasons = prepared.reasons()
    assert sorted(reasons) == ["biosemi32.bdf", "depth.edf", "grid.edf"]
    assert all("which number the contacts" in reason for reason in reasons.values())


def test_of_a_double_derivation_the_first_counts(root):
    names = ["FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP2-F8", "F8-T8", "T8-P8", "P8-O2", "T8-P8"]
    path = edf(root / "double.edf", names)
    edf(root / "electrode.edf", ["Fp1", "Cz", "Fp1"])
    windows = Prepared(root).windows()
    assert windows["double"][0].electrodes == tuple(names[:8])
    assert windows["electrode"][0].electrodes == ("FP1", "CZ")
    assert inspect(path).ignored == {"T8-P8-1": "'T8-P8-1' is electrode T8-P8 again, which 'T8-P8-0' already gives."}


def test_a_suffix_of_all_electrodes_is_a_reference(root):
    for reference in ("CPz", "CLE", "AA", "Vref", "G2", "LER"):
        edf(root / f"{reference}.edf", [f"EEG {name}-{reference}" for name in TEN20])
    edf(root / "bipolar.edf", ["F7-T3", "T3-T5", "F8-T4", "T4-T6", "F3-C3", "C3-P3"])
    prepared = Prepared(root)
    electrodes = tuple(name.upper() for name in TEN20)
    windows = prepared.windows()
    assert len(windows) == 6 and all(found[0].electrodes == electrodes for found in windows.values())
    assert "bipolar derivation" in prepared.reasons()["bipolar.edf"]


def test_an_electrode_of_another_unit_is_named_and_bad(root):
    for unit, name in (("mV", "millivolt"), ("", "none")):
        edf(root / f"{name}.edf", units=[unit, *["uV"] * 18])
        (said,) = inspect(root / f"{name}.edf").suspicions.values()
        assert said.startswith("FP1 is too large") and "float32" not in said
    prepared = Prepared(root)
    notes = {Path(report.path).stem: " ".join(report.notes) for report in prepared.report.recordings}
    for name, windows in prepared.windows().items():
        assert "FP1 is too large" in notes[name] and "float32" not in notes[name]
        assert all(window.bad.tolist() == [True, *[False] * 18] for window in windows) and len(windows) == 2
    assert "give --unit" in notes["none"]


def test_a_unit_that_no_file_says_can_be_given(root):
    edf(root / "a.edf", units=[""] * 19)
    edf(root / "b.edf")
    windows = Prepared(root, unit="uV").windows()
    np.testing.assert_array_equal(windows["a"][0].eeg, windows["b"][0].eeg)


def test_the_rest_does_not_change_where_an_electrode_is_bad(root):
    """The features of windows with a loose electrode are those of the clean recording without this electrode."""
    loose = TEN20.index("O1")
    eeg = noise(19, RATE, 24)
    edf(root / "clean.edf", microvolts=eeg)
    eeg[loose, 8 * RATE :] += 900 * np.sign(np.sin(2 * np.pi * 1.3 * np.arange(16 * RATE) / RATE))
    edf(root / "loose.edf", microvolts=eeg)
    windows = Prepared(root).windows()
    assert [list(np.flatnonzero(window.bad)) for window in windows["loose"]] == [[], [], *[[loose]] * 4]
    assert not any(window.bad.any() for window in windows["clean"])

    encoder = random_encoder()
    affected = windows["loose"][2:]
    names, bad = affected[0].electrodes, np.stack([window.bad for window in affected])
    noisy, clean = (np.stack([window.eeg for window in windows[name][2:]]) for name in ("loose", "clean"))
    good = np.delete(np.arange(19), loose)

    def alike(**bads) -> float:
        """The smallest cosine between tokens of the other 18 electrodes."""
        one, other = (encoder.features(eeg, names, sfreq=200, pool="none", **bads)[:, good] for eeg in (noisy, clean))
        norms = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        return float(((one * other).sum(axis=-1) / norms).min())

    assert alike(bads=bad) > 0.99
    assert alike() < 0.8


def random_encoder():
    """A small encoder whose weights nobody has trained."""
    import flax.linen as nn
    import jax
    from golden_data import quick_jit, tiny_encoder, windows

    from labram_jax.config import MaskedModelConfig
    from labram_jax.inference import Encoder
    from labram_jax.models import MaskedModel

    config = MaskedModelConfig(tiny_encoder(initialisation="pretraining"), codes=8)
    batch = windows(np.zeros((1, 7, 200), np.float32), mask=np.ones((1, 7), bool))
    init = quick_jit(lambda key: nn.unbox(MaskedModel(config).init(key, batch, np.zeros((1, 7), np.int32))))
    return Encoder(init(jax.random.key(0)), config)
