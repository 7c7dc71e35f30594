"""Delivery attempts of the service, each in a separate thread.

The circuit and the limits of a host are checked when a delivery is claimed: `store.host_gates`.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from attrs import evolve

from callback_sdk.concurrency.attempts import RunningAttempts
from callback_sdk.documents.body import Body, PathPart
from callback_sdk.errors import (
    AddressNotAllowedError,
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    RefreshError,
)
from callback_sdk.receipt import Receipt
from callback_sdk.service.blobs import BlobStorage, results_name
from callback_sdk.service.files import Scratch
from callback_sdk.service.metrics import DELIVERY_ATTEMPTS
from callback_sdk.service.store import DeliveryClaim, DueDeliveries, Store, StoreUnavailableError
from callback_sdk.service.store.models import HostOutcome
from callback_sdk.service.store.replacements import NewTarget
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.service.work.outputs import TaskOutputFiles
from callback_sdk.service.work.results_bucket import ResultsBucket, operators_errors
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.webhook import Webhook
from callback_sdk.transport.driver import run
from callback_sdk.transport.retry import SERVICE_DELAYS, is_host_available, next_delay
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.failures import has_responded, loggable_text

_log = logging.getLogger(__name__)

_GONE = 410
"""Status of a webhook that doesn't exist any more (RFC 9110, section 15.5.11)."""

THREADS = 32
"""Maximum concurrent attempts: more than CPU cores, because attempts wait for the network."""


class Deliverer:
    """Makes delivery attempts in threads.

    Args:
        store: Claims deliveries and stores their outcomes.
        blobs: Storage of large results.
        scratch: Directory for copies of large results.
        heartbeat: Renews the leases of claimed deliveries.
        writer: Sends the results.
        public_url: URL at which clients reach the service; empty if it is unknown.
        delays: Delays between the attempts of a delivery.
        bucket: The bucket for targets `results:`; None without one.
        claims_at_once: Whether the worker that ends a task may claim its deliveries in the same transaction. Not if all
            hosts have limits.
        wakeup: Set when deliveries may have become due, or wait for a slot that is free now.
        slots_wanted: Set by the dispatcher while deliveries may wait for a slot.
    """

    def __init__(
        self,
        *,
        store: Store,
        blobs: BlobStorage,
        scratch: Scratch,
        heartbeat: Heartbeat,
        writer: DeliveryAttempts,
        public_url: str = "",
        delays: Sequence[timedelta] = SERVICE_DELAYS,
        bucket: ResultsBucket | None = None,
        claims_at_once: bool = True,
        wakeup: threading.Event | None = None,
        slots_wanted: threading.Event | None = None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._scratch = scratch
        self._heartbeat = heartbeat
        self._writer = writer
        self._public_url = public_url
        self._outputs = TaskOutputFiles(store=store, blobs=blobs, scratch=scratch, public_url=public_url)
        self._delays = delays
        self._bucket = bucket
        self._claims_at_once = claims_at_once
        self._wakeup = wakeup or threading.Event()
        self._slots_wanted = slots_wanted or threading.Event()
        self._attempts: RunningAttempts[DeliveryClaim] = RunningAttempts(THREADS)
        self._outage = OutageLog(_log, failing="No delivery can be claimed", working="Deliveries are claimed again")

    def start_all(self, due: DueDeliveries, *, before: Callable[[], None] | None = None) -> None:
        """Start the first attempts of a task's deliveries. The dispatcher starts those without a free slot later.

        Args:
            due: The deliveries.
            before: Called before the attempts, which `close` waits for meanwhile, too. It may take seconds.
        """
        for claim in due.claims:
            self._attempts.begin(claim.delivery_id, claim.host)
        if before is None:
            self._start_begun(due)
        elif not _start_thread("last-event", self._start_after, before, due):
            self._start_after(before, due)

    def _start_after(self, before: Callable[[], None], due: DueDeliveries) -> None:
        try:
            with ExitStack() as stack:
                for claim in due.claims:
                    stack.enter_context(self._heartbeat.sending(claim))
                before()
        except Exception:  # noqa: BLE001 - the result is delivered whatever comes of its events
            _log.exception("The deliveries of a task start without the end of its events.")
        finally:
            self._start_begun(due)

    def _start_begun(self, due: DueDeliveries) -> None:
        for claim in due.claims:
            if not _start_thread("delivery", self._run, claim.delivery_id, claim):
                self._run(claim.delivery_id, claim)
        for delivery_id, host in due.due:
            if not self.start(delivery_id, host):
                self._store.deliveries.unmark_dispatched(delivery_id)
                self._wakeup.set()

    def start(self, delivery_id: str, host: str) -> bool:
        """Start an attempt in a thread, unless an attempt of this delivery is running or no slot is free.

        Returns:
            Whether the attempt was started.
        """
        if not self._attempts.try_begin(delivery_id, host):
            return False
        started = _start_thread("delivery", self._run, delivery_id)
        if not started:
            self._attempts.end(delivery_id)
        return started

    def attempt_now(self, delivery_id: str, host: str) -> bool:
        """Make an attempt in this thread; see `start`. Returns when it has ended."""
        if not self._attempts.try_begin(delivery_id, host):
            return False
        self._run(delivery_id)
        return True

    @property
    def free_slots_any_host(self) -> int:
        """Number of deliveries that may be claimed for this process, even if all have the same host."""
        return self._attempts.free_slots_any_host if self._claims_at_once else 0

    @property
    def free_slots(self) -> int:
        """Number of further attempts that can start at hosts with free slots."""
        return self._attempts.free_slots

    def full_hosts(self) -> Collection[str]:
        """Return the hosts without free slots."""
        return self._attempts.full_hosts()

    def close(self, *, timeout: timedelta = timedelta(seconds=5)) -> None:
        """Start no further attempts, and wait up to `timeout` for running ones. Interrupted ones are repeated later."""
        self._attempts.close(timeout.total_seconds())

    def _run(self, delivery_id: str, claim: DeliveryClaim | None = None) -> None:
        responded: bool | None = None
        needs_check = True
        next_deliveries: Sequence[tuple[str, str]] = ()
        try:
            claim = claim or self._store.deliveries.claim(delivery_id, self._heartbeat.worker)
            if claim is not None:
                with self._heartbeat.sending(claim):
                    error = self._attempt(claim)
                responded = True if error is None else has_responded(error)
                # Most attempts deliver, and nothing else becomes due by that. A check takes as long as an attempt.
                needs_check = error is not None or claim.staged or claim.host_is_known or claim.in_batch
                if claim.host_is_known:
                    next_deliveries = self._store.hosts.release_next(claim.origin)
            self._outage.record_recovery()
        except StoreUnavailableError as error:
            self._outage.record_failure(error)
        except Exception:  # noqa: BLE001 - a thread must not die silently
            _log.exception(
                "Delivery %s: attempt failed unexpectedly, retrying after its lease expires.",
                delivery_id,
                extra={"delivery_id": delivery_id},
            )
        finally:
            self._attempts.end(delivery_id, responded=responded)
            # Those that can't start here are due, and the dispatcher sends them.
            for each, host in next_deliveries:
                self.start(each, host)
            if needs_check or self._slots_wanted.is_set():
                self._wakeup.set()

    def _attempt(self, claim: DeliveryClaim) -> Exception | None:
        """Make one attempt, and return its error; None if it has delivered."""
        extra = {
            "action": "deliver",
            "job_id": claim.job_id,
            "delivery_id": claim.delivery_id,
            "attempt": claim.attempt,
        }
        try:
            receipt = self._send(claim)
        except Exception as error:  # noqa: BLE001 - whatever failed, the next attempt may succeed
            if not isinstance(error, CallbackSDKError):
                _log.exception("Task %s: delivery attempt failed unexpectedly.", claim.job_id, extra=extra)
            self._fail(claim, error, extra)
            return error
        else:
            # Nulls are in the document, and not in an output file that has a target of its own.
            nulls_written = claim.nulls_written if claim.output_name is None else 0
            receipt = evolve(receipt, attempts=claim.attempt, nulls_written=nulls_written)
            DELIVERY_ATTEMPTS.labels("delivered").inc()
            staged = claim.job_id if claim.staged else None
            host = HostOutcome(origin=claim.origin, is_available=True) if claim.host_is_known else None
            self._store.deliveries.record_receipt(claim.delivery_id, claim.attempt, receipt, staged=staged, host=host)
            _log.info("Task %s delivered to %s.", claim.job_id, claim.url, extra=extra)
            return None

    def _bucket_of(self, target: Callback) -> ResultsBucket | None:
        """Return the bucket for a target `results:`; None for any other target.

        Raises:
            ConfigurationError: This process has no bucket.
        """
        if target.is_results and self._bucket is None:
            raise ConfigurationError(
                "This process has no bucket for results:.", hint="Start all services and workers with --results-bucket."
            )
        return self._bucket if target.is_results else None

    def _send(self, claim: DeliveryClaim) -> Receipt:
        """Send the document, after the output files that go to its target, or a single output file.

        The URL of an object for `results:` is signed when its upload begins.

        Raises:
            CredentialCipherError: The target was encrypted with a key that this process doesn't have.
            ConfigurationError: This process has no bucket for `results:`.
            SigningError: The URL can't be signed at the moment.
            CallbackSDKError: The attempt failed.
        """
        callback = self._store.deliveries.open(claim)
        bucket = self._bucket_of(callback)
        if claim.may_be_disabled:
            self._check_enabled(callback)
        # The keys are read when a webhook, or the request for a new target, is signed.
        writer = self._writer.signing_with(lambda: self._store.signing_secrets.keys(claim.owner))

        def on_refresh(delivery: PreparedDelivery) -> None:
            self._replace_target(claim, delivery)

        if claim.output_name is not None:
            return self._outputs.send(claim, claim.output_name, callback, writer=writer, on_refresh=on_refresh)
        with self._results(claim) as results, ExitStack() as stack:
            if bucket is not None:
                stack.enter_context(operators_errors())
            outputs = files = None
            if claim.result.success and (claim.has_outputs or claim.staged):
                if bucket is not None:
                    self._outputs.store_in(bucket, claim)
                outputs, files = self._outputs.of(claim, callback, stack, plan=self._writer.plan)
                stack.callback(files.flush)
            attempt = (writer if bucket is None else bucket.attempts).attempt(
                evolve(claim.result, results=results),
                callback if bucket is None else bucket.sign(callback, claim.job_id),
                delivery_id=claim.delivery_id,
                results_url=lambda: self._store.deliveries.results_url(claim.job_id),
                task_url=f"{self._public_url}/api/v2/algorithms/tasks/{claim.job_id}",
                traceparent=claim.traceparent,
                on_refresh=on_refresh,
                outputs=outputs,
            )
            receipt = run(attempt)
        if files is None:
            return receipt
        earlier = {name: file.receipt for name, file in files.earlier.items()}
        return evolve(receipt, outputs={**earlier, **receipt.outputs})

    def _replace_target(self, claim: DeliveryClaim, delivery: PreparedDelivery) -> None:
        """Store the new target of a delivery, before anything is sent there.

        Raises:
            DeliveryError: Another worker has the claim.
            InvalidTargetError: One of its objects is that of another delivery of the task.
            StoreUnavailableError: The target can't be stored.
        """
        new = NewTarget(target=delivery.target, plan=self._writer.plan)
        if not self._store.deliveries.replace_target(claim, new):
            raise DeliveryError("Another worker has claimed the delivery.", retryable=True)

    def _fail(self, claim: DeliveryClaim, error: Exception, extra: dict[str, Any]) -> None:
        seen = _disclosed_error(error, claim.url)
        delay = next_delay(seen, claim.since_redelivery, self._delays)
        retry_in = None if delay is None else delay.total_seconds()
        DELIVERY_ATTEMPTS.labels("dead" if retry_in is None else "failed").inc()
        staged = claim.job_id if claim.staged else None
        host = _host_outcome(claim, error, seen)
        if isinstance(seen, DeliveryError) and not isinstance(seen, RefreshError) and seen.status == _GONE:
            self._disable(claim)
        self._store.deliveries.record_failure(
            claim.delivery_id,
            claim.attempt,
            loggable_text(seen),
            retry_in,
            response_body=seen.response_body if isinstance(seen, DeliveryError) else "",
            staged=staged,
            host=host,
        )
        action = "giving up" if retry_in is None else f"retrying in {retry_in:.0f} s"
        _log.warning(
            "Delivery of task %s to %s failed (%s): %s",
            claim.job_id,
            claim.url,
            action,
            loggable_text(error),
            extra=extra,
        )

    def _check_enabled(self, target: Callback) -> None:
        """Send nothing to a webhook that is gone.

        Raises:
            DeliveryError: The webhook is disabled.
        """
        if self._store.hosts.is_disabled(target.url):
            raise DeliveryError(
                f"The webhook {target.shown_url} has responded with 410 Gone, and is disabled.",
                hint=f"If it exists again, an operator can enable it: callback-sdk hosts resume {target.shown_url}",
                url=str(target.shown_url),
            )

    def _disable(self, claim: DeliveryClaim) -> None:
        """Disable the webhook of a delivery, which is gone. An object store has no webhooks that could be."""
        target = self._store.deliveries.open(claim)
        if isinstance(self._writer.plan(target), Webhook):
            self._store.hosts.disable_webhook(target.url)

    @contextmanager
    def _results(self, claim: DeliveryClaim) -> Iterator[Any]:
        """Yield the results as valid JSON for the writer, from disk or memory."""
        if not claim.result.success:
            yield None
        elif claim.results is not None:
            yield Body(claim.results)
        else:
            with self._blobs.fetch(results_name(claim.job_id, claim.run), self._scratch.folder) as path:
                yield Body(PathPart(path))


def _start_thread(name: str, target: Callable[..., None], *args: Any) -> bool:
    """Start a thread, and return whether that was possible."""
    # A daemon thread, because an attempt that waits for a slow server must not keep the process from ending.
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The limit of threads of this user, control group or machine is reached (pthread_create(3), EAGAIN).
        return False
    return True


def _host_outcome(claim: DeliveryClaim, error: Exception, seen: Exception) -> HostOutcome | None:
    """Return what a failed attempt has shown of its host; None if nobody needs to know.

    Args:
        claim: The attempt.
        error: Its error.
        seen: The error for the task's owner. Where it differs, both hosts without an address and those with a private
            one count as unavailable: the state of a host must not disclose which names exist.
    """
    is_available = is_host_available(error) if seen is error else False
    if is_available is not False and not claim.host_is_known:
        return None
    retry_after = error.retry_after if isinstance(error, DeliveryError) else None
    return HostOutcome(
        origin=claim.origin, is_available=is_available, retry_after=retry_after or 0.0, error=loggable_text(seen)
    )


def _disclosed_error(error: Exception, url: str) -> Exception:
    """Return the error for the task's owner, which doesn't disclose whether a name exists in the service's network.

    A host name that doesn't resolve and one that resolves to a private address have the same error and retries.
    """
    unknown = isinstance(error.__cause__, socket.gaierror)
    if not unknown and not (isinstance(error, AddressNotAllowedError) and error.resolved):
        return error
    # The host may be that of the target's issuer.
    url = getattr(error, "url", None) or url
    return DeliveryError(
        f"{url} can't be reached: its host name doesn't resolve to a public address.",
        hint="Check the spelling. The service's log has the reason, and the operator can allow private hosts.",
        url=url,
        retryable=True,
    )
