"""When the time limit ends a job of Slurm, from `scontrol`: older versions don't set SLURM_JOB_END_TIME."""

from __future__ import annotations

import re
import subprocess
import time

_TIMEOUT = 5.0
"""Seconds: soon after SIGTERM, Slurm kills everything."""

_TIME_LIMIT = re.compile(r"\bTimeLimit=(?:([0-9]+)-)?([0-9]+):([0-9]{2}):([0-9]{2})\b")
_START = re.compile(r"\bStartTime=([0-9-]+T[0-9:]+)\b")


def limit_of(job_id: str) -> float | None:
    """Return the end in seconds since the epoch; None without a limit, or if it can't be found out.

    Args:
        job_id: The value of SLURM_JOB_ID.
    """
    try:
        shown = subprocess.run(  # noqa: S603
            ["scontrol", "--oneliner", "show", "job", job_id],  # noqa: S607
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
            text=True,
            errors="replace",
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_limit(shown)


def parse_limit(shown: str) -> float | None:
    """Return the end of a job that `scontrol --oneliner show job` shows. EndTime is that of a cancellation, if any."""
    start, limit = _START.search(shown), _TIME_LIMIT.search(shown)
    if start is None or limit is None:
        return None
    days, hours, minutes, seconds = (int(number or 0) for number in limit.groups())
    # In the local time of this machine, as scontrol prints it.
    started = time.mktime(time.strptime(start[1], "%Y-%m-%dT%H:%M:%S"))
    return started + ((days * 24 + hours) * 60 + minutes) * 60 + seconds
