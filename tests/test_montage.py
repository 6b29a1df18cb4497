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
        ("Fp1-0", "FP1"),
        ("T8-P8-0", "T8-P8"),
        ("EEG C3-REF-0", "C3"),
        ("Fp1\0\0", "FP1"),
        ("EEG C4 - Vref", "C4"),
        ("O2-CLE", "O2"),
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


def test_a_montage_is_any_ordered_list_of_texts():
    for names in (["Cz", "O2"], ("Cz", "O2"), np.array(["Cz", "O2"])):
        assert montage.electrode_ids(names).tolist() == [42, 83]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"CZ", "PZ"}, "no order"),
        ({"CZ": 1}, "no list of names but dict"),
        (np.array([["CZ"]]), "no list of names but ndarray"),
        (None, "no list of names"),
        (["CZ", 3], "3, which is no text"),
        ([b"CZ"], "no text"),
    ],
)
def test_what_is_no_ordered_list_of_texts(names, says):
    with pytest.raises(InputError, match=says):
        montage.electrode_ids(names)


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


def words(text: str) -> list[str]:
    return text.split()


TEN_TWENTY = words("Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8 Fz Cz Pz")


@pytest.mark.parametrize("reference", ["CPz", "Cz", "CLE", "AA", "Vref", "G2", "LER", "(A1+A2)/2", "X9"])
def test_a_common_reference_is_seen_from_the_whole_list(reference):
    names = [f"EEG {name}-{reference}" for name in TEN_TWENTY if name != reference]
    found = montage.known([*names, f"ECG-{reference}"])
    assert list(found.usable.values()) == [name.upper() for name in TEN_TWENTY if name != reference]
    assert montage.electrode_ids(names).tolist() == montage.electrode_ids(list(found.usable.values())).tolist()


@pytest.mark.parametrize(
    "names",
    [
        ["Fpz-Cz", "Pz-Oz"],
        ["C3-Cz", "C4-Cz"],  # may be two derivations as well
        ["F3-Cz", "C3-Cz", "P3-Cz"],
        ["F7-T3", "T3-T5", "T5-O1", "F8-T4", "T4-T6", "T6-O2"],
        ["Fz-Cz", "Cz-Pz", "C3-Cz", "Cz-C4", "F3-Cz", "P3-Cz"],
        ["F3-Cz", "C3-Cz", "P3-Cz", "O1-Cz", "Fp1", "Fp2"],  # four derivations beside referential electrodes
    ],
)
def test_bipolar_lists_have_no_common_reference(names):
    found = montage.known(names)
    assert set(found.usable) <= {"Fp1", "Fp2"}
    assert all("bipolar derivation" in reason for reason in found.unusable.values())


def test_doubles_of_mne_are_listed_as_such():
    bipolar = words("FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8-0 P8-O2 T8-P8-1")
    found = montage.known(bipolar)
    assert list(found.usable.values()) == [*bipolar[:6], "T8-P8", "P8-O2"]
    assert found.unusable == {"T8-P8-1": "'T8-P8-1' is electrode T8-P8 again, which 'T8-P8-0' already gives."}
    assert montage.known(["Fp1-0", "Fp1-1", "O1"]).usable == {"Fp1-0": "FP1", "O1": "O1"}
    # Neighbouring contacts of depth electrodes are called so too: nothing is stripped without a first one.
    assert montage.known(["F3-4", "O1-2"]).usable == {}


def counted(letters, last, prefix=""):
    return [f"{prefix}{letter}{number}" for letter in letters for number in range(1, last + 1)]


@pytest.mark.parametrize(
    "names",
    [
        counted("A", 32),
        counted("AB", 32),
        counted("ABCD", 32),
        counted("ABCFOPT", 10, "POL "),
        [f"{name}-Ref" for name in counted("ABCFOPT", 10, "EEG ")],
        # Recorders that know the 10-20 system give its names another prefix, also where they are contacts.
        [f"{'EEG' if name in ('A1', 'A2', 'F3', 'F4', 'C3') else 'POL'} {name}" for name in counted("ACFO", 9)],
        counted("C", 48),
        counted("FPT", 10),
        [*counted(["A'", "B'", "C'"], 8), *counted("CFO", 6)],
        [*counted("BG", 8), "F1", "F2", "F4", "F5"],  # contacts without signal are often left out
        [f"{letter}{number}-{number + 1}" for letter in "ABFT" for number in range(1, 8)],
        [f"{letter}{number}-{letter}{number + 1}" for letter in "ABFT" for number in range(1, 8)],
        counted(["LA", "RA"], 8),
        counted("A", 3),
        counted("E", 128),
    ],
    ids=lambda names: f"{names[0]}..{names[-1]}",
)
def test_numbered_contacts_are_not_taken_for_electrodes(names):
    found = montage.known(names)
    assert found.usable == {}
    assert all("number the contacts" in reason and "--rename FILE" in reason for reason in found.unusable.values())


@pytest.mark.parametrize(
    ("names", "cap"),
    [
        (counted("A", 16), "biosemi16"),
        (counted("A", 32), "biosemi32"),
        ([*counted("AB", 32), "EXG1", "EXG2", "EXG3", "EXG4"], "biosemi64"),
        (counted("ABCD", 32), "biosemi128"),
        (counted("ABCDE", 32), "biosemi160"),
        (counted("ABCDEFGH", 32), "biosemi256"),
        (counted("E", 129), "GSN-HydroCel-129"),
        ([f"EEG {number:03d}" for number in range(1, 65)], "GSN-HydroCel-64_1.0"),
    ],
)
def test_the_cap_is_named_whose_sockets_they_may_be(names, cap):
    reasons = montage.known(names).unusable
    assert "or the sockets of a cap" in reasons[names[0]] and f"--montage {cap}," in reasons[names[0]]


LISTS_OF_THE_SCALP = {
    "10-20": TEN_TWENTY,
    "ears": ["C3", "C4", "A1", "A2"],
    "row": counted("C", 6),
    "whole vocabulary": montage.ELECTRODES[: montage.USABLE],
    "old names": words("FP1 FP2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T1 T2 T3 T4 T5 T6 A1 A2 FZ CZ PZ"),
    "10-10 without its reference": words(
        "Fp1 Fp2 F1 F2 F3 F4 F5 F6 F7 F8 Fz FC1 FC2 FC3 FC4 FC5 FC6 C1 C2 C3 C4 C5 C6 T7 T8 CP1 CP2 CP3 CP4 CP5 CP6 "
        "Pz P1 P2 P3 P4 P5 P6 P7 P8 PO3 PO4 O1 O2"
    ),
}


@pytest.mark.parametrize("names", LISTS_OF_THE_SCALP.values(), ids=LISTS_OF_THE_SCALP)
@pytest.mark.parametrize("beside", [(), ("EXG", "EMG", "DC", "V"), ("EEG ",)], ids=str)
def test_electrodes_stay_electrodes(names, beside):
    """Also beside numbered channels of other kinds (EXG1 to EXG8, or numbers alone)."""
    found = montage.known([*names, *counted(beside, 8)])
    assert list(found.usable) == list(names)


@pytest.mark.parametrize("names", [TEN_TWENTY, [*TEN_TWENTY, "A1", "A2"], LISTS_OF_THE_SCALP["old names"]])
def test_the_scalp_is_kept_beside_contacts_that_can_be_told_apart(names):
    found = montage.known([*names, *counted(["B", "G", "LH", "R'"], 8, "POL ")])
    assert list(found.usable) == names


def test_what_may_be_contact_or_scalp_is_refused():
    found = montage.known([*(f"EEG {name}" for name in TEN_TWENTY), *counted("AF", 8, "POL ")])
    assert list(found.usable) == [f"EEG {name}" for name in TEN_TWENTY if name not in ("F3", "F4", "F7", "F8")]
    few = montage.known(["Fz", "Cz", "Pz", *counted("AFPT", 6)])
    assert list(few.usable) == ["Fz", "Cz", "Pz"]


def test_rows_below_the_usual_ones_are_no_contacts():
    cap = words("F11 F7 F3 Fz F4 F8 F12 FC3 FCz FC4 C3 Cz C4 CP3 CPz CP4 P7 P3 Pz P4 P8 FC7 FC8 TP11 TP12")
    found = montage.known(cap)
    assert list(found.unusable) == ["F11", "F12", "FC7", "FC8", "TP11", "TP12"]
    assert "not an electrode" in found.unusable["F11"]


@pytest.mark.parametrize("seconds", [0, 0.5, 1.5, 17])
def test_window_lengths_the_model_cannot_take(seconds):
    with pytest.raises(InputError, match="1 to 16"):
        montage.check_seconds(seconds)
    assert montage.check_seconds(16.0) == 16
