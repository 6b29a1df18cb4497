"""Features of a corpus or of a single recording, as arrays in one .npz file."""

from pathlib import Path

import numpy as np

from labram_jax.data.corpus import Corpus
from labram_jax.data.remote import is_address
from labram_jax.data.schema import CORPUS_FILE
from labram_jax.errors import InputError
from labram_jax.evaluation.heldout import CHUNK, chunks
from labram_jax.inference import Model, Pooling, Tokenizer, load
from labram_jax.progress import Progress
from labram_jax.windows import Windows
from labram_jax.windows.recordings import cut


def embed(
    checkpoint: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    pool: Pooling = "mean",
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
    notch: float | None = 50.0,
) -> dict[str, tuple[int, ...]]:
    """Writes features of all windows of a corpus, or of a recording, and returns the shapes of what was written.

    A recording is cleaned as in data preparation. `window_seconds` None takes the window of the corpus' protocol, or
    that which makes about 256 patches. The file holds, for each montage NAME: `NAME/features` [N, D] ([N, C, A, D] for
    pool "none"; codes [N, C, A] of a tokenizer), `NAME/electrodes`, `NAME/bad` [N, C] (electrodes that took no part),
    `NAME/recording`, `NAME/start_seconds`, and for a corpus `NAME/split`, `NAME/subject` and `NAME/label`. Windows that
    training would leave out are left out. Raises InputError for an input that cannot be used, and if `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} exists already: choose another name or remove it first.")
    model = load(checkpoint)
    if is_address(source) or (Path(source) / CORPUS_FILE).is_file():
        arrays = _corpus(model, Corpus.open(source), pool, window_seconds, stride_seconds)
    else:
        arrays = _recording(model, Path(source), pool, window_seconds, stride_seconds, notch)
    part = out.with_name(out.name + ".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.rename(out)
    return {name: array.shape for name, array in arrays.items()}


def _features(model: Model, windows: Windows, pool: Pooling) -> np.ndarray:
    return model.encode(windows) if isinstance(model, Tokenizer) else model.features(windows, pool=pool)


def _corpus(
    model: Model, corpus: Corpus, pool: Pooling, window_seconds: int | None, stride_seconds: float | None
) -> dict[str, np.ndarray]:
    windows = {split: corpus.windows(split, window_seconds, stride_seconds) for split in corpus.splits}
    if not any(map(len, windows.values())):
        raise InputError(f"The corpus {corpus.path} has no windows of this length: give a smaller --window-seconds.")
    columns: dict[str, dict[str, list]] = {}
    electrodes: dict[str, np.ndarray] = {}
    with Progress("embedding", sum(map(len, windows.values()))) as progress:
        for split, montage in ((split, montage) for split, own in windows.items() for montage in own.montages):
            name = montage.directory.name
            electrodes[f"{name}/electrodes"] = np.asarray(montage.electrodes)
            for chunk in chunks(montage):
                eeg, bad = np.stack([window.eeg for window in chunk]), np.stack([window.bad for window in chunk])
                found = columns.setdefault(name, {})
                found.setdefault("features", []).extend(_features(model, Windows(eeg, montage.electrodes, bad), pool))
                found.setdefault("split", []).extend([split] * len(chunk))
                for field in ("bad", "subject", "recording", "start_seconds", "label"):
                    found.setdefault(field, []).extend(getattr(window, field) for window in chunk)
                progress.update(len(chunk))
    if corpus.info.label is None:
        for found in columns.values():
            del found["label"]
    arrays = {f"{name}/{field}": np.asarray(own) for name, found in columns.items() for field, own in found.items()}
    return arrays | electrodes


def _recording(
    model: Model,
    path: Path,
    pool: Pooling,
    window_seconds: int | None,
    stride_seconds: float | None,
    notch: float | None,
) -> dict[str, np.ndarray]:
    # MNE takes a while to import, and a corpus does not need it.
    from data_prep.readers.bids import open_bids
    from data_prep.recipe import Filters, Recipe

    recipe = Recipe(filters=Filters(notch=notch), dtype="float32")
    found = cut(open_bids(path), recipe, path.name, window_seconds, stride_seconds)
    bad, electrodes, features = found.bads, found.electrodes, []
    for start in range(0, len(bad), CHUNK):  # overlapping windows together may be much more than the recording
        own = slice(start, start + CHUNK)
        features.append(_features(model, Windows(found.eeg(own), electrodes, bad[own]), pool))
    name = f"{len(electrodes)}ch"
    return {
        f"{name}/features": np.concatenate(features),
        f"{name}/electrodes": np.asarray(electrodes),
        f"{name}/bad": bad,
        f"{name}/recording": np.asarray([path.name] * len(bad)),
        f"{name}/start_seconds": found.start_seconds,
    }
