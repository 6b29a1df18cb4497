"""The tokenizer's part of a report: which codes held-out windows get, and what of their spectra survives."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from labram_jax.data.corpus import Corpus
from labram_jax.evaluation.heldout import WindowSet, held_out_windows, sample
from labram_jax.evaluation.reconstruction import FREQUENCIES, SpectralComparison, compare_spectra
from labram_jax.inference import Tokenizer, load
from labram_jax.reporting.figures import scalp, spectra, training
from labram_jax.reporting.page import Page
from labram_jax.reporting.runlog import Run
from labram_jax.windows import Windows

MOST_WINDOWS = 64  # of each montage
MOST_MONTAGES = 4  # shown as figures; all of them enter the table
_MAP_BANDS_HZ = ((1, 13), (13, 30), (30, 75))
_ALPHA_HZ = (8, 13)


def describe_tokenizer(page: Page, run: Run, corpora: Sequence[Corpus]) -> None:
    """Adds code usage, spectra, fidelity and scalp maps of held-out windows to the page."""
    split, held_out = held_out_windows(run.config.data, corpora)
    tokenizer: Tokenizer = load(run.path)
    counts = np.zeros(tokenizer.config.quantizer.codes, dtype=np.int64)
    rows: list[list[object]] = []
    figures: list[tuple[str, str, SpectralComparison]] = []
    for windows in sample(held_out, MOST_WINDOWS):
        electrodes = windows.electrodes
        given = Windows(windows.eeg, electrodes, windows.bad)
        codes = tokenizer.encode(given)
        codes = codes[codes >= 0]
        counts += np.bincount(codes, minlength=len(counts))
        decoded = tokenizer.reconstruct(given)
        comparison = compare_spectra(windows.eeg, *decoded, electrodes)
        rows.append(_row(windows, codes, comparison))
        if len(figures) < MOST_MONTAGES:
            figures.append((windows.name.replace(", ", "-"), windows.name, comparison))
    page.heading(f"Held-out windows ({split} split)")
    page.text(
        "Correlation of amplitude over patches, and mean cosine of the phase error, averaged over electrodes and "
        "frequencies; from real recordings the lower frequencies carry most of what is brain."
    )
    page.table(
        ["windows of", "electrodes", "windows", "codes", "amplitude, 1-75 Hz", "1-13 Hz", "phase, 1-75 Hz", "1-13 Hz"],
        rows,
    )
    page.figure(
        "codes", training.code_histogram(counts, int(counts.sum())),
        "How often each code is chosen on held-out windows of all corpora together.",
    )  # fmt: skip
    for name, title, comparison in figures:
        _figures(page, name, title, comparison)


def _row(windows: WindowSet, codes: np.ndarray, comparison: SpectralComparison) -> list[object]:
    low = slice(0, 13)  # 1 to 13 Hz
    correlation = comparison.amplitude_correlation()
    return [
        windows.name,
        len(windows.electrodes),
        len(windows.eeg),
        len(np.unique(codes)),
        float(np.nanmean(correlation)),
        float(np.nanmean(correlation[:, low])),
        float(np.nanmean(comparison.phase_agreement)),
        float(np.nanmean(comparison.phase_agreement[:, low])),
    ]


def _figures(page: Page, name: str, title: str, comparison: SpectralComparison) -> None:
    page.heading(title, level=3)
    page.figure(
        f"spectra-{name}", spectra.amplitude_spectra(comparison),
        "Amplitude spectra of one-second patches, original and as decoded from their codes, put back on their scale "
        "with the mean and deviation of the window's own spectrum.",
    )  # fmt: skip
    page.figure(
        f"fidelity-{name}", spectra.fidelity(comparison),
        "Whether amplitude follows the original from patch to patch (1: fully), and whether phase does (0: chance).",
    )  # fmt: skip
    if reason := scalp.too_few(comparison.electrodes):
        page.note(f"Scalp map of {title}: {reason}.")
        return
    low, high = _ALPHA_HZ
    maps = {
        title: np.nanmean(_in_band(part, _ALPHA_HZ), axis=(0, 2))
        for title, part in (("original", comparison.original), ("reconstructed", comparison.reconstructed))
    }
    page.figure(
        f"topography-{name}", scalp.scalp_maps(maps, comparison.electrodes, f"amplitude, {low}-{high} Hz (µV)"),
        "Where on the head the alpha rhythm is, and where it is after the codes: means over patches.",
    )  # fmt: skip
    correlation = comparison.amplitude_correlation()
    maps = {f"{low}-{high} Hz": np.nanmean(_in_band(correlation, (low, high)), axis=1) for low, high in _MAP_BANDS_HZ}
    page.figure(
        f"scalp-{name}", scalp.scalp_maps(maps, comparison.electrodes, "correlation of amplitude", diverging=True),
        "Where on the head, and at which frequencies, amplitude follows the original from patch to patch (below "
        "0: goes against it).",
    )  # fmt: skip


def _in_band(values: Float[np.ndarray, "*rest F"], band_hz: tuple[int, int]) -> Float[np.ndarray, "*rest f"]:
    low, high = band_hz
    return values[..., (low <= FREQUENCIES) & (high > FREQUENCIES)]
