"""`Windows`: what is carried, what is converted, what is told, and what is refused."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from sentences import refuses

import labram_jax
from labram_jax import Windows
from labram_jax.windows import as_windows
from labram_jax.windows.lengths import parts

NAMES = ["Fp1", "Fp2", "O1", "O2"]


def noise(windows=3, seconds=2.0, sfreq=200, channels=4, seed=0) -> np.ndarray:
    """Noise with a spread of 20 microvolts, smooth enough that another rate keeps most of it."""
    shape = (windows, channels, round(seconds * sfreq))
    return mne.filter.filter_data(
        np.random.default_rng(seed).normal(scale=60, size=shape), sfreq, None, 10, verbose="ERROR"
    )


def raw_of(microvolts, sfreq=200.0, names=NAMES, highpass=0.1, lowpass=75.0, kinds="eeg") -> mne.io.RawArray:
    info = mne.create_info(list(names), sfreq, kinds)
    with info._unlock():
        info["highpass"], info["lowpass"] = highpass, lowpass
    return mne.io.RawArray(microvolts * 1e-6, info, verbose="ERROR")


def epochs_of(microvolts, sfreq=200.0, **kwargs) -> mne.EpochsArray:
    raw = raw_of(microvolts[0], sfreq)
    events = np.column_stack([400 + 1000 * np.arange(len(microvolts)), np.zeros(len(microvolts)), [1, 2, 1]])
    return mne.EpochsArray(
        microvolts * 1e-6,
        raw.info,
        events.astype(int),
        tmin=-0.5,
        event_id={"left": 1, "right": 2},
        verbose="ERROR",
        **kwargs,
    )


@pytest.fixture(autouse=True)
def no_warnings():
    """What is not expected to be told is not told."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def test_an_array_with_all_that_is_known_of_it():
    eeg = noise()
    windows = Windows.from_array(
        eeg, NAMES, 200, bads=["O1"], start_seconds=[0, 2, 4], metadata={"subject": "a", "label": [1, 2, 3]}
    )
    np.testing.assert_array_equal(windows.eeg[:, [0, 1, 3]], eeg[:, [0, 1, 3]].astype(np.float32))
    assert (
        windows.electrodes == ("FP1", "FP2", "O1", "O2") and windows.bads.tolist() == [[False, False, True, False]] * 3
    )
    assert windows.start_seconds.tolist() == [0, 2, 4] and windows.metadata["subject"].tolist() == ["a"] * 3
    assert (windows.sfreq, windows.recorded_sfreq, windows.seconds, windows.filtered) == (200, 200, 2, None)
    assert "3 of 2 s, 4 electrodes (FP1, FP2, O1, O2), 3 bad" in repr(windows) and "subject, label" in repr(windows)
    assert np.isnan(Windows.from_array(eeg, NAMES, 200).start_seconds).all()


@pytest.mark.parametrize("names", [np.array(NAMES), tuple(NAMES), ["EEG Fp1-REF", "fp2", "O1.", "EEG O2-LE"]])
def test_names_in_an_ordered_container(names):
    assert Windows.from_array(noise(), names, 200).electrodes == ("FP1", "FP2", "O1", "O2")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (set(NAMES), "a set, which has no order"),
        (dict.fromkeys(NAMES), "no list of names but dict"),
        (np.array([NAMES]), "no list of names but ndarray"),
    ],
)
def test_names_without_an_order_are_refused(names, sentence):
    with refuses(sentence):
        Windows.from_array(noise(), names, 200)


@pytest.mark.parametrize("sfreq", [0, -1, np.nan, np.inf, "200", None, True])
def test_rates_that_cannot_be_are_refused(sfreq):
    with refuses("give sfreq, the samples per second"):
        Windows.from_array(noise(), NAMES, sfreq)


def test_nothing_about_an_array_is_guessed():
    for given, sentence in (
        ({}, "give electrodes"),
        ({"electrodes": NAMES}, "give sfreq"),
        ({"sfreq": 500}, "give ele"),
    ):
        with refuses(sentence):
            as_windows(noise(), **given)
    with refuses("leave sfreq out"):
        as_windows(Windows.from_array(noise(), NAMES, 200), sfreq=500)


UNITS = {"volts": 1e-6, "millivolts": 1e-3, "units of 100 microvolts": 1e-2, "nanovolts": 1e3}


@pytest.mark.parametrize("unit", UNITS)
def test_other_units_are_refused_where_they_are_proven_and_told_elsewhere(unit):
    eeg = noise() * UNITS[unit]
    if unit in ("volts", "millivolts"):
        with refuses(f"less than the thermal noise of an electrode: it seems to be in {unit}, so give microvolts"):
            Windows.from_array(eeg, NAMES, 200)
    else:
        with pytest.warns(UserWarning, match=f"where scalp EEG has 5 to 50: it may be in {unit}"):
            Windows.from_array(eeg, NAMES, 200)
    Windows.from_array(0 * eeg, NAMES, 200)  # flat, which is another matter


def test_numbers_beyond_any_amplifier_are_refused():
    with refuses("more than an amplifier takes in"):
        Windows.from_array(noise() * 1e6, NAMES, 200)


def test_standardised_eeg_and_offsets_are_told():
    eeg = noise()
    with pytest.warns(UserWarning, match="or standardised"):
        Windows.from_array(eeg / eeg.std(), NAMES, 200)
    with pytest.warns(UserWarning, match="an offset of 4e.03 microvolts, as before a high-pass filter") as told:
        Windows.from_array(eeg + 4000, NAMES, 200)
    assert told[0].filename == __file__  # where the user is, so that each place is told once


def test_epochs_say_all_that_is_asked():
    microvolts = noise(seconds=2.005)  # 401 samples, as MNE cuts them from tmin to tmax
    epochs = epochs_of(microvolts, metadata=pd.DataFrame({"trial": [7, 8, 9]}))
    epochs.info["bads"] = ["Fp2"]
    windows = Windows.from_epochs(epochs, metadata={"subject": "a"})
    np.testing.assert_allclose(windows.eeg[:, 0], microvolts[:, 0, :400], atol=1e-3)
    assert windows.bads.tolist() == [[False, True, False, False]] * 3 and windows.filtered
    assert windows.metadata.to_dict("list") == {
        "event": ["left", "right", "left"],
        "trial": [7, 8, 9],
        "subject": ["a"] * 3,
    }
    np.testing.assert_allclose(windows.start_seconds, [1.5, 6.5, 11.5])
    assert as_windows(epochs).shape == windows.shape
    with refuses("leave sfreq out"):
        as_windows(epochs, sfreq=200)


def test_epochs_that_mne_rejects_are_left_out():
    eeg = noise(1, 10)[0]
    eeg[0, 900] = 5000
    events = np.array([[n, 0, 1 + n // 800] for n in (0, 400, 800, 1200)])
    raw, ids = raw_of(eeg), {"a": 1, "b": 2}
    epochs = mne.Epochs(raw, events, ids, 0, 1, baseline=None, reject={"eeg": 1e-3}, verbose="ERROR")
    windows = Windows.from_epochs(epochs)
    assert windows.start_seconds.tolist() == [0, 2, 6] and windows.metadata["event"].tolist() == ["a", "a", "b"]
    assert not epochs.preload and len(windows) == 3


def test_epochs_at_another_rate_are_resampled():
    epochs = epochs_of(noise(sfreq=500), 500.0)
    windows = Windows.from_epochs(epochs)
    assert windows.shape == (3, 4, 400) and windows.recorded_sfreq == 500
    expected = mne.filter.resample(epochs.get_data(copy=True) * 1e6, up=200, down=500, npad="auto", verbose="ERROR")
    np.testing.assert_allclose(windows.eeg, expected, atol=1e-3)


def test_volts_of_epochs_given_as_an_array_are_refused():
    with refuses("it seems to be in volts"):
        as_windows(epochs_of(noise()).get_data(copy=True), NAMES, 200)


def test_a_recording_is_cut_as_a_corpus_of_it_would_be():
    """At 500 Hz, with a stretch that is bad, another that is lost, and a channel that is no electrode."""
    eeg = noise(1, 40, 500, 12)[0]
    eeg[:, 500 * 20 : 500 * 22], eeg[3, 500 * 36 :] = np.nan, np.nan
    names = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "Cz", "nose"]
    raw = raw_of(eeg, 500.0, names)
    raw.set_annotations(mne.Annotations([9.5], [0.5], ["BAD cough"]))
    raw.info["bads"] = ["F3"]
    with pytest.warns(UserWarning, match="1 EEG channels are left out .nose.: 'nose' is not an electrode"):
        windows = Windows.from_raw(raw, 4, metadata={"subject": "a"})
    assert windows.start_seconds.tolist() == [0, 4, 12, 16, 22, 26, 30, 34] and windows.shape == (8, 11, 800)
    assert windows.bads[:, 2].all() and windows.bads.sum(axis=0).tolist() == [0, 0, 8, 1, *[0] * 7]
    whole = mne.filter.resample(eeg[:3, : 500 * 20], up=200, down=500, npad="auto", verbose="ERROR")
    np.testing.assert_allclose(windows.eeg[1, 0], whole[0, 800:1600], atol=1e-3)
    assert windows.metadata["subject"].tolist() == ["a"] * 8 and windows.recorded_sfreq == 500


def test_an_unfiltered_recording_is_told():
    with pytest.warns(UserWarning, match=r"not high-pass filtered .* call raw.filter\(0.1, 75.0\)"):
        windows = Windows.from_raw(raw_of(noise(1, 8)[0], highpass=0.0), 4)
    assert windows.filtered is False
    with pytest.warns(UserWarning, match="not high-pass and low-pass filtered"):
        Windows.from_raw(raw_of(noise(1, 8, 500)[0], 500.0, highpass=0.0, lowpass=250.0), 4)


def test_what_is_no_windows_is_one_sentence():
    raw = raw_of(noise(1, 8)[0])
    with refuses(r"a whole recording of MNE: .* labram_jax.Windows.from_raw\(raw, seconds=4\)"):
        as_windows(raw)
    with refuses("an average of MNE"):
        as_windows(epochs_of(noise()).average())
    with refuses("has no window of 9 s that can be used: it lasts 8.0 s"):
        Windows.from_raw(raw, 9)
    with refuses("the epochs have no electrode|no channel is declared as EEG"):
        Windows.from_epochs(epochs_of(noise()).set_channel_types(dict.fromkeys(NAMES, "misc"), verbose="ERROR"))
    with refuses("too large for scalp EEG"):
        Windows.from_raw(raw_of(noise(1, 8)[0] * 1e6), 4)  # microvolts that were taken for volts


@pytest.mark.parametrize(("seconds", "expected"), [(1, [1]), (16, [16]), (17, [9, 8]), (30, [15, 15]), (33, [11] * 3)])
def test_long_windows_are_split_into_few_and_equal_parts(seconds, expected):
    found = parts(seconds)
    assert [stop - start for start, stop in found] == expected
    assert [start for start, _ in found] == np.cumsum([0, *expected])[:-1].tolist()


def test_partial_seconds_follow_a_rule():
    eeg = noise(seconds=1.75)
    with refuses("350 samples at 200 Hz .1.75 s., no whole seconds"):
        Windows.from_array(eeg, NAMES, 200)
    np.testing.assert_allclose(Windows.from_array(eeg, NAMES, 200, partial="drop").eeg, eeg[..., :200], atol=1e-4)
    padded = Windows.from_array(eeg, NAMES, 200, partial="pad").eeg
    np.testing.assert_allclose(padded[..., :350], eeg, atol=1e-4)
    np.testing.assert_allclose(padded[..., 350:], eeg[..., :-51:-1], atol=1e-4)
    with refuses("shorter than a second"):
        Windows.from_array(eeg[..., :150], NAMES, 200, partial="drop")
    with refuses("partial is 'guess': choose one of 'refuse', 'drop', 'pad'"):
        Windows.from_array(eeg, NAMES, 200, partial="guess")
    with refuses("17 seconds cannot be used: .* long='split'"):
        Windows.from_array(noise(1, 17), NAMES, 200)
    assert Windows.from_array(noise(1, 17), NAMES, 200, long="split").seconds == 17
    assert Windows.from_raw(raw_of(noise(1, 61)[0]), 30, long="split").shape == (2, 4, 6000)


def test_windows_are_indexed_like_an_array():
    windows = Windows.from_array(noise(), NAMES, 200, metadata={"label": [5, 6, 7]}, bads=np.eye(4, dtype=bool)[:3])
    for key, expected in (
        (1, [6]),
        (slice(1, None), [6, 7]),
        ([2, 0], [7, 5]),
        (np.array([True, False, True]), [5, 7]),
    ):
        part = windows[key]
        assert part.metadata["label"].tolist() == expected and len(part) == len(expected)
        np.testing.assert_array_equal(part.eeg, windows.eeg[np.array(expected) - 5])
        np.testing.assert_array_equal(part.bads, windows.bads[np.array(expected) - 5])
    assert windows[[0, 2], ...].metadata["label"].tolist() == [5, 7] and windows.shape == windows.eeg.shape
    with refuses("indexed by their number alone"):
        windows[0, 1]


def test_windows_of_several_recordings_are_put_together():
    one, two = (Windows.from_array(noise(seed=n), NAMES, 200, metadata={"subject": n}) for n in (1, 2))
    both = Windows.concatenate([one, two])
    assert both.metadata["subject"].tolist() == [1, 1, 1, 2, 2, 2] and both.pass_hz is None
    np.testing.assert_array_equal(both[3:].eeg, two.eeg)
    with refuses("cannot be put together: pick the same electrodes"):
        Windows.concatenate([one, Windows.from_array(noise(), NAMES[::-1], 200)])


def test_windows_of_a_corpus(corpus):
    with refuses("several montages, and Windows have one: give montage, one of"):
        Windows.from_corpus(corpus, "test", 2)
    name = corpus.montages[0].name
    windows = Windows.from_corpus(corpus.path, "test", 2, montage=name)
    (montage,) = [own for own in corpus.windows("test", 2).montages if own.directory.name == name]
    assert len(windows) == len(montage) and windows.electrodes == montage.electrodes
    np.testing.assert_array_equal(windows.eeg[5], montage[5].eeg)
    assert windows.metadata["label"].tolist() == [corpus.classes[window.label] for window in montage]
    assert set(windows.metadata["subject"]) == corpus.subjects("test")
    with refuses("no montage 'nothing'"):
        Windows.from_corpus(corpus, "test", 2, montage="nothing")


def test_the_package_offers_windows():
    assert labram_jax.Windows is Windows
