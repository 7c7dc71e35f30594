"""What `scontrol --oneliner show job` of Slurm 22.05 prints, and how it is asked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from callback_sdk.program import slurm as module
from callback_sdk.program.scheduler import Scheduler
from callback_sdk.program.slurm import ask, read

FOUND = Scheduler("Slurm", "1_3")
SHOWN = (
    "JobId=2 ArrayJobId=1 ArrayTaskId=3 JobName=job.sh JobState={state} Reason={reason} ExitCode=0:15 RunTime=00:00:02 "
    "TimeLimit={limit} TimeMin=N/A StartTime={start} EndTime=2026-11-30T19:15:29 Deadline=N/A"
)
START = time.mktime((2026, 11, 30, 19, 15, 27, 0, 0, -1))


def shown(
    *, state: str = "RUNNING", reason: str = "None", limit: str = "00:01:00", start: str = "2026-11-30T19:15:27"
) -> str:
    return SHOWN.format(state=state, reason=reason, limit=limit, start=start)


@pytest.mark.parametrize(
    ("limit", "seconds"), [("00:01:00", 60), ("1-02:03:04", 93_784), ("UNLIMITED", None), ("Partition_Limit", None)]
)
def test_the_limit_counts_from_the_start(limit: str, seconds: int | None) -> None:
    assert read(shown(limit=limit), "2", FOUND).end == (None if seconds is None else START + seconds)


def test_a_job_that_has_not_started_has_no_end() -> None:
    assert read(shown(start="Unknown"), "2", FOUND).end is None


@pytest.mark.parametrize(
    ("state", "reason", "at_limit"),
    [
        ("RUNNING", "None", None),
        ("COMPLETING", "TimeLimit", True),
        ("TIMEOUT", "TimeLimit", True),
        ("DEADLINE", "DeadLine", True),
        ("COMPLETING", "None", False),
        ("CANCELLED", "None", False),
        ("PREEMPTED", "None", False),
        ("NODE_FAIL", "NodeDown", False),
    ],
)
def test_state_and_reason_say_why_a_job_is_ended(state: str, reason: str, at_limit: bool | None) -> None:
    """While processes of the job are left, only the reason does."""
    assert read(shown(state=state, reason=reason), "2", FOUND).at_limit is at_limit


def test_other_jobs_of_the_array_are_not_this_one() -> None:
    """The id of the array is that of one of its jobs, too, for which scontrol shows all of them."""
    others = shown(state="COMPLETING", reason="TimeLimit") + "\n" + shown().replace("JobId=2 ", "JobId=1 ")
    assert read(others, "1", FOUND).at_limit is None
    with pytest.raises(LookupError):
        read(others, "3", FOUND)


def _variables(folder: Path, script: str | None) -> dict[str, str]:
    """Write a scontrol, unless it is None, and return the environment of a job that finds no other."""
    if script is not None:
        (folder / "scontrol").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\ncd {folder}\n{script}\n")
        (folder / "scontrol").chmod(0o755)
    job = {"SLURM_JOB_ID": "2", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "3"}
    return {"PATH": str(folder), "SLURM_TIME_FORMAT": "relative", **job}


@pytest.mark.parametrize("failure", ["exit 1", "echo JobId=5", "kill -KILL $$"])
def test_slurm_is_asked_again_until_it_answers(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller under load refuses some requests."""
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    script = f"""echo "$@" $SLURM_TIME_FORMAT >> asked
[ $(wc -l < asked) = 3 ] || {{ {failure}; exit; }}
echo '{shown()}'"""
    assert ask(FOUND, _variables(tmp_path, script), seconds=120) == FOUND._replace(end=START + 60)
    assert (tmp_path / "asked").read_text().splitlines() == ["--oneliner show job 1_3 standard"] * 3


@pytest.mark.parametrize("script", ["exec sleep 600", "exit 1", None])
def test_slurm_that_does_not_answer_says_nothing(script: str | None, tmp_path: Path) -> None:
    assert ask(FOUND, _variables(tmp_path, script), seconds=0.2) is None
