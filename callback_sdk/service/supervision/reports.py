"""What a process of a worker tells its parent: whether it is ready, what is wrong, and why it can't start."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import orjson
from attrs import define, field

_LONGEST = 1000
"""Characters of one text: a report must fit into the pipe whole, as its writer never waits (PIPE_BUF)."""

_ROOM = 65536


@define
class Report:
    """The state of one process.

    Attributes:
        started: Whether it has been ready at any time.
        problems: What is wrong with it now; it is ready when there is none.
        failure: Why it ended by itself; None while it runs.
        permanent: Whether another start would end the same way.
    """

    started: bool = False
    problems: list[str] = field(factory=lambda: ["it is starting."])
    failure: str | None = None
    permanent: bool = False


class Reporter:
    """The child's end of the pipe. Threads may share it.

    Args:
        descriptor: The pipe; None where nobody listens.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {"start": "it is starting."}
        self._report = Report()
        if descriptor is not None:
            # Algorithms' processes must not hold it open, and a parent that doesn't read must not stop this process.
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, False)

    def note(self, name: str, problem: str | None) -> None:
        """Note what is wrong with one thing that this process depends on; None when it is well again."""
        with self._lock:
            if self._problems.get(name) == problem:
                return
            if problem is None:
                self._problems.pop(name, None)
            else:
                self._problems[name] = problem[:_LONGEST]
            self._report.problems = list(self._problems.values())
            self._report.started = self._report.started or not self._problems
            self._send()

    def fail(self, reason: str, *, permanent: bool) -> None:
        """Say why this process ends.

        Args:
            reason: A sentence.
            permanent: Whether another start would end the same way.
        """
        with self._lock:
            self._report.failure, self._report.permanent = reason[:_LONGEST], permanent
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
            # A pipe that is full, or without a reader.
            with contextlib.suppress(OSError):
                os.write(self._descriptor, line + b"\n")


class Reports:
    """The parent's end of the pipe.

    Args:
        descriptor: The pipe, which is closed with this.
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
            while data := os.read(self._descriptor, _ROOM):
                *lines, self._rest = (self._rest + data).split(b"\n")
                yield from lines
