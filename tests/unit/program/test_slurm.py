"""The end of a job's time limit, from what `scontrol --oneliner show job` of Slurm 22.05 prints."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from callback_sdk.program.slurm import limit_of, parse_limit

SHOWN = (
    "JobId=2 ArrayJobId=1 JobName=job.sh JobState=CANCELLED Reason=None ExitCode=0:15 RunTime=00:00:02 "
    "TimeLimit={limit} TimeMin=N/A StartTime={start} EndTime=2026-11-30T19:15:29 Deadline=N/A"
)
START = time.mktime((2026, 11, 30, 19, 15, 27, 0, 0, -1))


@pytest.mark.parametrize(
    ("limit", "seconds"), [("00:01:00", 60), ("1-02:03:04", 93_784), ("UNLIMITED", None), ("Partition_Limit", None)]
)
def test_the_limit_counts_from_the_start(limit: str, seconds: int | None) -> None:
    found = parse_limit(SHOWN.format(limit=limit, start="2026-11-30T19:15:27"))
    assert found == (None if seconds is None else START + seconds)


def test_a_job_that_has_not_started_has_no_end() -> None:
    assert parse_limit(SHOWN.format(limit="00:01:00", start="Unknown")) is None


def test_without_scontrol_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert limit_of("1") is None
