"""A folder of one's own recordings, in any EEG format that MNE reads, with an optional manifest.

    labram-jax prepare folder RECORDINGS OUT
    labram-jax prepare folder RECORDINGS OUT --manifest labels.csv

Without a manifest every recording below the folder is taken, without a label. Its subject is the `sub-XX` of a BIDS
name; else the first folder below RECORDINGS that it lies in; else its file name up to the first underscore. Whole
subjects go to train, validation and test (0.8, 0.1, 0.1 unless `--fractions` says otherwise); `--split-by time` cuts
every recording instead, and `--split-by none` takes everything for training. Hidden files and folders are left out.

With a manifest (its columns: `data_prep/corpora/manifest.py`) only what it lists is taken. Where it has a column
`split`, that decides; else the options do, for subjects with labels such that every split gets its share of them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.corpora.manifest import Line, read_manifest
from data_prep.corpora.sources import corpus_plan, existing_folder
from data_prep.corpora.splits import chosen_split, cut_in_time, split_subjects
from data_prep.options import PrepareOptions
from data_prep.plan import CorpusPlan, RecordingPlan, Span
from data_prep.recording import read, seconds
from labram_jax.errors import InputError

FRACTIONS = (0.8, 0.1, 0.1)
# The file to open for each EEG format of MNE; its companions (.vmrk, .fdt, ...) are found from there.
SUFFIXES = (
    *(".edf", ".bdf", ".gdf", ".vhdr", ".ahdr", ".set", ".fif", ".fif.gz", ".cnt", ".mff", ".mefd", ".nxe"),
    *(".eeg", ".raw", ".data", ".cdt", ".dap", ".dat", ".nedf", ".lay"),
)


def plan(source: Path | None, options: PrepareOptions) -> CorpusPlan:
    """Plans a folder of recordings.

    Raises:
      InputError: the folder is absent or holds no recording, the manifest cannot be used, or the split is impossible.
    """
    if source is not None and source.is_file():
        raise InputError(f"{source} is one file; give the folder that it lies in.")
    root = existing_folder(source, "folder")
    if options.manifest is None:
        classes = None
        lines = [Line(0, path, None, None, None, 0.0, None) for path in find_recordings(root)]
        if not lines:
            raise InputError(f"{root} holds no EEG recording ({', '.join(SUFFIXES)}); give the folder that does.")
    else:
        manifest = read_manifest(options.manifest, root)
        lines, classes = manifest.lines, manifest.classes
    recordings, unusable = _recordings(lines, root, options)
    provenance = f"recordings of the folder {root.name}"
    return corpus_plan(root.name, recordings, options, classes=classes, unusable=unusable, provenance=provenance)


def find_recordings(root: Path) -> list[Path]:
    """Returns every recording below `root`, sorted; some formats are folders (.mff), and hidden ones are left out."""
    found: list[Path] = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name.lower().endswith(SUFFIXES):
            if not _is_companion(path):
                found.append(path)
        elif path.is_dir():
            found += find_recordings(path)
    return found


def subject_of(path: Path, root: Path) -> str:
    """Returns whose recording it is, by the rule of the module's docstring."""
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    if match := re.search(r"sub-([A-Za-z0-9]+)", str(relative)):
        return match.group()
    return relative.parts[0] if len(relative.parts) > 1 else _stem(path).partition("_")[0]


def _stem(path: Path) -> str:
    return path.name[: -len(next((s for s in SUFFIXES[::-1] if path.name.lower().endswith(s)), ""))] or path.name


def _is_companion(path: Path) -> bool:
    """Says whether a file is a part of another recording: BrainVision's or Curry's signal, a later part of a FIF."""
    if path.suffix.lower() in (".eeg", ".dat"):
        return any(path.with_suffix(suffix).exists() for suffix in (".vhdr", ".ahdr", ".dap"))
    part = re.fullmatch(r"(.+)-\d+(\.fif(\.gz)?)", path.name)
    return part is not None and path.with_name(part[1] + part[2]).exists()


def _recordings(
    lines: Sequence[Line], root: Path, options: PrepareOptions
) -> tuple[list[RecordingPlan], tuple[tuple[str, str], ...]]:
    """Gathers the lines of each recording into its plan; the second value lists what cannot be read."""
    grouped: dict[Path, list[Line]] = {}
    for line in lines:
        grouped.setdefault(line.path, []).append(line)
    names = _names(grouped, root)
    subjects = {path: own[0].subject or subject_of(path, root) for path, own in grouped.items()}
    by = _split_by(lines, options)
    if by == "subject":
        profiles: dict[str, set] = {}
        for path, own in grouped.items():
            profiles.setdefault(subjects[path], set()).update(line.label for line in own)
        frozen = {subject: frozenset(labels) for subject, labels in profiles.items()}
        splits = split_subjects(frozen, options.fractions or FRACTIONS, options.seed)
    recordings, unusable = [], []
    for path, own in grouped.items():
        if by == "time":
            try:
                spans = _spans_in_time(own, seconds(read(path)), options)
            except InputError as error:
                unusable.append((str(path), str(error)))
                continue
        else:
            split = splits[subjects[path]] if by == "subject" else "train"
            spans = tuple(Span(o.start_seconds, o.stop_seconds, o.split or split, o.label) for o in own)
        recordings.append(RecordingPlan(path, names[path], subjects[path], spans))
    return recordings, tuple(unusable)


def _split_by(lines: Sequence[Line], options: PrepareOptions) -> str:
    if lines[0].split is None:
        return chosen_split(options, "folder", "subject", ("subject", "time", "none"))
    if options.split_by is not None or options.fractions is not None:
        raise InputError("The manifest says the split of every line already; leave split_by and fractions out.")
    return "manifest"


def _spans_in_time(lines: Iterable[Line], length: float, options: PrepareOptions) -> tuple[Span, ...]:
    fractions = options.fractions or FRACTIONS
    return tuple(
        span
        for line in lines
        if line.start_seconds < (stop := min(line.stop_or_infinity, length))
        for span in cut_in_time(line.start_seconds, stop, fractions, line.label)
    )


def _names(paths: Iterable[Path], root: Path) -> dict[Path, str]:
    """Names recordings by their path below `root` without suffix, or with it where two would be named alike."""
    paths = list(paths)
    full = {path: (path.relative_to(root) if path.is_relative_to(root) else path).as_posix() for path in paths}
    short = {path: full[path][: len(full[path]) - len(path.name)] + _stem(path) for path in paths}
    times = Counter(short.values())
    return {path: short[path] if times[short[path]] == 1 else full[path] for path in paths}
