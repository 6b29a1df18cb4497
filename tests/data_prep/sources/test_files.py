"""Which files of a folder are recordings: companions, parts, links, copies, and what may not be read."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from made_up import raw_of
from sentences import refuses

from labram_jax.data_prep.sources.files import existing_folder, find_files, find_recordings, recording_names


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def found_in(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_recordings(root)[0]]


def write_fif(path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    microvolts = np.random.default_rng(0).normal(scale=20, size=(6, 150_000))
    raw_of(microvolts, 200.0).save(path, split_size="2MB", verbose="ERROR", **options)


def test_recordings_are_found_and_their_companions_are_not(tmp_path):
    touch(tmp_path, "b/x.vhdr", "b/x.eeg", "b/x.vmrk", "B/Y.VHDR", "B/Y.EEG", "a.EDF", "d.fif.gz", "e.eeg")
    touch(tmp_path, "p.lay", "p.dat", "q.dap", "q.dat", "alone.dat", "notes.txt", "h.mff/signal1.bin", "h.mff/in.edf")
    touch(tmp_path, ".hidden/f.edf", ".g.edf", "study.raw/inside.edf", "study.edf/inside.edf")
    assert found_in(tmp_path) == [
        *("B/Y.VHDR", "a.EDF", "alone.dat", "b/x.vhdr", "d.fif.gz", "e.eeg", "h.mff", "p.lay", "q.dap"),
        *("study.edf/inside.edf", "study.raw/inside.edf"),
    ]


def test_copies_and_sources_of_recordings_are_left_out(tmp_path):
    touch(tmp_path, "sub-01/a.edf", "derivatives/clean/sub-01/a.edf", "sourcedata/a.bdf", "x/derivatives/b.edf")
    assert found_in(tmp_path) == ["sub-01/a.edf"]


def test_parts_of_one_recording_are_one(tmp_path):
    write_fif(tmp_path / "long_raw.fif")
    write_fif(tmp_path / "bids/sub-01_task-rest_eeg.fif", split_naming="bids")
    assert len(list(tmp_path.glob("long_raw-*.fif"))) >= 1 and len(list((tmp_path / "bids").iterdir())) >= 2
    assert found_in(tmp_path) == ["bids/sub-01_task-rest_split-01_eeg.fif", "long_raw.fif"]


def test_a_first_part_may_have_been_renamed(tmp_path):
    write_fif(tmp_path / "a_eeg.fif", split_naming="bids", fmt="single")
    (tmp_path / "a_split-01_eeg.fif").rename(tmp_path / "a longer name than before.fif")
    assert len(list(tmp_path.iterdir())) > 1 and found_in(tmp_path) == ["a longer name than before.fif"]


def test_numbered_files_that_do_not_go_on_are_recordings_of_their_own(tmp_path):
    for name in ("run_raw.fif", "run_raw-1.fif", "run_raw-2.fif"):
        raw_of(np.ones((6, 400)), 200.0).save(tmp_path / name, verbose="ERROR")
    (tmp_path / "torn_raw.fif").write_bytes(b"no recording")
    (tmp_path / "torn_raw-1.fif").write_bytes(b"no recording")
    assert len(found_in(tmp_path)) == 5


def test_links_are_followed_once_and_one_file_is_one_recording(tmp_path):
    root, elsewhere = tmp_path / "study", tmp_path / "disk" / "archive"
    touch(root, "s0/rest.edf", "s1/rest.edf", "s2/rest.edf")
    touch(elsewhere, "s3/rest.edf")
    touch(tmp_path, "disk/private.edf")
    for link, target in (
        ("latest", "."),
        ("up", ".."),
        ("s0/again", "../s0"),
        ("a_copy.edf", "s0/rest.edf"),
        ("more", elsewhere),
        ("more2", elsewhere),
        ("self.edf", "self.edf"),
        ("gone.edf", "nowhere.edf"),
    ):
        (root / link).symlink_to(target)
    (elsewhere / "round").symlink_to(tmp_path / "disk")
    os.link(root / "s1/rest.edf", root / "s2/twin.edf")
    paths, unusable = find_recordings(root)
    assert [path.relative_to(root).as_posix() for path in paths] == [
        *("more/s3/rest.edf", "s0/rest.edf", "s1/rest.edf", "s2/rest.edf"),
    ]
    reasons = dict(unusable)
    assert reasons.keys() == {str(root / "self.edf"), str(root / "gone.edf")}
    assert all("leads nowhere" in reason for reason in reasons.values())


def test_a_file_that_is_only_a_link_keeps_the_name_of_the_link(tmp_path):
    """As in datasets whose contents lie in a hidden store under their digests."""
    touch(tmp_path, ".store/MD5-123.edf")
    (tmp_path / "sub-01_eeg.edf").symlink_to(".store/MD5-123.edf")
    assert found_in(tmp_path) == ["sub-01_eeg.edf"]


def test_a_folder_that_may_not_be_listed_is_told_and_ends_nothing(tmp_path, monkeypatch):
    touch(tmp_path, "good/a.edf", "closed/b.edf")
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    paths, ((path, reason),) = find_recordings(tmp_path)
    assert [path.name for path in paths] == ["a.edf"]
    assert path == str(tmp_path / "closed") and "cannot be listed (Permission denied)" in reason
    with refuses("closed cannot be listed"):
        find_recordings(tmp_path / "closed")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reads_what_it_may(tmp_path):
    touch(tmp_path, "good/a.edf", "closed/b.edf", "names_only/c.edf")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "names_only").chmod(0o744)
    for folder in (tmp_path, *tmp_path.parents):  # pytest's folders are for their owner alone
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        paths, unusable = find_recordings(tmp_path)
    finally:
        os.seteuid(0)
    assert [path.name for path in paths] == ["a.edf"]
    assert sorted(Path(path).name for path, _ in unusable) == ["c.edf", "closed"]


def test_pipes_and_names_of_other_encodings_are_told(tmp_path):
    os.mkfifo(tmp_path / "pipe.edf")
    (tmp_path / os.fsdecode(b"caf\xe9.edf")).touch()
    paths, unusable = find_recordings(tmp_path)
    assert paths == []
    reasons = " ".join(reason for _, reason in unusable)
    assert "a device or a pipe" in reasons and "a name that is not UTF-8: rename it" in reasons
    reasons.encode()  # so that it can be written


def test_recordings_of_one_name_are_told_apart(tmp_path):
    names = recording_names([tmp_path / "s/x.edf", tmp_path / "s/x.bdf", tmp_path / "t/x.fif.gz"], tmp_path)
    assert list(names.values()) == ["s/x.edf", "s/x.bdf", "t/x"]


def test_other_files_are_found_by_their_suffix_in_any_case(tmp_path):
    touch(tmp_path, "b.HDF5", "a/x.h5", "c.txt")
    assert [path.name for path in find_files(tmp_path, (".hdf5", ".h5"))[0]] == ["x.h5", "b.HDF5"]


def test_a_source_is_a_folder(tmp_path):
    touch(tmp_path, "a.edf")
    for source, says in ((None, "needs its recordings"), (tmp_path / "b", "no folder"), (tmp_path / "a.edf", "is not")):
        with refuses(f"{says}.*give the folder of it"):
            existing_folder(source, "mine", "the folder of it")
