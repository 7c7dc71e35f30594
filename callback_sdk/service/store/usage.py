"""How many bytes each user takes, counted in the transactions that change it.

Counted are features and parameters of tasks that have not ended, parameters and results of those that have, until they
are forgotten, and trained models.
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
"""Rows of a user. Submissions take the first one, so that of two at once the second one sees what the first one took;
what ends, ends in any of the others, and waits for nobody."""

_UPSERT_BYTES = sa.text(
    "INSERT INTO storage (owner, shard, bytes) VALUES (:owner, :shard, :bytes) "
    "ON CONFLICT (owner, shard) DO UPDATE SET bytes = storage.bytes + excluded.bytes"
)
_SELECT_TOTAL = sa.select(sa.func.coalesce(sa.func.sum(storage.c.bytes), 0)).where(
    storage.c.owner == sa.bindparam("_owner")
)

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class StorageQuotaError(CallbackSDKError):
    """A user's tasks would take more bytes than they may; wait, or cancel some.

    Attributes:
        used: Bytes that they take.
        needed: Bytes that the new ones would add.
        most: Bytes that a user may take.
    """

    def __init__(self, *, used: int, needed: int, most: float) -> None:
        super().__init__(
            f"Your tasks take {_shown(used)}, these would add {_shown(needed)}, and you may have {_shown(most)}.",
            hint="Cancel tasks that have not ended, or wait until results are forgotten. Whoever runs the service sets "
            "CALLBACK_SDK_MAX_BYTES, and by CALLBACK_SDK_RETENTION how long results are kept.",
        )
        self.used = used
        self.needed = needed
        self.most = most


class TooLargeForQuotaError(StorageQuotaError):
    """What a request brings is more than a user may have at all; send less."""


def shard() -> int:
    """Return the row for what ends in one transaction, which takes the users' rows in one order."""
    return 1 + secrets.randbelow(_SHARDS - 1)


def add(connection: sa.Connection, owner: str, count: int, row: int) -> None:
    """Count bytes more of a user, or fewer; as the last statement but for those of other users.

    Args:
        connection: In a transaction.
        owner: Id of the user.
        count: The bytes.
        row: Which of the user's rows; see `shard`.
    """
    if count:
        connection.execute(_UPSERT_BYTES, {"owner": owner, "shard": row, "bytes": count})


def reserve(connection: sa.Connection, owner: str, count: int, most: float) -> None:
    """Count the bytes of new tasks, as the last statement of their transaction.

    Args:
        connection: In a transaction.
        owner: Id of the user.
        count: The bytes.
        most: Bytes that the user may have.

    Raises:
        StorageQuotaError: They would be too many.
    """
    add(connection, owner, count, 0)
    if most == math.inf:
        return
    total = int(connection.execute(_SELECT_TOTAL, {"_owner": owner}).scalar_one())
    if total > most:
        kind = TooLargeForQuotaError if count > most else StorageQuotaError
        raise kind(used=total - count, needed=count, most=most)


def release(connection: sa.Connection, freed: Iterable[tuple[str, int]]) -> None:
    """Count the bytes of forgotten tasks no more.

    Args:
        connection: In a transaction.
        freed: Owners and bytes.
    """
    totals: Counter[str] = Counter()
    for owner, count in freed:
        totals[owner] += count
    row = shard()
    # In one order, so that two transactions never wait for each other.
    for owner in sorted(totals):
        add(connection, owner, -totals[owner], row)


def used(connection: sa.Connection, owner: str) -> int:
    """Return how many bytes a user takes."""
    return int(connection.execute(_SELECT_TOTAL, {"_owner": owner}).scalar_one())


def _shown(count: float) -> str:
    value, unit = count, 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g} {_UNITS[unit]}"
