"""The audit log in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import define

from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.models import AuditEntry
from callback_sdk.service.store.tables import audit

_INSERT = audit.insert().values(at=now())


@define(frozen=True, kw_only=True)
class AuditFilter:
    """Selects entries of the audit log; None selects all.

    Attributes:
        action: Name of the event.
        actor: Name of the user who acted.
        owner: Name of the user whose task or account it was.
        job_id: The task.
        since: Entries at or after this time, in seconds since 1970 in UTC.
        until: Entries before this time.
    """

    action: str | None = None
    actor: str | None = None
    owner: str | None = None
    job_id: str | None = None
    since: float | None = None
    until: float | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions of a query."""
        equal = [
            audit.c[name] == value
            for name in ("action", "actor", "owner", "job_id")
            if (value := getattr(self, name)) is not None
        ]
        since = [] if self.since is None else [audit.c.at >= self.since]
        return [*equal, *since, *([] if self.until is None else [audit.c.at < self.until])]


class AuditStore:
    """The audit log in a database. Entries are only added, and deleted by age.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Store entries, all or none, with the current time of the database's clock.

        Args:
            rows: The members of `AuditEntry`, without `entry_id` and `at`.
        """
        self._database.write(lambda connection: connection.execute(_INSERT, list(rows)))

    def page(self, wanted: AuditFilter, *, before: int | None = None, limit: int) -> list[AuditEntry]:
        """Return entries, the newest first.

        Args:
            wanted: Selects entries.
            before: `entry_id` of the last entry of the previous page.
            limit: Maximum number.
        """
        conditions = wanted.conditions()
        if before is not None:
            conditions.append(audit.c.entry_id < before)
        query = sa.select(audit).where(*conditions).order_by(audit.c.entry_id.desc()).limit(limit)
        with self._database.read() as connection:
            return [AuditEntry(**row) for row in connection.execute(query).mappings()]

    def delete(self, *, older_than: float) -> None:
        """Delete entries older than this many seconds."""
        old = audit.delete().where(audit.c.at < now() - older_than)
        self._database.write(lambda connection: connection.execute(old))
