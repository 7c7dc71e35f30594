"""Outcomes of runs as the parent of the child process sees them."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError
from datetime import timedelta

from attrs import define

from callback_sdk.service.supervision.memory import MemoryLimit
from callback_sdk.service.work import child

CANCEL = "cancel"
SHUTDOWN = "shutdown"


class StopSignal(Future[str]):
    """Requests a run to stop. The result is the reason, `CANCEL` or `SHUTDOWN`."""

    def request(self, reason: str) -> None:
        """Stop the run; the first reason counts."""
        with contextlib.suppress(InvalidStateError):
            self.set_result(reason)


@define(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run as seen by the parent.

    Attributes:
        result: The child's response; None if there was none.
        timed_out: Whether it was stopped on timeout.
        out_of_memory: Bytes that the run used when it was killed for exceeding the memory limit; 0 otherwise.
        stop_reason: The reason for which the run was stopped, `CANCEL` or `SHUTDOWN`.
        crash: Description of the child's exit without a result.
    """

    result: child.RunResult | None = None
    timed_out: bool = False
    out_of_memory: int = 0
    stop_reason: str | None = None
    crash: str | None = None

    def failure(self, *, timeout: timedelta, memory_limit: MemoryLimit) -> str | None:
        """Return a human-readable error; None if there are results.

        Args:
            timeout: The run's timeout.
            memory_limit: The run's memory limit.
        """
        if self.result is not None:
            return self.result.error
        if self.timed_out:
            return f"The algorithm took longer than {timeout}."
        if self.out_of_memory:
            return memory_limit.excess(self.out_of_memory)
        return f"The algorithm returned no result: {self.crash}." if self.crash else "The algorithm returned no result."
