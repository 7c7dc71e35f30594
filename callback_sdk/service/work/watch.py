"""Watches a step of a child process: stops waiting on timeout, on request, above the memory limit, and if it dies.

`process` kills the child afterwards.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

from callback_sdk.documents.error_text import describe
from callback_sdk.service.supervision.memory import Meter
from callback_sdk.service.work.outcome import Outcome, StopSignal
from callback_sdk.service.work.output_capture import bound_size

_TICK = 0.5
"""Seconds between checks that the child is alive, and of the size of its output."""

_MEMORY_TICK = 0.1
"""Seconds between measurements of the child's memory; each costs a fraction of a millisecond."""


def wait_for(
    future: Future[Any],
    timeout: timedelta,
    stop: StopSignal,
    *,
    pid: int = 0,
    output: Path | None = None,
    meter: Meter | None = None,
    limit: float = math.inf,
) -> Outcome | None:
    """Wait for a step of a child process; return None if the future has a result, otherwise the outcome.

    Args:
        future: The step.
        timeout: Its timeout.
        stop: Stops the wait.
        pid: Pid of the child; 0 while it is not known.
        output: File with the output of a run, whose size is bounded.
        meter: Measures the memory of the child.
        limit: The memory limit, in bytes.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    tick = _TICK if meter is None else _MEMORY_TICK
    while True:
        left = max(0.0, deadline - time.monotonic())
        wait([future, stop], timeout=min(tick, left), return_when=FIRST_COMPLETED)
        if stop.done():
            return Outcome(stop_reason=stop.result())
        if future.done():
            error = future.exception()
            return None if error is None else Outcome(crash=_describe_crash(error))
        if not left:
            return Outcome(timed_out=True)
        if output is not None:
            bound_size(output)
        if meter is not None and (taken := meter.excess(limit)):
            return Outcome(out_of_memory=taken)
        # Pebble doesn't notice a child that exited with code 0, for example by os._exit(0).
        if pid and not is_alive(pid):
            wait([future], timeout=_TICK)
            if not future.done():
                return Outcome(crash="its process ended with exit code 0")


def is_alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _describe_crash(error: BaseException) -> str:
    code = getattr(error, "exitcode", None)
    if code is None:
        return f"its process failed: {describe(error)}"
    if code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            # The kernel's OOM killer sends SIGKILL.
            advice = ", perhaps because the machine ran out of memory" if name == "SIGKILL" else ""
            return f"its process was killed by {name}{advice}"
    return f"its process ended with exit code {code}"
