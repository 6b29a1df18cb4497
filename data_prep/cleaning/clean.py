"""From a recording to what the model is trained on: continuous pieces of known electrodes, filtered, 200 Hz.

A recording is cut where it breaks, and each piece is filtered by itself: a 0.1 Hz high-pass looks half a minute around,
so that a filter which runs across a gap or a join spoils minutes. For the same reason windows are cut later, from what
was filtered. An electrode that is lost for a while is filtered between its gaps alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from labram_jax.data.schema import QUALITY, RATE_HZ
from labram_jax.data_prep.cleaning.channels import derivation
from labram_jax.data_prep.cleaning.filtering import filter_and_resample, filter_notes, resampled
from labram_jax.data_prep.cleaning.quality import (
    check_rate,
    clipped_seconds,
    filtered_deviations,
    implausibly_small,
    judge_seconds,
    odd_amplitudes,
    outliers,
    runs,
    samples_in_seconds,
)
from labram_jax.data_prep.cleaning.unfiltered import Look, Unfiltered
from labram_jax.data_prep.readers.reader import Reader
from labram_jax.data_prep.recipe import Filters, Recipe
from labram_jax.errors import InputError


class Piece(NamedTuple):
    """A continuous stretch of a recording that begins `start_seconds` after it, in microvolts at 200 Hz.

    `quality` holds the flags (`schema.QUALITY`) of its seconds; the last one need not be whole. Samples that the
    stored type cannot hold are at its limit, and lost ones are zero; both are flagged.
    """

    start_seconds: float
    eeg: Float[np.ndarray, "C samples"]
    quality: UInt8[np.ndarray, "seconds C"]


@dataclass(frozen=True)
class CleanRecording:
    """A cleaned recording: its electrodes and pieces, in order, and what was odd about it.

    `seconds` is its length, of which `lost_seconds` are in no piece.
    """

    electrodes: tuple[str, ...]
    pieces: tuple[Piece, ...]
    seconds: float
    lost_seconds: float
    notes: tuple[str, ...]


def clean(reader: Reader, recipe: Recipe, electrodes: Sequence[str] | None = None) -> CleanRecording:
    """Picks and names electrodes, cuts the recording into pieces, filters each, and resamples it to 200 Hz.

    `electrodes` is an order of the recording's electrodes; None takes that of the recording.

    Raises:
      InputError: the recording has no usable electrode, no second of signal, a rate or (where quality is checked) an
        amplitude that no EEG has, or, without filters, another rate.
    """
    header, limits = reader.header, recipe.quality
    check_rate(header.rate_hz)
    derived = derivation(header, recipe)
    order = tuple(derived.electrodes if electrodes is None else electrodes)
    if recipe.filters is None and header.rate_hz != RATE_HZ:
        raise InputError(
            f"The recording has {header.rate_hz:g} Hz but is to be taken as it is: resample it to {RATE_HZ} Hz first."
        )
    marked = np.array([electrode in derived.marked_bad for electrode in order])
    if marked.all():
        raise InputError(f"All of its {len(order)} electrodes are marked as bad.")
    unfiltered = Unfiltered(reader, derived, order)
    look = unfiltered.look(~marked)
    odd = odd_amplitudes(look.typical[~marked], [name for name, bad in zip(order, marked, strict=True) if not bad])
    if "" in odd and limits.bad_electrodes is not None:
        raise InputError(odd[""])
    stretches = [(start, stop) for start, stop in look.pieces if stop - start >= header.rate_hz]
    if not stretches:
        raise InputError(f"It has no second of continuous signal (the recording has {header.seconds:.1f} s).")
    notes = [*header.notes, *derived.notes, *odd.values()]
    if left_out := len(look.pieces) - len(stretches):
        notes.append(f"pieces shorter than a second were left out ({left_out}).")
    if recipe.filters is not None:
        notes += filter_notes(min(stop - start for start, stop in stretches), header.rate_hz, recipe.filters)
    always = np.where(marked, QUALITY["marked bad"], 0).astype(np.uint8)
    if limits.bad_electrodes is not None:
        always |= np.where(implausibly_small(look.typical), QUALITY["implausible amplitude"], 0).astype(np.uint8)
    pieces = [_piece(unfiltered, look, stretch, header.rate_hz, recipe, always) for stretch in stretches]
    lost_seconds = header.seconds - sum(stop - start for start, stop in stretches) / header.rate_hz
    if any(recipe.margins_seconds):
        pieces = _with_margins(pieces, recipe.margins_seconds)
    return CleanRecording(order, tuple(pieces), header.seconds, lost_seconds, tuple(dict.fromkeys(notes)))


def _piece(
    unfiltered: Unfiltered,
    look: Look,
    stretch: tuple[int, int],
    rate_hz: float,
    recipe: Recipe,
    always: UInt8[np.ndarray, "C"],
) -> Piece:
    """Cleans the samples [start, stop) of a recording, some electrodes at a time; `always` flags all seconds."""
    start, stop = stretch
    samples = resampled(stop - start, rate_hz)
    eeg = np.empty((len(always), samples), dtype=recipe.dtype)
    seconds = -(-samples // RATE_HZ)
    quality = np.empty((seconds, len(always)), dtype=np.uint8)
    deviations = np.empty((seconds, len(always)), dtype=np.float32)
    for group in unfiltered.groups(stop - start):
        raw = unfiltered.read(group, start, stop)
        cleaned, present = _between_gaps(raw, rate_hz, recipe.filters)
        for row, electrode in enumerate(group):
            eeg[electrode], kept = _stored(cleaned[row], recipe.dtype)
            quality[:, electrode] = _lost(raw[row], rate_hz, present[row] & kept)
            if recipe.quality.bad_electrodes is not None:
                extremes = (look.lowest[electrode], look.highest[electrode])
                clipped = clipped_seconds(raw[row], extremes, rate_hz, seconds, recipe.quality)
                deviations[:, electrode] = filtered_deviations(cleaned[row])
                found = judge_seconds(cleaned[row], deviations[:, electrode], recipe.quality)
                quality[:, electrode] |= found | (clipped * QUALITY["clipped"]).astype(np.uint8)
    quality |= always
    # It is the zeros in place of what is lost that look flat.
    quality[(quality & QUALITY["lost"]) != 0] &= ~np.uint8(QUALITY["flat"])
    if recipe.quality.bad_electrodes is not None:
        quality[outliers(deviations, quality, recipe.quality)] |= QUALITY["implausible amplitude"]
    return Piece(start / rate_hz, eeg, quality)


def _between_gaps(
    raw: Float64[np.ndarray, "C samples"], rate_hz: float, filters: Filters | None
) -> tuple[Float32[np.ndarray, "C resampled"], Bool[np.ndarray, "C resampled"]]:
    """Filters each finite stretch of each electrode by itself; returns zeros elsewhere, and where signal is.

    What lies between two gaps is left out where it is shorter than a second: the seconds that it touches are lost.
    """
    samples = resampled(raw.shape[1], rate_hz)
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for row, signal in enumerate(raw):
        alike.setdefault(tuple(map(tuple, runs(np.isfinite(signal)).tolist())), []).append(row)
    if list(alike) == [((0, raw.shape[1]),)]:
        return _cleaned(raw, rate_hz, filters), np.ones((len(raw), samples), dtype=bool)
    cleaned = np.zeros((len(raw), samples), dtype=np.float32)
    present = np.zeros((len(raw), samples), dtype=bool)
    for stretches, rows in alike.items():
        for start, stop in stretches:
            if stop - start >= rate_hz:
                found = _cleaned(raw[rows, start:stop], rate_hz, filters)
                # Rounding may let it end a sample too late, or not quite with the piece.
                latest = samples - found.shape[1]
                first = latest if stop == raw.shape[1] else min(resampled(start, rate_hz), latest)
                cleaned[rows, first : first + found.shape[1]] = found
                present[rows, first : first + found.shape[1]] = True
    return cleaned, present


def _cleaned(
    eeg: Float64[np.ndarray, "C samples"], rate_hz: float, filters: Filters | None
) -> Float32[np.ndarray, "C resampled"]:
    with np.errstate(over="ignore"):  # `_stored` tells of what float32 cannot hold
        return eeg.astype(np.float32) if filters is None else filter_and_resample(eeg, rate_hz, filters)


def _stored(
    signal: Float32[np.ndarray, "samples"], dtype: str
) -> tuple[Float[np.ndarray, "samples"], Bool[np.ndarray, "samples"]]:
    """Returns an electrode in the stored type, and which of its samples that holds."""
    largest = np.finfo(dtype).max
    kept = np.abs(signal) <= largest
    if not kept.all():
        signal = np.clip(np.nan_to_num(signal), -largest, largest)
    return signal.astype(dtype), kept


def _lost(
    raw: Float64[np.ndarray, "unfiltered"], rate_hz: float, kept: Bool[np.ndarray, "samples"]
) -> UInt8[np.ndarray, "seconds"]:
    """Flags the seconds of an electrode in which a sample is not finite, before or after filtering, or not kept."""
    seconds = -(-len(kept) // RATE_HZ)
    lost = samples_in_seconds(~np.isfinite(raw), rate_hz, seconds) + samples_in_seconds(~kept, RATE_HZ, seconds) > 0
    return (lost * QUALITY["lost"]).astype(np.uint8)


def _with_margins(pieces: list[Piece], margins_seconds: tuple[float, float]) -> list[Piece]:
    """Puts so many seconds of the recording's other end before its first piece and behind its last one."""
    before, behind = (round(seconds * RATE_HZ) for seconds in margins_seconds)
    eeg = np.concatenate([piece.eeg for piece in pieces], axis=1)
    flags = np.concatenate([_of_samples(piece) for piece in pieces], axis=1)
    samples = eeg.shape[1]
    ends = [np.arange(-before, 0), np.arange(samples, samples + behind)]
    (eeg_before, eeg_behind), (flags_before, flags_behind) = (
        [np.take(values, end, axis=1, mode="wrap") for end in ends] for values in (eeg, flags)
    )
    first = pieces[0]
    begin = first.start_seconds - before / RATE_HZ
    pieces[0] = _joined(begin, (eeg_before, first.eeg), (flags_before, _of_samples(first)))
    last = pieces[-1]
    pieces[-1] = _joined(last.start_seconds, (last.eeg, eeg_behind), (_of_samples(last), flags_behind))
    return pieces


def _of_samples(piece: Piece) -> UInt8[np.ndarray, "C samples"]:
    return np.repeat(piece.quality.T, RATE_HZ, axis=1)[:, : piece.eeg.shape[1]]


def _joined(start_seconds: float, eeg: tuple[np.ndarray, ...], flags: tuple[np.ndarray, ...]) -> Piece:
    starts = np.arange(0, sum(part.shape[1] for part in eeg), RATE_HZ)
    quality = np.bitwise_or.reduceat(np.concatenate(flags, axis=1), starts, axis=1).T
    return Piece(start_seconds, np.concatenate(eeg, axis=1), np.ascontiguousarray(quality))
