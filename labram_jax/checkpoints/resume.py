"""May a run go on under the configuration given now?"""

import json
from pathlib import Path

from labram_jax.errors import InputError

# What may differ, because it changes neither the model nor its batches. The length is among them although the
# learning rate follows it: training longer is what people resume for.
FREE = (
    "run",
    "mesh",
    "compute",
    "loop.epochs",
    "loop.log_every",
    "loop.evaluate_every_epochs",
    "loop.evaluate_every_steps",
    "loop.evaluate_every_minutes",
    "loop.save_every_epochs",
    "loop.save_every_steps",
    "loop.save_every_minutes",
    "loop.keep",
    "loop.steps_per_dispatch",
    "data.threads",
    "data.prefetch",
    "data.workers",
    "data.damaged_share",
    "data.validation_split",
    "data.test_split",
    "kept_codes",
)


def check_resumable(run: Path, saved: dict, now: dict) -> list[str]:
    """Compares two written configurations; returns what the user should know about allowed differences.

    Raises InputError at the first difference that would make another training of it. An option that only one of
    the two knows is no difference.
    """
    saved, now = _flat(saved), _flat(json.loads(json.dumps(now)))
    for name in saved.keys() & now.keys():
        free = any(name == option or name.startswith(f"{option}.") for option in FREE)
        if not free and saved[name] != now[name]:
            raise InputError(
                f"{run} was started with {name} = {_text(saved[name])} and the configuration now says "
                f"{_text(now[name])}: set it back to resume, or give another run directory."
            )
    notes = []
    if saved.get("loop.epochs") != now.get("loop.epochs"):
        notes.append(
            f"loop.epochs was {saved.get('loop.epochs')} and is {now.get('loop.epochs')} now: from here on the "
            "learning rate follows the schedule of the new length"
        )
    return notes


def _flat(config: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _text(value) -> str:
    return json.dumps(value)
