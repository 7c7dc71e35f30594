"""Delivers results: one attempt at one delivery, many at once, each on its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Protocol

from attrs import evolve

from callback_sdk.callbacks import Callback
from callback_sdk.errors import CallbackSDKError, TargetError
from callback_sdk.models import JobResult, Receipt
from callback_sdk.retry import next_delay
from callback_sdk.service.blobs import Blobs
from callback_sdk.service.records import DeliveryClaim
from callback_sdk.service.store import Store

_log = logging.getLogger(__name__)

THREADS = 32
"""Attempts at once. They wait for the network, so they may be more than the cores."""

PER_HOST = 8
"""Attempts at once at one host: a slow one leaves room for the others."""


class Writer(Protocol):
    """The one method of `ResultsWriter` that is needed here."""

    def attempt(
        self, result: JobResult, callback: Callback, *, delivery_id: str, results_url: Callable[[], str | None]
    ) -> Receipt:
        """Try once."""
        ...


class Deliverer:
    """Makes attempts at deliveries in threads.

    Args:
        store: Where deliveries are claimed and their outcome is kept.
        blobs: Where the results are.
        writer: What sends.
        settled: Called after each attempt.
    """

    def __init__(self, *, store: Store, blobs: Blobs, writer: Writer, settled: Callable[[], None]) -> None:
        self._store = store
        self._blobs = blobs
        self._writer = writer
        self._settled = settled
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._busy: dict[str, str] = {}
        self._closed = False

    def send(self, delivery_id: str, host: str) -> bool:
        """Begin an attempt unless it runs already, or the threads or the host are busy.

        Returns:
            Whether it was begun.
        """
        with self._lock:
            if self._closed or delivery_id in self._busy or len(self._busy) >= THREADS or host in self._full():
                return False
            self._busy[delivery_id] = host
        # A daemon: one that waits for a slow server must not keep the service from ending.
        threading.Thread(target=self._run, args=(delivery_id,), name="delivery", daemon=True).start()
        return True

    def full_hosts(self) -> Collection[str]:
        """Return the hosts that get no further attempt at the moment."""
        with self._lock:
            return self._full()

    def close(self, *, timeout: timedelta = timedelta(seconds=5)) -> None:
        """Begin no further attempt, and wait a while for those that run; the rest is made again later."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: not self._busy, timeout.total_seconds())

    def _full(self) -> Collection[str]:
        return [host for host, count in Counter(self._busy.values()).items() if count >= PER_HOST]

    def _run(self, delivery_id: str) -> None:
        try:
            claim = self._store.claim_delivery(delivery_id)
            if claim is not None:
                self._attempt(claim)
        except Exception:  # noqa: BLE001 - a thread that dies silently would lose the delivery until the next start
            _log.exception("Delivery %s could not be attempted.", delivery_id)
        finally:
            with self._idle:
                self._busy.pop(delivery_id, None)
                self._idle.notify_all()
            self._settled()

    def _attempt(self, claim: DeliveryClaim) -> None:
        result = claim.result
        if result.success:
            result = evolve(result, results=self._blobs.results(claim.job_id, claim.run))
        extra = {
            "action": "deliver",
            "job_id": claim.job_id,
            "delivery_id": claim.delivery_id,
            "attempt": claim.attempt,
        }
        try:
            receipt = self._writer.attempt(
                result,
                claim.callback,
                delivery_id=claim.delivery_id,
                results_url=lambda: self._store.results_url(claim.job_id),
            )
        except TargetError as error:
            self._store.failed(claim.delivery_id, str(error), None)
            _log.warning("Task %s can't be delivered to %s: %s", claim.job_id, claim.callback.url, error, extra=extra)
        except Exception as error:  # noqa: BLE001 - whatever broke, the next attempt may not
            if not isinstance(error, CallbackSDKError):
                _log.exception("Task %s: the attempt to deliver broke.", claim.job_id, extra=extra)
            moment = _next_attempt(error, claim.attempt)
            self._store.failed(claim.delivery_id, _text(error), moment)
            after = "never again" if moment is None else f"again in {moment - time.time():.0f} s"
            _log.warning(
                "Task %s is not at %s, %s: %s",
                claim.job_id,
                claim.callback.url,
                after,
                _text(error),
                extra=extra,
            )
        else:
            self._store.delivered(claim.delivery_id, evolve(receipt, attempts=claim.attempt, nulled=claim.nulled))
            _log.info("Task %s is delivered to %s.", claim.job_id, claim.callback.url, extra=extra)


def _next_attempt(error: Exception, attempts: int) -> float | None:
    """Return when to try again, in seconds since 1970; None for never."""
    delay = next_delay(error, attempts)
    return None if delay is None else time.time() + delay.total_seconds()


def _text(error: Exception) -> str:
    # The text of an error that isn't ours might hold anything.
    return str(error) if isinstance(error, CallbackSDKError) else f"The attempt broke with {type(error).__name__}."
