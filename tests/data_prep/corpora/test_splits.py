from collections import Counter

import pytest

from data_prep.corpora.splits import cut_in_time, split_at, split_subjects
from labram_jax.errors import InputError


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
    with pytest.raises(InputError, match="2 subject"):
        split_subjects({"a": None, "b": None}, (0.8, 0.1, 0.1), 0)


def test_a_cut_in_time_covers_the_stretch_once():
    spans = cut_in_time(10.0, 110.0, (0.6, 0.1, 0.3), 1)
    assert [(s.split, s.start_seconds, s.stop_seconds, s.label) for s in spans] == [
        ("train", 10.0, pytest.approx(70.0), 1),
        ("validation", pytest.approx(70.0), pytest.approx(80.0), 1),
        ("test", pytest.approx(80.0), 110.0, 1),
    ]
    assert spans[0].stop_seconds == spans[1].start_seconds
    assert [s.split for s in cut_in_time(0.0, 10.0, (0.7, 0.0, 0.3))] == ["train", "test"]


def test_a_moment_falls_where_the_cut_puts_it():
    fractions = (0.6, 0.0, 0.4)
    assert [split_at(t, 100.0, fractions) for t in (0.0, 59.9, 60.0, 100.0)] == ["train", "train", "test", "test"]
