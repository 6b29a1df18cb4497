"""What a corpus holds, as text for a person."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from labram_jax.data.codes import codes_of
from labram_jax.data.corpus import Corpus
from labram_jax.data.digest import corpus_digest
from labram_jax.data.features import features_beside
from labram_jax.data.schema import MontageInfo, split_words

_SHOWN = 8  # of a list of names


def describe(corpus: Corpus) -> str:
    """Returns what the corpus holds, as text for a person."""
    info, tables = corpus.info, corpus.tables
    label = {None: "none", "class": "class", "vector": f"vector of {info.outputs}"}[info.label]
    lines = [
        f"corpus {corpus.name} ({corpus.path})",
        f"  labels: {label}" + (f" ({', '.join(corpus.classes)})" if corpus.classes else ""),
        f"  filters: {_filters(info.filters)}",
    ]
    if info.provenance:
        lines.append(f"  provenance: {info.provenance}")
    recordings = tables.pieces["recording"].nunique()
    hours = sum(montage.seconds for montage in corpus.montages) / 3600
    cuts = len(tables.pieces) - recordings
    lines.append(f"  {recordings} recordings in {len(tables.pieces)} pieces ({cuts} cuts), {hours:.2f} h of signal")
    for montage in corpus.montages:
        lines += [
            f"  montage {montage.name}: {len(montage.electrodes)} electrodes, {montage.seconds / 3600:.2f} h",
            f"    {' '.join(montage.electrodes)}",
            *_bad_electrodes(montage, corpus.quality(montage)),
        ]
    lines += _splits(corpus) + _codes(corpus) + _features(corpus)
    return "\n".join(lines)


def _splits(corpus: Corpus) -> list[str]:
    """Tells what each split holds: subjects, hours, and the windows of the corpus' own length."""
    spans, lines = corpus.tables.spans, []
    shared = spans.groupby("subject")["split"].nunique().max() > 1
    within = "; the same subjects are in several splits: scores are within subjects" if shared else ""
    lines.append(f"  {split_words(corpus.info.split_by)}{within}")
    lengths = {corpus.window_seconds(montage) for montage in corpus.montages}
    length = " or ".join(f"{seconds} s" for seconds in sorted(lengths))
    for split in corpus.splits:
        subjects = sorted(set(spans["subject"][spans["split"] == split]))
        windows = corpus.windows(split, seconds=None)
        named = f" ({_shortened(subjects)})"
        lines.append(f"  {split}: {len(subjects)} subjects{named}, {len(windows):,} windows of {length}")
        if windows.dropped:
            causes = ", ".join(f"{reason} {count:,}" for reason, count in windows.dropped.most_common())
            lines.append(f"    left out: {causes}")
    return lines


def _codes(corpus: Corpus) -> list[str]:
    """Tells which codes are kept beside the corpus, and whether they are still its own."""
    lines = []
    for kept in codes_of(corpus):
        state = "" if kept.info.corpus == corpus_digest(corpus) else " of another state of the corpus, which none uses:"
        lines.append(f"  {kept}{state} in {kept.folder}")
    return lines


def _features(corpus: Corpus) -> list[str]:
    """Tells which features of encoders are kept beside the corpus, and whether they are still its own."""
    lines = []
    for folder, info in features_beside(corpus):
        state = "" if info.corpus == corpus_digest(corpus) else " of another state of the corpus, which none uses:"
        lines.append(f"  features of {info.windows:,} windows ({info.readout}, {info.dtype}){state} in {folder}")
    return lines


def _bad_electrodes(montage: MontageInfo, quality: UInt8[np.ndarray, "seconds C"]) -> list[str]:
    """Names the electrodes that are bad most often."""
    shares = np.mean(quality != 0, axis=0) if len(quality) else np.zeros(len(montage.electrodes))
    worst = [number for number in np.argsort(-shares, kind="stable") if shares[number] > 0][:_SHOWN]
    if not worst:
        return []
    named = ", ".join(f"{montage.electrodes[number]} {shares[number]:.1%}" for number in worst)
    return [f"    bad in a share of all seconds: {named}"]


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _filters(filters: dict | None) -> str:
    if not filters:
        return "none"
    return ", ".join(f"{name} {value}" for name, value in filters.items() if value is not None)
