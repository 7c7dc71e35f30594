"""Leases and heartbeats: a claim expires unless its owner renews the lease in time.

The service's workers and the outbox use the same protocol. A claim is stored with a timestamp, heartbeats renew the
timestamp while the work runs, and other processes may take over a claim with an expired lease. A number that increases
with each claim (a fencing token) keeps the previous owner from overwriting the results of the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

HEARTBEATS_PER_LEASE = 4
"""Number of heartbeats per lease: three may fail or be late before the claim expires."""

LEASE_DURATION = timedelta(seconds=20)
"""Default time without a heartbeat after which a claim expires."""


def run_heartbeat(
    renew: Callable[[], None], *, wait: Callable[[], bool], failed: Callable[[Exception], object]
) -> None:  # fmt: skip
    """Send heartbeats until `wait` returns True.

    An error doesn't end the loop: the next heartbeat may still be in time.

    Args:
        renew: Renews the leases.
        wait: Waits for the time of the next heartbeat, and returns whether to stop.
        failed: Called with the error of a heartbeat that failed.
    """
    while not wait():
        try:
            renew()
        except Exception as error:  # noqa: BLE001, PERF203 - one round in seconds
            failed(error)
