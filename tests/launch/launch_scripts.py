"""The scripts of launch/ as tests start them, with stand-ins for the commands of clouds and clusters."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TPU = {
    "PROJECT": "mine",
    "ZONE": "us-west4-a",
    "NAME": "base",
    "ACCELERATOR": "v5litepod-256",
    "RUNTIME": "v2-alpha-tpuv5-lite",
    "BUCKET": "eeg",
    "COMMIT": "main",
}
GKE = {
    "NAME": "base",
    "IMAGE": f"europe-docker.pkg.dev/mine/eeg/labram-jax:1@sha256:{'0123456789abcdef' * 4}",
    "BUCKET": "eeg",
    "ACCELERATOR": "tpu-v5-lite-podslice",
    "TOPOLOGY": "16x16",
    "HOSTS": "64",
    "CHIPS": "4",
}
TRAIN = ["pretrain_base", "--run", "bucket/runs/it's mine", 'a "b" \\c; touch harm', "$(touch harm)", "$HOME"]


def start(script: str | Path, *arguments: str, cwd: Path | None = None, **variables: str):
    """Runs a script with these variables alone."""
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [LAUNCH / script, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def stand_ins(folder: Path, commands: Mapping[str, str]) -> str:
    """Writes commands (the text of each, for sh) into `folder`, and returns a PATH on which they come first."""
    for name, text in commands.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"
