"""Opens EDF and BDF files with their EEG alone, at its own rate, and in the unit that they state.

MNE brings all signals that it opens to the highest rate, joins records whatever their times, and takes units that it
does not know for volts: what it is asked for, and what is made of it, is decided here from the file's header.
"""

import re
import warnings
from collections import Counter
from pathlib import Path

import mne

from labram_jax.data_prep.readers.edf_header import EdfHeader, plain_label, read_edf_header
from labram_jax.data_prep.readers.edf_times import read_times
from labram_jax.data_prep.readers.mne_reader import Details
from labram_jax.data_prep.readers.units import UNITS, microvolts_per, states_no_unit
from labram_jax.errors import InputError

_STIMULI = ("status", "trigger")
# A name that could be an electrode's: `EEG ...`, or letters with a number or z, as sites, contacts and sockets have.
_ELECTRODE = re.compile(r"(EEG|POL)\b.*|[A-Z]{1,3}'?(Z|\d{1,3})H?\b.*", re.IGNORECASE)
_NO_ELECTRODE = re.compile(
    r"(ECG|EKG|EOG|EMG|MIC|DC|SAO|SPO|RES|TMP|ACC|GYR|MAG|BAT|AUX|POS|PPG|BP|HR|LEG|ROC|LOC|CHIN)", re.IGNORECASE
)
_MNE_UNITS = {"\u03bcV": 1.0, "\u00b5V": 1.0, "\x83\xcaV": 1.0, "uV": 1.0, "mV": 1e3}


def open_edf(path: Path) -> tuple[mne.io.BaseRaw, Details]:
    """Returns the raw object of a file's EEG, and what its header and its records' times say."""
    header = read_edf_header(path)
    names = _unique(header.labels)
    others = _no_voltages(header, names)
    signals = [index for index in range(len(names)) if index not in header.annotation_signals]
    voltages = [index for index in signals if names[index] not in others]
    if not voltages:
        raise InputError(f"{path} holds no EEG: none of its {len(signals)} signals is a voltage.")
    samples = _samples_of_most(header, voltages)
    kept = [index for index in voltages if header.samples[index] == samples]
    rate = samples / header.record_seconds
    others |= {
        names[index]: f"{names[index]!r} is recorded at {header.rate_hz(index):g} Hz, unlike the EEG ({rate:g} Hz)."
        for index in voltages
        if index not in kept
    }
    times = read_times(header, samples)
    open_file = mne.io.read_raw_edf if path.suffix.lower() == ".edf" else mne.io.read_raw_bdf
    left_out = [name for index, name in enumerate(names) if index not in kept]
    # Latin-1 fails on no text; the texts that count are decoded with the records' times.
    raw = open_file(path, exclude=left_out, exclude_after_unique=True, encoding="latin1", preload=False)
    units = {names[index]: header.units[index] for index in kept}
    return raw, Details(
        format=header.declared if header.declared[:4] in ("EDF+", "BDF+") else None,
        breaks=times.breaks,
        annotations=times.annotations,
        others=others,
        without_unit={name: UNITS["V"] for name, unit in units.items() if states_no_unit(unit)},
        has_units=True,
        factors=_mended(units),
        notes=times.notes,
    )


def _unique(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the labels as MNE names them, with running numbers where they repeat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(mne.create_info(list(labels), 1.0).ch_names)


def _no_voltages(header: EdfHeader, names: tuple[str, ...]) -> dict[str, str]:
    """Returns the signals that are triggers or have another unit than volts, with reasons."""
    others = {}
    for index, (name, label, unit) in enumerate(zip(names, header.labels, header.units, strict=True)):
        if index in header.annotation_signals:
            continue
        if plain_label(label) in _STIMULI:
            others[name] = f"{name!r} is declared as stim, not EEG."
        elif header.samples[index] == 0:
            others[name] = f"{name!r} has no samples."
        elif microvolts_per(unit) is None and not states_no_unit(unit):
            others[name] = f"{name!r} is in {unit!r}, not in volts."
    return others


def _samples_of_most(header: EdfHeader, signals: list[int]) -> int:
    """Returns how many samples a record has of most signals that could be electrodes; of equally many, the most."""
    named = [i for i in signals if _ELECTRODE.match(header.labels[i]) and not _NO_ELECTRODE.match(header.labels[i])]
    counts = Counter(header.samples[index] for index in named or signals)
    return max(counts, key=lambda samples: (counts[samples], samples))


def _mended(units: dict[str, str]) -> dict[str, float]:
    """Returns what to multiply signals by whose unit MNE does not know by this spelling, and takes for volts."""
    taken = {name: _MNE_UNITS.get(unit, UNITS["V"]) for name, unit in units.items()}
    factors = {name: microvolts_per(unit) / taken[name] for name, unit in units.items() if not states_no_unit(unit)}
    return {name: factor for name, factor in factors.items() if factor != 1}
