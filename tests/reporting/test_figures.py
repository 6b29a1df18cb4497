"""Figures hold what they were given: axes, labels, points; and become pictures."""

import sys

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from labram_jax.evaluation.findings import Share
from labram_jax.evaluation.reconstruction import FREQUENCIES, SpectralComparison
from labram_jax.reporting.figures import corpus, scalp, scores, spectra, style, training, variance
from labram_jax.tables import Interval, Spread

TEN_TWENTY = (
    *("FP1", "FP2", "F7", "F3", "FZ", "F4", "F8", "T3", "C3", "CZ", "C4", "T4"),
    *("T5", "P3", "PZ", "P4", "T6", "O1", "O2"),
)


def visible(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


def titles(figure):
    return [axis.get_title(loc="left") or axis.get_title() for axis in visible(figure)]


def saved(figure, tmp_path):
    path = style.save(figure, tmp_path / "figure.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["figure.png"]
    picture = matplotlib.image.imread(path)
    assert picture.std() > 0.01
    return picture


@pytest.fixture(scope="module")
def comparison():
    generator = np.random.default_rng(0)
    original = np.abs(generator.normal(size=(20, len(TEN_TWENTY), len(FREQUENCIES)))) + 10 / FREQUENCIES
    agreement = generator.uniform(-0.1, 1, size=original.shape[1:])
    return SpectralComparison(TEN_TWENTY, original, original * 0.9, agreement)


def test_training_curves_have_a_panel_per_metric_and_the_reference_line(tmp_path):
    steps = np.arange(0, 1000, 10.0)
    curves = {
        "cross_entropy": {"train": (steps, 6 - steps / 500), "validation": (steps[::20], 6 - steps[::20] / 600)},
        "accuracy": {"train": (steps, steps / 5000)},
    }
    figure = training.training_curves(curves, (steps, steps * 1e-6), {"cross_entropy": (6.24, "guessing: ln 512")})
    assert titles(figure) == ["cross-entropy", "accuracy", "learning rate"]
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["train", "validation"]
    assert "guessing: ln 512" in [text.get_text() for text in panel.texts]
    lines = {line.get_label(): line.get_xydata() for line in panel.lines}
    assert len(lines["validation"]) == 5
    assert len(lines["train"]) == len(steps)
    assert np.isclose(lines["train"][50, 1], 6 - steps[50] / 500, atol=0.02)  # smoothing keeps the trend
    saved(figure, tmp_path)


def test_codebook_figures_count_codes(tmp_path):
    steps = np.array([0.0, 10.0])
    usage = training.codebook_usage({"train": (steps, np.array([0.1, 0.5]))}, {"train": (steps, steps + 1)}, codes=64)
    assert usage.axes[0].lines[0].get_ydata().tolist() == [10, 50]
    counts = np.array([0, 5, 5, 0])
    histogram = training.code_histogram(counts, patches=10)
    text = histogram.axes[0].texts[0].get_text()
    assert "2 of 4 codes" in text and "perplexity 2" in text
    saved(histogram, tmp_path)
    training.code_histogram(np.zeros(4, dtype=int), patches=0)


def test_confusion_shows_counts_and_shares(tmp_path):
    figure = scores.confusion(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("rest", "task"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["2\n67%", "1\n33%", "0\n0%", "1\n100%"]
    assert figure.axes[0].get_ylabel() == "true"
    saved(figure, tmp_path)


def test_roc_names_the_areas(tmp_path):
    labels = np.array([0, 0, 1, 1])
    curves = {"model": (labels, np.array([0.1, 0.2, 0.8, 0.9])), "baseline": (labels, np.array([0.1, 0.8, 0.2, 0.9]))}
    figure = scores.roc(curves)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["model  1.000", "baseline  .750", "chance  .500"]
    saved(figure, tmp_path)


def test_score_bars_of_columns_with_different_metrics(tmp_path):
    columns = {"model": {"auroc": 0.9, "accuracy": 0.8}, "paper": {"auroc": Spread(0.91, 0.01, 5)}}
    figure = scores.score_bars(columns, {"auroc": 0.5}, {"model": {"auroc": Interval(0.7, 0.95)}})
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["AUROC", "accuracy"]
    assert sorted(round(bar.get_height(), 2) for bar in axis.patches) == [0.8, 0.9, 0.91]
    assert {text.get_text() for text in axis.texts} == {".90", ".80", ".91"}
    strokes = [path.vertices[:, 1] for own in axis.collections for path in own.get_paths()]
    np.testing.assert_allclose(strokes, [(0.7, 0.95), (0.8, 0.8), (0.9, 0.92)])
    saved(figure, tmp_path)


def test_spectra_are_laid_out_as_on_the_head(comparison, tmp_path):
    figure = spectra.amplitude_spectra(comparison)
    shown = titles(figure)
    assert set(shown) == set(TEN_TWENTY)
    assert shown[:4] == ["FP1", "FP2", "F7", "F3"]
    first = visible(figure)[0]
    lines = {line.get_label(): line for line in first.lines}
    np.testing.assert_allclose(lines["reconstructed"].get_ydata(), comparison.reconstructed[:, 0].mean(axis=0))
    assert first.get_xlim() == (0, 75)
    assert figure.get_supylabel() == "amplitude (µV)"
    saved(figure, tmp_path)


def test_other_montages_are_laid_out_in_their_order():
    assert spectra.page_layout(("TP9", "AF7", "AF8", "TP10")) == [[0, 1, 2, 3]]
    assert spectra.page_layout(("CZ",)) == [[0]]
    grid = spectra.page_layout([f"AF{i}" for i in range(20)])
    assert [len(row) for row in grid] == [5, 5, 5]


def test_fidelity_spans_the_bands(comparison, tmp_path):
    figure = spectra.fidelity(comparison)
    assert titles(figure) == ["amplitude", "phase"]
    median = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(median, np.median(comparison.phase_agreement, axis=0))
    saved(figure, tmp_path)


def test_scalp_map_leaves_out_and_names_what_has_no_place(tmp_path):
    electrodes = ("FP1", "FP2", "C3", "C4", "O1", "O2", "T7", "T3", "T1", "CZ")
    placed, left_out = scalp.placeable(electrodes)
    assert left_out == ("T3", "T1")  # T3 is where T7 already is
    values = np.arange(10.0)
    figure = scalp.scalp_maps({"a": values, "b": -values}, electrodes, "power (dB)", diverging=True)
    assert titles(figure)[:2] == ["a", "b"]
    names = [text.get_text() for text in figure.axes[0].texts]
    assert [name for name in names if name] == [electrodes[index] for index in placed]
    assert figure.get_supxlabel() == "not placed: T3, T1"
    assert figure.axes[0].images[0].get_clim() == (-9, 9)
    saved(figure, tmp_path)
    with pytest.raises(ValueError, match="only 1 of 2 electrodes"):
        scalp.scalp_maps({"a": np.zeros(2)}, ("T1", "CZ"), "power")


def test_names_on_the_head_can_be_read_on_every_colour():
    """A contrast of 4.5, which WCAG 2 asks of text."""
    electrodes = TEN_TWENTY[:7]
    figure = scalp.scalp_maps({"a": np.linspace(-1, 1, 7)}, electrodes, "power (dB)", diverging=True)
    axis = figure.axes[0]
    for text, value in zip(axis.texts, np.linspace(-1, 1, 7), strict=True):
        own, behind = (np.array(to_rgb(color)) for color in (text.get_color(), axis.images[0].to_rgba(value)))
        dark, light = sorted(luminance(color) for color in (own, behind))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, text.get_text()


def luminance(color):
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


def test_traces_show_every_electrode_at_its_place_and_bad_ones_in_another_colour(tmp_path):
    eeg = np.random.default_rng(0).normal(scale=20, size=(5, 400))
    eeg[2] *= 1000
    figure = corpus.traces(eeg + 300, TEN_TWENTY[:5], np.arange(5) == 2)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_yticklabels()] == list(TEN_TWENTY[:5])
    assert axis.get_ylabel() == "electrodes, 200 µV apart"  # nothing that the bad one decides
    heights = [line.get_ydata() for line in axis.lines]
    np.testing.assert_allclose(heights[1] + 200, eeg[1] - np.median(eeg[1]), atol=1e-9)
    assert np.ptp(heights[2]) == 600 and len({line.get_color() for line in axis.lines}) == 2
    saved(figure, tmp_path)


def test_figures_leave_no_global_state():
    scores.roc({"model": (np.array([0, 1]), np.array([0.2, 0.7]))})
    assert matplotlib.rcParams["axes.grid"] is False
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_shares_of_variance_fill_a_bar_and_shuffles_are_strokes_in_it(tmp_path):
    order = ("subject", "label", "recording", "window")
    shares = dict(zip(order, (Share(0.5, 0.3), Share(0.02, 0.01), Share(0.18), Share(0.3)), strict=True))
    kinds = {"mean": shares, "a$b$ + amplitude": shares}
    figure = variance.variance_shares({"train": kinds, "test": kinds}, order)
    assert titles(figure) == ["train", "test"]
    panel = figure.axes[1]
    bars = [bar for bar in panel.patches if bar.get_width() > 0]
    assert len(bars) == 8 and max(bar.get_x() + bar.get_width() for bar in bars) == pytest.approx(1)
    assert [text.get_text() for text in panel.texts] == ["50%", "18%", "30%"] * 2  # for 2% there is no room
    assert [line.get_xdata()[0] for line in panel.lines] == pytest.approx([0.3, 0.51] * 2)
    saved(figure, tmp_path)
