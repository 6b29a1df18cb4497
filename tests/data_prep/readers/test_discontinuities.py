"""Cutting at the marks of all formats, at exactly the right sample."""

import math

import numpy as np
import pytest

from labram_jax.data_prep.readers.discontinuities import (
    brainvision_breaks,
    brainvision_markers,
    jumps,
    marks_of,
    persyst_breaks,
    pieces_between,
)
from labram_jax.data_prep.readers.reader import Annotation


@pytest.mark.parametrize(
    ("breaks", "pieces"),
    [
        ([], ((0, 100),)),
        ([(30, 30)], ((0, 30), (30, 100))),
        ([(30, 40)], ((0, 30), (40, 100))),
        ([(30, 30), (30, 30), (30, 40), (35, 50), (10, 10)], ((0, 10), (10, 30), (50, 100))),
        ([(0, 0), (100, 100), (0, 5), (99, 300), (200, 300), (-20, -10), (-5, 2)], ((5, 99),)),
        ([(50, 45)], ((0, 50), (50, 100))),
        ([(40, 60), (45, 50)], ((0, 40), (60, 100))),
        ([(-10, 500)], ()),
        ([(1, 1), (2, 2), (98, 98)], ((0, 1), (1, 2), (2, 98), (98, 100))),
    ],
)
def test_pieces_are_what_lies_between_breaks(breaks, pieces):
    assert pieces_between(100, breaks) == pieces
    assert pieces_between(100, reversed(breaks)) == pieces


def test_a_recording_without_samples_has_no_piece():
    assert pieces_between(0, [(0, 0)]) == ()


@pytest.mark.parametrize(
    ("text", "start", "duration", "found"),
    [
        ("BAD_ACQ_SKIP", 2.0, 1.0, (500, 750)),
        ("bad_acq_skip", 2.0, 0.0, (500, 500)),
        ("BAD_disconnect", 2.0, 1.0, (500, 750)),
        ("BAD_disconnection", 2.0, 1.0, (500, 750)),
        ("BAD boundary", 2.0, 0.0, (500, 500)),
        ("EDGE boundary", 2.0, 0.0, (500, 500)),
        ("BAD_boundary", 2.0, 1.0, (500, 750)),
        ("boundary", 2.0, 30.0, (500, 500)),  # EEGLAB tells the length of what was removed
        ("Boundary", 2.0, math.pi, (500, 500)),
        ("New Segment/", 2.0, 0.004, (500, 500)),
        ("New Segment/LostSamples: 9", 2.0, 0.004, (500, 500)),
    ],
)
def test_texts_that_cut(text, start, duration, found):
    marks = marks_of([Annotation(start, duration, text)], 250.0)
    assert marks.breaks == [found] and marks.excluded == ()


@pytest.mark.parametrize("text", ["BAD", "bad_blink", "Bad segment", "BAD_SATURATED", "BAD_EGI_PSG"])
def test_other_bad_stretches_exclude_and_do_not_cut(text):
    annotation = Annotation(1.0, 2.0, text)
    assert marks_of([annotation, Annotation(0.0, 1.0, "T1")], 250.0) == ([], (annotation,))


def test_further_texts_cut_only_where_asked():
    annotations = [Annotation(2.0, 0.0, "32766")]
    assert marks_of(annotations, 250.0).breaks == []
    assert marks_of(annotations, 250.0, ["32766"]).breaks == [(500, 500)]


@pytest.mark.parametrize("sample", [25500, 25499.5, 25500 + 0.2, 25500 - 0.2, 25499.5 - 0.2])
def test_onsets_may_lie_half_a_sample_before_the_cut_and_be_rounded(sample):
    assert marks_of([Annotation(sample / 250, 0.0, "BAD boundary")], 250.0).breaks == [(25500, 25500)]


def test_samples_that_may_be_on_the_wrong_side_are_left_out():
    breaks = marks_of([Annotation(100.0, 0.0, "BAD boundary")], 250.0, error_seconds=[0.004]).breaks
    assert breaks == [(24999, 25001)]


def test_jumps_are_what_rounding_does_not_explain():
    times, samples = np.array([0.0, 1.0004, 2.0, 5.0, 5.5]), np.array([0, 1000, 2000, 3000, 4000])
    np.testing.assert_allclose(jumps(times, samples, 1000.0), [0, 0, 2.0, -0.5])
    assert not jumps(np.array([86399.0, 1.0]), np.array([0, 500]), 250.0).any()  # midnight


HEADER = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=a.eeg\nMarkerFile=b.vmrk\n"


def test_brainvision_cuts_at_new_segments(tmp_path):
    header, markers = tmp_path / "a.vhdr", tmp_path / "b.vmrk"
    header.write_text(HEADER)
    assert brainvision_markers(header) is None and brainvision_breaks(header) == []
    lines = "Mk1=New Segment,,1,1,0,20200101000000000000", "Mk2=Stimulus,New Segment,30,1,0", "Mk3=New Segment,,501,1,0"
    markers.write_bytes("\r\n".join(["[Marker Infos]", *lines, ""]).encode())
    assert brainvision_markers(header) == markers
    assert brainvision_breaks(header) == [(0, 0), (500, 500)]
    markers.rename(tmp_path / "a.vmrk")  # a renamed file, whose header was not
    assert brainvision_breaks(header) == [(0, 0), (500, 500)]


def test_brainvision_cuts_between_segments_of_equal_length(tmp_path):
    header = tmp_path / "a.vhdr"
    header.write_text(HEADER + "DataPoints=25\nSegmentationType=MARKERBASED\nSegmentDataPoints=10\n")
    assert brainvision_breaks(header) == [(0, 0), (10, 10), (20, 20)]
    header.write_text(HEADER + "DataPoints=25\nSegmentationType=NOTSEGMENTED\nSegmentDataPoints=10\n")
    assert brainvision_breaks(header) == []


def test_persyst_cuts_where_the_clock_jumps(tmp_path):
    layout = tmp_path / "a.lay"
    layout.write_text(
        "[FileInfo]\nFile=a.dat\n[sampletimes]\n0=100.0\n400=102.0\n900=110\n1100=111.0\n[Comments]\n5=6\n"
    )
    assert persyst_breaks(layout, 200.0) == [(900, 900)]
    layout.write_text("[FileInfo]\nFile=a.dat\n")
    assert persyst_breaks(layout, 200.0) == []
