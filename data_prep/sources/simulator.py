"""Simulated EEG in microvolts: shared 1/f sources, alpha that eyes closed strengthen, mains, blinks, artefacts.

Nothing here claims to be a brain. It has what a reader, a filter, a quality check and a small model need to meet:
neighbouring electrodes that share sources, a posterior rhythm that tells two classes apart (not always), people who
differ, and stretches that must be found and dropped. Everything is a function of the seed sequence that is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mne
import numpy as np
from jaxtyping import Float

from labram_jax.montage import OLD_TO_NEW

CLASSES = ("closed", "open")
ARTEFACTS = ("none", "flat", "clipped", "burst")

# Root mean squares and peaks in microvolts.
BACKGROUND_RMS = 12.0
SENSOR_RMS = 3.0
ALPHA_RMS = 5.0
MAINS_PEAK = 4.0
BLINK_PEAK = 120.0
BURST_RMS = 1200.0
CLIP_LEVEL = 300.0

# A logistic regression on band powers reaches an AUROC of about 0.9 on unseen subjects with these.
ALPHA_GAIN_CLOSED = 2.7
# Standard deviations of logarithms: how people differ in alpha, and how alpha comes and goes within a minute.
ALPHA_SPREAD_SUBJECTS = 0.2
ALPHA_SPREAD_TIME = 0.3

BACKGROUND_SOURCES = 40
BLINKS_PER_SECOND = 0.15
# On a head of radius 1: how far a source reaches.
SOURCE_REACH = 0.6
EYES = np.array([0.0, 0.95, -0.3])

Signal = Float[np.ndarray, "C samples"]


@dataclass(frozen=True)
class Person:
    """What stays the same over the recordings of one subject."""

    alpha_hz: float
    alpha_rms: float
    sources: Float[np.ndarray, "sources 3"]


def draw_person(generator: np.random.Generator) -> Person:
    """Draws a subject's alpha rhythm and the places of the background sources."""
    directions = generator.standard_normal((BACKGROUND_SOURCES, 3))
    return Person(
        alpha_hz=generator.uniform(8.8, 11.2),
        alpha_rms=ALPHA_RMS * np.exp(ALPHA_SPREAD_SUBJECTS * generator.standard_normal()),
        sources=0.85 * directions / np.linalg.norm(directions, axis=1, keepdims=True),
    )


def simulate_signal(
    person: Person,
    electrodes: Sequence[str],
    rate_hz: float,
    seconds: float,
    label: int,
    artefact: str,
    generator: np.random.Generator,
    mains_hz: float = 50.0,
) -> Signal:
    """Returns one recording in microvolts; `label` indexes `CLASSES`, `artefact` is one of `ARTEFACTS`."""
    samples = round(rate_hz * seconds)
    places = positions(electrodes)
    mixing = _gains(places, person.sources)
    eeg = BACKGROUND_RMS * _unit_rows(mixing) @ _pink(generator, len(person.sources), samples, rate_hz)
    eeg += SENSOR_RMS * _pink(generator, len(places), samples, rate_hz, exponent=0.5)
    eeg += _alpha(person, places, rate_hz, samples, CLASSES[label] == "closed", generator)
    time = np.arange(samples) / rate_hz
    strengths = MAINS_PEAK * generator.uniform(0.2, 1.0, (len(places), 1))
    eeg += strengths * np.sin(2 * np.pi * (mains_hz * time + generator.uniform()))
    eeg += _blinks(places, time, generator)
    return _spoil(eeg, rate_hz, artefact, generator)


def positions(electrodes: Sequence[str]) -> Float[np.ndarray, "C 3"]:
    """Returns the places of 10-10 electrodes on a head of radius 1 (x right, y front, z up); T3 is where T7 is."""
    places = mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"]
    by_name = {name.upper(): place for name, place in places.items()}
    chosen = np.array([by_name[OLD_TO_NEW.get(name.upper(), name.upper())] for name in electrodes])
    return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def _gains(places: np.ndarray, sources: np.ndarray) -> Float[np.ndarray, "C sources"]:
    distances = np.linalg.norm(places[:, None] - sources[None], axis=-1)
    return np.exp(-0.5 * (distances / SOURCE_REACH) ** 2)


def _unit_rows(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _shaped_noise(generator: np.random.Generator, rows: int, samples: int, amplitude: np.ndarray) -> np.ndarray:
    """Gaussian noise whose spectrum has the given amplitude (one value a bin of rfft), of root mean square 1."""
    bins = len(amplitude)
    spectrum = generator.standard_normal((rows, bins)) + 1j * generator.standard_normal((rows, bins))
    noise = np.fft.irfft(spectrum * amplitude, samples, axis=1)
    return noise / noise.std(axis=1, keepdims=True)


def _pink(generator: np.random.Generator, rows: int, samples: int, rate_hz: float, exponent: float = 1.2) -> np.ndarray:
    """Noise whose power falls as frequency ** -exponent, flat below 0.5 Hz so that drifts do not rule."""
    frequencies = np.fft.rfftfreq(samples, 1 / rate_hz)
    return _shaped_noise(generator, rows, samples, np.maximum(frequencies, 0.5) ** (-exponent / 2) * (frequencies > 0))


def _alpha(
    person: Person, places: np.ndarray, rate_hz: float, samples: int, closed: bool, generator: np.random.Generator
) -> Signal:
    """The posterior rhythm: narrow-band noise of three sources, which waxes and wanes over some ten seconds."""
    frequencies = np.fft.rfftfreq(samples, 1 / rate_hz)
    rhythm = _shaped_noise(generator, 3, samples, np.exp(-0.5 * ((frequencies - person.alpha_hz) / 0.6) ** 2))
    slow = _shaped_noise(generator, 1, samples, np.exp(-0.5 * (frequencies / 0.06) ** 2))
    strength = person.alpha_rms * (ALPHA_GAIN_CLOSED if closed else 1.0)
    gains = _gains(places, positions(("O1", "O2", "PZ")))
    return strength * np.exp(ALPHA_SPREAD_TIME * slow) * (gains @ rhythm)


def _blinks(places: np.ndarray, time: np.ndarray, generator: np.random.Generator) -> Signal:
    """Blinks of about a third of a second, largest at the forehead."""
    course = np.zeros_like(time)
    for moment in generator.uniform(0, time[-1], generator.poisson(BLINKS_PER_SECOND * time[-1])):
        course += generator.uniform(0.6, 1.0) * np.exp(-0.5 * ((time - moment) / 0.07) ** 2)
    reach = np.exp(-(np.linalg.norm(places - EYES, axis=1) ** 2) / 0.35)
    nearest = np.exp(-(np.linalg.norm(positions(("FP1",)) - EYES) ** 2) / 0.35)
    return BLINK_PEAK * (reach / nearest)[:, None] * course


def _spoil(eeg: Signal, rate_hz: float, artefact: str, generator: np.random.Generator) -> Signal:
    """Adds one artefact: an electrode that goes flat, a stretch that clips, or a burst on all electrodes."""
    channels, samples = eeg.shape
    length = samples // 8
    start = generator.integers(samples - length)
    stretch = slice(start, start + length)
    electrode = generator.integers(channels)
    if artefact == "flat":
        eeg[electrode, stretch] = eeg[electrode, start]
    elif artefact == "clipped":
        eeg[:, stretch] = np.clip(40.0 * eeg[:, stretch], -CLIP_LEVEL, CLIP_LEVEL)
    elif artefact == "burst":
        frequencies = np.fft.rfftfreq(length, 1 / rate_hz)
        burst = _shaped_noise(generator, channels, length, ((frequencies > 20) & (frequencies < 70)).astype(float))
        eeg[:, stretch] += BURST_RMS * np.hanning(length) * burst
    return eeg
