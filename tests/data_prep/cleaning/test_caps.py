"""Caps by position: sockets whose electrodes are known from what their makers publish."""

import mne
import numpy as np
import pytest

from labram_jax.data_prep.cleaning import caps
from labram_jax.data_prep.cleaning.positions import millimetres, spline_matrix, template
from labram_jax.data_prep.recipe import Cap, Recipe
from labram_jax.errors import InputError
from labram_jax.montage import known


def banks(letters: str, last: int = 32) -> list[str]:
    return [f"{letter}{number}" for letter in letters for number in range(1, last + 1)]


def distances(cap: str, electrode: str) -> dict[str, float]:
    shape = template(cap)
    far = millimetres(shape.place(electrode)[None], np.array(list(shape.sockets.values())))[0]
    return dict(zip(shape.sockets, far, strict=True))


@pytest.mark.parametrize(
    "cap", ["biosemi16", "biosemi32", "biosemi64", "easycap-M1", "brainproducts-RNP-BA-128", "fsaverage_1020"]
)
def test_templates_with_10_20_names_have_them_where_the_vocabulary_does(cap):
    shape = template(cap)
    named = {
        name: electrode
        for name, electrode in known(list(shape.sockets)).usable.items()
        if electrode in shape.electrodes
    }
    assert len(named) >= 16
    electrodes = np.array(list(shape.electrodes.values()))
    for socket, electrode in named.items():
        far = dict(zip(shape.electrodes, millimetres(shape.sockets[socket][None], electrodes)[0], strict=True))
        assert min(far, key=far.get) == electrode
        assert far[electrode] < 8


# From BioSemi's and EGI's layouts.
def pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split())


BIOSEMI_128 = pairs(
    "A1=CZ A19=PZ A23=OZ C21=FZ C17=FPZ D19=C3 B22=C4 D23=T7 B26=T8 A15=O1 A28=O2 C29=FP1 C16=FP2 D7=F7 C7=F8 D31=P7"
)
BIOSEMI_256 = pairs("A1=CZ A6=PZ A19=OZ E12=FPZ E17=FZ G16=C3 C23=C4")
HYDROCEL_129 = pairs(
    "E22=FP1 E9=FP2 E24=F3 E124=F4 E33=F7 E122=F8 E36=C3 E104=C4 E62=PZ E70=O1 E83=O2 E75=OZ E15=FPZ E6=FCZ Cz=CZ"
)
HYDROCEL_257 = pairs("E59=C3 E183=C4 E36=F3 E224=F4 E69=T7 E202=T8 E101=PZ E116=O1 E150=O2 Cz=CZ")


@pytest.mark.parametrize(
    ("cap", "published", "within"),
    [
        ("biosemi128", BIOSEMI_128, 0.1),
        ("biosemi256", BIOSEMI_256, 0.1),
        ("GSN-HydroCel-129", HYDROCEL_129, 10.5),
        ("GSN-HydroCel-257", HYDROCEL_257, 5),
    ],
)
def test_published_sockets_are_the_nearest_ones(cap, published, within):
    for socket, electrode in published.items():
        far = distances(cap, electrode)
        assert min(far, key=far.get) == socket
        assert far[socket] < within
    found = caps.nearest(Cap(cap), list(template(cap).sockets))
    assert {socket: found.usable[socket] for socket in published} == published


def test_each_electrode_is_given_once_and_everything_is_told():
    names = [*banks("ABCD"), "EXG1", "Status"]
    found = caps.nearest(Cap("biosemi128"), names)
    assert len(found.usable) == len(set(found.usable.values())) == len(found.millimetres) > 60
    assert set(found.usable) | set(found.unusable) == set(names) and not set(found.usable) & set(found.unusable)
    assert max(found.millimetres.values()) <= 15
    assert "is no socket of the cap biosemi128" in found.unusable["EXG1"]
    assert "A1 for CZ (0.0 mm)" in found.note and f"{len(found.usable)} of 128 recorded sockets" in found.note
    assert "A2' lies 18.2 mm from CZ, the electrode nearest to it: farther than 15 mm" in found.unusable["A2"]
    # Both lie near F3, and the closer one stands for it.
    assert (
        found.usable["D4"] == "F3" and "F3, the electrode nearest to it, which 'D4' stands for" in found.unusable["C32"]
    )
    few = caps.nearest(Cap("biosemi128", within_mm=1), names)
    assert 16 <= len(few.usable) < len(found.usable)
    assert "farther than 1 mm" in few.unusable["D4"]
    assert list(found.usable) == [name for name in names if name in found.usable]


def test_what_others_give_already_is_not_given_again():
    found = caps.nearest(Cap("biosemi128"), banks("ABCD"), taken=["CZ"])
    assert "CZ" not in found.usable.values() and "a renamed channel" in found.unusable["A1"]


@pytest.mark.parametrize(("cap", "count"), [("biosemi16", 16), ("biosemi32", 32), ("biosemi64", 64)])
def test_biosemi_counts_the_sockets_of_small_caps_as_well(cap, count):
    names = banks("AB")[:count]
    found = caps.nearest(Cap(cap), [*names, "EXG1"])
    layout = mne.channels.make_standard_montage(cap).ch_names
    assert list(found.usable.values()) == [name.upper() for name in layout]
    published = {"biosemi16": {"A8": "CZ", "A16": "O2"}, "biosemi32": {"A32": "CZ", "A15": "O1", "A17": "O2"}}
    published["biosemi64"] = {"A1": "FP1", "A2": "AF7", "A27": "O1", "B16": "CZ", "B32": "O2"}
    assert {name: found.usable[name] for name in published[cap]} == published[cap]
    # The same cap by its 10-20 names.
    assert set(caps.nearest(Cap(cap), layout).usable.values()) == set(found.usable.values())


@pytest.mark.parametrize(
    "names",
    [
        [*(f"E{number}" for number in range(1, 129)), "Cz"],
        [f"E{number}" for number in range(1, 130)],
        [*(f"EEG {number:03d}" for number in range(1, 129)), "VREF"],
        [*(f"{number}" for number in range(1, 129)), "E129"],
        [*(f"E{number}-VREF" for number in range(1, 129)), "Cz"],
    ],
    ids=lambda names: f"{names[0]}..{names[-1]}",
)
def test_sockets_are_found_however_they_are_counted(names):
    found = caps.sockets(Cap("GSN-HydroCel-129"), names)
    assert list(found) == names
    assert list(found.values()) == list(template("GSN-HydroCel-129").sockets)


@pytest.mark.parametrize(
    ("cap", "names", "says"),
    [
        ("biosemi64", banks("ABCD"), "64 sockets, A1 to B32, and 'C1' is none"),
        ("biosemi32", banks("AB"), "'B1' is none"),
        ("biosemi128", banks("ABCDEFGH"), "'E1' is none"),
        ("GSN-HydroCel-128", [f"E{number}" for number in range(1, 257)], "'E129' is none"),
        ("biosemi128", ["Fp1", "Fz"], "none of the 2 channels"),
        ("biosemi", ["A1"], "no cap 'biosemi'.*such as biosemi"),
    ],
)
def test_another_cap_is_refused(cap, names, says):
    with pytest.raises(InputError, match=says):
        caps.nearest(Cap(cap), names)


def test_splines_give_smooth_fields_back_everywhere():
    """A field of low spatial frequency, sampled by 127 sockets, is known between them."""
    electrodes = ("FP1", "FZ", "T3", "CZ", "P8", "OZ")
    names = [*banks("ABCD"), "EXG1"]
    found = caps.spline(Cap("biosemi128", "spline"), names, electrodes, bad={"A1"})
    assert found.channels == tuple(banks("ABCD")[1:]) and found.weights.shape == (6, 127)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    shape = template("biosemi128")

    def field(directions):
        x, y, z = directions.T
        return 20 * y + 10 * x * z + 5

    sampled = field(np.array([shape.sockets[name] for name in found.channels]))
    expected = field(np.array([shape.place(electrode) for electrode in electrodes]))
    np.testing.assert_allclose(found.weights @ sampled, expected, atol=0.1)
    assert "marked as bad" in found.unusable["A1"] and "no socket" in found.unusable["EXG1"]
    assert "FP1 (C29, 0.0 mm)" in found.note and "CZ (A2, 18.2 mm)" in found.note


def test_a_spline_goes_through_its_sockets():
    directions = np.array([template("biosemi32").sockets[name] for name in ("Fp1", "Cz", "O1", "T7", "T8", "Pz")])
    np.testing.assert_allclose(spline_matrix(directions, directions[:3]), np.eye(6)[:3], atol=1e-6)


@pytest.mark.parametrize(
    ("cap", "names", "electrodes", "bad", "says"),
    [
        ("biosemi128", banks("ABCD"), ["M1"], (), "M1 has no known place"),
        ("biosemi128", banks("A"), ["FP1"], (), "FP1 cannot be interpolated"),
        ("biosemi32", banks("A"), ["FP1"], banks("A"), "All of its 32 sockets are marked as bad"),
    ],
)
def test_what_cannot_be_interpolated_is_refused(cap, names, electrodes, bad, says):
    with pytest.raises(InputError, match=says):
        caps.spline(Cap(cap, "spline"), names, electrodes, bad)


def test_a_cap_and_a_recipe_check_themselves():
    with pytest.raises(InputError, match="nearest, spline"):
        Cap("biosemi64", "closest")
    with pytest.raises(InputError, match="above 0 mm"):
        Cap("biosemi64", within_mm=0)
    with pytest.raises(InputError, match="--electrodes"):
        Recipe(cap=Cap("biosemi64", "spline"))
