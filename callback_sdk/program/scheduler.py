"""The scheduler that runs this process, by the environment variables that it sets; pure.

Sources: sbatch(1) "OUTPUT ENVIRONMENT VARIABLES", "AWS Batch job environment variables", qsub(1B) of OpenPBS,
"Environment variables set for job execution" of LSF, qsub(1) of Grid Engine, and "Job" in the documentation of
Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_LIMIT_TOLERANCE = 5.0
"""Seconds by which a scheduler's clock may differ from this machine's."""

SLURM = "Slurm"


class Scheduler(NamedTuple):
    """A scheduler with the id that it has given to a job.

    Attributes:
        name: Its name, for people.
        job_id: The id, different for each job of an array and for each process of a parallel step.
        end: When its time limit ends the job, in seconds since the epoch; None if it isn't known.
        at_limit: Whether it ends the job because of the time limit, as it says itself; None if it hasn't said that it
            ends the job.
    """

    name: str
    job_id: str
    end: float | None = None
    at_limit: bool | None = None

    def reached_limit(self, now: float) -> bool:
        """Return whether the job's time limit has been reached.

        Args:
            now: Seconds since the epoch.
        """
        if self.at_limit is not None:
            return self.at_limit
        return self.end is not None and now >= self.end - _LIMIT_TOLERANCE


def scheduler(variables: Mapping[str, str]) -> Scheduler | None:
    """Return the scheduler of this process; None without one.

    Args:
        variables: The environment.
    """
    # Kubernetes last: the nodes of another scheduler may run in its pods.
    for find in (_slurm, _aws_batch, _lsf, _grid_engine, _pbs, _kubernetes):
        if (found := find(variables)) is not None:
            return found
    return None


def _slurm(variables: Mapping[str, str]) -> Scheduler | None:
    if not (job_id := variables.get("SLURM_JOB_ID")):
        return None
    if array := variables.get("SLURM_ARRAY_JOB_ID"):
        job_id = f"{array}_{variables.get('SLURM_ARRAY_TASK_ID', '')}"
    # Each process of a parallel step would deliver under the same id otherwise.
    if variables.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        job_id = f"{job_id}.{variables.get('SLURM_STEP_ID', '')}.{variables.get('SLURM_PROCID', '')}"
    end = variables.get("SLURM_JOB_END_TIME", "")
    return Scheduler(SLURM, job_id, float(end) if end.isdecimal() else None)


def _aws_batch(variables: Mapping[str, str]) -> Scheduler | None:
    # The id of a job of an array has its index: 4f1c...:7.
    job_id = variables.get("AWS_BATCH_JOB_ID")
    return Scheduler("AWS Batch", job_id) if job_id else None


def _lsf(variables: Mapping[str, str]) -> Scheduler | None:
    if not (job_id := variables.get("LSB_JOBID")):
        return None
    index = variables.get("LSB_JOBINDEX", "0")
    return Scheduler("LSF", job_id if index == "0" else f"{job_id}[{index}]")


def _grid_engine(variables: Mapping[str, str]) -> Scheduler | None:
    # Other programs set JOB_ID, too.
    if not (job_id := variables.get("JOB_ID")) or "SGE_TASK_ID" not in variables:
        return None
    index = variables["SGE_TASK_ID"]
    return Scheduler("Grid Engine", job_id if index == "undefined" else f"{job_id}.{index}")


def _pbs(variables: Mapping[str, str]) -> Scheduler | None:
    # The id of a job of an array has its index: 1234[7].server.
    job_id = variables.get("PBS_JOBID")
    return Scheduler("PBS", job_id) if job_id else None


def _kubernetes(variables: Mapping[str, str]) -> Scheduler | None:
    # The host name is that of the pod, which a Job with completionMode Indexed names JOB-INDEX.
    job_id = variables.get("HOSTNAME") if "KUBERNETES_SERVICE_HOST" in variables else None
    return Scheduler("Kubernetes", job_id) if job_id else None
