"""What Slurm says of a job, from `scontrol`: when its time limit ends it, and whether it has been ended, and why."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress

from callback_sdk.program.scheduler import Scheduler

_PAUSE = 1.0
"""Seconds between two attempts. The controller of a busy cluster sometimes doesn't answer in time."""

_TIME_LIMIT = re.compile(r"\bTimeLimit=(?:([0-9]+)-)?([0-9]+):([0-9]{2}):([0-9]{2})\b")
_START = re.compile(r"\bStartTime=([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\b")
_STATE = re.compile(r"\bJobState=([A-Z_]+)\b")
_REASON = re.compile(r"\bReason=(\w+)")

_GOING_ON = {"CONFIGURING", "RUNNING", "SUSPENDED", "SIGNALING", "STOPPED", "RESIZING"}
"""States of a job that runs and that Slurm doesn't end; see squeue(1), "JOB STATE CODES"."""

_LIMIT_STATES, _LIMIT_REASONS = {"TIMEOUT", "DEADLINE"}, {"TimeLimit", "DeadLine"}
"""The state is COMPLETING until all processes have ended, and the reason says why."""


def ask(found: Scheduler, variables: Mapping[str, str], *, seconds: float) -> Scheduler | None:
    """Return the scheduler with what Slurm says of the job; None without an answer.

    Args:
        found: The scheduler of this process, which is Slurm.
        variables: The environment.
        seconds: Maximum duration. An attempt that fails is repeated until then.
    """
    job_id = variables["SLURM_JOB_ID"]
    array, index = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    # One job of an array has the id of the array, for which all of its jobs are shown.
    asked = f"{array}_{index}" if array and index else job_id
    until = time.monotonic() + seconds
    try:
        while (left := until - time.monotonic()) > 0:
            with suppress(subprocess.SubprocessError, LookupError):
                return read(_show(asked, variables, left), job_id, found)
            time.sleep(min(_PAUSE, max(0.0, until - time.monotonic())))
    except OSError:
        # There is no scontrol here, as in many containers.
        pass
    return None


def _show(job_id: str, variables: Mapping[str, str], seconds: float) -> str:
    return subprocess.run(  # noqa: S603
        ["scontrol", "--oneliner", "show", "job", job_id],  # noqa: S607
        env={**variables, "SLURM_TIME_FORMAT": "standard"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=True,
        text=True,
        errors="replace",
    ).stdout


def read(shown: str, job_id: str, found: Scheduler) -> Scheduler:
    """Return the scheduler with what `scontrol --oneliner show job` shows of a job.

    Args:
        shown: What it prints, one line for each job.
        job_id: The value of SLURM_JOB_ID.
        found: The scheduler.

    Raises:
        LookupError: The job isn't shown.
    """
    line = next((line for line in shown.splitlines() if line.startswith(f"JobId={job_id} ")), "")
    state, reason = _STATE.search(line), _REASON.search(line)
    if state is None:
        raise LookupError(job_id)
    is_limit = state[1] in _LIMIT_STATES or (reason is not None and reason[1] in _LIMIT_REASONS)
    return found._replace(end=_end(line), at_limit=None if state[1] in _GOING_ON else is_limit)


def _end(line: str) -> float | None:
    """Return when the time limit ends the job. EndTime is that of a cancellation, if any."""
    start, limit = _START.search(line), _TIME_LIMIT.search(line)
    if start is None or limit is None:
        return None
    days, hours, minutes, seconds = (int(number or 0) for number in limit.groups())
    # In the local time of this machine, as scontrol prints it.
    started = time.mktime(time.strptime(start[1], "%Y-%m-%dT%H:%M:%S"))
    return started + ((days * 24 + hours) * 60 + minutes) * 60 + seconds
