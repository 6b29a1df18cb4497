"""May a run go on under the configuration given now? Here every field of it is declared, and once.

A name stands for all fields below it. What is declared nowhere is fixed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from labram_jax.errors import InputError

# Changes nothing that is learnt, or no more than rounding does.
FREE = (
    *("run", "mesh", "kept_codes", "kept_features"),
    *("compute.remat", "compute.attention", "compute.unroll", "compute.code_chunk"),
    *("data.threads", "data.prefetch", "data.workers"),
    *("optimizer.accumulate", "codebook.warn_below"),
    *(f"loop.{act}_every_{unit}" for act in ("evaluate", "save") for unit in ("epochs", "steps", "minutes")),
    *("loop.log_every", "loop.keep", "loop.steps_per_dispatch", "loop.stop_seconds", "loop.watchdog_minutes"),
)
# Changes what comes from here on, in a way that people resume for; the run says what. The length is among them although
# the learning rate follows it.
TOLD = (
    *("loop.epochs", "guard", "compute.dtype", "optimizer.reduce_dtype"),
    *("data.damaged_share", "data.validation_split", "data.test_split"),
    *("select_by", "start_moments", "patience", "probe"),
)
# Would make another training of it, which `--branch-from` begins.
FIXED = (
    *("model", "loop.seed", "label_smoothing", "balance", "standardise_targets"),
    *("trainable", "last_blocks", "lora_rank", "lora_scale", "penalties"),
    *("data.validation_subjects", "data.test_subjects", "data.time_folds", "data.test_fold"),
    *("data.weights", "data.train_split", "data.window_seconds", "data.stride_seconds"),
    *("data.batch_rows", "data.patch_slots", "data.segments"),
    *("optimizer.learning_rate", "optimizer.final_learning_rate", "optimizer.warmup_epochs", "optimizer.betas"),
    *("optimizer.epsilon", "optimizer.weight_decay", "optimizer.clip_norm", "optimizer.layer_decay"),
    *("optimizer.time_embedding_layer", "optimizer.ema_decay", "optimizer.ema_warmup"),
    *("codebook.commitment_weight", "codebook.kmeans_start", "codebook.kmeans_iterations", "codebook.bypass_epochs"),
    *("codebook.bypass_noise", "codebook.commitment_warmup_epochs", "codebook.restart_below"),
)
# Fixed, but it is content that counts, and not under which path that lies.
CONTENTS = ("data.corpora", "tokenizer")
# Models to start from. Their weights are used no more once there is a checkpoint, and a run that trains on may have
# another best checkpoint tomorrow, which must not stop a job that is started again: another content under the same path
# is told. Who gives another path to another model wants another training, and gets a sentence.
STARTS = ("start_from", "encoder")
# What runs were trained with that were begun before there was such an option, where data may give it another value now
# or another one asks for what their checkpoints do not hold.
BEFORE: Mapping[str, Any] = MappingProxyType(
    {"model.target_mean": [], "model.target_scale": [], "optimizer.ema_decay": None}
)


def check_resumable(
    run: Path, saved: dict, now: dict, known: Mapping[str, Any] | None = None, inputs: Mapping[str, Any] | None = None
) -> list[str]:
    """Compares two written configurations; returns what the user should know about allowed differences.

    `known` and `inputs` are digests of what the names among `CONTENTS` and `STARTS` stand for, then and now; where one
    of the two lacks them, as checkpoints of earlier versions do, text is compared. Raises InputError at the first
    difference that would make another training of it. An option that only one of the two knows is no difference, but
    those of `BEFORE`.
    """
    notes = []
    for name, before, after in differences(saved, now, known, inputs):
        by_content = name in (known or {}) and name in (inputs or {})
        if by_content and (name in CONTENTS or before != after):
            raise InputError(f"{_other_input(run, name, before, after, known[name], inputs[name])}.")
        if by_content:
            notes.append(f"{name} {after} holds another model now, which this run began before and does not use")
        elif declared(name, TOLD):
            notes.append(f"{name} was {_text(before)} and is {_text(after)} now")
            if name == "loop.epochs":
                notes[-1] += ": from here on the learning rate follows the schedule of the new length"
        elif not declared(name, FREE):
            raise InputError(
                f"{run} was started with {name} = {_text(before)} and the configuration now says {_text(after)}: set "
                f"it back to resume, or give another run directory{_branching(run, name)}."
            )
    return notes


def differences(
    saved: dict, now: dict, known: Mapping[str, Any] | None = None, inputs: Mapping[str, Any] | None = None
) -> list[tuple[str, Any, Any]]:
    """Name, value then and value now of what differs between two configurations as plain data, inputs by content."""
    saved, now, found = _flat(saved), _flat(now), []
    saved = {**{name: value for name, value in BEFORE.items() if name in now}, **saved}
    compared = (known or {}).keys() & (inputs or {}).keys()
    for name in sorted(saved, key=lambda name: name not in compared):  # they decide about other fields
        then, there = (known, inputs) if name in compared else (saved, now)
        if name in there and then[name] != there[name]:
            found.append((name, saved[name], now[name]))
    return found


def declared(name: str, group: Sequence[str]) -> bool:
    """Whether a field is one of `group`, or below one."""
    return any(name == option or name.startswith(f"{option}.") for option in group)


def _other_input(run: Path, name: str, before: Any, after: Any, known: Any, now: Any) -> str:
    advice = f"give that one again to resume, or give another run directory{_branching(run, name)}"
    if name == "data.corpora":
        if len(known) != len(now):
            return f"{run} was started with {len(known)} corpora, and data.corpora names {len(now)} now: {advice}"
        place = next(place for place, pair in enumerate(zip(known, now, strict=True)) if len(set(pair)) > 1)
        what, before, after = "corpus", before[place], after[place]
    else:
        what = "tokenizer" if name == "tokenizer" else "model"
    if before == after:
        return f"the {what} {after} is not the one that {run} was started with: {advice}"
    return f"{run} was started with the {what} {before}, and {after} is another one: {advice}"


def _branching(run: Path, name: str) -> str:
    """What else can be done, unless it is another model."""
    another = declared(name, ("kind", "model", *STARTS))
    return "" if another else f", with --branch-from {run} to go on from what was trained"


def _flat(config: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in json.loads(json.dumps(config)).items():  # as what was written has them, without tuples
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _text(value) -> str:
    return json.dumps(value)
