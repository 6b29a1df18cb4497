"""From the channels of a header to electrodes: renamed, by a cap, by names."""

import numpy as np
import pytest

from labram_jax.data_prep.cleaning.channels import derivation, electrodes_of, read_rename
from labram_jax.data_prep.readers.reader import Header
from labram_jax.data_prep.recipe import Cap, Recipe
from labram_jax.errors import InputError
from labram_jax.montage import OLD_TO_NEW


def header(channels, others=(), marked_bad=()) -> Header:
    reasons = {name: f"{name!r} is declared as ecg, not EEG." for name in others}
    return Header(tuple(channels), 200.0, 4000, ((0, 4000),), reasons, frozenset(marked_bad))


def test_electrodes_come_in_the_recordings_order_or_in_that_asked_for():
    recording = header(["EEG O1-REF", "EEG Fp1-REF", "26", "EEG Cz-REF"], others=["ECG"], marked_bad=["EEG Cz-REF"])
    found = derivation(recording, Recipe())
    assert found.electrodes == ("O1", "FP1", "CZ")
    assert found.channels == ("EEG O1-REF", "EEG Fp1-REF", "EEG Cz-REF")
    assert found.weights is None and found.notes == ()
    assert found.marked_bad == {"CZ"}
    assert list(found.unusable) == ["26", "ECG"] and "declared as ecg" in found.unusable["ECG"]
    asked = derivation(recording, Recipe(electrodes=("FP1", "Cz")))
    assert (asked.electrodes, asked.channels) == (("FP1", "CZ"), ("EEG Fp1-REF", "EEG Cz-REF"))
    with pytest.raises(InputError, match="lacks F3, of the 2"):
        derivation(recording, Recipe(electrodes=("F3", "CZ")))


def test_a_recording_without_electrodes_says_why():
    with pytest.raises(InputError, match=r"None of its 32 channels \(A1, .*--montage biosemi32"):
        derivation(header([f"A{number}" for number in range(1, 33)]), Recipe())
    with pytest.raises(InputError, match=r"None of its 1 channels \(ECG\) is a known electrode: 'ECG' is declared"):
        derivation(header([], others=["ECG"]), Recipe())


def test_renamed_channels_go_before_names():
    recording = header(["Left ", "cz", "Vertex", "A1", "EEG O1", "Vertex 2"])
    rename = {"LEFT": "C3", "Vertex": "Cz", "Vertex 2": "CZ", "elsewhere": "PZ"}
    found = electrodes_of(recording, Recipe(rename=rename))
    assert found.usable == {"Left ": "C3", "Vertex": "CZ", "A1": "A1", "EEG O1": "O1"}
    assert "which 'Vertex' is renamed to" in found.unusable["cz"]
    assert "as another channel is already" in found.unusable["Vertex 2"]
    assert derivation(recording, Recipe(rename=rename)).notes == ("renamed: Left  to C3, Vertex to CZ.",)
    (note,) = derivation(recording, Recipe(rename={"elsewhere": "PZ"})).notes
    assert "none of its channels" in note


def test_an_exact_name_is_renamed_before_a_similar_one():
    found = electrodes_of(header(["a", "A"]), Recipe(rename={"A": "C4", "a": "C3"}))
    assert found.usable == {"a": "C3", "A": "C4"}
    swapped = electrodes_of(header(["C3", "C4"]), Recipe(rename={"C3": "C4", "C4": "C3"}))
    assert swapped.usable == {"C3": "C4", "C4": "C3"}


def test_aliases_hold_with_and_without_a_cap():
    assert electrodes_of(header(["T3", "Cz"]), Recipe(aliases=OLD_TO_NEW)).usable == {"T3": "T7", "Cz": "CZ"}
    new_to_old = {"T7": "T3"}
    sockets = [f"A{number}" for number in range(1, 33)]
    found = electrodes_of(header(sockets), Recipe(cap=Cap("biosemi32"), aliases=new_to_old))
    assert found.usable["A7"] == "T3" and found.usable["A1"] == "FP1"


def test_a_cap_is_asked_for_and_reported():
    sockets = [f"{bank}{number}" for bank in "ABCD" for number in range(1, 33)]
    recording = header([*sockets, "Ear"], others=["EXG1"], marked_bad=["A1", "A2"])
    assert electrodes_of(recording, Recipe()).usable == {}
    recipe = Recipe(cap=Cap("biosemi128"), rename={"Ear": "A1"})
    found = derivation(recording, recipe)
    assert found.weights is None and found.marked_bad == {"CZ"}
    channel = dict(zip(found.electrodes, found.channels, strict=True))
    assert (channel["CZ"], channel["PZ"], channel["O1"], channel["A1"]) == ("A1", "A19", "A15", "Ear")
    assert len(found.electrodes) + len(found.unusable) == 130
    assert found.notes[0] == "renamed: Ear to A1." and "A19 for PZ (0.0 mm)" in found.notes[1]
    asked = derivation(recording, Recipe(cap=Cap("biosemi128"), electrodes=("OZ", "FZ")))
    assert asked.channels == ("A23", "C21")
    with pytest.raises(InputError, match="It lacks M1"):
        derivation(recording, Recipe(cap=Cap("biosemi128"), electrodes=("OZ", "M1")))


def test_interpolated_electrodes_are_sums_of_the_good_channels():
    sockets = [f"{bank}{number}" for bank in "ABCD" for number in range(1, 33)]
    recording = header([*sockets, "VEOG", "Top"], others=["EXG1"], marked_bad=["A1", "B3"])
    recipe = Recipe(cap=Cap("biosemi128", "spline"), electrodes=("FP1", "CZ", "O2"), rename={"Top": "CZ"})
    found = derivation(recording, recipe)
    assert found.electrodes == ("FP1", "CZ", "O2") and found.marked_bad == frozenset()
    assert set(found.channels) == {*sockets, "Top"} - {"A1", "B3"}
    assert set(found.unusable) == {"A1", "B3", "VEOG", "EXG1"}
    assert found.weights.shape == (3, 127) and found.weights.dtype == np.float64
    # A channel at the electrode's own place decides alone.
    assert found.weights[1, found.channels.index("Top")] == pytest.approx(1, abs=1e-6)
    assert "spherical splines from 127 sockets" in found.notes[1]


def test_a_file_of_names_is_read(tmp_path):
    file = tmp_path / "names.csv"
    file.write_text('\ufefffrom, To ,why\n E22 ,Fp1,frontal\n\n"a,b",EEG CZ-REF,\nE9,fp2\n', encoding="utf-8")
    assert read_rename(file) == {"E22": "FP1", "a,b": "CZ", "E9": "FP2"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: the columns are none"),
        (b"old,new\nE1,CZ\n", "line 1: the columns are old, new.*from,to"),
        (b"from;to\nE1;CZ\n", "line 1: the columns are from;to"),
        (b"from,to\nE1,CZ\nE2,\n", "line 3: a cell is empty"),
        (b"from,to\n ,CZ\n", "line 2: a cell is empty"),
        (b"from,to\nE1\n", "line 2: a cell is empty"),
        (b"from,to\nE1,CZ\nE2,PZ\nE1,OZ\n", "line 4: 'E1' is renamed in an earlier line"),
        (b"from,to\nE1,FPP1\n", "line 2: 'FPP1' is not an electrode.*near matches: FP1"),
        (b"from,to\nE1,P4-O2\n", "line 2: 'P4-O2' .*no row"),
        (b"from,to\n", "renames nothing"),
        (b"from,to\n\xff\xfe,CZ\n", "cannot be read"),
        (b"from,to\nE1,\0\n", "line 2"),
    ],
)
def test_a_file_of_names_that_cannot_be_used(tmp_path, content, says):
    file = tmp_path / "names.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_rename(file)


def test_a_missing_file_of_names_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_rename(tmp_path / "names.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_rename(tmp_path)
