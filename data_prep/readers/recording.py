"""Opens a recording in any format that MNE reads; whatever is wrong with it becomes one sentence."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from labram_jax.data_prep.readers.formats import opener_of
from labram_jax.data_prep.readers.mne_reader import MneReader, cause, collected_warnings, reader_of
from labram_jax.data_prep.readers.units import check_unit
from labram_jax.errors import InputError

# These hold the samples or the markers of a recording whose header is another file.
_COMPANIONS = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".amrk": ".ahdr", ".fdt": ".set", ".dat": ".lay"}
_USUAL_SUFFIXES = (".edf", ".bdf", ".gdf", ".fif", ".set", ".vhdr", ".cnt", ".raw", ".lay", ".mff")
_FOLDER_FORMATS = (".mff", ".ds", ".mefd")
_NEEDED = re.compile(r"the module (\S+?)(?:[<>=(].*)? is needed|No module named '([\w.]+)'", re.DOTALL)


def open_recording(path: Path, part: str = "", unit: str | Mapping[str, str] | None = None) -> MneReader:
    """Opens a recording, whose samples stay on disk.

    `unit` ("uV", "mV", "V" or "nV", or one for each channel) is that of channels whose file does not say it. Raises
    InputError, with the cause, for whatever is wrong: a file that is missing, may not be read, is no EEG, is damaged,
    or is shorter than its header says.
    """
    path = Path(path)
    for given in unit.values() if isinstance(unit, Mapping) else (unit,):
        check_unit(given)
    if part:
        raise InputError(f"{path} is one recording: it has no part {part!r}.")
    with sentences(path), collected_warnings() as notes:
        _check_path(path)
        raw, details = opener_of(path)(path)
    with sentences(path):
        if raw.n_times == 0:
            raise InputError(f"{path} holds no samples: check the file.")
        return reader_of(raw, path, notes, unit, details)


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Makes an InputError with one sentence of whatever goes wrong: readers raise anything that their parsing meets."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        # MNE's own error names the file in its text alone.
        where, why = (path, cause(error)) if error.filename is None else (error.filename, "permission denied")
        raise InputError(f"{where} may not be read ({why}): change its permissions, or leave it out.") from error
    except Exception as error:
        package = _missing_package(path, error)
        if package is not None:
            raise InputError(
                f"{path} is read with the package {package}, which is not installed: install it."
            ) from error
        raise InputError(f"{path} cannot be read as EEG ({cause(error)}){_hint(path, error)}.") from error


def _check_path(path: Path) -> None:
    if not path.exists():
        raise InputError(f"There is no file {path}: check the path.")
    if path.is_dir():
        if path.suffix.lower() not in _FOLDER_FORMATS:
            raise InputError(f"{path} is a folder, not a recording: give one file, or prepare the folder as a corpus.")
        return
    if path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file: obtain it again.")
    with path.open("rb"):  # a file that may not be read is told from one that is damaged
        pass


def _missing_package(path: Path, error: BaseException | None) -> str | None:
    """Returns the package without which a format cannot be read, if that is what an error says."""
    while error is not None:
        found = _NEEDED.search(str(error))
        if found:
            return found[1] or found[2].split(".")[0]
        if path.suffix.lower() == ".set" and isinstance(error, NotImplementedError) and "7.3" in str(error):
            return "pymatreader"
        error = error.__cause__ or error.__context__
    return None


def _hint(path: Path, error: Exception) -> str:
    suffix = path.suffix.lower()
    header = path.with_suffix(_COMPANIONS.get(suffix, path.suffix))
    if header != path and header.exists():
        return f": give {header.name}, its header, instead"
    if "number of trials" in str(error) or "No raw data in" in str(error):
        return ": it holds epochs, an average or the like; give the continuous recording"
    if suffix in _USUAL_SUFFIXES:
        return ": the file may be damaged or truncated, or something else under this name"
    return ": give a recording in a format that MNE reads (EDF, BDF, FIF, EEGLAB .set, BrainVision .vhdr, ...)"
