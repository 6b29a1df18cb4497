"""The scripts that start training elsewhere: their syntax, what they would do, what they refuse, what they install."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from launch_scripts import COMMIT, GKE, LAUNCH, TPU, TRAIN, stand_ins, start

from labram_jax.errors import DAMAGE, INTERRUPTED, MISTAKE

SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
HARMFUL = ["eeg; touch harm", "$(touch harm)", "`touch harm`", "it's", 'a"b', "a b", "a\nb", "-rf", "../x", "${NAME}"]


@pytest.fixture
def bare(tmp_path) -> dict[str, str]:
    """Variables with which every command of a cloud or cluster says on stderr that it was called."""
    called = dict.fromkeys(("gcloud", "kubectl", "srun", "scontrol", "labram-jax"), "echo called >&2")
    return {"PATH": stand_ins(tmp_path, called | {"git": f"echo {COMMIT}"})}


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
        ("tpu_vm.sh", ["--dry-run", "train", *TRAIN], TPU | {"COMMIT": "no; such"}, "COMMIT must be a commit"),
        *(("tpu_vm.sh", ["--dry-run", "train", *TRAIN], TPU | {name: ""}, f"set {name} ") for name in TPU),
        ("gke.sh", ["start"], GKE, "say what to do"),
        ("gke.sh", ["train"], GKE, "name a configuration"),
        ("gke.sh", ["--dry-run", "train", "a\nb"], GKE, "a word of the command holds a line break"),
        (
            "gke.sh",
            ["--dry-run", "train", *TRAIN],
            GKE | {"IMAGE": "labram-jax:latest"},
            "IMAGE must be an image by its",
        ),
        *(("gke.sh", ["--dry-run", "train", *TRAIN], GKE | {name: ""}, f"set {name} ") for name in GKE),
        ("slurm.sbatch", TRAIN, {}, "submit this with sbatch"),
        ("slurm.sbatch", ["--dry-run"], {}, "name a configuration"),
        ("slurm.sbatch", TRAIN, {"SLURM_JOB_ID": "7", "RETRIES": "many"}, "RETRIES must be a whole number"),
    ],
)
def test_what_is_missing_is_told_in_one_sentence(script, arguments, variables, sentence):
    done = start(script, *arguments, **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"launch/{script}: {sentence}") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("script", "variables", "name"),
    [
        *(("tpu_vm.sh", TPU, name) for name in ("NAME", "BUCKET", "RETRIES", "CACHE_MB")),
        *(("gke.sh", GKE, name) for name in (*GKE, "SERVICE_ACCOUNT", "RETRIES", "CACHE_MB")),
    ],
)
def test_variables_that_could_do_harm_are_refused(script, variables, name, bare, tmp_path):
    for value in HARMFUL:
        done = start(script, "train", *TRAIN, cwd=tmp_path, **variables | bare | {name: value})
        assert done.returncode == 2 and done.stdout == "", value
        assert len(done.stderr.splitlines()) == 1 and f"{name} " in done.stderr and " must be " in done.stderr
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("PROJECT", "--project"),
        ("ZONE", "--zone"),
        ("ACCELERATOR", "--accelerator-type"),
        ("RUNTIME", "--runtime-version"),
    ],
)
def test_what_only_gcloud_reads_is_one_word_for_it(name, option, bare):
    for value in HARMFUL:
        done = start("tpu_vm.sh", "--dry-run", "train", *TRAIN, **TPU | bare | {name: value})
        create = shlex.split(done.stdout.partition("git archive")[0])
        assert f"{option}={value}" in create and len(create) == 12


def test_tpu_vm_says_what_it_would_do(bare):
    done = start("tpu_vm.sh", "--dry-run", "train", *TRAIN, **TPU | bare)
    assert done.returncode == 0 and done.stderr == ""
    create, archive, copy, prepare, training = done.stdout.splitlines()[:5]
    where = "--project=mine --zone=us-west4-a"
    expected = (
        f"gcloud compute tpus queued-resources create base {where} --node-id=base --accelerator-type=v5litepod-256"
    )
    assert create.startswith(f"{expected} --runtime-version=v2-alpha-tpuv5-lite --spot")
    assert archive.startswith("git archive ") and archive.split()[-1] == COMMIT
    assert f"labram-jax-{COMMIT}.tar.gz launch/tpu_vm_host.sh base: {where}" in copy
    assert shlex.split(prepare)[-1] == f"--command=bash tpu_vm_host.sh {COMMIT} eeg 50000"
    # The words as they are, after the shell here and the one there.
    there = shlex.split(shlex.split(training)[-1].removeprefix("--command="))
    assert there[:2] == ["bash", "-c"] and there[-len(TRAIN) :] == TRAIN
    assert "# with the code: 0, 2, 65 or 130: ends; 75, or" in done.stdout
    assert (LAUNCH / "tpu_vm_host.sh").read_text() in done.stdout
    assert "--spot" not in start("tpu_vm.sh", "--dry-run", "train", *TRAIN, **TPU | bare, SPOT="0").stdout
    deleting = start("tpu_vm.sh", "--dry-run", "delete", **TPU | bare)
    assert deleting.stdout == f"gcloud compute tpus queued-resources delete base {where} --force --quiet \n"


def test_the_job_of_gke_is_as_its_schema_says(bare):
    done = start("gke.sh", "--dry-run", "train", *TRAIN, "${BUCKET}", **GKE | bare)
    assert done.returncode == 0 and done.stderr == ""
    job, schema = yaml.safe_load(done.stdout), json.loads(Path(__file__).with_name("jobset.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(job, schema, cls=jsonschema.Draft202012Validator)
    template = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert template["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [MISTAKE, DAMAGE, INTERRUPTED]
    pod = template["template"]["spec"]
    words = ["train", *TRAIN, "${BUCKET}"]
    assert pod["containers"][0]["args"] == [word.replace("$", "$$") for word in words]  # of $$ Kubernetes makes $
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted | {"gke-gcsfuse-cache"} == {volume["name"] for volume in pod["volumes"]}
    # What the schema leaves open: enough shared memory, and a cache of shards for corpora but not for runs.
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    runs, corpora = (mounts[path]["csi"]["volumeAttributes"]["mountOptions"] for path in ("/bucket", "/readonly"))
    assert "metadata-cache:ttl-secs:0" in runs.split(",") and "file-cache" not in runs
    assert {"file-cache:max-size-mb:50000", "file-cache:cache-file-for-range-read:true"} < set(corpora.split(","))
    # The schema would notice: a pod that starts again by itself would wait for the others forever.
    pod["restartPolicy"] = "OnFailure"
    with pytest.raises(jsonschema.ValidationError, match="OnFailure"):
        jsonschema.validate(job, schema, cls=jsonschema.Draft202012Validator)


def test_gke_says_what_it_would_ask_of_kubectl(bare):
    for action, command in (
        ("watch", "kubectl logs --follow --container=train job/base-train-0"),
        ("delete", "kubectl delete jobset base"),
    ):
        done = start("gke.sh", "--dry-run", action, NAME="base", **bare)
        assert done.stdout.strip() == command and done.stderr == ""


def test_slurm_says_what_it_would_do(bare):
    done = start("slurm.sbatch", "--dry-run", *TRAIN, **bare)
    assert done.returncode == 0 and done.stderr == ""
    *options, srun, final, again = done.stdout.splitlines()
    assert "#SBATCH --cpus-per-task=8" in options
    words = shlex.split(srun)
    assert words[:2] == ["srun", "--cpus-per-task=8"] and words[-len(TRAIN) - 2 :] == ["labram-jax", "train", *TRAIN]
    assert final == "# with the code: 0, 2, 65 or 130: ends; 75: scontrol requeue JOB"
    assert "at most 5 times" in again


@pytest.mark.parametrize("code", [0, MISTAKE, DAMAGE, INTERRUPTED])
def test_slurm_takes_these_codes_as_final(tmp_path, code):
    path = stand_ins(tmp_path, {"srun": f"exit {code}", "scontrol": 'echo "$@"'})
    done = start("slurm.sbatch", *TRAIN, cwd=tmp_path, PATH=path, SLURM_JOB_ID="7")
    assert done.returncode == code and done.stdout == ""


def test_slurm_goes_on_after_preemption_and_tries_failures_again_as_often_as_it_may(tmp_path):
    codes = [1, 75, 75, 143, 1, 75]
    for code, requeued in zip(codes, [True, True, True, True, False, True], strict=True):
        srun = f'printf "%s\\n" "$@" >words; exit {code}'
        path = stand_ins(tmp_path, {"srun": srun, "scontrol": 'echo "$@"'})
        variables = {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3", "RETRIES": "2"}
        done = start("slurm.sbatch", *TRAIN, cwd=tmp_path, **variables)
        assert done.returncode == code and done.stdout == ("requeue 7\n" if requeued else "")
    words = (tmp_path / "words").read_text().splitlines()
    assert words[0] == "--cpus-per-task=3" and words[-len(TRAIN) :] == TRAIN
    assert not (tmp_path / "harm").exists()


def test_local_says_what_it_would_do(bare):
    done = start("local.sh", "--dry-run", "2", *TRAIN, LABRAM_PORT="1234", **bare)
    assert done.returncode == 0 and done.stderr == ""
    first, second, _ = (shlex.split(line) for line in done.stdout.splitlines())
    job = ["env", "LABRAM_PROCESSES=2", "LABRAM_COORDINATOR=127.0.0.1:1234"]
    assert first == [*job, "LABRAM_PROCESS=0", "labram-jax", "train", *TRAIN, "&"]
    assert second == [*job, "LABRAM_PROCESS=1", "labram-jax", "train", *TRAIN, ">process-1.log", "2>&1", "&"]


def test_images_and_hosts_install_pinned_versions():
    root = LAUNCH.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (root / "constraints.txt").read_text().lower(), re.MULTILINE))
    extras = project["project"]["optional-dependencies"]
    needed = [*project["project"]["dependencies"], *extras["tpu"], *extras["cloud"], "libtpu", "uv"]
    for requirement in (*needed, *project["build-system"]["requires"]):
        assert re.match(r"[\w.-]+", requirement)[0].lower() in pins, requirement
    # Both use these versions, and the same Python.
    image, host = (LAUNCH / "Dockerfile").read_text(), (LAUNCH / "tpu_vm_host.sh").read_text()
    assert re.search(r"FROM python:([\d.]+)\n", image)[1] == re.search(r"--python ([\d.]+) venv\n", host)[1]
    for text in (image, host):
        assert len(re.findall(r"pip install\b", text)) == 2 == len(re.findall(r" --constraint ", text))
        assert " --build-constraint " in text
