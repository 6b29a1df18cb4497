import filecmp
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import welch

from labram_jax.data_prep.corpora.simulated import Options, Simulation, simulate, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.sources.simulated_folder import DEVICES, split_of
from labram_jax.data_prep.sources.simulator import (
    ARTEFACTS,
    CLASSES,
    CLIP_LEVEL,
    draw_person,
    positions,
    simulate_signal,
)
from labram_jax.errors import InputError

TINY = Simulation(seed=0, subjects=3, seconds=8.0)
MONTAGE = DEVICES[0].electrodes


def signal(label=0, artefact="none", seed=0, seconds=20.0):
    person = draw_person(np.random.default_rng(seed))
    return simulate_signal(person, MONTAGE, 250.0, seconds, label, artefact, np.random.default_rng((seed, label)))


def test_a_simulation_is_prepared_through_real_files_of_three_kinds(tmp_path, windows_of):
    simulate(tmp_path / "recordings", TINY)
    assert {path.suffix for path in (tmp_path / "recordings").rglob("sub-*.*")} == {
        ".edf",
        ".bdf",
        ".vhdr",
        ".eeg",
        ".vmrk",
    }
    report = prepare("simulated", tmp_path / "recordings", tmp_path / "out", Options(jobs=1, quality="finite"))
    assert [len(entry.electrodes) for entry in report.info.montages] == [19, 32, 62]
    assert not report.unusable
    counts, spreads = {}, {}
    for split, window in windows_of(tmp_path / "out", 4):
        key = split, report.info.classes[window.label]
        counts[key] = counts.get(key, 0) + 1
        spreads.setdefault(len(window.electrodes), []).append(np.median(window.eeg.std(axis=1)))
    for spread in spreads.values():  # in each file format, though artefacts spoil some windows
        assert 8 < min(spread) < 25  # microvolts
    assert counts == {(split, label): 2 for split in ("train", "validation", "test") for label in CLASSES}


def test_the_seed_alone_decides(tmp_path):
    for name, simulation in (("a", TINY), ("b", TINY), ("c", replace(TINY, seed=1))):
        simulate(tmp_path / name, simulation)
    files = sorted(
        path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()
    )
    same, different, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)
    assert same == files, different
    _, different, _ = filecmp.cmpfiles(tmp_path / "a", tmp_path / "c", files, shallow=False)
    assert sum(name.endswith((".edf", ".bdf", ".eeg")) for name in different) == 6


def test_every_device_is_in_every_split():
    for subjects in (12, 13, 24):
        found = {(split_of(index, subjects), index % len(DEVICES)) for index in range(subjects)}
        assert len(found) == 9
    assert [split_of(index, 3) for index in range(3)] == ["train", "validation", "test"]


def test_closed_eyes_strengthen_alpha_at_the_back():
    def alpha(label, seed):
        frequencies, power = welch(signal(label, seed=seed), 250.0, nperseg=500)
        return power[:, (frequencies >= 8) & (frequencies <= 12)].mean(axis=1)

    gain = np.mean([np.log(alpha(0, seed) / alpha(1, seed)) for seed in range(6)], axis=0)
    assert gain[MONTAGE.index("O1")] > np.log(2)
    assert gain[MONTAGE.index("O1")] > 2 * gain[MONTAGE.index("Fp1")]


def test_neighbours_share_sources_and_power_falls_with_frequency():
    eeg = signal(label=1, seconds=60.0)
    correlation = np.corrcoef(eeg)
    place = MONTAGE.index
    assert correlation[place("C3"), place("Cz")] > correlation[place("C3"), place("F8")] + 0.2
    frequencies, power = welch(eeg, 250.0, nperseg=500)
    slow, fast = ((frequencies > low) & (frequencies < high) for low, high in ((1, 4), (20, 40)))
    assert (power[:, slow].mean(axis=1) > 5 * power[:, fast].mean(axis=1)).all()
    assert power[:, frequencies == 50].mean() > 10 * power[:, frequencies == 45].mean()


def test_artefacts_are_there_to_be_found():
    clean, flat, clipped, burst = (signal(artefact=artefact) for artefact in ARTEFACTS)
    assert (np.diff(flat) == 0).sum() > flat.shape[1] // 10
    assert not (np.diff(clean) == 0).any()
    assert (np.abs(clipped) == CLIP_LEVEL).any(axis=1).all()
    assert (np.abs(burst).max(axis=1) > 2000).all()


def test_electrodes_have_the_places_of_the_10_20_system():
    places = dict(zip(("FP1", "O2", "CZ", "T3", "T7"), positions(("FP1", "O2", "CZ", "T3", "T7")), strict=True))
    assert places["FP1"][0] < 0 < places["FP1"][1]
    assert places["O2"][1] < 0 < places["O2"][0]
    assert places["CZ"][2] > 0.9
    np.testing.assert_array_equal(places["T3"], places["T7"])


def test_a_folder_is_reused_with_its_seed_alone_and_never_mixed_with_other_files(tmp_path):
    manifest = simulate(tmp_path / "recordings", TINY)
    before = manifest.stat().st_mtime_ns
    planned = table(tmp_path / "recordings", Options())
    assert (planned.name, len(planned.rows), planned.split.by) == ("simulated", 6, "given")
    assert manifest.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="with seed 0, not 1"):
        table(tmp_path / "recordings", Options(seed=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="holds other files"):
        table(tmp_path / "mine", Options())
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="needs a folder"):
        table(None, Options())


def test_too_small_a_simulation_is_refused():
    with pytest.raises(InputError, match="at least 3 subjects"):
        Simulation(subjects=2)


def test_an_interrupted_simulation_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mne.export.export_raw", stop)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "recordings", TINY)
    assert not list(tmp_path.iterdir())


def test_a_foreign_description_is_refused(tmp_path):
    (tmp_path / "simulation.json").write_text('{"planets": 9}')
    with pytest.raises(InputError, match="does not describe a simulation"):
        table(tmp_path, Options())
