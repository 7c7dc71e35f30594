"""Delivers results: one attempt at one delivery, many at once, each on its own."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from attrs import evolve

from callback_sdk.concurrency.attempts import RunningAttempts
from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import AddressNotAllowedError, CallbackSDKError, DeliveryError
from callback_sdk.service.blobs import BlobStorage, results_name
from callback_sdk.service.files import Scratch
from callback_sdk.service.metrics import DELIVERY_ATTEMPTS
from callback_sdk.service.store import DeliveryClaim, DueDeliveries, Store, StoreUnavailableError
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.transport.retry import SERVICE_DELAYS, next_delay
from callback_sdk.writer.attempts import DeliveryAttempts, has_responded, loggable_text

_log = logging.getLogger(__name__)

THREADS = 32
"""Attempts at once. They wait for the network, so they may be more than the cores."""


class Deliverer:
    """Makes attempts at deliveries in threads.

    Args:
        store: Where deliveries are claimed and their outcome is kept.
        blobs: Where large results are.
        scratch: Folder for copies of them.
        claims: Keeps what is claimed.
        writer: Makes the attempts.
        delays: Pauses between the tries of a delivery.
        settled: Called after each attempt.
    """

    def __init__(
        self,
        *,
        store: Store,
        blobs: BlobStorage,
        scratch: Scratch,
        claims: Heartbeat,
        writer: DeliveryAttempts,
        delays: Sequence[timedelta] = SERVICE_DELAYS,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._scratch = scratch
        self._claims = claims
        self._writer = writer
        self._delays = delays
        self._settled = settled
        self._attempts: RunningAttempts[DeliveryClaim] = RunningAttempts(THREADS)
        self._outage = OutageLog(_log, failing="No delivery can be claimed", working="Deliveries are claimed again")

    def begin(self, ended: DueDeliveries) -> None:
        """Begin the first attempts for a task; those that find no room are brought by the dispatcher."""
        for claim in ended.claims:
            self._attempts.begin(claim.delivery_id, claim.host)
            if not self._start(claim.delivery_id, claim):
                self._run(claim.delivery_id, claim)
        for delivery_id, host in ended.due:
            if not self.send(delivery_id, host):
                self._store.deliveries.unmark_dispatched(delivery_id)

    def send(self, delivery_id: str, host: str) -> bool:
        """Begin an attempt unless it runs already, or the threads or the host are busy.

        Returns:
            Whether it was begun.
        """
        if not self._attempts.try_begin(delivery_id, host):
            return False
        begun = self._start(delivery_id)
        if not begun:
            self._attempts.end(delivery_id)
        return begun

    def send_now(self, delivery_id: str, host: str) -> bool:
        """Do what `send` does, but in this thread: when it returns, the attempt is over."""
        if not self._attempts.try_begin(delivery_id, host):
            return False
        self._run(delivery_id)
        return True

    @property
    def spare(self) -> int:
        """How many further attempts can begin at the moment even if all of them go to one and the same host."""
        return self._attempts.free_slots

    @property
    def free(self) -> int:
        """How many further attempts can begin at the moment if they go to different hosts."""
        return self._attempts.free_slots_any_host

    def full_hosts(self) -> Collection[str]:
        """Return the hosts that get no further attempt at the moment."""
        return self._attempts.full_hosts()

    def close(self, *, timeout: timedelta = timedelta(seconds=5)) -> None:
        """Begin no further attempt, and wait a while for those that run; the rest is made again later."""
        self._attempts.close(timeout.total_seconds())

    def _start(self, delivery_id: str, claim: DeliveryClaim | None = None) -> bool:
        # A daemon: one that waits for a slow server must not keep the process from ending.
        thread = threading.Thread(target=self._run, args=(delivery_id, claim), name="delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The machine has no more threads.
            return False
        return True

    def _run(self, delivery_id: str, claim: DeliveryClaim | None = None) -> None:
        responded: bool | None = None
        try:
            claim = claim or self._store.deliveries.claim(delivery_id, self._claims.worker)
            if claim is not None:
                with self._claims.sending(claim):
                    responded = self._attempt(claim)
            self._outage.recovered()
        except StoreUnavailableError as error:
            self._outage.failed(error)
        except Exception:  # noqa: BLE001 - a thread that dies silently would hide why
            _log.exception(
                "Delivery %s could not be attempted; it is taken up again.",
                delivery_id,
                extra={"delivery_id": delivery_id},
            )
        finally:
            self._attempts.end(delivery_id, responded=responded)
            self._settled()

    def _attempt(self, claim: DeliveryClaim) -> bool | None:
        """Make one attempt, and tell whether the host responded; None when it wasn't asked."""
        extra = {
            "action": "deliver",
            "job_id": claim.job_id,
            "delivery_id": claim.delivery_id,
            "attempt": claim.attempt,
        }
        try:
            with self._results(claim) as results:
                receipt = self._writer.attempt(
                    evolve(claim.result, results=results),
                    self._store.deliveries.open(claim),
                    delivery_id=claim.delivery_id,
                    results_url=lambda: self._store.deliveries.results_url(claim.job_id),
                    traceparent=claim.traceparent,
                )
        except Exception as error:  # noqa: BLE001 - whatever broke, the next attempt may not
            if not isinstance(error, CallbackSDKError):
                _log.exception("Task %s: the attempt to deliver broke.", claim.job_id, extra=extra)
            self._fail(claim, error, extra)
            return has_responded(error)
        else:
            receipt = evolve(receipt, attempts=claim.attempt, nulls_written=claim.nulls_written)
            DELIVERY_ATTEMPTS.labels("delivered").inc()
            self._store.deliveries.delivered(claim.delivery_id, claim.attempt, receipt)
            _log.info("Task %s is delivered to %s.", claim.job_id, claim.url, extra=extra)
            return True

    def _fail(self, claim: DeliveryClaim, error: Exception, extra: dict[str, Any]) -> None:
        seen = _as_seen(error, claim.url)
        delay = next_delay(seen, claim.since_redelivery, self._delays)
        again_in = None if delay is None else delay.total_seconds()
        DELIVERY_ATTEMPTS.labels("dead" if again_in is None else "failed").inc()
        self._store.deliveries.failed(claim.delivery_id, claim.attempt, loggable_text(seen), again_in)
        after = "never again" if again_in is None else f"again in {again_in:.0f} s"
        _log.warning("Task %s is not at %s, %s: %s", claim.job_id, claim.url, after, loggable_text(error), extra=extra)

    @contextmanager
    def _results(self, claim: DeliveryClaim) -> Iterator[Any]:
        """Give the results as the writer takes them: bytes that are known to be JSON, on disk or in memory."""
        if not claim.result.success:
            yield None
        elif claim.results is not None:
            yield Body(claim.results)
        else:
            with self._blobs.fetch(results_name(claim.job_id, claim.run), self._scratch.folder) as path:
                yield Body(PathPart(path))


def _as_seen(error: Exception, url: str) -> Exception:
    """Return what a task's owner is told of an error: not whether a name exists in the service's own network.

    A name that is not known and one that leads inside are one error, with the same next tries.
    """
    unknown = isinstance(error.__cause__, socket.gaierror)
    if not unknown and not (isinstance(error, AddressNotAllowedError) and error.resolved):
        return error
    return DeliveryError(
        f"{url} can't be reached: its host name leads to no public address.",
        hint="Check its spelling. The service's log has the reason; its operator can allow hosts that aren't public.",
        url=url,
        retryable=True,
    )
