"""RedisIds: ids of deliveries in Redis or Valkey, shared by processes and machines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.receivers.ids import ClaimResult

_DONE = b"done"

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
"""Compares and deletes in one step, because the claim may have expired, and be another one's."""


class RedisClient(Protocol):
    """What is used of `redis.Redis` and `valkey.Valkey`."""

    def set(self, name: Any, value: Any, *, px: Any = ..., nx: bool = ...) -> Any:
        """Set a value that expires after `px` milliseconds; with `nx` only if there is none."""

    def get(self, name: Any) -> Any:
        """Return a value."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script."""


class RedisIds:
    """Ids in Redis or Valkey, for receivers in several processes or on several machines.

    Args:
        client: A blocking client, of `redis.Redis` or `valkey.Valkey`.
        prefix: Prefix of the keys.
        keep: How long handled deliveries are remembered, a `timedelta` or seconds. Longer than senders retry.
        lease: Maximum duration of a handler, likewise. After it, the delivery of a process that has died is accepted
            again.

    Raises:
        ConfigurationError: A duration is invalid.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        prefix: str = "callback-sdk:delivery:",
        keep: Duration = timedelta(days=7),
        lease: Duration = timedelta(minutes=5),
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._keep = round(total_seconds("keep", keep) * 1000)
        self._lease = round(total_seconds("lease", lease) * 1000)

    def claim(self, delivery: str, token: str) -> ClaimResult:
        """See `DeliveryIds.claim`."""
        key, value = self._prefix + delivery, None
        while value is None:
            if self._client.set(key, token, px=self._lease, nx=True):
                return "new"
            # None if it has expired in between.
            value = self._client.get(key)
        return "done" if value in (_DONE, _DONE.decode()) else "running"

    def complete(self, delivery: str, token: str) -> None:
        """See `DeliveryIds.complete`."""
        self._client.set(self._prefix + delivery, _DONE, px=self._keep)

    def release(self, delivery: str, token: str) -> None:
        """See `DeliveryIds.release`."""
        self._client.eval(_RELEASE, 1, self._prefix + delivery, token)
