"""Expiry of queued tasks: they end without being computed."""

from __future__ import annotations

import sqlalchemy as sa

from callback_sdk.models import EXPIRED_CODE
from callback_sdk.service.store import outcomes
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.tables import tasks
from callback_sdk.text.descriptions import sentence

IS_CURRENT = sa.and_(
    # A task that was started in time may be started again: its process died, or the service was stopped.
    sa.or_(tasks.c.expires_at.is_(None), tasks.c.started_at.is_not(None), tasks.c.expires_at > now()),
    sa.or_(tasks.c.targets_expire_at.is_(None), tasks.c.targets_expire_at > now()),
)
"""The condition of tasks that may be started."""

_CONDITIONS = {
    "No worker started the task before it expired": sa.and_(tasks.c.expires_at <= now(), tasks.c.started_at.is_(None)),
    "All targets of the task expired while it was queued": (tasks.c.targets_expire_at <= now()),
}


def end_expired(database: Database, problem: str | None = None) -> list[str]:
    """Fail the queued tasks that have expired, make their deliveries due, and return their ids.

    Args:
        database: The store's database.
        problem: Why no worker can start a task; None if one can, or if that isn't known.
    """
    reason = "" if problem is None else f": no worker is ready. {problem}"
    ended: list[str] = []
    for what, condition in _CONDITIONS.items():
        error = f"{sentence(what + reason)} It was not computed."
        # Without a transaction that writes, as there is rarely such a task.
        with database.read() as connection:
            found = connection.execute(sa.select(sa.exists().where(outcomes.IS_QUEUED, condition))).scalar()
        if found:
            ended += outcomes.fail_queued(database, condition, {"error": error, "error_code": EXPIRED_CODE})
    return ended
