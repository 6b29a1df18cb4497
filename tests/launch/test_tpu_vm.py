"""Training on a TPU slice, with stand-ins for Google Cloud and for the hosts: what becomes of each exit code, and
what a host does to be ready.
"""

import fcntl
import shutil
import subprocess
import tarfile

import pytest
from launch_scripts import COMMIT, LAUNCH, TPU, TRAIN, stand_ins, start

from labram_jax.errors import DAMAGE, INTERRUPTED, MAY_PASS, MISTAKE, STOPPED

pytestmark = pytest.mark.skipif(shutil.which("flock") is None, reason="the hosts' flock is not on this machine")

# Keeps the state of the slice in a file, and runs what comes by ssh in a folder, but for making a host ready.
GCLOUD = """echo "$4" >>calls
case "$4" in
    describe) cat state ;;
    create) echo ACTIVE >state ;;
    delete) echo -n >state ;;
    ssh)
        for command; do :; done
        case "$command" in *tpu_vm_host.sh*) exit ;; esac
        cd host && bash -c "${command#--command=}"
        ;;
esac
"""
# Ends with one code after the other, and loses the slice with 75.
TRAINING = """printf '%s\\n' "$@" >>../words
read -r code <../codes
sed -i 1d ../codes
[ "$code" != 75 ] || echo SUSPENDED >../state
exit "$code"
"""


@pytest.mark.parametrize(
    ("codes", "ends_with", "changes"),
    [
        ([STOPPED, 0], 0, ["create", "scp", "delete", "create", "scp"]),
        ([MAY_PASS, 143, 0], 0, ["create", "scp", "scp", "scp"]),
        ([MAY_PASS] * 3, MAY_PASS, ["create", "scp", "scp", "scp"]),
        *(([code], code, ["create", "scp"]) for code in (MISTAKE, DAMAGE, INTERRUPTED)),
    ],
)
def test_codes_that_can_pass_are_tried_again_and_others_are_not(codes, ends_with, changes, tmp_path):
    path = stand_ins(
        tmp_path,
        {
            "gcloud": GCLOUD,
            "git": f"echo {COMMIT}",
            "sleep": "exec /bin/sleep 0.05",
            "host/venv/bin/labram-jax": TRAINING,
        },
    )
    (tmp_path / "state").touch()
    (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
    shutil.copytree(LAUNCH, tmp_path / "launch")  # the script works where it lies
    done = start(tmp_path / "launch" / "tpu_vm.sh", "train", *TRAIN, **TPU | {"PATH": path, "RETRIES": "2"})
    assert done.returncode == ends_with, done.stderr
    assert (tmp_path / "words").read_text().splitlines() == len(codes) * ["train", *TRAIN]
    calls = (tmp_path / "calls").read_text().split()
    assert [call for call in calls if call in ("create", "delete", "scp")] == changes
    assert not list(tmp_path.rglob("harm"))


def test_a_host_mounts_and_installs_once_for_every_commit(tmp_path):
    def tool(name: str) -> str:
        return f'echo "{name} $*" >>"$HOME/calls"'

    tools = ("curl", "sudo", "gcsfuse", "python3")
    path = stand_ins(tmp_path / "bin", {name: tool(name) for name in tools} | {"mountpoint": "exit 1"})
    stand_ins(tmp_path, {".local/bin/uv": tool("uv")})

    def ready(commit: str) -> tuple[list[str], str]:
        with tarfile.open(tmp_path / f"labram-jax-{commit}.tar.gz", "w:gz") as archive:
            archive.add(LAUNCH.parent / "constraints.txt", "constraints.txt")
        (tmp_path / "calls").write_text("")
        command = ["bash", LAUNCH / "tpu_vm_host.sh", commit, "eeg", "700"]
        done = subprocess.run(
            command, env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "calls").read_text().splitlines(), done.stdout

    calls, _ = ready(COMMIT)
    runs, corpora, *installs = calls
    assert runs.endswith("--metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 eeg bucket")
    assert "-o ro " in corpora and " --file-cache-max-size-mb=700 " in corpora and corpora.endswith(" eeg readonly")
    assert [line.split()[0] for line in installs] == ["python3", "uv", "uv"]
    assert "--constraint labram-jax/constraints.txt" in installs[-1]
    assert ready(COMMIT)[0] == [runs, corpora]
    other = COMMIT[::-1]
    assert len(ready(other)[0]) == len(calls) and (tmp_path / "commit").read_text() == f"{other}\n"
    with (tmp_path / "labram.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ready(COMMIT) == ([], f"labram-jax trains here already, at commit {other}\n")
