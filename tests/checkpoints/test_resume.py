"""What may change when a run goes on: every field of every configuration, and the content of what it is made from."""

import dataclasses
import json
import typing
from collections.abc import Iterator

import pytest
from sentences import assert_one_sentence, refuses

from labram_jax.checkpoints.resume import CONTENTS, FIXED, FREE, STARTS, TOLD, check_resumable, declared
from labram_jax.config import STAGES, FinetuningStageConfig, PretrainingStageConfig, replace
from labram_jax.configfile import to_dict

GROUPS = (FREE, TOLD, FIXED, CONTENTS, STARTS)
CONFIG = PretrainingStageConfig(run="run", tokenizer="t", start_from="s")
CONFIG = replace(CONFIG, **{"data.corpora": ("a", "b")})
INPUTS = {"data.corpora": ["1", "2"], "tokenizer": "3", "start_from": "4"}


def leaves(cls: type, prefix: str = "") -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from leaves(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_is_declared_once(stage):
    names = list(leaves(STAGES[stage]))
    assert len(names) > 60 and "optimizer.clip_norm" in names
    for name in names:
        owners = [option for group in GROUPS for option in group if declared(name, [option])]
        assert len(owners) == 1, f"{name} is declared {len(owners)} times in labram_jax/checkpoints/resume.py"


def test_nothing_is_declared_that_no_stage_has():
    names = {name for stage in STAGES.values() for name in leaves(stage)}
    for option in (option for group in GROUPS for option in group):
        assert any(declared(name, [option]) for name in names), option


def resume(known=INPUTS, inputs=INPUTS, **changes) -> list[str]:
    saved = json.loads(json.dumps(to_dict(CONFIG)))  # as it is read
    return check_resumable("run", saved, to_dict(replace(CONFIG, **changes)), known, inputs)


def test_what_changes_nothing_is_free_and_what_people_resume_for_is_told():
    free = {"optimizer.accumulate": 4, "mesh.fsdp": 2, "compute.remat": "block", "loop.keep": 9, "run": "elsewhere"}
    assert resume(**free) == []
    notes = resume(**{"data.damaged_share": 0.1, "compute.dtype": "bfloat16", "loop.epochs": 7})
    assert sorted(notes) == [
        'compute.dtype was "float32" and is "bfloat16" now',
        "data.damaged_share was 0.0 and is 0.1 now",
        "loop.epochs was 50 and is 7 now: from here on the learning rate follows the schedule of the new length",
    ]


def test_another_training_is_another_run():
    with refuses(r"optimizer\.clip_norm = 3\.0 .* says 1\.0: set it back .*, with --branch-from run to go on"):
        resume(**{"optimizer.clip_norm": 1.0})
    with refuses(r"model\.encoder\.depth = 12 .* says 3: set it back to resume, or give another run directory\.$"):
        resume(**{"model.encoder.depth": 3})


def test_a_regressor_from_before_targets_were_standardised_goes_on_without():
    """What its head gives are the targets themselves."""
    config = FinetuningStageConfig(run="run")
    saved = json.loads(json.dumps(to_dict(config)))
    for name in ("target_mean", "target_scale"):
        del saved["model"][name]
    del saved["standardise_targets"]
    assert check_resumable("run", saved, to_dict(config)) == []
    standardised = replace(config, **{"model.target_mean": (40.0,), "model.target_scale": (10.0,)})
    with refuses(r"started with model.target_mean = \[\] and the configuration now says \[40.0\]"):
        check_resumable("run", saved, to_dict(standardised))


def test_content_counts_and_not_where_it_lies():
    moved = {"data.corpora": ("x/a", "b/"), "tokenizer": "elsewhere", "start_from": "copy"}
    assert resume(**moved) == []
    # Checkpoints of earlier versions say no content: there the text counts.
    for known, inputs in ((None, INPUTS), (INPUTS, None)):
        assert resume(known, inputs) == []
        with refuses(r'data\.corpora = \["a", "b"\] .* says \["x/a", "b/"\]'):
            resume(known, inputs, **moved)


@pytest.mark.parametrize(
    ("changed", "text", "sentence"),
    [
        (
            {"data.corpora": ["1", "9"]},
            {},
            "the corpus b is not the one that run was started with: give that one again",
        ),
        ({"data.corpora": ["2", "1"]}, {"data.corpora": ("b", "a")}, "started with the corpus a, and b is another one"),
        ({"data.corpora": ["1"]}, {"data.corpora": ("a",)}, "started with 2 corpora, and data.corpora names 1 now"),
        ({"tokenizer": "9"}, {}, "the tokenizer t is not the one that run was started with: .* --branch-from run"),
        ({"tokenizer": "9"}, {"tokenizer": "u"}, "started with the tokenizer t, and u is another one"),
        ({"start_from": "9"}, {"start_from": "u"}, "started with the model s, and u is another one: give that one"),
    ],
)
def test_other_content_is_another_run(changed, text, sentence):
    with refuses(sentence):
        resume(inputs=INPUTS | changed, **text)


def test_a_start_that_trained_on_is_told():
    """A job that is started again must not end because the run that it began with has a better checkpoint now."""
    (note,) = resume(inputs=INPUTS | {"start_from": "9"})
    assert note == "start_from s holds another model now, which this run began before and does not use"
    assert_one_sentence(f"{note}.")
