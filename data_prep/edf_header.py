"""Checks the header of an EDF or BDF file against the file, since MNE guesses where the two disagree."""

from pathlib import Path

from labram_jax.errors import InputError

_FIXED_BYTES = 256
_SIGNAL_BYTES = 256
# In a signal's header its samples per record come after label, transducer, unit, ranges and prefiltering.
_SAMPLES_OFFSET = 216
_SAMPLE_BYTES = {".edf": 2, ".bdf": 3}


def check_edf(path: Path) -> None:
    """Raises InputError for a file that is no EDF/BDF, is shorter than its header says, or has gaps (EDF+D)."""
    kind = path.suffix[1:].upper()
    with path.open("rb") as file:
        fixed = file.read(_FIXED_BYTES)
        try:
            header_bytes, records = int(fixed[184:192]), int(fixed[236:244])
            signals = int(fixed[252:256])
            described = file.read(signals * _SIGNAL_BYTES)
            samples = [int(described[signals * _SAMPLES_OFFSET + 8 * signal :][:8]) for signal in range(signals)]
        except ValueError as error:
            raise InputError(f"{path} is not an {kind} file: its header cannot be read; check the file.") from error
    if fixed[192:197] in (b"EDF+D", b"BDF+D"):
        raise InputError(
            f"{path} has gaps between its records ({fixed[192:197].decode()}), which would be joined: "
            "export it as one continuous recording."
        )
    record_bytes = sum(samples) * _SAMPLE_BYTES[path.suffix.lower()]
    size = path.stat().st_size
    # -1 records: the recorder was not stopped properly; the file's length is then all that is known.
    expected = header_bytes + max(records, 0) * record_bytes
    if size < expected:
        whole = max(size - header_bytes, 0) // record_bytes
        raise InputError(
            f"{path} is truncated: its header promises {records} records ({expected} bytes), "
            f"the file holds {whole} ({size} bytes); obtain the whole file."
        )
