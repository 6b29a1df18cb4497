import pytest

from data_prep.corpora.manifest import read_manifest
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
    manifest = read("path,subject,split,label,start,stop\na.edf, s1 ,test,rest,1.5,9\nb.edf,s2,train,task,,\n")
    first, second = manifest.lines
    assert (first.path, first.subject, first.split) == (tmp_path / "a.edf", "s1", "test")
    assert (first.start_seconds, first.stop_seconds, first.label) == (1.5, 9.0, 0)
    assert (second.start_seconds, second.stop_seconds, second.label) == (0.0, None, 1)
    assert manifest.classes == ("rest", "task")


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
    assert [line.label for line in manifest.lines] == labels
    assert manifest.classes == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\na.edf\nmissing.edf\n", "line 3: there is no file .*missing.edf"),
        ("path,label\na.edf,x\n,y\n", "line 3: there is no file"),
        ("path,lable\na.edf,x\n", "column 'lable', which is unknown"),
        ("path,label,label\na.edf,x,y\n", "'label' twice"),
        ("subject\ns\n", "no column 'path'"),
        ("", "no column 'path'"),
        ("path\n", "lists no recording"),
        ("path,split\na.edf,val\n", "line 2: 'val' is not a split; write one of train, validation, test"),
        ("path,split\na.edf,train\nb.edf,\n", "line 3: it has no split, but other lines do"),
        ("path,label\na.edf,x\nb.edf,\n", "line 3: it has no label"),
        ("path,label\na.edf\n", "line 2: it has not as many cells"),
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
