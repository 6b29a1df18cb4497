"""Whether a run that was broken off, and went on, ended as one that nothing disturbed: to the bit."""

import contextlib
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from toy_stage import lines

from labram_jax.jsonfile import read_json


def being_written(run: Path, since: float) -> set[str]:
    """Names of the checkpoints that are not whole, and on which something was done since a time of `time.time`."""
    found = set()
    for path in (run / "checkpoints").glob("*tmp*"):
        with contextlib.suppress(FileNotFoundError):  # whole meanwhile
            found |= {path.name} if path.stat().st_ctime > since else set()
    return found


def saved(run: Path) -> list[int]:
    """Steps of the checkpoints that are there, ascending."""
    return sorted(int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit())


def differences(run: Path, whole: Path, stopped: bool = False) -> list[str]:
    """In what a run differs from the unbroken one: its log (but for clocks), best.json, arrays; [] if in nothing.

    One that was asked to stop has a checkpoint there, which also ends an interval of its log: of the log, scores alone
    are compared.
    """
    if saved(run)[-1:] != saved(whole)[-1:] or not (stopped or saved(run) == saved(whole)):
        return [f"checkpoints {saved(run)} instead of {saved(whole)}"]
    logs = [[line for line in lines(place) if not stopped or line["split"] != "train"] for place in (run, whole)]
    found = ["the log"] if logs[0] != logs[1] else []
    found += ["best.json"] if read_json(run / "best.json") != read_json(whole / "best.json") else []
    mine, other = (arrays(place / "checkpoints" / str(saved(whole)[-1])) for place in (run, whole))
    if mine.keys() != other.keys() or not mine:
        return [*found, "which arrays there are"]
    return found + [name for name, array in mine.items() if array.tobytes() != other[name].tobytes()]


def arrays(checkpoint: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its name, read without the code that is tried."""
    found = {}
    for item in ("model", "optimizer"):
        handler = ocp.PyTreeCheckpointHandler()
        tree = handler.metadata(checkpoint / item).tree
        wanted = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        with ocp.Checkpointer(handler) as reader:
            read = reader.restore(checkpoint / item, args=ocp.args.PyTreeRestore(restore_args=wanted))
        leaves = jax.tree_util.tree_leaves_with_path(read)
        found |= {f"{item}{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}
    return found
