"""Where the sockets of a cap and the electrodes of the vocabulary lie, on one sphere.

The 10-20 system is defined on the head: its electrodes lie at fixed shares of the arcs between nasion, inion and ears.
So the vocabulary is laid onto each cap's own sphere: the sphere through its sockets, Cz (or what is up) as the pole,
and the ideal 10-5 positions of MNE's `spherical_1005`, whose equator goes through nasion and ears, stretched from the
pole to where the cap's template has its nasion and ears. BioSemi's and EASYCAP's templates then have their 10-20 names
where the vocabulary has them (0 mm; at most 8 for some corners of the 10-10 system).

EGI publishes 10-10 equivalents of its nets' sockets as well. They are the nearest sockets by MNE's templates for most
of the head, but not everywhere: E11 (FZ), E45 and E108 (T7, T8), E52 and E92 (P3, P4) of the HydroCel-128 lie 19 to
26 mm from these electrodes, and other sockets nearer. Who wants the published names gives them (`--rename`).
"""

import difflib
from typing import NamedTuple

import mne
import numpy as np
from jaxtyping import Float64

from labram_jax.errors import InputError
from labram_jax.montage import ELECTRODES, OLD_TO_NEW, USABLE

HEAD_MM = 95.0

Direction = Float64[np.ndarray, "3"]


class Template(NamedTuple):
    """An MNE montage on the unit sphere: its `sockets` and, stretched onto it, the `electrodes` of the vocabulary."""

    name: str
    sockets: dict[str, Direction]
    electrodes: dict[str, Direction]

    def place(self, electrode: str) -> Direction:
        """Returns where an electrode lies (T3 to T6 where their new names are); InputError if that is unknown."""
        new = OLD_TO_NEW.get(electrode, electrode)
        if new not in self.electrodes:
            raise InputError(
                f"{electrode} has no known place on the head, so nothing can be interpolated there: leave it out."
            )
        return self.electrodes[new]


def template(montage: str) -> Template:
    """Returns the positions of an MNE montage; raises InputError for an unknown name or one without landmarks."""
    try:
        found = mne.channels.make_standard_montage(montage)
    except ValueError as error:
        names = mne.channels.get_builtin_montages()
        near = difflib.get_close_matches(montage.lower(), [name.lower() for name in names], n=3, cutoff=0.5)
        hint = [name for name in names if name.lower() in near] or names
        raise InputError(f"There is no cap {montage!r}: give an MNE montage, such as {', '.join(hint)}.") from error
    places = found.get_positions()
    landmarks = [places[name] for name in ("nasion", "lpa", "rpa")]
    if any(landmark is None for landmark in landmarks):
        raise InputError(f"The montage {montage!r} has no nasion and ears: choose another one.")
    names = list(places["ch_pos"])
    where = np.array(list(places["ch_pos"].values()))
    centre = _centre(where)
    sockets, (nasion, left, right) = _unit(where - centre), _unit(np.array(landmarks) - centre)
    turn = _axes(sockets[names.index("Cz")] if "Cz" in names else np.array([0.0, 0.0, 1.0]), nasion)
    sockets, nasion, ears = sockets @ turn.T, turn @ nasion, np.array([left, right]) @ turn.T
    electrodes = _electrodes(float(np.arccos(nasion[2])), float(np.arccos(ears[:, 2]).mean()))
    return Template(montage, dict(zip(names, sockets, strict=True)), electrodes)


def millimetres(
    first: Float64[np.ndarray, "first 3"], second: Float64[np.ndarray, "second 3"]
) -> Float64[np.ndarray, "first second"]:
    """Returns the distances between directions as chords on a head of 95 mm radius, without rounding errors' digits."""
    return (HEAD_MM * np.linalg.norm(first[:, None] - second, axis=2)).round(6)


def spline_matrix(
    source: Float64[np.ndarray, "sockets 3"], target: Float64[np.ndarray, "C 3"]
) -> Float64[np.ndarray, "C sockets"]:
    """Returns the weights that take signals at some directions to signals at others; each row sums to 1.

    Spherical splines of order 4, as MNE has them (Perrin et al., 1989, Electroenceph. clin. Neurophysiol. 72, 184-187).
    """
    own, wanted = [f"S{place}" for place in range(len(source))], [f"T{place}" for place in range(len(target))]

    def montage(labels: list[str], directions: np.ndarray):
        places = dict(zip(labels, directions * HEAD_MM / 1000, strict=True))
        return mne.channels.make_dig_montage(places, coord_frame="head")

    # The signals of an identity, one sample a socket, come out as the weights.
    info = mne.create_info(own, 1.0, "eeg", verbose="ERROR").set_montage(montage(own, source))
    raw = mne.io.RawArray(np.eye(len(source)), info, verbose="ERROR")
    with mne.utils.use_log_level("ERROR"):
        return raw.interpolate_to(montage(wanted, target), origin=(0.0, 0.0, 0.0), method="spline").get_data()


def _electrodes(nasion: float, ears: float) -> dict[str, Direction]:
    """The places of the vocabulary on a sphere whose nasion and ears lie so many radians from its pole."""
    ideal = mne.channels.make_standard_montage("spherical_1005").get_positions()["ch_pos"]
    ideal = {name.upper(): _unit(place) for name, place in ideal.items()}
    found = {}
    for electrode in ELECTRODES[:USABLE]:
        if electrode.upper() in ideal:
            x, y, z = ideal[electrode.upper()]
            azimuth = np.arctan2(y, x)
            # The equator of the ideal sphere is 90 degrees from the pole; behind, the inion mirrors the nasion.
            stretch = (nasion * np.sin(azimuth) ** 2 + ears * np.cos(azimuth) ** 2) / (np.pi / 2)
            polar = np.arccos(z) * stretch
            found[electrode] = np.array(
                [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)]
            )
    return found


def _centre(where: Float64[np.ndarray, "sockets 3"]) -> Direction:
    """The centre of the sphere that fits points best: |x|^2 = 2 c x + (r^2 - |c|^2) is linear in c."""
    system = np.column_stack([2 * where, np.ones(len(where))])
    return np.linalg.lstsq(system, (where**2).sum(axis=1), rcond=None)[0][:3]


def _axes(up: Direction, nasion: Direction) -> Float64[np.ndarray, "3 3"]:
    """Rows x (to the right), y (to the nasion) and z (up)."""
    front = _unit(nasion - (nasion @ up) * up)
    return np.array([np.cross(front, up), front, up])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
