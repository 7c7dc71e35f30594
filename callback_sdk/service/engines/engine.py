"""What the service needs of an engine."""

from __future__ import annotations

from typing import Protocol


class Engine(Protocol):
    """A courier of task ids. It may bring one twice, or lose one: the dispatcher sends again."""

    def start(self) -> None:
        """Take up the work."""
        ...

    def send(self, job_id: str) -> None:
        """Bring a task to some worker, soon."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop the computation of a task that the store has ended already."""
        ...

    def close(self) -> None:
        """Break off what runs and give it back."""
        ...
