"""Attempts at one delivery within one process, with exponential backoff."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import DeliveryError
from callback_sdk.receipt import Receipt
from callback_sdk.transport.retry import backoff
from callback_sdk.writer.clock import utc_now
from callback_sdk.writer.delivery import OnRefresh, PreparedDelivery

logger = logging.getLogger(__name__)

MayRetry = Callable[[int, float], bool]
"""Tells whether to retry after this number of attempts, and a pause of this many seconds."""


Send = Callable[..., Awaitable[Receipt]]
"""Makes one attempt at a delivery: `DeliveryAttempts.send`."""


async def send_with_retries(
    delivery: PreparedDelivery,
    *,
    send: Send,
    may_retry: MayRetry,
    sleep: Callable[[float], Awaitable[None]],
    nulls_written: int = 0,
    on_refresh: OnRefresh = lambda delivery: None,
) -> tuple[Receipt, PreparedDelivery]:
    """Make attempts at a delivery until one succeeds or fails permanently.

    Args:
        delivery: The delivery.
        send: Makes one attempt.
        may_retry: Tells whether a transient failure is retried.
        sleep: Waits for a number of seconds.
        nulls_written: For the receipt: non-finite numbers in the results.
        on_refresh: Stores the new target, if the issuer of an expired one gave it.

    Returns:
        The receipt, and the delivery as it was sent: an issuer may have replaced its target.

    Raises:
        DeliveryError: The last attempt failed.
        TargetError: The target would reject it.
    """
    started, attempts = utc_now(), 0

    def keep(fresh: PreparedDelivery) -> None:
        nonlocal delivery
        on_refresh(fresh)
        delivery = fresh

    facts: dict[str, Any] = {"nulls_written": nulls_written, "started": started, "on_refresh": keep}
    while True:
        attempts += 1
        try:
            return await send(delivery, attempts=attempts, **facts), delivery
        except uninterrupted(DeliveryError) as error:
            error.attempts = attempts
            pause = max(backoff(attempts).total_seconds(), error.retry_after or 0.0)
            if not error.transient or not may_retry(attempts, pause):
                raise
            logger.warning("attempt %d failed, retrying in %.1f s: %s", attempts, pause, error)
            await sleep(pause)
