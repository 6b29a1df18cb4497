"""`labram-jax tokenize`: the codes of all windows of a corpus, kept beside it, so that pretraining need not label."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Int

from labram_jax.checkpoints.digests import model_digest
from labram_jax.config import ComputeConfig, DataConfig, MeshConfig, TokenizerConfig, TokenizerStageConfig
from labram_jax.configfile import to_dict
from labram_jax.data import codes, pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.reader import evaluation_rows
from labram_jax.data.remote import is_address
from labram_jax.data.schema import CODES_FOLDER
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.lock import held
from labram_jax.parallel.sharding import make_mesh, put_batch
from labram_jax.progress import Progress
from labram_jax.stages.labelling import LabellingStage
from labram_jax.stages.stage import Statistics
from labram_jax.training.program import Program, prepare
from labram_jax.training.readback import Readback
from labram_jax.weights import read_tokenizer


def tokenize(
    tokenizer: str | Path,
    corpus: str | Path,
    window_seconds: int | None = None,
    stride_seconds: float | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> str:
    """Keeps the codes of all windows of all splits beside a corpus; returns what there is then, for a person.

    Windows and `dtype`, the type of the products, must be those of the pretraining that is to use the codes. Codes are
    written montage by montage, so a call that was stopped goes on with the first that is not whole, and appear under
    their name only when all are. Those of a corpus at an address lie beside its copy on this machine. Raises InputError
    for a tokenizer or a corpus that cannot be used, and in a job of several processes.
    """
    if jax.process_count() > 1:
        raise InputError("Codes are kept by one process, on all of its devices: start it alone, on one host.")
    opened = Corpus.open(corpus)
    variables, config = read_tokenizer(str(tokenizer))
    shapes = codes.window_shapes(opened, window_seconds, stride_seconds)
    digest = model_digest(variables, to_dict(config))
    found, _ = codes.find_codes(opened, digest, dtype, shapes)
    if found is not None:
        return f"{found} are kept already in {found.folder}"
    windows = [opened.windows(split, window_seconds, stride_seconds) for split in opened.splits]
    if not any(map(len, windows)):
        raise InputError(f"The corpus {opened.path} has no windows of this length: give a smaller --window-seconds.")
    counts = {own.split: len(own) for own in windows}
    info = codes.CodesInfo(digest, dtype, corpus_digest(opened), shapes, counts)
    kept = codes.KeptCodes(opened.path / CODES_FOLDER / info.name, info)
    kept.folder.parent.mkdir(exist_ok=True)
    with held(kept.folder.with_name(f"{info.name}.lock"), f"the folder {kept.folder}"):
        if kept not in codes.codes_of(opened):  # another process may have kept them while this one waited
            _keep(kept, windows, variables, config)
    size = sum(path.stat().st_size for path in kept.folder.iterdir())
    elsewhere = f"; for other machines, copy this folder to {opened.address}/{CODES_FOLDER}"
    return f"{kept} are kept in {kept.folder} ({size / 1e6:.1f} MB){elsewhere if is_address(corpus) else ''}"


def _keep(kept: codes.KeptCodes, windows: Sequence[SplitWindows], variables: dict, config: TokenizerConfig) -> None:
    """Labels what is not labelled yet, and puts all in place."""
    data = evaluation_rows(DataConfig(), windows, jax.local_device_count())
    compute = ComputeConfig(dtype=kept.info.dtype)
    stage = LabellingStage(TokenizerStageConfig(run="", model=config, data=data, compute=compute))
    program = prepare(stage, make_mesh(MeshConfig(), jax.local_devices()), total_steps=1, steps_per_epoch=1)
    model, dtype = program.put_model(variables), _smallest(config.quantizer.codes)
    partial = codes.start_or_continue(kept)
    with Progress("labelling windows", sum(map(len, windows))) as progress:
        for one in (own.only(montage) for own in windows for montage in own.montages):
            path = partial / codes.codes_file(one.split, one.montages[0].directory.name)
            if path.exists():
                progress.write(f"{len(one):,} windows are labelled already: {path.name}")
                progress.update(len(one))
            else:
                _write(path, dtype, one, _labelled(program, model, one), progress)
    codes.complete(kept)


def _write(
    path: Path,
    dtype: type[np.signedinteger],
    windows: SplitWindows,
    labelled: Iterator[Int[np.ndarray, " patches"]],
    progress: Progress,
) -> None:
    """Writes the codes of one montage's windows in order, under a temporary name until they are whole."""
    (montage,) = windows.montages
    shape = (len(montage), len(montage.electrodes), montage.seconds)
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, described)
        for number, found in enumerate(labelled):
            bad = montage.index.bad(montage.index.place(number))
            file.write(_with_bad(found, bad, shape[1:]).astype(dtype).tobytes())
            progress.update()
    part.rename(path)


def _labelled(program: Program, model: tuple, windows: SplitWindows) -> Iterator[Int[np.ndarray, " patches"]]:
    """The codes of the good electrodes' patches of every window, in order."""
    data, readback = program.stage.config.data, Readback()
    shape = {"batch_rows": data.batch_rows, "patch_slots": data.patch_slots, "segments": data.segments}
    batches = pipeline.batches(pipeline.evaluation([windows], **shape), 0, data.threads, data.prefetch)
    for number, batch in enumerate(batches):
        yield from _by_window(readback.add(number, program.evaluate_batch(*model, put_batch(batch, program.mesh))))
    yield from _by_window(readback.rest())


def _by_window(results: list[tuple[int, Statistics]]) -> Iterator[Int[np.ndarray, " patches"]]:
    for _, found in results:
        for codes_of_row, segment_ids in zip(found.rows["codes"], found.rows["segment_ids"], strict=True):
            for segment in range(1, segment_ids.max() + 1):
                yield codes_of_row[segment_ids == segment]


def _with_bad(
    found: Int[np.ndarray, " patches"], bad: Bool[np.ndarray, " C"] | None, shape: tuple[int, int]
) -> Int[np.ndarray, "C A"]:
    """The codes of all electrodes, -1 for the bad ones."""
    if bad is None:
        return found.reshape(shape)
    window = np.full(shape, -1, found.dtype)
    window[~bad] = found.reshape(-1, shape[1])
    return window


def _smallest(count: int) -> type[np.signedinteger]:
    """The type in which codes of a codebook of `count` are kept."""
    return np.int16 if count - 1 <= np.iinfo(np.int16).max else np.int32
