"""Folders of simulated recordings: three devices with their montages, rates and file formats, and a manifest."""

import csv
import json
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import mne
import numpy as np

from labram_jax.data.schema import SPLITS
from labram_jax.data_prep.sources.simulator import ARTEFACTS, CLASSES, draw_person, simulate_signal
from labram_jax.errors import InputError
from labram_jax.progress import track

DESCRIPTION = "simulation.json"
MANIFEST = "manifest.csv"
# Chances of `ARTEFACTS`: about a third of the recordings has a stretch to be found.
ARTEFACT_CHANCES = (0.64, 0.12, 0.12, 0.12)


@dataclass(frozen=True)
class Device:
    """A way of recording: file format, rate, electrodes as the file spells them."""

    suffix: str
    rate_hz: float
    channels: str

    @property
    def spellings(self) -> list[str]:
        names = self.channels.split()
        return [f"EEG {name.upper()}-REF" for name in names] if self.suffix == ".edf" else names

    @property
    def electrodes(self) -> list[str]:
        return self.channels.split()


DEVICES = (
    Device(".edf", 250.0, "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T3 T4 T5 T6 Fz Cz Pz"),
    Device(
        ".bdf",
        256.0,
        "Fp1 AF3 F7 F3 FC1 FC5 T7 C3 CP1 CP5 P7 P3 Pz PO3 O1 Oz O2 PO4 P4 P8 CP6 CP2 C4 T8 FC6 FC2 F4 F8 AF4 Fp2 Fz Cz",
    ),
    Device(
        ".vhdr",
        500.0,
        "Fp1 Fpz Fp2 AF7 AF3 AFz AF4 AF8 F7 F5 F3 F1 Fz F2 F4 F6 F8 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 "
        "T7 C5 C3 C1 Cz C2 C4 C6 T8 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 P7 P5 P3 P1 Pz P2 P4 P6 P8 "
        "PO7 PO3 POz PO4 PO8 O1 Oz O2 Iz",
    ),
)


@dataclass(frozen=True)
class Simulation:
    """What decides a simulated folder, and what it remembers of itself; `seconds` is the length of a recording."""

    seed: int = 0
    subjects: int = 12
    seconds: float = 60.0

    def __post_init__(self):
        if self.subjects < 3 or self.seconds < 1:
            raise InputError(
                f"A simulation of {self.subjects} subjects x {self.seconds:g} s cannot be split; "
                "ask for at least 3 subjects and 1 second."
            )


def simulate(folder: Path, simulation: Simulation = Simulation()) -> Path:
    """Writes the recordings of a simulation and its manifest into `folder`, whole or not at all; returns the manifest.

    Raises:
      InputError: the folder is a file or is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds other files; give a folder that is absent or empty.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        partial = Path(scratch) / folder.name
        subjects = track(range(simulation.subjects), "simulating")
        rows = [row for subject in subjects for row in _write_subject(partial, simulation, subject)]
        with (partial / MANIFEST).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        (partial / DESCRIPTION).write_text(json.dumps(asdict(simulation)) + "\n")
        partial.replace(folder)
    return folder / MANIFEST


def read_description(folder: Path) -> Simulation:
    """Returns what decided the recordings of a folder.

    Raises:
      InputError: its description is no simulation's.
    """
    file = folder / DESCRIPTION
    try:
        return Simulation(**json.loads(file.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{file} does not describe a simulation ({error}); give a folder that is empty.") from error


def split_of(subject: int, subjects: int) -> str:
    """Returns the split of a subject: the last quarter is for testing, the quarter before it for validation."""
    quarter = max(1, subjects // 4)
    train, validation, test = SPLITS
    return test if subject >= subjects - quarter else validation if subject >= subjects - 2 * quarter else train


def _write_subject(folder: Path, simulation: Simulation, subject: int) -> list[dict[str, str]]:
    """Writes both recordings of a subject and returns their lines of the manifest."""
    device = DEVICES[subject % len(DEVICES)]
    person = draw_person(np.random.default_rng((simulation.seed, subject)))
    rows = []
    for label, name in enumerate(CLASSES):
        generator = np.random.default_rng((simulation.seed, subject, label))
        artefact = generator.choice(ARTEFACTS, p=ARTEFACT_CHANCES)
        eeg = simulate_signal(person, device.electrodes, device.rate_hz, simulation.seconds, label, artefact, generator)
        path = f"sub-{subject + 1:02d}/sub-{subject + 1:02d}_eyes-{name}{device.suffix}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        raw = mne.io.RawArray(eeg * 1e-6, mne.create_info(device.spellings, device.rate_hz, "eeg"), verbose="error")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # float64 is stored as 16, 24 or 32 bits: meant so
            mne.export.export_raw(folder / path, raw, verbose="error")
        split = split_of(subject, simulation.subjects)
        rows.append({"path": path, "subject": f"sub-{subject + 1:02d}", "split": split, "label": name})
    return rows
