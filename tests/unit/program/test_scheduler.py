"""The job's id is the one that the scheduler's own commands show."""

from __future__ import annotations

import pytest

from callback_sdk.program.scheduler import scheduler

SLURM = {"SLURM_JOB_ID": "91"}


@pytest.mark.parametrize(
    ("variables", "name", "job_id"),
    [
        (SLURM, "Slurm", "91"),
        ({**SLURM, "SLURM_ARRAY_JOB_ID": "90", "SLURM_ARRAY_TASK_ID": "1"}, "Slurm", "90_1"),
        ({**SLURM, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, "Slurm", "91"),
        ({**SLURM, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, "Slurm", "91.0.3"),
        ({"AWS_BATCH_JOB_ID": "4f1c-9:7", "AWS_BATCH_JOB_ARRAY_INDEX": "7"}, "AWS Batch", "4f1c-9:7"),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "0"}, "LSF", "5"),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "3"}, "LSF", "5[3]"),
        ({"JOB_ID": "6", "SGE_TASK_ID": "undefined"}, "Grid Engine", "6"),
        ({"JOB_ID": "6", "SGE_TASK_ID": "2"}, "Grid Engine", "6.2"),
        ({"PBS_JOBID": "1234[7].server", "PBS_ARRAY_INDEX": "7"}, "PBS", "1234[7].server"),
        (
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "train-3", "JOB_COMPLETION_INDEX": "3"},
            "Kubernetes",
            "train-3",
        ),
        ({**SLURM, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "node-0"}, "Slurm", "91"),
    ],
)
def test_a_job_has_the_id_that_its_scheduler_gives_it(variables: dict[str, str], name: str, job_id: str) -> None:
    found = scheduler(variables)
    assert found is not None
    assert (found.name, found.job_id) == (name, job_id)


@pytest.mark.parametrize("variables", [{}, {"JOB_ID": "6"}, {"HOSTNAME": "laptop"}, {"SLURM_JOB_ID": ""}])
def test_a_process_without_a_scheduler_has_none(variables: dict[str, str]) -> None:
    """Continuous integration sets JOB_ID, and every shell HOSTNAME."""
    assert scheduler(variables) is None


def test_the_time_limit_of_slurm_is_known_from_the_environment() -> None:
    found = scheduler({**SLURM, "SLURM_JOB_END_TIME": "1700000000"})
    assert found is not None
    assert not found.reached_limit(1_699_999_900)
    assert found.reached_limit(1_700_000_010)
