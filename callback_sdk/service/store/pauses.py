"""Paused algorithms: their queued tasks are not started, and new ones are queued or refused."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from attrs import define

from callback_sdk.errors import CallbackSDKError
from callback_sdk.models import PENDING
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import paused_algorithms, tasks

_KEPT = 1.0
"""Seconds for which the pauses are kept: each submission asks for them."""

IS_PAUSED = tasks.c.algorithm.in_(sa.select(paused_algorithms.c.algorithm))
"""The condition of tasks that are not started, because their algorithm is paused."""


@define(frozen=True, kw_only=True)
class Pause:
    """A paused algorithm.

    Attributes:
        algorithm: Its name.
        is_accepted: Whether new tasks are accepted, and queued.
        reason: The reason, for users; empty if none was given.
        paused_by: Name of the user that paused it.
        paused_at: Seconds since 1970 in UTC.
    """

    algorithm: str
    is_accepted: bool
    reason: str
    paused_by: str
    paused_at: float


class AlgorithmPausedError(CallbackSDKError):
    """An algorithm is paused, and accepts no tasks."""


class PauseStore:
    """The paused algorithms in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Sequence[Pause] = ()
        self._known_at = -math.inf

    def pause(self, algorithm: str, *, is_accepted: bool, reason: str, paused_by: str) -> None:
        """Pause an algorithm, or change how it is paused; without a new reason, that of the pause stays."""
        is_this = paused_algorithms.c.algorithm == algorithm
        before = sa.select(paused_algorithms.c.reason).where(is_this)

        def store(connection: sa.Connection) -> None:
            values = {"is_accepted": is_accepted, "reason": reason or connection.execute(before).scalar() or ""}
            connection.execute(paused_algorithms.delete().where(is_this))
            connection.execute(
                paused_algorithms.insert().values(algorithm=algorithm, **values, paused_by=paused_by, paused_at=now())
            )

        self._database.write(store)
        self._known_at = -math.inf

    def resume(self, algorithm: str) -> bool:
        """Start the tasks of an algorithm again, and return whether it was paused."""
        # Ids that workers have dropped meanwhile are dispatched again at once.
        dropped = (tasks.c.status == PENDING, tasks.c.algorithm == algorithm, tasks.c.dispatched_at.is_not(None))

        def remove(connection: sa.Connection) -> bool:
            paused = paused_algorithms.delete().where(paused_algorithms.c.algorithm == algorithm)
            if not connection.execute(paused).rowcount:
                return False
            connection.execute(tasks.update().where(*dropped).values(dispatched_at=None))
            return True

        self._known_at = -math.inf
        return self._database.write(remove)

    def all(self) -> list[Pause]:
        """Return the paused algorithms, ordered by name."""
        query = sa.select(paused_algorithms).order_by(paused_algorithms.c.algorithm)
        with self._database.read() as connection:
            return [Pause(**row) for row in connection.execute(query).mappings()]

    def check(self, algorithms: Collection[str]) -> None:
        """Check that new tasks of these algorithms are accepted; a pause counts within a second.

        Raises:
            AlgorithmPausedError: One of them is paused, and accepts no tasks.
        """
        if time.monotonic() - self._known_at >= _KEPT:
            self._known, self._known_at = self.all(), time.monotonic()
        for pause in self._known:
            if pause.algorithm in algorithms and not pause.is_accepted:
                reason = f": {pause.reason}" if pause.reason else "."
                raise AlgorithmPausedError(
                    f"The algorithm {pause.algorithm!r} is paused and accepts no tasks{reason}",
                    hint="Submit the task again when an operator has resumed it.",
                )
