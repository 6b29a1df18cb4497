"""Features of a corpus or of recordings, with all that is known of each window, in one .npz file or a Zarr group."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from labram_jax.data.corpus import Corpus
from labram_jax.data.views import MontageWindows
from labram_jax.data.windows import Place
from labram_jax.errors import InputError
from labram_jax.evaluation.array_files import Streamed, check_free, write_arrays
from labram_jax.evaluation.heldout import CHUNK, chunks
from labram_jax.evaluation.sources import corpus_of
from labram_jax.inference import Model, Pooling, Tokenizer, load
from labram_jax.progress import Progress
from labram_jax.windows import Windows

Unusable = Literal["leave-out", "flag"]


def embed(
    checkpoint: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    pool: Pooling = "mean",
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
    unusable: Unusable = "leave-out",
    manifest: Path | None = None,
    notch: float | None = 50.0,
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Writes features of all windows of a corpus or of recordings, some at a time, so that memory bounds no corpus.

    `source`, `manifest` and `notch` are as for `sources.corpus_of`. `window_seconds` None takes the window of the
    corpus' protocol, or that which makes about 256 patches. `out` is an .npz file, or a Zarr group where it ends with
    .zarr. For each montage NAME of C electrodes it holds `NAME/features` [N, D] ([N, C, D] for pool "electrodes",
    [N, C, A, D] for "none", where those of bad electrodes are NaN; codes [N, C, A] of a tokenizer, -1 for them),
    `NAME/electrodes` [C], and of each window `NAME/split`, `recording`, `subject`, `start_seconds` (in the recording),
    `label` (where there are labels; -1 or NaN is none), `NAME/bad` [N, C] (electrodes that took no part) and
    `NAME/quality` uint8 [N, C] (all that is wrong with them, as bits of `data.schema.QUALITY`). Windows that training
    would leave out (lost samples, annotated as bad, too many bad electrodes) are left out; with `unusable` "flag" they
    are there without features (NaN, codes -1), and `NAME/unusable` [N] says why, with empty texts for all others.

    Returns the shapes of what was written, and what there is to tell of the recordings. Raises InputError for an input
    that cannot be used, and if `out` exists.
    """
    out = Path(out)
    check_free(out)
    model = load(checkpoint)
    with corpus_of(source, manifest=manifest, notch=notch) as (corpus, told):
        flagged = unusable == "flag"
        windows = [corpus.windows(split, window_seconds, stride_seconds, unusable=flagged) for split in corpus.splits]
        dropped = sum((own.dropped for own in windows), Counter())
        if not any(map(len, windows)):
            causes = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
            why = f"all were left out ({causes})" if causes else "give a smaller --window-seconds"
            raise InputError(f"{corpus.path} has no windows of this length that can be used: {why}.")
        parts: dict[str, list[tuple[str, MontageWindows]]] = {}
        for own in windows:
            for montage in own.montages:
                parts.setdefault(montage.directory.name, []).append((own.split, montage))
        with Progress("embedding", sum(map(len, windows))) as progress:
            arrays = (
                array
                for name, own in parts.items()
                for array in _arrays(model, corpus, name, own, pool, flagged, progress)
            )
            shapes = write_arrays(out, arrays)
    what = "flagged" if flagged else "left out"
    return shapes, (*told, *(f"{what}: {count:,} windows ({reason})" for reason, count in dropped.items()))


def _arrays(
    model: Model,
    corpus: Corpus,
    name: str,
    parts: Sequence[tuple[str, MontageWindows]],
    pool: Pooling,
    flagged: bool,
    progress: Progress,
) -> Iterator[Streamed]:
    """Yields what is written of one montage, whose windows are in several splits."""
    length = sum(len(montage) for _, montage in parts)
    montages = [montage for _, montage in parts]
    yield Streamed(f"{name}/features", length, _features(model, montages, pool, flagged, progress))
    electrodes = np.asarray(montages[0].electrodes)
    yield Streamed(f"{name}/electrodes", len(electrodes), iter([electrodes]))
    bads = (one.index.bads(places) for one in montages for places in _places(one))
    yield Streamed(f"{name}/bad", length, bads)
    quality = (np.stack([*map(one.index.quality, places)]) for one in montages for places in _places(one))
    yield Streamed(f"{name}/quality", length, quality)
    listed = [montage.index.listed() for montage in montages]
    columns = {
        "split": np.repeat([split for split, _ in parts], [len(montage) for montage in montages]),
        **{
            column: np.concatenate([own[column].to_numpy(str) for own in listed]) for column in ("recording", "subject")
        },
        "start_seconds": np.concatenate([own["start_seconds"].to_numpy() for own in listed]),
    }
    if corpus.info.label is not None:
        columns["label"] = np.concatenate([montage.index.window_labels() for montage in montages])
    if flagged:
        why = (one.index.why_unusable(places) for one in montages for places in _places(one))
        columns["unusable"] = np.asarray([*itertools.chain.from_iterable(why)])
    for column, values in columns.items():
        yield Streamed(f"{name}/{column}", length, iter([values]))


def _features(
    model: Model, montages: Sequence[MontageWindows], pool: Pooling, flagged: bool, progress: Progress
) -> Iterator[np.ndarray]:
    for montage in montages:
        for chunk, places in zip(chunks(montage), _places(montage), strict=True):
            # Without flags there is no window that cannot be used.
            lost = np.asarray(montage.index.why_unusable(places)) != "" if flagged else np.zeros(len(chunk), bool)
            eeg, bad = np.stack([window.eeg for window in chunk]), np.stack([window.bad for window in chunk])
            # A window without any good electrode is none for a model; what this gives is thrown away.
            windows = Windows(eeg, montage.electrodes, bad & ~lost[:, None])
            found = model.encode(windows) if isinstance(model, Tokenizer) else model.features(windows, pool=pool)
            found[lost] = -1 if isinstance(model, Tokenizer) else np.nan
            yield found
            progress.update(len(chunk))


def _places(montage: MontageWindows) -> Iterator[list[Place]]:
    """Yields where windows are, as many at a time as `chunks`."""
    for start in range(0, len(montage), CHUNK):
        yield [montage.index.place(number) for number in range(start, min(start + CHUNK, len(montage)))]
