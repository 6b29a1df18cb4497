"""What every corpus does with its source: check it, and fill in the plan."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.options import PrepareOptions
from data_prep.plan import CorpusPlan, RecordingPlan
from labram_jax.errors import InputError


def existing_folder(source: Path | None, corpus: str) -> Path:
    """Returns the source as a folder.

    Raises:
      InputError: no source was given, it does not exist, or it is not a folder.
    """
    if source is None:
        raise InputError(f"The corpus {corpus} needs the folder that holds its recordings; give it as SOURCE.")
    if not source.exists():
        raise InputError(f"There is no folder {source}; give the folder that holds the recordings of {corpus}.")
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give the folder that holds the recordings of {corpus}.")
    return source


def recording_name(path: Path, root: Path) -> str:
    """Returns the path below `root` without its suffix: unique, and the same on every machine."""
    return path.relative_to(root).with_suffix("").as_posix()


def corpus_plan(
    name: str,
    recordings: Sequence[RecordingPlan],
    options: PrepareOptions,
    *,
    electrodes: tuple[str, ...] | None = None,
    window_seconds: int | None = None,
    **fields,
) -> CorpusPlan:
    """Returns a plan in which what the user asked for stands before the corpus' own choices.

    `electrodes` and `window_seconds` are the corpus' choices; `fields` are further fields of `CorpusPlan`.
    """
    if electrodes is not None:
        electrodes = tuple(options.aliases.get(electrode, electrode) for electrode in electrodes)
    return CorpusPlan(
        name,
        tuple(recordings),
        electrodes=options.electrodes or electrodes,
        aliases=options.aliases,
        window_seconds=options.window_seconds or window_seconds,
        stride_seconds=options.stride_seconds,
        **{"filters": options.filters, **fields},
    )
