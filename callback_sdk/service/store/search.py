"""Search for tasks: by status, algorithm, user, id, error and time, in bounded time."""

from __future__ import annotations

import re
import uuid
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve

from callback_sdk.models import EXPIRED_CODE, FINISHED
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.outcomes import OPEN
from callback_sdk.service.store.tables import tasks, users

_OUTCOMES = ("succeeded", "failed", "expired")
"""Filters of finished tasks by their outcome; the expired ones are among the failed ones too."""

WINDOW = 10_000
"""Number of tasks whose errors are searched for a text at a time: no index finds a part of a text."""

_MAX_BY_ID = 1000
"""Number of tasks with the same beginning of their ids among which is searched further."""

_HIDDEN = ("parameters", "options", "result_offsets")


@define(frozen=True, kw_only=True)
class TaskFilter:
    """Selects tasks; None selects all.

    Attributes:
        owner: Id of the user.
        status: A status, or the outcome `succeeded`, `failed` or `expired` of a finished task.
        algorithm: Name of the algorithm.
        id_prefix: Beginning of the id.
        error: A part of the error, in any case.
        since: Tasks accepted at or after this time, in seconds since 1970 in UTC.
        until: Tasks accepted before this time.
    """

    owner: str | None = None
    status: str | None = None
    algorithm: str | None = None
    id_prefix: str | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None

    def conditions(self, table: Any) -> list[sa.ColumnElement[bool]]:
        """Return the conditions of a query that an index can answer.

        Args:
            table: The tasks, or a query with their columns.
        """
        found = [
            table.c[name] == value for name in ("owner", "algorithm") if (value := getattr(self, name)) is not None
        ]
        if self.status in _OUTCOMES:
            # As an expression, the status leaves the choice of the index to the outcome, which few tasks have.
            found += [table.c.status.concat("") == FINISHED, table.c.success.is_(self.status == "succeeded")]
            found += [table.c.error_code == EXPIRED_CODE] if self.status == "expired" else []
        elif self.status is not None:
            found.append(table.c.status == self.status)
        since = [] if self.since is None else [table.c.created_at >= self.since]
        return [*found, *since, *([] if self.until is None else [table.c.created_at < self.until])]


@define(frozen=True)
class FoundTasks:
    """A page of tasks, newest first.

    Attributes:
        tasks: Their columns, and `owner_name`.
        position: Where the next page begins, see `TaskSearch.page`; None on the last one.
    """

    tasks: list[dict[str, Any]]
    position: tuple[float, str] | None


class TaskSearch:
    """Searches the tasks in a database.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, wanted: TaskFilter, *, after: tuple[float, str] | None = None, limit: int) -> FoundTasks:
        """Return a page of tasks, newest first.

        A search for an error's text reads `WINDOW` tasks. So a page may have few tasks, or none, and a next page.

        Args:
            wanted: Selects tasks.
            after: `position` of the previous page.
            limit: Maximum number.
        """
        source: Any = tasks
        if wanted.id_prefix is not None:
            ids = id_range(wanted.id_prefix)
            if ids is None:
                return FoundTasks([], None)
            # In an inner query with a limit, so that it is the index of the ids that is read.
            source = sa.select(tasks).where(tasks.c.job_id.between(*ids)).limit(_MAX_BY_ID).subquery()
        query = sa.select(source).where(*wanted.conditions(source))
        if after is not None:
            last = sa.tuple_(*map(sa.literal, after))
            query = query.where(sa.tuple_(source.c.created_at, source.c.job_id) < last)
        query = query.order_by(source.c.created_at.desc(), source.c.job_id.desc())
        with self._database.read() as connection:
            if wanted.error is None:
                return _page(connection, query.limit(limit + 1), limit)
            return _search(connection, query.limit(WINDOW), wanted.error, limit)

    def open_ids(self, wanted: TaskFilter, *, limit: int) -> list[str]:
        """Return the ids of queued and running tasks that a filter selects, newest first; at most `limit`."""
        found: list[str] = []
        for status in OPEN:
            after, is_last = None, wanted.status not in (None, status)
            while not is_last and len(found) < limit:
                page = self.page(evolve(wanted, status=status), after=after, limit=limit - len(found))
                found += [task["job_id"] for task in page.tasks]
                after, is_last = page.position, page.position is None
        return found


def id_range(prefix: str) -> tuple[str, str] | None:
    """Return the first and the last id that begin with a prefix; None if no id does.

    Both have the form of an id, so that the order of letters and punctuation in a database's locale doesn't matter.
    """
    digits = prefix.strip().lower().replace("-", "")
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        return None
    return str(uuid.UUID(digits.ljust(32, "0"))), str(uuid.UUID(digits.ljust(32, "f")))


def _page(connection: sa.Connection, query: sa.Select[Any], limit: int) -> FoundTasks:
    found = _read_shown(connection, query)
    return FoundTasks(found[:limit], _position(found[limit - 1]) if len(found) > limit else None)


def _search(connection: sa.Connection, query: sa.Select[Any], error: str, limit: int) -> FoundTasks:
    window = query.subquery()
    matching = sa.select(window).where(window.c.error.icontains(error, autoescape=True))
    found = _read_shown(
        connection, matching.order_by(window.c.created_at.desc(), window.c.job_id.desc()).limit(limit + 1)
    )
    if len(found) > limit:
        return FoundTasks(found[:limit], _position(found[limit - 1]))
    last = query.with_only_columns(query.selected_columns.created_at, query.selected_columns.job_id)
    row = connection.execute(last.limit(1).offset(WINDOW - 1)).first()
    return FoundTasks(found, None if row is None else (row.created_at, row.job_id))


def _read_shown(connection: sa.Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    found = query.subquery()
    columns = [column for column in found.c if column.name not in _HIDDEN]
    named = (
        sa.select(*columns, users.c.name.label("owner_name"))
        .select_from(found.outerjoin(users, users.c.user_id == found.c.owner))
        .order_by(found.c.created_at.desc(), found.c.job_id.desc())
    )
    return [dict(row) for row in connection.execute(named).mappings()]


def _position(task: dict[str, Any]) -> tuple[float, str]:
    return task["created_at"], task["job_id"]
