import math

import pytest

from labram_jax.data_prep.sources.manifest import read_manifest, sorted_classes
from labram_jax.errors import InputError


@pytest.fixture
def read(tmp_path):
    for name in ("a.edf", "b.edf"):
        (tmp_path / name).touch()

    def read(text):
        (tmp_path / "manifest.csv").write_text(text)
        return read_manifest(tmp_path / "manifest.csv", tmp_path)

    return read


def test_a_line_says_path_subject_split_label_and_stretch(read, tmp_path):
    lines, classes = read("path,subject,split,label,start,stop\na.edf, s1 ,test,rest,1.5,9\n\nb.edf,s2,train,task,,\n")
    first, second = lines.itertuples()
    assert (first.path, first.subject, first.split) == (tmp_path / "a.edf", "s1", "test")
    assert (first.Index, first.start, first.stop, first.label) == (2, 1.5, 9.0, 0)
    assert (second.Index, second.start, second.label) == (4, 0.0, 1) and math.isnan(second.stop)
    assert classes == ("rest", "task")


def test_one_file_is_one_recording_whatever_its_path(read, tmp_path):
    (tmp_path / "link.edf").symlink_to("a.edf")
    lines, _ = read(
        f"path,split,stop,start\na.edf,train,5,0\nlink.edf,test,9,5\n{tmp_path}/../{tmp_path.name}/a.edf,test,10,9\n"
    )
    assert set(lines["path"]) == {tmp_path / "a.edf"}


def test_columns_of_ones_own_are_left_alone(read):
    """Also `state`, which is much like `start`, but holds no seconds."""
    lines, classes = read("path,age,state,step,comment,label\na.edf,31,rest,2b,fell asleep,x\n")
    assert list(lines) == ["path", "subject", "split", "label", "start", "stop"]
    assert classes == ("x",) and lines["start"].tolist() == [0]


def test_classes_are_sorted_as_numbers_or_names():
    assert sorted_classes(["10", "9", "10"]) == ([1, 0, 1], ("9", "10"))
    assert sorted_classes(["b", "a", "10"]) == ([2, 1, 0], ("10", "a", "b"))


@pytest.mark.parametrize(
    ("column", "values", "labels", "classes"),
    [
        ("label", ("open", "closed"), [1, 0], ("closed", "open")),
        ("label", ("10", "9"), [1, 0], ("9", "10")),
        ("label", ("1", "0"), [1, 0], ("0", "1")),
        ("label", ("1", "0.5"), [(1.0,), (0.5,)], None),
        ("label", ("1", "none"), [0, 1], ("1", "none")),
        ("label_0,label_1", ("1,2", "3,4.5"), [(1.0, 2.0), (3.0, 4.5)], None),
        ("subject", ("x", "y"), [None, None], None),
    ],
)
def test_labels_are_classes_or_quantities(read, column, values, labels, classes):
    manifest = read(f"path,{column}\na.edf,{values[0]}\nb.edf,{values[1]}\n")
    assert manifest.lines["label"].tolist() == labels
    assert manifest.classes == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.edf\nmissing.edf\n", "line 3: there is no file .*missing.edf"),
        ("path,label\na.edf,x\n,y\n", "line 3: there is no file"),
        ("path\na.edf\nb\0.edf\n", r"line 3: there is no file .*b\\0\.edf"),
        ("path,lable\na.edf,x\n", "column 'lable', which is unknown; call it 'label'"),
        ("path,strat\na.edf,1.5\n", "column 'strat', which is unknown; call it 'start' if it is that, or else"),
        ("path,label,label\na.edf,x,y\n", "'label' twice"),
        ("subject\ns\n", "no column 'path'"),
        ("", "no column 'path'"),
        ("path\n", "lists no recording"),
        ("path,split\na.edf,val\n", "line 2: 'val' is not a split; write one of train, validation, test"),
        ("path,split\na.edf,train\nb.edf,\n", "line 3: it has no split, but other lines do"),
        ("path,label\na.edf,x\nb.edf,\n", "line 3: it has no label"),
        ("path,label\na.edf\n", "line 2: it has not as many cells"),
        ("path,label\na.edf,x\n\nb.edf\n", "line 4: it has not as many cells"),
        ("path,label_0,label_1\na.edf,1,2\nb.edf,1,\n", "line 3: it has no label"),
        ("path,label\na.edf,x,y\n", "line 2: it has not as many cells"),
        ("path,start\na.edf,soon\n", "line 2: 'soon' is not a number"),
        ("path,start\na.edf,-1\n", "line 2: a stretch starts at 0 s"),
        ("path,start,stop\na.edf,5,5\n", "line 2: the stretch from 5 s to 5 s is empty"),
        ("path,label,label_0\na.edf,1,1\n", "both 'label' and 'label_0'"),
        ("path,label_1\na.edf,1\n", "number them label_0"),
        ("path,label_0\na.edf,x\n", "line 2: 'x' is not a number"),
        ("path,subject\na.edf,s1\na.edf,s2\n", "line 3: .* is of subject 's2', but of 's1' on line 2"),
        ("path,split,stop\na.edf,train,\na.edf,test,9\n", "overlaps the one on line"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(read, text, message):
    with pytest.raises(InputError, match=message):
        read(text)


def test_stretches_that_only_touch_may_differ_in_split(read):
    assert len(read("path,split,start,stop\na.edf,test,5,9\na.edf,train,0,5\n").lines) == 2


def test_a_manifest_that_is_absent_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(tmp_path / "absent.csv", tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a CSV file"):
        read_manifest(tmp_path / "binary.csv", tmp_path)
