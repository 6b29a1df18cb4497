"""Several processes in one job: who they are comes from the environment."""

import os

import jax

from labram_jax.errors import InputError

COORDINATOR, PROCESSES, PROCESS = "LABRAM_COORDINATOR", "LABRAM_PROCESSES", "LABRAM_PROCESS"


def join() -> None:
    """Joins the job that LABRAM_COORDINATOR (host:port), LABRAM_PROCESSES and LABRAM_PROCESS describe, if they are set.

    Must run before any array is made. Raises InputError where only some of the three are set, or not to numbers.
    """
    values = {name: os.environ.get(name) for name in (COORDINATOR, PROCESSES, PROCESS)}
    if not any(values.values()):
        return
    missing = [name for name, value in values.items() if not value]
    if missing:
        raise InputError(f"The environment sets some of {', '.join(values)} but not {missing[0]}: set all or none.")
    try:
        processes, process = int(values[PROCESSES]), int(values[PROCESS])
    except ValueError as error:
        raise InputError(f"{PROCESSES} and {PROCESS} must be whole numbers ({error}).") from error
    # Without a TPU or GPU, processes talk to each other through gloo; elsewhere the option means nothing.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(values[COORDINATOR], processes, process)
