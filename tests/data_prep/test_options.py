"""The options of a preparation: what is refused before any file is touched, and what becomes of them."""

from dataclasses import dataclass

import pytest
from sentences import refuses

from labram_jax.data.schema import FINITE_ONLY, QualityLimits
from labram_jax.data_prep.options import BuildOptions, ElectrodeOptions, RecordingOptions, SplitOptions
from labram_jax.data_prep.recipe import Cap, Filters
from labram_jax.data_prep.table import Split


@dataclass(frozen=True)
class Options(SplitOptions, RecordingOptions):
    """All shared options, as a corpus has them."""


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"fractions": (1.5, -0.5, 0.0)}, "sum to 1"),
        ({"high_pass": 80.0}, "not below"),
        ({"notch": -50.0}, "notch"),
        ({"electrodes": ("CZ", "Cz")}, "CZ"),
        ({"electrodes": ("CPX",)}, "CPX"),
        ({"jobs": 0}, "jobs"),
        ({"jobs": 2, "beam": ("--runner", "FlinkRunner")}, "leave jobs out"),
        ({"recordings_per_shard": 0}, "recordings_per_shard"),
        ({"quality": "good"}, "quality = 'good': choose one of check, finite, None"),
        ({"dtype": "float64"}, "choose one of float16, float32"),
        ({"names": "new"}, "choose one of none, old-to-new, new-to-old"),
        ({"unit": "kV"}, "choose one of uV, mV, V, nV, None"),
        ({"montage_within_mm": 0.0}, "above 0 mm"),
    ],
)
def test_impossible_values_are_refused(option, says):
    with refuses(says):
        Options(**option)


def test_options_become_a_recipe(tmp_path):
    (tmp_path / "rename.csv").write_text("from,to\nE1,Fp1\n")
    options = Options(
        notch=None,
        electrodes=("EEG Fp1", "cz"),
        names="old-to-new",
        rename=tmp_path / "rename.csv",
        unit="mV",
        montage="biosemi64",
        montage_method="spline",
        dtype="float32",
        jobs=3,
    )
    recipe = options.recipe(electrodes=("T3",), quality=FINITE_ONLY)
    assert recipe.filters == Filters(0.1, 75.0, None)
    assert recipe.electrodes == ("FP1", "CZ")
    assert recipe.aliases["T3"] == "T7" and recipe.rename == {"E1": "FP1"}
    assert recipe.cap == Cap("biosemi64", "spline", 15.0)
    assert (recipe.unit, recipe.dtype, recipe.quality) == ("mV", "float32", FINITE_ONLY)
    assert options.processes == 3 and Options().processes >= 1


def test_what_the_user_asks_for_stands_before_the_corpus_choice():
    assert Options(quality="check").recipe(quality=FINITE_ONLY).quality == QualityLimits()
    assert Options(quality="finite").recipe().quality == FINITE_ONLY
    assert Options(names="old-to-new").recipe(electrodes=("T3", "CZ")).electrodes == ("T7", "CZ")
    assert Options(seed=3).split("time", (0.6, 0.1, 0.3), events=True) == Split("time", (0.6, 0.1, 0.3), 3, True)
    assert Options(fractions=(1.0, 0.0, 0.0)).split("subject", (0.6, 0.1, 0.3)).fractions == (1.0, 0.0, 0.0)


def test_formats_that_come_filtered_are_not_filtered_again():
    assert BuildOptions().recipe().filters is None and ElectrodeOptions().recipe().filters is None
