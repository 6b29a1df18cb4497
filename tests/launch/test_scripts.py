"""The scripts that start training elsewhere: their syntax, what they would do, and what they refuse."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
TPU = {
    "PROJECT": "mine",
    "ZONE": "us-west4-a",
    "NAME": "base",
    "ACCELERATOR": "v5litepod-256",
    "RUNTIME": "v2-alpha-tpuv5-lite",
    "BUCKET": "eeg",
}
GKE = {
    "NAME": "base",
    "IMAGE": "image:1",
    "BUCKET": "eeg",
    "ACCELERATOR": "tpu-v5-lite-podslice",
    "TOPOLOGY": "16x16",
    "HOSTS": "64",
    "CHIPS": "4",
}
TRAIN = ["pretrain_base", "--run", "bucket/runs/it's mine"]


def start(script: str | Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs a script with these variables alone."""
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([LAUNCH / script, *arguments], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script):
    assert len(script.read_text().splitlines()) < 200 and os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    found = subprocess.run([Path(sys.executable).with_name("shellcheck"), script], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "sentence"),
    [
        ("tpu_vm.sh", [], TPU, "say what to do"),
        ("tpu_vm.sh", ["train"], TPU, "name a configuration"),
        *(("tpu_vm.sh", ["train", *TRAIN], TPU | {name: ""}, f"set {name} ") for name in TPU),
        ("gke.sh", ["start"], GKE, "say what to do"),
        ("gke.sh", ["train"], GKE, "name a configuration"),
        *(("gke.sh", ["--dry-run", "train", *TRAIN], GKE | {name: ""}, f"set {name} ") for name in GKE),
        ("slurm.sbatch", TRAIN, {}, "submit this with sbatch"),
        ("slurm.sbatch", ["--dry-run"], {}, "name a configuration"),
    ],
)
def test_what_is_missing_is_told_in_one_sentence(script, arguments, variables, sentence):
    done = start(script, *arguments, **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"launch/{script}: {sentence}") and len(done.stderr.splitlines()) == 1


def test_tpu_vm_says_what_it_would_do():
    done = start("tpu_vm.sh", "--dry-run", "train", *TRAIN, **TPU)
    assert done.returncode == 0, done.stderr
    where = "--project=mine --zone=us-west4-a"
    create = f"gcloud compute tpus queued-resources create base {where} --node-id=base --accelerator-type=v5litepod-256"
    assert done.stdout.startswith(f"{create} --runtime-version=v2-alpha-tpuv5-lite --spot")
    on_demand = start("tpu_vm.sh", "--dry-run", "train", *TRAIN, **TPU, SPOT="0")
    assert "--spot" not in on_demand.stdout
    deleting = start("tpu_vm.sh", "--dry-run", "delete", **TPU)
    assert deleting.stdout == f"gcloud compute tpus queued-resources delete base {where} --force --quiet \n"


# Stands for Google Cloud: keeps the state of the slice in a file, and runs what comes by ssh in a folder.
GCLOUD = """#!/usr/bin/env bash
echo "$4" >>calls
case "$4" in
    describe) cat state ;;
    create) echo ACTIVE >state ;;
    delete) echo -n >state ;;
    ssh)
        command=${!#}
        cd host && if [[ $command != *uv* ]]; then bash -c "${command#--command=}"; fi
        ;;
esac
"""
# Stands for training: the first time it is preempted, the second time it ends well.
TRAINING = """#!/usr/bin/env bash
printf '%s\\n' "$@" >>../words
if [ -f ../preempted ]; then exit; fi
touch ../preempted
echo SUSPENDED >../state
exit 75
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="the hosts' flock is not on this machine")
def test_tpu_vm_asks_for_another_slice_after_preemption_and_goes_on(tmp_path):
    (tmp_path / "host" / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "state").touch()
    shutil.copytree(LAUNCH, tmp_path / "launch")  # the script works where it lies
    for path, text in (
        ("gcloud", GCLOUD),
        ("git", "#!/bin/sh\n"),
        ("sleep", "#!/bin/sh\nexec /bin/sleep 0.2\n"),
        ("host/venv/bin/labram-jax", TRAINING),
    ):
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    done = start(tmp_path / "launch" / "tpu_vm.sh", "train", *TRAIN, **TPU, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "stopped with a checkpoint; going on" in done.stdout
    assert (tmp_path / "words").read_text().splitlines() == 2 * ["train", *TRAIN]
    calls = (tmp_path / "calls").read_text().split()
    changes = [call for call in calls if call in ("create", "delete", "scp")]
    assert changes == ["create", "scp", "delete", "create", "scp"]


def test_the_job_of_gke_is_as_its_schema_says():
    done = start("gke.sh", "--dry-run", "train", *TRAIN, 'a "b" \\c', **GKE)
    assert done.returncode == 0, done.stderr
    job, schema = yaml.safe_load(done.stdout), json.loads(Path(__file__).with_name("jobset.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(job, schema, cls=jsonschema.Draft202012Validator)
    pod = job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["train", *TRAIN, 'a "b" \\c']
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    # The schema would notice: a pod that starts again by itself would wait for the others forever.
    pod["restartPolicy"] = "OnFailure"
    with pytest.raises(jsonschema.ValidationError, match="OnFailure"):
        jsonschema.validate(job, schema, cls=jsonschema.Draft202012Validator)


def test_slurm_says_what_it_would_do():
    done = start("slurm.sbatch", "--dry-run", *TRAIN)
    srun, again = done.stdout.splitlines()
    assert srun.startswith("srun ") and srun.endswith(" ".join(["labram-jax train", *TRAIN]))
    assert again.endswith("scontrol requeue JOB")


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"), [(0, 0, False), (2, 0, False), (75, 9, True), (1, 0, True), (1, 5, False)]
)
def test_slurm_goes_back_into_the_queue_unless_that_would_not_help(tmp_path, code, restarts, requeued):
    for name, text in (("srun", f"exit {code}"), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = start("slurm.sbatch", *TRAIN, PATH=path, SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts))
    assert done.returncode == code and done.stdout == ("requeue 7\n" if requeued else "")


def test_local_says_what_it_would_do():
    done = start("local.sh", "--dry-run", "2", *TRAIN, LABRAM_PORT="1234")
    job = "env LABRAM_PROCESSES=2 LABRAM_COORDINATOR=127.0.0.1:1234"
    command = " ".join(["labram-jax train", *TRAIN])
    assert done.stdout.splitlines() == [f"{job} LABRAM_PROCESS={process} {command}" for process in range(2)]
