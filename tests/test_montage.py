"""The electrode vocabulary and the spellings that it understands."""

import numpy as np
import pytest

from labram_jax import montage
from labram_jax.errors import InputError


def test_rows_are_the_official_ones():
    # Some electrodes of the TUH corpora and their published rows.
    rows = {
        "FP1": 1,
        "FP2": 3,
        "F3": 18,
        "C4": 44,
        "O2": 83,
        "T3": 89,
        "T5": 90,
        "T4": 91,
        "A2": 96,
        "CZ": 42,
        "T2": 114,
    }
    ids = montage.electrode_ids(list(rows))
    assert ids.dtype == np.int32
    assert ids.tolist() == list(rows.values())
    assert len(montage.ELECTRODES) == len(set(montage.ELECTRODES)) == 136
    assert montage.ELECTRODES[127] == "P8-O2" and montage.ELECTRODES[-1] == "P4-O2"


@pytest.mark.parametrize(
    ("spelling", "electrode"),
    [
        ("EEG FP1-REF", "FP1"),
        ("EEG FP1-LE", "FP1"),
        ("EEG Fp1", "FP1"),
        ("fp1", "FP1"),
        (" Fc5. ", "FC5"),
        ("C3..", "C3"),
        ("FP1-AVG", "FP1"),
        ("EEG T1-REF", "T1"),
        ("C3-A2", "C3"),
        ("O1-M2", "O1"),
        ("POL Cz", "CZ"),
        ("A1-REF", "A1"),
        ("ftt9h", "FTT9h"),
        ("FP1-F7", "FP1-F7"),
    ],
)
def test_usual_spellings(spelling, electrode):
    assert montage.normalise(spelling) == electrode


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("EEG Fpz-Cz", "bipolar derivation (FPZ against CZ)"),
        ("EEG A2-A1", "bipolar derivation"),
        ("F7-T3", "bipolar derivation"),
        ("P4-O2", "no row"),
        ("FPP1", "near matches: FP1"),
        ("ECG EKG-REF", "not an electrode"),
        ("", "not an electrode"),
    ],
)
def test_refused_names(name, says):
    with pytest.raises(InputError) as error:
        montage.electrode_id(name)
    assert says in str(error.value)


def test_duplicates_and_empty_montages_are_refused():
    with pytest.raises(InputError, match="'Cz' and 'EEG CZ-REF' are both electrode CZ"):
        montage.electrode_ids(["Cz", "Pz", "EEG CZ-REF"])
    with pytest.raises(InputError, match="empty"):
        montage.electrode_ids([])
    with pytest.raises(InputError, match="one text"):
        montage.electrode_ids("CZ")


def test_old_and_new_names_are_one_row_only_on_request():
    assert montage.electrode_id("T3") != montage.electrode_id("T7")
    assert montage.electrode_id("T3", montage.OLD_TO_NEW) == montage.electrode_id("T7")
    assert montage.electrode_id("P8", montage.NEW_TO_OLD) == montage.electrode_id("T6")
    with pytest.raises(InputError, match="both electrode T7"):
        montage.electrode_ids(["T3", "T7"], montage.OLD_TO_NEW)


def test_known_splits_channels_and_gives_reasons():
    found = montage.known(["EEG Fp1", "ECG", "Fp1", "Pz-Oz", "T3"])
    assert found.usable == {"EEG Fp1": "FP1", "T3": "T3"}
    assert list(found.unusable) == ["ECG", "Fp1", "Pz-Oz"]
    assert "'EEG Fp1'" in found.unusable["Fp1"]


def test_numbered_sockets_are_not_taken_for_electrodes():
    sockets = [f"{bank}{number}" for bank in "ABCD" for number in range(1, 33)]
    found = montage.known(sockets)
    assert found.usable == {}
    assert "socket" in found.unusable["A1"] and "socket" in found.unusable["C3"]
    # Ears in a 10-20 recording stay what they are.
    assert list(montage.known(["C3", "A1", "A2"]).usable) == ["C3", "A1", "A2"]


@pytest.mark.parametrize("seconds", [0, 0.5, 1.5, 17])
def test_window_lengths_the_model_cannot_take(seconds):
    with pytest.raises(InputError, match="1 to 16"):
        montage.check_seconds(seconds)
    assert montage.check_seconds(16.0) == 16
