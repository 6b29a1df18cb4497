"""Several processes in one job: who they are comes from the environment, and when one fails, all end."""

import contextlib
import json
import os
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from labram_jax.errors import MAY_PASS, STOPPED, InputError, exit_code, sentence_of

COORDINATOR, PROCESSES, PROCESS = "LABRAM_COORDINATOR", "LABRAM_PROCESSES", "LABRAM_PROCESS"

# A process that vanished without a word (its host is gone) is missed after this long.
HEARTBEAT_SECONDS = 60
# How often a process asks whether another one failed, how long a failed one stays (some launchers end the others when
# one has gone), and how long the first one does, which holds the answer.
POLL_SECONDS, STAY_SECONDS, FIRST_STAY_SECONDS = 0.5, 1.5, 3.0
# Network folders may show a new file late.
SHARED_FOLDER_SECONDS = 30.0
FAILURE_KEY, TOLD_KEY = "labram-jax/failure", "labram-jax/told"
# Where JAX's preemption service writes that a process was told to end.
PREEMPTION_KEY = "RECEIVED_PREEMPTION_NOTICE"
DAY_MS = 24 * 3600 * 1000
TPU = "Cloud TPU"


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Joins the job of several processes that the environment describes, if it does, and leaves it at the end.

    LABRAM_COORDINATOR (host:port), LABRAM_PROCESSES and LABRAM_PROCESS describe one in so many words; without them
    Slurm, Open MPI, Kubernetes and Cloud TPU do. Must be entered before any array is made. An error inside ends every
    process of the job with its message and its exit code; in a process alone it is raised.
    Raises InputError for a description that is not whole.
    """
    if not _join():
        yield
        return
    client = _membership().client
    listener = _FailureListener(client)
    listener.start()
    try:
        yield
        _wait_for_all(client, "end of the job")  # until here, others may still fail
    except BaseException as error:
        listener.stop()
        _fail(client, error)
    listener.stop()
    jax.distributed.shutdown()


def is_first() -> bool:
    """Whether this process is the one that writes and prints what the whole job has to say."""
    return _membership().process_id == 0


def several() -> bool:
    """Whether this process is one of several."""
    return _membership().client is not None and _membership().num_processes > 1


def preempted() -> bool:
    """Whether any process of the job was told to end."""
    try:
        return bool(_membership().client.key_value_try_get(PREEMPTION_KEY))
    except jax.errors.JaxRuntimeError:  # no such key, or no such store any more
        return False


def leave(code: int, sentence: str) -> NoReturn:
    """Ends this process from any of its threads, and with it the job, whatever the others are waiting for."""
    mine = _Failure(_membership().process_id, code, f"{sentence}.")
    if not several():
        print(f"\nlabram-jax: {mine.sentence}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(code)
    _end(_tell(_membership().client, mine))


def of_first(value: float) -> float:
    """The first process's `value` (float32) on every process; all must ask, and wait until their devices get there."""
    return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def told_by_first(find: Callable[[], Any]) -> Any:
    """What `find` gives to the first process (plain data), on every one; all must ask, and wait however long."""
    if not several():
        return find()
    client = _membership().client
    if is_first():
        client.key_value_set(TOLD_KEY, json.dumps(find()), allow_overwrite=True)
    _wait_for_all(client, "told")
    told = json.loads(client.key_value_try_get(TOLD_KEY))
    _wait_for_all(client, "heard")  # before the next is told
    return told


def check_shared(folder: Path) -> None:
    """Makes sure that all processes see the same `folder`, which is made if it is not there.

    Raises InputError in the processes that do not see what the first one wrote there.
    """
    if not several():
        return

    def leave_token() -> str:
        folder.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(8)
        (folder / token).touch()
        return token

    path = folder / told_by_first(leave_token)
    deadline = time.monotonic() + SHARED_FOLDER_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise InputError(
                f"the run {folder} is another folder here than on the first host: give a path on a mounted bucket or "
                "network folder that all hosts share."
            )
        time.sleep(0.2)
    _wait_for_all(_membership().client, "shared folder: seen")
    if is_first():
        path.unlink()


def _join() -> bool:
    explicit = _explicit(os.environ)
    launcher = None if explicit else _launcher(os.environ)
    if explicit is None and launcher is None:
        return False
    # Without a TPU or GPU, processes talk to each other through gloo; elsewhere the option means nothing.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**explicit or {}, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, OSError, RuntimeError) as error:
        if launcher == TPU and not isinstance(error, RuntimeError) and jax.process_count() == 1:
            return False  # a TPU of one host, and no Cloud TPU that describes it
        where = launcher or f"{COORDINATOR} {explicit['coordinator_address']}"
        raise InputError(
            f"this process cannot join the job that {where} describes ({_first_line(error).rstrip('.')}): see that all "
            f"processes are started and reach the first one, or set {COORDINATOR}, {PROCESSES} and {PROCESS}."
        ) from error
    return True


def _explicit(environment: Mapping[str, str]) -> dict | None:
    """What the three variables say, as arguments of `jax.distributed.initialize`; None where none is set."""
    values = {name: environment.get(name) for name in (COORDINATOR, PROCESSES, PROCESS)}
    if not any(values.values()):
        return None
    missing = [name for name, value in values.items() if not value]
    if missing:
        raise InputError(f"The environment sets some of {', '.join(values)} but not {missing[0]}: set all or none.")
    try:
        processes, process = int(values[PROCESSES]), int(values[PROCESS])
    except ValueError as error:
        raise InputError(f"{PROCESSES} and {PROCESS} must be whole numbers ({error}).") from error
    if not 0 <= process < processes:
        raise InputError(f"{PROCESS} is {process}, but must lie between 0 and {PROCESSES} - 1 = {processes - 1}.")
    return {
        "coordinator_address": values[COORDINATOR],
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def _launcher(environment: Mapping[str, str]) -> str | None:
    """Who started this process as one of several, or None where it is alone.

    JAX itself asks for less: in the shell of an allocation of several tasks it would wait for the others forever.
    """

    def several(*names: str) -> bool:
        return all(environment.get(name, "").isdigit() and int(environment[name]) > 1 for name in names)

    if several("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        return "Slurm"
    if several("OMPI_COMM_WORLD_SIZE"):
        return "Open MPI"
    # JAX puts "tpu" there when it is imported on a host with TPU chips, unless JAX_PLATFORMS says otherwise.
    if "tpu" in (jax.config.jax_platforms or ""):
        return TPU
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        return "Kubernetes"
    return None


@dataclass(frozen=True)
class _Failure:
    """What the first process to fail tells the others: who it is, what its exit code is, and one sentence."""

    process: int
    code: int
    sentence: str

    @classmethod
    def of(cls, error: BaseException) -> "_Failure":
        if isinstance(error, InputError):
            sentence = str(error)
        elif isinstance(error, OSError):
            sentence = sentence_of(error)
        else:
            sentence = ": ".join(filter(None, (type(error).__name__, _first_line(error))))
        return cls(_membership().process_id, exit_code(error), sentence)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _wait_for_all(client, place: str) -> None:
    """Waits for all processes, however long they fetch or compile: those that fail or vanish end the job."""
    client.wait_at_barrier(f"labram-jax: {place}", DAY_MS)


def _membership():
    """This process's place in the job: its `process_id`, and the `client` of the key-value store in the first process.

    JAX has no public way to the store; Orbax goes this one too. Unlike `jax.process_index`, asking makes no devices,
    for which all processes would be needed.
    """
    return jax._src.distributed.global_state


def _read_failure(client) -> _Failure | None:
    """The first failure in the job, if there is one that can still be asked for."""
    try:
        return _Failure(**json.loads(client.key_value_try_get(FAILURE_KEY)))
    except jax.errors.JaxRuntimeError:  # no such key; or no such store any more, for which JAX ends the process itself
        return None


def _fail(client, error: BaseException) -> NoReturn:
    """Tells the other processes of an error, unless it came from theirs, and ends this one."""
    mine = _Failure.of(error)
    told = _tell(client, mine)
    if told == mine and mine.code == MAY_PASS and not isinstance(error, OSError):
        traceback.print_exception(error)
    _end(told)


def _tell(client, mine: _Failure) -> _Failure:
    """The first failure in the job; where there was none, mine, which the others then hear of."""
    # A process that is gone breaks the collectives of the others: what it told comes before what they see of it.
    first = _read_failure(client)
    if first is None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # another one was faster, or the store is gone
            client.key_value_set(FAILURE_KEY, json.dumps(asdict(mine)))
    return first or mine


def _end(failure: _Failure) -> NoReturn:
    """Prints why, and leaves without the barriers of a regular end, in which the others would be waited for."""
    verb = "stopped" if failure.code == STOPPED else "failed"
    print(f"\nlabram-jax: process {failure.process} {verb}: {failure.sentence}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    if is_first():
        time.sleep(FIRST_STAY_SECONDS)
    elif failure.process == _membership().process_id:
        time.sleep(STAY_SECONDS)
    os._exit(failure.code)


class _FailureListener(threading.Thread):
    """Asks for failures of others, and ends the process: its own thread may wait in a collective forever."""

    def __init__(self, client):
        super().__init__(name="labram-jax failure listener", daemon=True)
        self._client, self._over = client, threading.Event()

    def run(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            failure = _read_failure(self._client)
            if failure is not None:
                _end(failure)

    def stop(self) -> None:
        self._over.set()
        self.join()
