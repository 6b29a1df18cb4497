"""Tables of corpora: what is refused in them, and how they are split."""

import math
from collections import Counter
from pathlib import Path

import pytest
from sentences import refuses

from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of, split_subjects, split_table


def people(count: int, recordings: int = 2) -> list[Span]:
    """Some people with as many recordings each, of class 0 and 1 in turn."""
    return [
        Span(Path(f"s{person:02d}/{run}.edf"), f"s{person:02d}/{run}", f"s{person:02d}", label=run % 2)
        for person in range(count)
        for run in range(recordings)
    ]


def sides(rows) -> dict[str, set[str]]:
    return {subject: set(own) for subject, own in rows.groupby("subject")["split"]}


def test_whole_subjects_go_to_one_split_and_what_has_one_keeps_it():
    spans = [*people(10), Span(Path("e.edf"), "e", "eval", split="test", label=1)]
    rows = split_table(rows_of(spans), Split("subject", (0.8, 0.2, 0.0)), {})
    found = sides(rows)
    assert found.pop("eval") == {"test"}
    assert Counter(split for splits in found.values() for split in splits) == {"train": 8, "validation": 2}
    assert rows["recording"].tolist() == [span.recording for span in spans]


def test_subjects_of_the_same_labels_are_spread_evenly_unless_the_corpus_says_otherwise():
    spans = [
        Span(Path(f"{label}{person}"), f"{label}{person}", f"{label}{person}", label=label)
        for label in (0, 1)
        for person in range(10)
    ]

    def trained(**choices) -> list[int]:
        """How many of class 0 train, for some seeds."""
        splits = [Split("subject", (0.5, 0.0, 0.5), seed, **choices) for seed in range(6)]
        tables = [split_table(rows_of(spans), split, {}) for split in splits]
        return [int(((rows["label"] == 0) & (rows["split"] == "train")).sum()) for rows in tables]

    assert set(trained()) == {5}
    assert set(trained(balanced=False)) != {5}


def test_a_split_by_subject_asks_who_was_recorded():
    spans = [*people(3), Span(Path("x.edf"), "x")]
    with refuses("1 of 7 recordings .*'x'.*--subject-pattern REGEX, a manifest .*BIDS names .*--split-by time"):
        split_table(rows_of(spans), Split("subject"), {})
    with refuses("must not guess"):  # before any file is opened
        CorpusTable("mine", rows_of(spans), Split("subject"))


@pytest.mark.parametrize(("by", "seconds"), [("time", {"x": 10.0}), ("none", {})])
def test_by_time_or_none_a_recording_of_nobody_is_its_own_subject(by, seconds):
    rows = split_table(rows_of([Span(Path("x.edf"), "x")]), Split(by, (0.5, 0.0, 0.5)), seconds)
    assert set(rows["subject"]) == {"x"}


def test_stretches_are_cut_in_time_and_end_with_their_recording():
    spans = [
        Span(Path("a"), "a", label=1, start=10.0, stop=110.0),
        Span(Path("b"), "b", start=4.0),
        Span(Path("b"), "b", start=30.0, stop=40.0),
        Span(Path("unread"), "unread"),
    ]
    rows = split_table(rows_of(spans), Split("time", (0.6, 0.1, 0.3)), {"a": 200.0, "b": 24.0})
    found = [(r.recording, r.split, pytest.approx(r.start), pytest.approx(r.stop), r.label) for r in rows.itertuples()]
    assert found == [
        ("a", "train", 10.0, 70.0, 1),
        ("a", "validation", 70.0, 80.0, 1),
        ("a", "test", 80.0, 110.0, 1),
        ("b", "train", 4.0, 16.0, None),
        ("b", "validation", 16.0, 18.0, None),
        ("b", "test", 18.0, 24.0, None),
    ]
    assert rows["stop"][0] == rows["start"][1]  # exactly, or a window might be in both
    assert set(split_table(rows_of(spans[:1]), Split("time", (0.7, 0.0, 0.3)), {"a": 9e9})["split"]) == {
        "train",
        "test",
    }


def test_an_event_goes_whole_to_where_it_begins_but_never_into_a_later_split():
    starts = (0.0, 58.0, 61.0, 99.0, 120.0)
    spans = [Span(Path("a"), "a", label=0, start=start, stop=start + 4) for start in starts]
    rows = split_table(rows_of(spans), Split("time", (0.6, 0.0, 0.4), events=True), {"a": 100.0})
    assert [(r.split, r.start, r.stop) for r in rows.itertuples()] == [
        ("train", 0.0, 4.0),
        ("train", 58.0, 61.0),
        ("test", 61.0, 65.0),
        ("test", 99.0, 100.0),
    ]


def test_a_subject_in_two_splits_is_refused_unless_asked_for_or_by_time():
    spans = [Span(Path(name), name, "anna", split) for name, split in (("a", "train"), ("b", "test"))]
    with refuses("'anna' .in train and test.*give every subject one split, or --allow-shared-subjects"):
        split_table(rows_of(spans), Split("given"), {})
    assert len(split_table(rows_of(spans), Split("given", allow_shared_subjects=True), {})) == 2
    assert len(split_table(rows_of(spans), Split("time"), {})) == 2


def test_a_recording_of_nobody_in_two_splits_is_refused_as_well():
    spans = [Span(Path("a"), "a", split="train", stop=5.0), Span(Path("a"), "a", split="test", start=5.0)]
    with refuses("'a'"):
        split_table(rows_of(spans), Split("given"), {})


@pytest.mark.parametrize(("stop", "refused"), [(9.0, True), (math.nan, True), (5.0, False)])
def test_two_splits_never_share_time_of_a_recording(stop, refused):
    spans = [Span(Path("a"), "a", "s", "train", stop=stop), Span(Path("a"), "a", "s", "test", start=5.0)]
    split = Split("given", allow_shared_subjects=True)
    if refused:
        with refuses("'a' the splits train and test share time from 5 s on"):
            split_table(rows_of(spans), split, {})
    else:
        assert len(split_table(rows_of(spans), split, {})) == 2


def test_events_of_one_split_may_overlap():
    spans = [Span(Path("a"), "a", "s", "test", start=start, stop=start + 5) for start in (-1.6, -1.6, 0.4)]
    assert len(split_table(rows_of(spans), Split("given"), {})) == 3


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([Span(Path("a.edf"), "a", "s"), Span(Path("a.bdf"), "a", "s")], "Two recordings are called 'a'"),
        ([Span(Path("f"), "a", "s", part="1"), Span(Path("f"), "a", "s", part="2")], "Two recordings are called 'a'"),
        ([Span(Path("a"), "a", "s"), Span(Path("a"), "a", "t")], "The recording 'a' has two subjects"),
        ([Span(Path("a"), "a", "s", label=(1.0,)), Span(Path("a"), "a", "s", label=(1.0, 2.0))], "different lengths"),
    ],
)
def test_contradictions_are_refused(spans, says):
    with refuses(says):
        CorpusTable("mine", rows_of(spans), Split("none"))


def test_given_splits_must_be_given():
    with refuses("'a' has no split"):
        split_table(rows_of([Span(Path("a"), "a", "s")]), Split("given"), {})


def test_subjects_of_each_profile_are_spread_over_the_splits():
    profiles = {f"a{i}": "rare" for i in range(10)} | {f"b{i}": "common" for i in range(30)}
    for seed in range(5):
        splits = split_subjects(profiles, (0.6, 0.2, 0.2), seed)
        counts = Counter((profiles[subject], split) for subject, split in splits.items())
        for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            assert abs(counts["rare", split] - 10 * share) <= 1
            assert counts["rare", split] + counts["common", split] == 40 * share


def test_the_split_depends_on_names_and_seed_alone():
    names = [f"s{i}" for i in range(20)]
    once = split_subjects(dict.fromkeys(names), (0.5, 0.25, 0.25), 3)
    assert once == split_subjects(dict.fromkeys(reversed(names)), (0.5, 0.25, 0.25), 3)
    assert once != split_subjects(dict.fromkeys(names), (0.5, 0.25, 0.25), 4)


def test_the_split_of_a_seed_stays_what_it_was():
    """Scores of one version compare with those of another."""
    splits = split_subjects({f"s{i}": i % 2 for i in range(10)}, (0.6, 0.2, 0.2), 0)
    assert " ".join(splits[f"s{i}"][:2] for i in range(10)) == "va tr te va tr tr tr tr tr te"


def test_single_subjects_of_a_profile_are_not_split_by_their_names():
    profiles = {f"s{i:02d}": i for i in range(20)}  # as regression labels give: nobody has a peer
    tested = {
        subject
        for seed in range(5)
        for subject, split in split_subjects(profiles, (0.8, 0.1, 0.1), seed).items()
        if split == "test"
    }
    assert len(tested) > 4


@pytest.mark.parametrize(
    ("subjects", "fractions", "expected"),
    [
        (3, (0.8, 0.1, 0.1), (1, 1, 1)),
        (4, (0.98, 0.01, 0.01), (2, 1, 1)),
        (5, (0.8, 0.2, 0.0), (4, 1, 0)),
        (10, (0.7, 0.15, 0.15), (7, 2, 1)),
        (1, (1.0, 0.0, 0.0), (1, 0, 0)),
    ],
)
def test_every_split_with_a_share_gets_a_subject(subjects, fractions, expected):
    counts = Counter(split_subjects({f"s{i}": None for i in range(subjects)}, fractions, 0).values())
    assert tuple(counts[split] for split in ("train", "validation", "test")) == expected


def test_too_few_subjects_are_refused():
    with refuses("2 subject"):
        split_subjects({"a": None, "b": None}, (0.8, 0.1, 0.1), 0)
