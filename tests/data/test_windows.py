"""Which windows there are: where they begin, what drops them, which electrodes are bad, and that none is stored."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from sentences import refuses

from labram_jax.data.schema import EXCLUDED_COLUMNS, FINITE_ONLY, PIECE_COLUMNS, QUALITY, CorpusInfo, QualityLimits
from labram_jax.data.tables import Tables
from labram_jax.data.windows import WindowIndex, default_seconds

NAN = float("nan")
ELECTRODES = 10


def index(
    pieces,
    spans=(("r", "s", "train", 0.0, NAN, 1),),
    excluded=(),
    flags=(),
    limits=QualityLimits(),
    split="train",
    seconds=4,
    stride=None,
    folder=None,
) -> WindowIndex:
    """pieces: (start_seconds, samples) of one recording; flags: (second, electrode, kind) over all pieces in turn.

    With a `folder` the flags lie there on disk.
    """
    lengths = [-(-samples // 200) for _, samples in pieces]
    rows, first_record, first_second = [], 0, 0
    for (start, samples), length in zip(pieces, lengths, strict=True):
        rows.append(("m", "r", "s", float(start), samples, first_record, first_second))
        first_record, first_second = first_record + -(-samples // 400), first_second + length
    quality = np.zeros((first_second, ELECTRODES), np.uint8)
    for second, electrode, kind in flags:
        quality[second, electrode] |= QUALITY[kind]
    if folder is not None:
        np.save(folder / "quality.npy", quality)
        quality = np.load(folder / "quality.npy", mmap_mode="r")
    tables = Tables(
        pd.DataFrame(rows, columns=PIECE_COLUMNS),
        pd.DataFrame(list(spans), columns=["recording", "subject", "split", "start", "stop", "label"]),
        pd.DataFrame(list(excluded), columns=EXCLUDED_COLUMNS),
    )
    info = CorpusInfo("c", (), ("a", "b"), "class", quality=limits)
    return WindowIndex("m", info, tables, quality, split, seconds, stride)


def starts(found: WindowIndex) -> list[float]:
    return [round(found.start_seconds(found.place(number)), 6) for number in range(len(found))]


def test_windows_lie_in_one_piece_each_and_begin_where_it_does():
    """A piece of 10 s, one of 7.5 s that begins at an odd moment, and one too short."""
    found = index([(0.0, 2000), (12.345, 1500), (30.0, 700)])
    assert starts(found) == [0, 4, 12.345]
    assert starts(index([(0.0, 2000), (12.345, 1500)], stride=1.0)) == [*range(7), 12.345, 13.345, 14.345, 15.345]
    assert [found.place(number).start for number in range(3)] == [0, 800, 0]
    assert [found.first_record(found.place(number)) for number in range(3)] == [0, 0, 5]


def test_windows_lie_in_one_span_each_and_begin_where_it_does():
    spans = [("r", "s", "train", 0.0, 9.0, 0), ("r", "s", "test", 9.0, 20.0, 0), ("r", "s", "train", 1.005, 5.005, 1)]
    train = index([(0.0, 4000)], spans)
    assert starts(train) == [0, 4, 1.005]
    assert train.window_labels().tolist() == [0, 0, 1]
    assert starts(index([(0.0, 4000)], spans, split="test")) == [9, 13]
    # Sums of decimal fractions lose no sample.
    assert starts(index([(0.0, 4000)], [("r", "s", "train", 0.1 * 3, 0.1 * 3 + 4, 0)])) == [0.3]


def test_some_windows_keep_their_places_and_labels():
    spans = [("r", "s", "train", 0.0, 9.0, 0), ("r", "s", "train", 9.0, 20.0, 1)]
    found = index([(0.0, 4000)], spans, stride=1.0)
    some = found.only(np.array([0, 3, 7, len(found) - 1]))
    assert starts(some) == [starts(found)[number] for number in (0, 3, 7, -1)]
    assert some.window_labels().tolist() == [0, 0, 1, 1] and len(found.only(np.arange(0))) == 0
    assert some.listed()["start_seconds"].tolist() == starts(some)


def test_a_span_without_label_and_one_before_the_recording():
    found = index([(-2.0, 2000)], [("r", "s", "train", -1.5, 3.5, NAN)], seconds=5)
    assert starts(found) == [-1.5] and found.window_labels().tolist() == [-1]


@pytest.mark.parametrize(
    ("excluded", "kept"),
    [
        ((8.0, 8.1), [0, 4, 12, 16]),
        ((7.999, 8.0), [0, 8, 12, 16]),
        ((8.0, 8.0), [0, 4, 8, 12, 16]),
        ((3.0, 13.0), [16]),
        ((-5.0, 0.001), [4, 8, 12, 16]),
        ((19.9, 99.0), [0, 4, 8, 12]),
    ],
)
def test_excluded_stretches_drop_what_they_touch_and_move_nothing(excluded, kept):
    found = index([(0.0, 4000)], excluded=[("r", *excluded, "BAD")])
    assert starts(found) == kept
    assert sum(found.dropped.values()) == 5 - len(kept)
    assert not found.dropped or set(found.dropped) == {"annotated as bad"}


def test_an_electrode_is_bad_in_the_windows_that_hold_a_bad_second_of_it():
    found = index([(0.0, 4000)], flags=[(5, 3, "flat")], stride=1.0)
    bad = [found.bad(found.place(number)) for number in range(len(found))]
    assert [None if own is None else own.nonzero()[0].tolist() for own in bad] == [
        [3] if start <= 5 < start + 4 else None for start in range(17)
    ]
    assert not found.dropped and found.bad_electrodes == {"flat": 4}


def test_windows_between_seconds_touch_one_more():
    found = index([(0.0, 4000)], flags=[(5, 3, "flat")], stride=0.5)
    touched = [start for start in starts(found) if found.bad(found.place(round(start * 2))) is not None]
    assert touched == [1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]


def test_too_many_bad_electrodes_drop_a_window_and_the_commonest_fault_is_the_reason():
    flags = [(9, 1, "clipped"), (9, 2, "clipped"), (9, 3, "flat"), (13, 0, "flat")]
    found = index([(0.0, 4000)], flags=flags)
    assert starts(found) == [0, 4, 12, 16] and found.dropped == {"bad electrodes (clipped)": 1}
    assert found.bad_electrodes == {"flat": 1}


def test_the_first_windows_left_out_for_each_reason_can_be_looked_at():
    flags = [(second, electrode, "clipped") for second in (1, 5, 9) for electrode in (1, 2)]
    found = index([(0.0, 4000)], excluded=[("r", 17.0, 18.0, "BAD")], flags=flags)
    assert starts(found) == [12]
    clipped, bad = (found.left_out(reason) for reason in ("bad electrodes (clipped)", "annotated as bad"))
    assert starts(clipped) == [0, 4] and starts(bad) == [16]
    assert clipped.bad(clipped.place(1)).nonzero()[0].tolist() == [1, 2]
    assert len(found.left_out("bad electrodes (flat)")) == 0 and found.dropped["bad electrodes (clipped)"] == 3


def test_electrodes_that_are_marked_bad_do_not_count_among_too_many():
    marked = [(second, electrode, "marked bad") for second in range(20) for electrode in (0, 1, 2, 3)]
    found = index([(0.0, 4000)], flags=marked)
    assert len(found) == 5 and found.bad(found.place(2)).nonzero()[0].tolist() == [0, 1, 2, 3]
    # One of the six that are left is more than a tenth.
    assert starts(index([(0.0, 4000)], flags=[*marked, (9, 7, "flat")])) == [0, 4, 12, 16]
    everything = [(second, electrode, "marked bad") for second in range(20) for electrode in range(10)]
    assert index([(0.0, 4000)], flags=everything).dropped == {"bad electrodes (marked bad)": 5}


def test_published_protocols_judge_nothing_but_lost_samples():
    flags = [(1, 0, "flat"), (1, 1, "clipped"), (9, 4, "lost")]
    found = index([(0.0, 4000)], flags=flags, limits=FINITE_ONLY)
    assert starts(found) == [0, 4, 12, 16] and found.dropped == {"lost samples": 1}
    assert found.bad(found.place(0)) is None


def test_windows_are_those_of_a_plain_search():
    """Against every start tried one by one, over random tables."""
    for seed in range(30):
        random = np.random.default_rng(seed)
        pieces, start = [], 0.0
        for _ in range(random.integers(1, 4)):
            pieces.append((start, int(random.integers(100, 4000))))
            start += pieces[-1][1] / 200 + random.integers(0, 3)
        spans = [("r", "s", "train", begin, begin + float(random.integers(3, 15)), 0) for begin in (0.0, 6.5)]
        excluded = [("r", at, at + 0.7, "BAD") for at in random.uniform(0, start, 2)]
        total = sum(-(-samples // 200) for _, samples in pieces)
        flags = [(int(random.integers(total)), int(e), "flat") for e in random.integers(0, 10, 6)]
        found = index(pieces, spans, excluded, flags, seconds=3, stride=0.75)
        expected = list(_search(pieces, spans, excluded, flags, 600, 150))
        assert [(p.piece, p.start, p.span) for p in map(found.place, range(len(found)))] == expected


def _search(pieces, spans, excluded, flags, samples, stride):
    for span, (piece, (start, length)) in itertools.product(range(len(spans)), enumerate(pieces)):
        own = {}
        before = sum(-(-n // 200) for _, n in pieces[:piece])
        for second, electrode, _ in flags:
            own.setdefault(second - before, set()).add(electrode)
        begin = max(round((spans[span][3] - start) * 200), 0)
        for first in range(begin, length - samples + 1, stride):
            if first + samples > round((spans[span][4] - start) * 200):
                break
            seconds = range(first // 200, (first + samples - 1) // 200 + 1)
            bad = set().union(*(own.get(second, set()) for second in seconds))
            edges = [((a - start) * 200, (b - start) * 200) for _, a, b, _ in excluded]
            if len(bad) <= 1 and not any(np.floor(a) < first + samples and np.ceil(b) > first for a, b in edges):
                yield piece, first, span


def test_the_index_grows_with_pieces_and_not_with_windows():
    short, long = index([(0.0, 200 * 600)], stride=1.0), index([(0.0, 200 * 86_400)], stride=1.0)
    assert len(long) > 100 * len(short) and long.nbytes == short.nbytes


def test_an_index_travels_to_another_process_without_the_flags_on_disk(tmp_path):
    found = index([(0.0, 4000)], flags=[(5, 3, "flat")], folder=tmp_path)
    travelling = pickle.dumps(found)
    again = pickle.loads(travelling)
    assert again.bad(again.place(1)).tolist() == found.bad(found.place(1)).tolist() == [e == 3 for e in range(10)]
    long = index([(0.0, 200 * 20_000)], flags=[(5, 3, "flat")], folder=tmp_path)
    assert len(pickle.dumps(long)) == pytest.approx(len(travelling), abs=100)


def test_usual_lengths_make_about_256_patches():
    assert {electrodes: default_seconds(electrodes) for electrodes in (1, 19, 23, 32, 64, 128, 300)} == {
        1: 16, 19: 13, 23: 11, 32: 8, 64: 4, 128: 2, 300: 1,
    }  # fmt: skip


def test_lengths_and_strides_that_cannot_be_are_refused():
    with refuses("1 to 16"):
        index([(0.0, 4000)], seconds=17)
    with refuses("less than a sample"):
        index([(0.0, 4000)], stride=0.001)
