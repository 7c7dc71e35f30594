"""Reports of a worker's process to the supervisor: readiness, problems, and the error of a failed start."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import orjson
from attrs import define, field

_MAX_LENGTH = 1000
"""Maximum characters of one text: a report must be written atomically, as its writer never blocks (PIPE_BUF)."""

LOADING = "it is loading the algorithms."
"""The problem of a process that imports the registry or calls setups."""

_PIPE_CAPACITY = 65536


@define
class Report:
    """The state of one process.

    Attributes:
        started: Whether the process has ever been ready.
        problems: The current problems; empty if the process is ready.
        failure: The reason of the process's exit; None while it runs.
        permanent: Whether a restart would fail the same way.
    """

    started: bool = False
    problems: list[str] = field(factory=lambda: ["it is starting."])
    failure: str | None = None
    permanent: bool = False


class Reporter:
    """The child's end of the pipe. Thread-safe.

    Args:
        descriptor: Descriptor of the pipe; None without a parent that reads it.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {"start": "it is starting."}
        self._report = Report()
        if descriptor is not None:
            # Algorithms' processes must not inherit it, and a parent that doesn't read must not block this process.
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, False)

    def note(self, name: str, problem: str | None) -> None:
        """Record the problem of one dependency of this process; None if the dependency works again."""
        with self._lock:
            if self._problems.get(name) == problem:
                return
            if problem is None:
                self._problems.pop(name, None)
            else:
                self._problems[name] = problem[:_MAX_LENGTH]
            self._report.problems = list(self._problems.values())
            self._report.started = self._report.started or not self._problems
            self._send()

    def fail(self, reason: str, *, permanent: bool) -> None:
        """Report the reason for which this process exits.

        Args:
            reason: A sentence.
            permanent: Whether a restart would fail the same way.
        """
        with self._lock:
            self._report.failure, self._report.permanent = reason[:_MAX_LENGTH], permanent
            self._send()

    def _send(self) -> None:
        if self._descriptor is not None:
            report = self._report
            line = orjson.dumps(
                {
                    "started": report.started,
                    "problems": [problem[:200] for problem in report.problems[:5]],
                    "failure": report.failure,
                    "permanent": report.permanent,
                }
            )
            # The pipe is full, or has no reader.
            with contextlib.suppress(OSError):
                os.write(self._descriptor, line + b"\n")


class Reports:
    """The parent's end of the pipe.

    Args:
        descriptor: Descriptor of the pipe; `close` closes it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self.latest = Report()
        os.set_blocking(descriptor, False)

    def read(self) -> Report:
        """Return the latest report."""
        for line in self._lines():
            self.latest = Report(**orjson.loads(line))
        return self.latest

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._descriptor)

    def _lines(self) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._descriptor, _PIPE_CAPACITY):
                *lines, self._rest = (self._rest + data).split(b"\n")
                yield from lines
