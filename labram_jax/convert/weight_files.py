"""Which files of a folder hold the weights of one model: a file, shards with their index, or what DeepSpeed leaves."""

import json
from pathlib import Path

from labram_jax.errors import InputError

# As the Hub and braindecode name them, and in which order they are taken.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
IN_ORDER = (WEIGHT_FILES[0], INDEX_FILES[0], WEIGHT_FILES[1], INDEX_FILES[1])
# A folder of DeepSpeed, or of Lightning with it: the tag of its newest checkpoint, and a file for each part of a model.
LATEST, DEEPSPEED = "latest", "mp_rank_00_model_states.pt"
OTHER_PARTS = {
    "mp_rank_01_model_states.pt": "split over several model-parallel ranks",
    "zero_pp_rank_0_mp_rank_00_model_states.pt": "split over several ranks by ZeRO's third stage",
}


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of other tools, in any of these ways."""
    return _one_file(folder) is not None or any(
        (place / name).is_file() for place in _places(folder) for name in OTHER_PARTS
    )


def weights_in(folder: Path) -> Path:
    """The file that holds a folder's weights, or the index of their shards.

    Raises InputError where there is none, and for models that DeepSpeed has split.
    """
    for place in _places(folder):
        for name, what in OTHER_PARTS.items():
            if (place / name).is_file():
                raise InputError(
                    f"{place} is a model {what}: run the zero_to_fp32.py that DeepSpeed leaves beside it, or save the "
                    "gathered state_dict, and give the file that this writes."
                )
    found = _one_file(folder)
    if found is None:
        raise InputError(
            f"{folder} holds neither {' nor '.join(WEIGHT_FILES)}, nor shards with their index: give a folder of "
            "braindecode, of the Hub or of DeepSpeed, or a file."
        )
    return found


def shards(index: Path) -> dict[str, set[str]]:
    """The names of files beside an index, each with the tensors that it must hold; raises InputError for no index."""
    try:
        table = json.loads(index.read_text(encoding="utf-8", errors="replace"))["weight_map"]
        files: dict[str, set[str]] = {}
        for name, file in table.items():
            if file != Path(file).name:
                raise InputError(f"{index} names the shard {file!r} outside its folder: obtain it again.")
            files.setdefault(file, set()).add(name)
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{index} is no index of shards ({type(error).__name__}): obtain it again.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{index} is damaged ({error}): obtain it again.") from error
    return files


def _one_file(folder: Path) -> Path | None:
    named = [folder / name for name in IN_ORDER] + [place / DEEPSPEED for place in _places(folder)]
    alone = sorted(folder.glob("*.safetensors"))
    return next((path for path in named if path.is_file()), alone[0] if len(alone) == 1 else None)


def _places(folder: Path) -> list[Path]:
    """Where DeepSpeed's files may be: here, or in the folder that the newest checkpoint's tag names."""
    latest = folder / LATEST
    tag = latest.read_text(encoding="utf-8", errors="replace").strip() if latest.is_file() else ""
    return [folder, folder / tag] if tag and tag == Path(tag).name else [folder]
