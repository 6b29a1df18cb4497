"""The options of a preparation: what is refused before any file is touched."""

import pytest

from data_prep.options import PrepareOptions
from data_prep.plan import Filters
from labram_jax.errors import InputError


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"window_seconds": 17}, "1 to 16"),
        ({"stride_seconds": 0.0}, "stride_seconds"),
        ({"fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"fractions": (1.5, -0.5, 0.0)}, "sum to 1"),
        ({"high_pass": 80.0}, "not below"),
        ({"notch": -50.0}, "notch"),
        ({"start_fraction": 0.5, "end_fraction": 0.5}, "start < end"),
        ({"electrodes": ("CZ", "Cz")}, "both electrode CZ"),
        ({"electrodes": ("CPX",)}, "near matches"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": 2, "beam": ("--runner", "FlinkRunner")}, "leave jobs out"),
        ({"recordings_per_shard": 0}, "recordings_per_shard"),
    ],
)
def test_impossible_values_are_refused(option, says):
    with pytest.raises(InputError, match=says):
        PrepareOptions(**option)


def test_options_become_plan_terms():
    options = PrepareOptions(notch=None, electrodes=("EEG Fp1", "cz"), rename="old-to-new", jobs=3)
    assert options.filters == Filters(0.1, 75.0, None)
    assert options.electrodes == ("FP1", "CZ")
    assert options.aliases["T3"] == "T7"
    assert options.processes == 3
    assert PrepareOptions().processes >= 1
