"""Storage usage of each user, updated in the transactions that change it.

Features and parameters of tasks that have not ended count, parameters and results of ended tasks until they are purged,
and trained models.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store.tables import storage

_SHARDS = 8
"""Rows per user. Submissions lock the first row, so concurrent submissions see each other's bytes. Tasks that end
update one of the other rows, so they don't wait for locks."""

_UPSERT_BYTES = sa.text(
    "INSERT INTO storage (owner, shard, bytes) VALUES (:owner, :shard, :bytes) "
    "ON CONFLICT (owner, shard) DO UPDATE SET bytes = storage.bytes + excluded.bytes"
)
_SELECT_TOTAL = sa.select(sa.func.coalesce(sa.func.sum(storage.c.bytes), 0)).where(
    storage.c.owner == sa.bindparam("_owner")
)

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class StorageQuotaError(CallbackSDKError):
    """A user's tasks would exceed the storage quota.

    Attributes:
        used: Bytes that the user's tasks take.
        needed: Bytes that the new tasks would add.
        quota: Storage quota of the user, in bytes.
    """

    def __init__(self, *, used: int, needed: int, quota: float) -> None:
        super().__init__(
            f"Your tasks use {_size_text(used)}, the new ones need {_size_text(needed)}, "
            f"and your quota is {_size_text(quota)}.",
            hint="Cancel tasks that have not ended, or wait until results expire. The operator sets the quota with "
            "CALLBACK_SDK_MAX_BYTES, and the retention of results with CALLBACK_SDK_RETENTION.",
        )
        self.used = used
        self.needed = needed
        self.quota = quota


class TooLargeForQuotaError(StorageQuotaError):
    """A single request exceeds the storage quota."""


def shard() -> int:
    """Return a random row for the tasks that end in one transaction, which locks the users' rows in a fixed order."""
    return 1 + secrets.randbelow(_SHARDS - 1)


def add(connection: sa.Connection, owner: str, count: int, row: int) -> None:
    """Add bytes to a user's usage, or subtract them. Only other users' updates may follow in the transaction.

    Args:
        connection: A connection in a transaction.
        owner: Id of the user.
        count: Number of bytes.
        row: Number of the user's row; see `shard`.
    """
    if count:
        connection.execute(_UPSERT_BYTES, {"owner": owner, "shard": row, "bytes": count})


def reserve(connection: sa.Connection, owner: str, count: int, quota: float) -> None:
    """Add the bytes of new tasks. Must be the last statement of their transaction.

    Args:
        connection: A connection in a transaction.
        owner: Id of the user.
        count: Number of bytes.
        quota: Storage quota of the user, in bytes.

    Raises:
        StorageQuotaError: The quota would be exceeded.
    """
    add(connection, owner, count, 0)
    if quota == math.inf:
        return
    total = int(connection.execute(_SELECT_TOTAL, {"_owner": owner}).scalar_one())
    if total > quota:
        kind = TooLargeForQuotaError if count > quota else StorageQuotaError
        raise kind(used=total - count, needed=count, quota=quota)


def add_all(connection: sa.Connection, changes: Iterable[tuple[str, int]]) -> None:
    """Add bytes to the usage of several users, or subtract them. Must be the last statements of their transaction.

    Args:
        connection: A connection in a transaction.
        changes: Pairs of owner and bytes.
    """
    totals: Counter[str] = Counter()
    for owner, count in changes:
        totals[owner] += count
    row = shard()
    # In a fixed order, so that two transactions can't deadlock.
    for owner in sorted(totals):
        add(connection, owner, totals[owner], row)


def used_bytes(connection: sa.Connection, owner: str) -> int:
    """Return a user's storage usage, in bytes."""
    return int(connection.execute(_SELECT_TOTAL, {"_owner": owner}).scalar_one())


def _size_text(count: float) -> str:
    value, unit = count, 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g} {_UNITS[unit]}"
