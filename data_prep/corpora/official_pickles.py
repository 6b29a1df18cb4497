"""The pickled windows of the official TUAB and TUEV scripts, so that what was prepared for fine-tuning moves over.

    labram-jax prepare official-pickles FOLDER OUT

One file holds one window of the 23 TUH electrodes at 200 Hz in microvolts: {"X", "y"} (TUAB, 10 s, y 0 normal or 1
abnormal) or {"signal", "offending_channel", "label"} (TUEV, 5 s, label 1..6, here 0..5). The folder holds `train`,
`val` and `test`, or `processed_train`, `processed_eval` and `processed_test`; where the last one is absent,
`processed_eval` holds the official evaluation recordings and is the test set. The splits stay as they are, and the
signal is taken as it is: those scripts filtered it.

Windows are read without the pickle module: a file that names anything but numpy arrays is refused and nothing is run.
The windows of a recording, named RECORDING_0.pkl or RECORDING-0.pkl and so on, become one recording again, one behind
the other, so that its start times count windows and not the clock of the recording.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np

from data_prep.corpora import tuab, tuev, tuh
from data_prep.corpora.sources import corpus_plan, existing_folder
from data_prep.corpora.splits import chosen_split
from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY, CorpusPlan, Header, RecordingPlan, Span
from labram_jax.convert.pickles import read_pickle
from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError
from labram_jax.progress import track

SPLIT_FOLDERS = (
    ("train", "train"),
    ("val", "validation"),
    ("test", "test"),
    ("processed_train", "train"),
    ("processed_eval", "validation"),
    ("processed_test", "test"),
)
FILE_NAME = re.compile(r"(?P<recording>.+)[-_](?P<number>\d{1,9})\.pkl")
TUH_SUBJECT = re.compile(r"([a-z]{8})_")


@dataclass(frozen=True)
class Layout:
    """What one corpus calls the parts of a window; `first_label` is the number of class 0."""

    corpus: str
    signal: str
    label: str
    first_label: int
    seconds: int
    classes: tuple[str, ...]


LAYOUTS = (
    Layout("tuab", "X", "y", 0, tuab.WINDOW_SECONDS, tuab.CLASSES),
    Layout("tuev", "signal", "label", 1, tuev.WINDOW_SECONDS, tuev.CLASSES),
)


def plan(source: Path | None, options: PrepareOptions) -> CorpusPlan:
    """Plans the recordings whose windows a folder holds.

    Raises:
      InputError: the folder is not laid out as the official scripts leave it, or mixes two corpora.
    """
    root = existing_folder(source, "official-pickles")
    chosen_split(options, "official-pickles", "official", ("official",))
    if options.stride_seconds is not None:
        raise InputError("official-pickles has its windows already; leave the stride out.")
    recordings, unusable, layouts = [], [], set()
    groups = {
        name: files for folder, split in _folders(root) for name, files in _recordings(root / folder, split, root)
    }
    for (name, split), files in track(groups.items(), "official-pickles: labels"):
        try:
            layout, spans = _spans(files, split)
        except InputError as error:
            unusable.append((str(files[0][1]), str(error)))
            continue
        layouts.add(layout)
        subject = TUH_SUBJECT.match(files[0][1].name)
        group = ",".join(str(number) for number, _ in files)
        header = Header(tuh.ELECTRODES, RATE_HZ, len(files) * layout.seconds)
        who = subject[1] if subject else name.rpartition("/")[2]
        recordings.append(RecordingPlan(files[0][1], name, who, spans, group, header))
    if not recordings:
        raise InputError(f"{root} holds no window that can be used{f' ({unusable[0][1]})' if unusable else ''}.")
    if len(layouts) > 1:
        raise InputError(f"{root} holds windows of TUAB and of TUEV: give the folder of one.")
    layout = layouts.pop()
    if options.window_seconds not in (None, layout.seconds):
        raise InputError(f"These windows last {layout.seconds} s; leave window_seconds out.")
    return corpus_plan(
        f"{layout.corpus}-pickles",
        recordings,
        options,
        classes=layout.classes,
        electrodes=tuh.ELECTRODES,
        window_seconds=layout.seconds,
        filters=None,
        quality=FINITE_ONLY,
        unusable=tuple(unusable),
        reader=read_windows,
        provenance=f"pickled windows of the official script for {layout.corpus.upper()}",
    )


def read_windows(path: Path, group: str | None) -> mne.io.BaseRaw:
    """Returns the windows of one recording behind each other as an MNE raw object (volts, as MNE has it).

    `path` is its first file, and `group` the numbers of all of them.

    Raises:
      InputError: a file is damaged, names what no window needs, or has not the layout that the module describes.
    """
    stem, separator = _split_name(path)
    files = [path.with_name(f"{stem}{separator}{number}.pkl") for number in (group or "0").split(",")]
    eeg = np.concatenate([_read(file)[1] for file in files], axis=1)
    info = mne.create_info(list(tuh.ELECTRODES), RATE_HZ, "eeg")
    return mne.io.RawArray(eeg.astype(np.float64) * 1e-6, info, verbose="ERROR")


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


def _recordings(folder: Path, split: str, root: Path):
    """Yields ((recording, split), its files by number) of one split."""
    groups = defaultdict(list)
    for path in folder.rglob("*.pkl"):
        match = FILE_NAME.fullmatch(path.name)
        stem, number = (match["recording"], int(match["number"])) if match else (path.stem, 0)
        groups[(path.parent.relative_to(root) / stem).as_posix()].append((number, path))
    for name in sorted(groups):
        yield (name, split), sorted(groups[name])


def _split_name(path: Path) -> tuple[str, str]:
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path} is not named RECORDING_NUMBER.pkl or RECORDING-NUMBER.pkl; rename it.")
    return match["recording"], path.name[match.end("recording")]


def _spans(files: list[tuple[int, Path]], split: str) -> tuple[Layout, tuple[Span, ...]]:
    """The layout of a recording's windows, and one span a window with its label."""
    spans, layouts = [], []
    for place, (_, path) in enumerate(files):
        _split_name(path)
        layout, _, label = _read(path)
        layouts.append(layout)
        spans.append(Span(place * layout.seconds, (place + 1) * layout.seconds, split, label))
    if len(set(layouts)) > 1:
        raise InputError(f"{files[0][1]} and the files beside it are windows of different corpora: separate them.")
    return layouts[0], tuple(spans)


def _read(path: Path) -> tuple[Layout, np.ndarray, int]:
    """The layout, signal in microvolts [23, samples] and class of one window."""
    try:
        content = read_pickle(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file.") from error
    layout = next((layout for layout in LAYOUTS if isinstance(content, dict) and layout.signal in content), None)
    if layout is None:
        raise InputError(f"{path} is no window of the official scripts (neither X nor signal); leave it out.")
    signal, shape = content[layout.signal], (len(tuh.ELECTRODES), layout.seconds * RATE_HZ)
    if not isinstance(signal, np.ndarray) or signal.dtype.kind != "f" or signal.shape != shape:
        raise InputError(
            f"{path} holds {getattr(signal, 'dtype', 'no')} numbers of shape {list(getattr(signal, 'shape', ()))}, but "
            f"the official windows are floats {list(shape)}; prepare it from the recordings."
        )
    label = np.asarray(content.get(layout.label)).reshape(-1)
    if (
        label.size != 1
        or label.dtype.kind not in "iuf"
        or label[0] - layout.first_label not in range(len(layout.classes))
    ):
        raise InputError(f"{path} has no label of {layout.corpus.upper()}; leave it out.")
    return layout, signal, int(label[0]) - layout.first_label
