"""The pickled windows of the official TUAB and TUEV scripts, so that what was prepared for fine-tuning moves over.

    labram-jax prepare official-pickles FOLDER OUT

One file holds one window of the 23 TUH electrodes at 200 Hz in microvolts: {"X", "y"} (TUAB, 10 s, y 0 normal or 1
abnormal) or {"signal", "offending_channel", "label"} (TUEV, 5 s, label 1..6, here 0..5). The folder holds `train`,
`val` and `test`, or `processed_train`, `processed_eval` and `processed_test`; where the last one is absent,
`processed_eval` holds the official evaluation recordings and is the test set. The splits stay as they are, and the
signal is taken as it is: those scripts filtered it.

Windows are read without the pickle module: a file that names anything but numpy arrays is refused and nothing is run.
The windows of a recording, named RECORDING_0.pkl or RECORDING-0.pkl and so on, become one recording again, one behind
the other, so that its start times count windows and not the clock of the recording. Each window is a piece of its own:
none that is read later crosses from one to the next.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labram_jax.data.schema import FINITE_ONLY
from labram_jax.data_prep.corpora import tuh
from labram_jax.data_prep.options import ElectrodeOptions
from labram_jax.data_prep.readers.pickle_reader import FILE_NAME, Layout, open_windows, read_window, split_name
from labram_jax.data_prep.sources.files import Unusable, existing_folder, find_files
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of
from labram_jax.errors import InputError
from labram_jax.progress import track

SOURCE = "the folder that the official script wrote, which holds train, val and test (or processed_train, ...)"
SPLIT_FOLDERS = (
    ("train", "train"),
    ("val", "validation"),
    ("test", "test"),
    ("processed_train", "train"),
    ("processed_eval", "validation"),
    ("processed_test", "test"),
)
TUH_SUBJECT = re.compile(r"([a-z]{8})_")


@dataclass(frozen=True)
class Options(ElectrodeOptions):
    """What may be asked for when moving official windows over."""


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of the recordings whose windows a folder holds.

    Raises:
      InputError: the folder is not laid out as the official scripts leave it, or mixes two corpora.
    """
    root = existing_folder(source, "official-pickles", SOURCE)
    spans, unusable, layouts = [], [], set()
    groups = [group for folder, split in _folders(root) for group in _recordings(root, folder, split, unusable)]
    for name, split, files in track(groups, "official-pickles: labels"):
        try:
            layout, labels = _labels(files)
        except InputError as error:
            unusable.append((str(files[0][1]), str(error)))
            continue
        layouts.add(layout)
        path = files[0][1]
        subject = TUH_SUBJECT.match(path.name)
        who = subject[1] if subject else name.rpartition("/")[2]
        part = ",".join(str(number) for number, _ in files)
        spans += [
            Span(path, name, who, split, label, place * layout.seconds, (place + 1) * layout.seconds, part)
            for place, label in enumerate(labels)
        ]
    if not spans:
        raise InputError(f"{root} holds no window that can be used{f' ({unusable[0][1]})' if unusable else ''}.")
    if len(layouts) > 1:
        raise InputError(f"{root} holds windows of TUAB and of TUEV: give the folder of one.")
    layout = layouts.pop()
    return CorpusTable(
        f"{layout.corpus}-pickles",
        rows_of(spans),
        Split("given", allow_shared_subjects=True),  # the official split, which cannot be mended any more
        options.recipe(electrodes=tuh.ELECTRODES, quality=FINITE_ONLY, open=open_windows),
        layout.classes,
        layout.seconds,
        tuple(unusable),
        f"pickled windows of the official script for {layout.corpus.upper()}",
    )


def _folders(root: Path) -> list[tuple[str, str]]:
    found = [(folder, split) for folder, split in SPLIT_FOLDERS if (root / folder).is_dir()]
    if not found:
        raise InputError(
            f"{root} holds none of {', '.join(folder for folder, _ in SPLIT_FOLDERS)}; give the folder that the "
            "official script wrote."
        )
    if "processed_test" not in dict(found):
        found = [(folder, "test" if folder == "processed_eval" else split) for folder, split in found]
    return found


def _recordings(
    root: Path, folder: str, split: str, unusable: list[Unusable]
) -> Iterator[tuple[str, str, list[tuple[int, Path]]]]:
    """Yields (recording, split, its files by number) of one split."""
    groups = defaultdict(list)
    paths, refused = find_files(root / folder, (".pkl",))
    unusable += refused
    for path in paths:
        match = FILE_NAME.fullmatch(path.name)
        stem, number = (match["recording"], int(match["number"])) if match else (path.stem, 0)
        groups[(path.parent.relative_to(root) / stem).as_posix()].append((number, path))
    for name in sorted(groups):
        yield name, split, sorted(groups[name])


def _labels(files: list[tuple[int, Path]]) -> tuple[Layout, list[int]]:
    """Returns the layout of a recording's windows, and the label of each."""
    layouts, labels = set(), []
    for _, path in files:
        split_name(path)
        layout, _, label = read_window(path)
        layouts.add(layout)
        labels.append(label)
    if len(layouts) > 1:
        raise InputError(f"{files[0][1]} and the files beside it are windows of different corpora: separate them.")
    return layouts.pop(), labels
