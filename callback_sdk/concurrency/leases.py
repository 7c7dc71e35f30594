"""Leases and heartbeats: a claim expires unless the process that holds it renews its lease in time.

The service's workers and the outbox follow the same protocol. Whoever claims something writes when it last did so; a
heartbeat renews that while the work runs; and a claim whose lease has expired may be taken over. A number that grows
with each claim (a fencing token) keeps the former holder from overwriting what the next one wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

HEARTBEATS_PER_LEASE = 4
"""Heartbeats in the duration of a lease, so that three may fail or come late before a claim expires."""

LEASE_DURATION = timedelta(seconds=20)
"""Time without a heartbeat after which a claim expires, unless a setting says otherwise."""


def run_heartbeat(
    beat: Callable[[], None], *, wait: Callable[[], bool], failed: Callable[[Exception], object]
) -> None:  # fmt: skip
    """Call `beat` after each wait until there is nothing to keep alive.

    An error doesn't end the loop: the next heartbeat may still come before the lease expires.

    Args:
        beat: Renews the leases.
        wait: Waits for the next heartbeat, and returns whether the loop ends instead.
        failed: Called with the error of a heartbeat that failed.
    """
    while not wait():
        try:
            beat()
        except Exception as error:  # noqa: BLE001, PERF203 - one round in seconds
            failed(error)
