"""Features of a corpus or of a single recording, as arrays in one .npz file."""

from pathlib import Path

import numpy as np

from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import CORPUS_FILE, RATE_HZ, SAMPLES
from labram_jax.errors import InputError
from labram_jax.inference import Model, Pooling, Tokenizer, load
from labram_jax.montage import check_seconds
from labram_jax.progress import Progress

CHUNK = 64


def embed(
    checkpoint: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    pool: Pooling = "mean",
    seconds: int = 10,
    notch: float | None = 50.0,
) -> dict[str, tuple[int, ...]]:
    """Writes features of all windows of a corpus, or of a recording, and returns the shapes of what was written.

    A recording is cleaned as in data preparation and cut into windows of `seconds` (what is left over at its end is
    dropped). The file holds, for each montage NAME: `NAME/features` [N, D] ([N, C, A, D] for pool "none"; codes
    [N, C, A] of a tokenizer), `NAME/electrodes`, `NAME/recording`, `NAME/start_seconds`, and for a corpus
    `NAME/split`, `NAME/subject` and `NAME/label`. Raises InputError for an input that cannot be used, and if `out`
    exists.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} exists already: choose another name or remove it first.")
    model, source = load(checkpoint), Path(source)
    if (source / CORPUS_FILE).is_file():
        arrays = _corpus(model, Corpus.open(source), pool)
    else:
        arrays = _recording(model, source, pool, seconds, notch)
    part = out.with_name(out.name + ".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.rename(out)
    return {name: array.shape for name, array in arrays.items()}


def _features(model: Model, eeg: np.ndarray, electrodes: tuple[str, ...], pool: Pooling) -> np.ndarray:
    if isinstance(model, Tokenizer):
        return model.encode(eeg, electrodes)
    return model.features(eeg, electrodes, pool=pool)


def _corpus(model: Model, corpus: Corpus, pool: Pooling) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    total = sum(sum(entry.splits.values()) for entry in corpus.configurations)
    with Progress("embedding", total) as progress:
        for entry in corpus.configurations:
            columns: dict[str, list] = {}
            for split in entry.splits:
                windows = corpus.source(entry.name, split)
                for start in range(0, len(windows), CHUNK):
                    chunk = [windows[index] for index in range(start, min(start + CHUNK, len(windows)))]
                    eeg = np.stack([np.asarray(window.eeg, np.float32) for window in chunk])
                    columns.setdefault("features", []).extend(_features(model, eeg, entry.electrodes, pool))
                    columns.setdefault("split", []).extend([split] * len(chunk))
                    for name in ("subject", "recording", "start_seconds", "label"):
                        columns.setdefault(name, []).extend(getattr(window, name) for window in chunk)
                    progress.update(len(chunk))
            if columns["label"][0] is None:
                del columns["label"]
            arrays |= {f"{entry.name}/{name}": np.asarray(values) for name, values in columns.items()}
            arrays[f"{entry.name}/electrodes"] = np.asarray(entry.electrodes)
    return arrays


def _recording(model: Model, path: Path, pool: Pooling, seconds: int, notch: float | None) -> dict[str, np.ndarray]:
    # MNE takes a while to import, and a corpus does not need it.
    from data_prep.clean import clean
    from data_prep.plan import Filters
    from data_prep.recording import read

    check_seconds(seconds)
    signal = clean(read(path), filters=Filters(notch=notch))
    window = seconds * SAMPLES
    count = signal.eeg.shape[1] // window
    if not count:
        length = signal.eeg.shape[1] / RATE_HZ
        raise InputError(f"{path} lasts {length:.1f} s, less than one window of {seconds} s: give --seconds.")
    eeg = signal.eeg[:, : count * window].reshape(len(signal.electrodes), count, window).swapaxes(0, 1)
    name = f"{len(signal.electrodes)}ch-{seconds}s"
    return {
        f"{name}/features": _features(model, eeg, signal.electrodes, pool),
        f"{name}/electrodes": np.asarray(signal.electrodes),
        f"{name}/recording": np.asarray([path.name] * count),
        f"{name}/start_seconds": np.arange(count, dtype=np.float32) * seconds,
    }
