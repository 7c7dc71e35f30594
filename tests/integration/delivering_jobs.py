"""Jobs of task queues and pools, each with one way to end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from callback_sdk import delivering


def run(how: str, url: str, job_id: str, **options: Any) -> str:
    """Run a job that ends in a certain way."""
    with delivering(url, job_id=job_id, **options) as job:
        job.results = {"pid": os.getpid()}
        _end(how)
    return "done"


def _end(how: str) -> None:
    if how == "raises":
        raise ValueError("no convergence")
    if how == "allocates":
        pages = []
        while True:
            pages.append(bytearray(10_000_000))
    if how == "exits":
        sys.exit(3)
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)
    if how.startswith("waits:"):
        Path(how.removeprefix("waits:")).write_text(str(os.getpid()))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.05)
