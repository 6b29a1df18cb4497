"""Who does the work of a build, and what becomes of it where a process dies."""

import os
import time
from pathlib import Path

import pytest

from labram_jax.data_prep.workers import processes


def halve(job: int) -> float:
    """Half of an even number; another one ends the process, and a negative one raises."""
    if job < 0:
        raise ValueError("negative")
    if job % 2:
        time.sleep(0.1)  # so that others are under way
        os._exit(1)
    return job / 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_with_their_places(jobs):
    with processes(jobs) as run_all:
        assert dict(run_all(halve, [4, 2, 8])) == {0: 2.0, 1: 1.0, 2: 4.0}
        with pytest.raises(ValueError, match="negative"):
            list(run_all(halve, [2, -2]))


def test_only_the_job_of_which_processes_die_has_no_result():
    with processes(2) as run_all:
        assert dict(run_all(halve, [2, 4, 1, 6, 8, 10, 3])) == {0: 1, 1: 2, 2: None, 3: 3, 4: 4, 5: 5, 6: None}
        assert dict(run_all(halve, [2])) == {0: 1}


def die_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return "done"


def test_a_process_that_died_by_chance_costs_nothing(tmp_path):
    with processes(2) as run_all:
        assert list(run_all(die_once, [tmp_path / "marker"])) == [(0, "done")]
