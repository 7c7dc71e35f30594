"""QueueDepth: how many tasks the embedded engine queues for each of its child processes."""

from __future__ import annotations

from collections import deque

MIN_TASKS = 3
"""Tasks per child process that are queued, or have results that are being stored, so that no child is idle."""

MAX_TASKS = 15
"""The same while runs are short: each check of the dispatcher takes as long as a short run."""

REMEMBERED = 32
"""Number of last runs from which the duration of the next ones is estimated."""

_SECONDS = 0.5
"""Duration of the runs that are queued if these are more than the minimum: queued tasks are not overtaken by tasks of a
higher priority."""


class QueueDepth:
    """Estimates from the last runs how many tasks are done soon. Not thread-safe."""

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=REMEMBERED)

    def record(self, seconds: float) -> None:
        """Record the duration of a run."""
        self._durations.append(seconds)

    @property
    def tasks(self) -> int:
        """Maximum number of tasks for each child process; the minimum until enough runs are known."""
        if len(self._durations) < REMEMBERED:
            return MIN_TASKS
        # The mean, and not the median: a single long run makes the queue short.
        mean = sum(self._durations) / REMEMBERED
        return MAX_TASKS if mean * MAX_TASKS <= _SECONDS else max(MIN_TASKS, int(_SECONDS / mean))
