"""callback_sdk.concurrency.leases"""

from __future__ import annotations

from callback_sdk.concurrency.leases import HEARTBEATS_PER_LEASE, LEASE_DURATION, run_heartbeat
from callback_sdk.config.service import ServiceConfig
from callback_sdk.outbox import store as outbox


def test_three_heartbeats_may_fail_before_a_claim_expires() -> None:
    """In the service's store and in an outbox."""
    assert HEARTBEATS_PER_LEASE == 4
    assert ServiceConfig.from_environ({}).lease == LEASE_DURATION
    assert outbox.LEASE_DURATION == 4 * outbox.HEARTBEAT_INTERVAL


def test_heartbeat_that_fails_does_not_end_the_loop() -> None:
    """Its error is passed on, and the next heartbeat follows."""
    waits = iter([False, False, False, True])
    beats: list[int] = []
    errors: list[str] = []

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 2:
            raise OSError("full")

    run_heartbeat(beat, wait=lambda: next(waits), failed=lambda error: errors.append(str(error)))
    assert beats == [0, 1, 2]
    assert errors == ["full"]
