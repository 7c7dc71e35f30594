"""Single attempts at deliveries: what a `ResultsWriter`, the outbox and the service's deliverer have in common."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from attrs import evolve

from callback_sdk import tracing
from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    CallbackParamError,
    CallbackSDKError,
    DeliveryError,
    RefreshError,
    TargetError,
    TargetExpiredError,
)
from callback_sdk.models import JobResult
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import SecretURL
from callback_sdk.targets import Target, TargetSettings, plan
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.driver import BLOCKING, Driver, blocking, clearing_locals_of_coroutine
from callback_sdk.transport.http import HTTPSender, Timeouts, attempt_seconds, same_host
from callback_sdk.transport.proxies import direct, environment_proxy
from callback_sdk.transport.response import Response
from callback_sdk.writer.clock import utc_now
from callback_sdk.writer.confirmation import Confirmation, is_there_already, receipt_of, with_files
from callback_sdk.writer.delivery import (
    FindURL,
    OnRefresh,
    PreparedDelivery,
    build_delivery,
    encoded_results,
    estimated_size,
)
from callback_sdk.writer.failures import unexpected_error
from callback_sdk.writer.routes import route_of

if TYPE_CHECKING:
    from callback_sdk.transport.delivery_proxy import DeliveryProxy
    from callback_sdk.transport.guard import AddressGuard
    from callback_sdk.transport.tls import ClientCert
    from callback_sdk.types import TokenSource
    from callback_sdk.webhooks import SigningKeys
    from callback_sdk.writer.clusters import Clusters
    from callback_sdk.writer.events import JobEvents
    from callback_sdk.writer.issued import IssuedTargets
    from callback_sdk.writer.outputs import DeliveryOutputs, OutputUpload, StoredFile
    from callback_sdk.writer.retrying import MayRetry

logger = logging.getLogger(__name__)

MAX_PARALLEL = 8
"""Output files of one result, and parts of one document, that are sent in parallel."""


class DeliveryAttempts:
    """Plans targets, builds deliveries, and makes single attempts at them. Thread-safe.

    It is internal to this package: `ResultsWriter.write` retries its attempts at once, the outbox and the service by a
    schedule that they store. They get it from `attempts_of(writer)`.

    Args:
        settings: Configuration of the targets.
        compress: `"gzip"` or None.
        timeouts: Timeouts of one attempt.
        aistore_clusters: AIStore clusters with the sources of their tokens, as `ResultsWriter` takes them.
        guard: SSRF protection. Without it and `proxy`, the environment's proxies are used.
        proxy: Proxy of all requests, except those to AIStore clusters.
        client_cert: The client certificate, as `ResultsWriter` takes it.
        driver: Waits and calls.

    Raises:
        ConfigurationError: The client certificate can't be loaded, or a cluster's URL or token is invalid.
    """

    def __init__(
        self,
        settings: TargetSettings,
        *,
        compress: str | None,
        timeouts: Timeouts | None,
        aistore_clusters: Mapping[str, TokenSource | None],
        guard: AddressGuard | None,
        proxy: DeliveryProxy | None,
        client_cert: ClientCert | None,
        driver: Driver = BLOCKING,
    ) -> None:
        self.driver = driver
        self._settings = settings
        self._compress = compress
        self._guard = guard
        self._timeouts = timeouts or Timeouts()
        self.rounds = driver.rounds(MAX_PARALLEL)
        self._events: WeakValueDictionary[str, JobEvents] = WeakValueDictionary()
        self._route = route_of(guard, proxy)
        self._sender = HTTPSender(
            timeouts=timeouts,
            route=self._route,
            may_redirect=self._may_redirect,
            client_cert=client_cert,
            driver=driver,
        )
        self._clusters: Clusters | None = None
        if aistore_clusters:
            # Imported here, because few writers need it.
            with no_fork:
                from callback_sdk.writer.clusters import Clusters

            self._clusters = Clusters.of(
                aistore_clusters,
                settings.stores,
                timeouts=timeouts,
                guard=guard,
                proxy=direct if guard or proxy else environment_proxy,
                client_cert=client_cert,
                driver=driver,
            )

    def close(self) -> None:
        """Close idle connections, and end idle threads. Attempts can still be made."""
        self._sender.close()
        self.rounds.close()
        if self._clusters is not None:
            self._clusters.close()

    def signing_with(self, keys: SigningKeys) -> DeliveryAttempts:
        """Return attempts that sign with other keys, over the same connections.

        Args:
            keys: Returns the keys when something is signed.
        """
        other = copy.copy(self)
        other._settings = evolve(self._settings, webhook_keys=keys)
        return other

    def open_events(self, job_id: str, callbacks: Iterable[Callback], **options: Any) -> JobEvents:
        """Return the events of a job, for those of its targets that subscribe to them; see `JobEvents`.

        Raises:
            TargetError: A target that subscribes to events is invalid.
        """
        # Imported here, because few jobs have targets for events.
        with no_fork:
            from callback_sdk.writer.events import TIMEOUTS, JobEvents

        targets = [self.plan(callback) for callback in callbacks if callback.takes_events]
        for target in targets:
            target.check_events()
        send = blocking(partial(self.with_driver(BLOCKING, TIMEOUTS).send, nulls_written=0))
        opened = JobEvents(job_id, targets, send=send, driver=self.driver, **options)
        self._events[job_id] = opened
        return opened

    async def end_events(self, job_id: str) -> None:
        """Send the last progress of a job, and no event after that. Its result document follows."""
        if (opened := self._events.pop(job_id, None)) is not None:
            await self.driver.call(opened.close)

    def with_driver(self, driver: Driver, timeouts: Timeouts | None = None) -> DeliveryAttempts:
        """Return attempts with another driver over the same connections, and other timeouts if they are given."""
        timeouts = timeouts or self._timeouts
        other = copy.copy(self)
        other.driver, other.rounds = driver, driver.rounds(MAX_PARALLEL)
        other._timeouts, other._sender = timeouts, self._sender.with_timeouts(timeouts, driver)
        if self._clusters is not None:
            other._clusters = self._clusters.with_timeouts(timeouts, driver)
        return other

    def plan(self, callback: Callback) -> Target:
        """Return the target of a callback.

        Raises:
            TargetError: The callback is invalid.
        """
        return plan(callback, self._settings)

    @clearing_locals_of_coroutine
    async def attempt(
        self,
        result: JobResult,
        callback: Callback,
        *,
        delivery_id: str,
        results_url: FindURL = lambda: None,
        task_url: str | None = None,
        traceparent: str | None = None,
        on_refresh: OnRefresh = lambda delivery: None,
        outputs: DeliveryOutputs | None = None,
    ) -> Receipt:
        """Make one attempt at one target. Output files are sent first, each with a few retries of its own.

        Args:
            result: The job's outcome.
            callback: The target.
            delivery_id: The same in every attempt of one delivery; a webhook's id.
            results_url: Returns the URL of the results, for a webhook whose size limit is below them.
            task_url: URL of the task, for such a webhook if no object store has the results.
            traceparent: The trace of the delivery, if another process began it.
            on_refresh: Stores the new target, if the issuer of an expired one gave it.
            outputs: The output files that the document lists; None without any.

        Returns:
            The receipt.

        Raises:
            EncodingError: The result can't be encoded as JSON.
            TargetError: The target can't be used; a retry doesn't help.
            DeliveryError: The attempt failed; `retryable` tells whether a retry may help.
        """
        try:
            with ExitStack() as stack:
                results, nulls_written = await self.encode(result, stack)
                target = self.plan(callback)
                issued: IssuedTargets | None = None
                files: dict[str, StoredFile] = {}
                if outputs is not None:
                    issued, files = await self._send_outputs(outputs, callback, result.job_id, delivery_id, on_refresh)
                    on_refresh = issued.unless_shared(on_refresh)
                prepare = partial(
                    self.prepare,
                    delivery_id=delivery_id,
                    results_url=results_url,
                    task_url=task_url,
                    traceparent=traceparent,
                    outputs={} if outputs is None else outputs.all_entries(files),
                )
                delivery = await self.driver.call(prepare, result, results, target, stack, size=results.size)
                receipt = await self.send(delivery, nulls_written=nulls_written, on_refresh=on_refresh, issued=issued)
                return with_files(receipt, files)
        except CallbackSDKError:
            raise
        except uninterrupted(Exception) as error:
            failure = unexpected_error(callback, error)
        raise failure

    async def encode(self, result: JobResult, stack: ExitStack) -> tuple[Body, int]:
        """Encode a job's results; see `encoded_results`."""
        return await self.driver.call(encoded_results, result, stack, size=lambda: estimated_size(result))

    def prepare(
        self,
        result: JobResult,
        results: Body,
        target: Target,
        stack: ExitStack,
        *,
        delivery_id: str | None = None,
        results_url: FindURL = lambda: None,
        task_url: str | None = None,
        traceparent: str | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> PreparedDelivery:
        """Build the delivery of a result to one target, without sending it.

        Args:
            result: The job's outcome, without its results.
            results: The encoded results.
            target: From `plan`.
            stack: Keeps temporary files open until the delivery was sent.
            delivery_id: Derived from the target and the document when None.
            results_url: Returns the URL of the results, for a webhook whose size limit is below them.
            task_url: URL of the task, for such a webhook if no object store has the results.
            traceparent: The trace of the delivery, if another process began it.
            outputs: The entries of the output files in the document, by name.

        Raises:
            TargetError: The target can't be used.
        """
        for text in target.warnings(utc_now()):
            logger.warning("%s: %s", target.callback.url, text)
        facts: dict[str, Any] = {"results_url": results_url, "task_url": task_url, "traceparent": traceparent}
        facts["outputs"] = outputs
        delivery = build_delivery(
            target, result, results, stack, compress=self._compress, delivery_id=delivery_id, **facts
        )
        if target.callback.issuer is None:
            return delivery

        def rebuild(fresh: Target) -> PreparedDelivery:
            # The id may be derived from the first target, and stays.
            return self.prepare(result, results, fresh, stack, delivery_id=delivery.delivery_id, **facts)

        return evolve(delivery, rebuild=rebuild)

    async def _send_outputs(
        self, outputs: DeliveryOutputs, callback: Callback, job_id: str, delivery_id: str, on_refresh: OnRefresh
    ) -> tuple[IssuedTargets, dict[str, StoredFile]]:
        """Send the output files that aren't stored yet. Return new targets, and all files by name."""
        with no_fork:
            from callback_sdk.writer.issued import IssuedTargets
            from callback_sdk.writer.outputs import send_stored

        issued = IssuedTargets(
            [callback], self.driver, delivery_id=delivery_id, on_refresh=lambda document, delivery: on_refresh(delivery)
        )
        send = partial(self.send_file, job_id=job_id, issued=issued)
        files = await send_stored(
            outputs, callback, plan=self.plan, send=send, rounds=self.rounds, driver=self.driver
        )  # fmt: skip
        return issued, files

    async def send_file(
        self,
        upload: OutputUpload,
        *,
        job_id: str,
        may_retry: MayRetry,
        on_refresh: OnRefresh = lambda delivery: None,
        issued: IssuedTargets | None = None,
    ) -> StoredFile:
        """Send one output file, and retry transient failures with exponential backoff.

        Args:
            upload: The file with its target.
            job_id: Id of the job.
            may_retry: Tells whether a transient failure is retried.
            on_refresh: Stores the new target, if the issuer of an expired one gave it.
            issued: New targets that the files below a prefix share; None if the file is alone.

        Raises:
            DeliveryError: The last attempt failed.
            TargetError: The target would reject the file.
        """
        send = partial(self.send, issued=issued)
        store = on_refresh if issued is None else issued.unless_shared(on_refresh)
        return await upload.send(job_id, send=send, may_retry=may_retry, driver=self.driver, on_refresh=store)

    async def send(
        self,
        delivery: PreparedDelivery,
        *,
        nulls_written: int,
        attempts: int = 1,
        started: datetime | None = None,
        on_refresh: OnRefresh = lambda delivery: None,
        issued: IssuedTargets | None = None,
    ) -> Receipt:
        """Make one attempt at a delivery that was prepared. An expired target is replaced by its issuer's.

        Args:
            delivery: From `prepare`.
            nulls_written: For the receipt: non-finite numbers in the results.
            attempts: For the receipt: number of this attempt, from 1.
            started: For the receipt: time of the first attempt; this one's when None.
            on_refresh: Keeps the new target, if the issuer of an expired one gave it.
            issued: New targets that a document shares with the files below its prefix; None without files.

        Raises:
            DeliveryError: The attempt failed; a `RefreshError` if the target has expired and there is no new one.
            TargetError: The target would reject it.
        """
        facts: dict[str, Any] = {"nulls_written": nulls_written, "attempts": attempts, "started": started}
        try:
            return await self._send(delivery, **facts)
        except (TargetExpiredError, DeliveryError) as error:
            if not delivery.may_refresh(error):
                raise
            logger.warning("a new target is requested: %s", error)
        fresh = await self._refresh(delivery, issued, on_refresh)
        try:
            return await self._send(fresh, **facts)
        except TargetExpiredError as error:
            raise RefreshError(error.message, hint=error.hint, url=error.url, retryable=True, transient=False) from None
        except DeliveryError as error:
            # The next attempt asks again. Clocks that differ by more than a target's lifetime don't agree in minutes.
            error.retryable = error.retryable or error.expired
            raise

    async def _refresh(
        self, delivery: PreparedDelivery, issued: IssuedTargets | None, on_refresh: OnRefresh
    ) -> PreparedDelivery:
        """Return a delivery whose target was replaced by its issuer, once the new one is stored.

        Raises:
            RefreshError: There is no new target.
            TargetError: The address guard rejects the issuer's host.
        """
        # Few targets have an issuer.
        with no_fork:
            from callback_sdk.writer.refresh import check_address, new_target, unusable_answer

        old = delivery.target.callback
        if old.issuer is None or delivery.rebuild is None:
            raise TypeError("the delivery has no issuer")
        # The callback as it was given is the same one for a document and the files below its prefix.
        shared = issued if issued is not None and issued.covers(old.given) else None
        keys = await self.driver.call(self._settings.webhook_keys)
        new = await new_target(delivery, shared, keys=keys, send=self._sender.exchange)
        try:
            target = self.plan(new)
            target.check_expiry(utc_now())
            if self._guard is not None and not self._settings.stores.in_cluster(target.callback.url):
                await self.driver.look_up(check_address, target.callback.url, self._route, self._timeouts.connect)
            if shared is not None and not target.takes_outputs():
                raise CallbackParamError(
                    f"{target.callback.url} takes the document alone, without its output files.",
                    hint="The issuer has to answer with a target that takes any number of objects.",
                    url=str(target.callback.url),
                )
            # The issuer may have signed the same multipart upload again.
            rebuilt = await self.driver.call(delivery.rebuild, target, size=delivery.body.size)
            fresh = evolve(rebuilt, refreshes=delivery.refreshes + 1, stored_parts=delivery.stored_parts)
            if shared is not None:
                await shared.store(new, evolve(fresh, target=target))
            await self.driver.call(on_refresh, fresh)
        except TargetError as error:
            problem, hint = f"a target that can't be used: {error.message}", error.hint
        else:
            logger.info("%s replaces %s", target.callback.url, old.url)
            return fresh
        raise unusable_answer(old.issuer.url, problem, hint=hint)

    async def _send(
        self, delivery: PreparedDelivery, *, nulls_written: int, attempts: int, started: datetime | None
    ) -> Receipt:
        now, target, url = utc_now(), delivery.target, str(delivery.target.callback.url)
        facts = {"job_id": delivery.job_id, "delivery_id": delivery.delivery_id, "target": target.kind}
        receipt: Receipt | None = None
        try:
            with tracing.span("deliver", "client", parent=delivery.traceparent, url=url, **facts) as span:
                parts = target.in_parts(delivery.body.size, delivery.encoding)
                upload, response, digest = await (
                    self._in_one_request(delivery, now, span) if parts is None else self._in_parts(parts, delivery)
                )
                span.set(status=response.status)
                made = {"nulls_written": nulls_written, "attempts": attempts, "started_at": started or now}
                find = partial(receipt_of, upload, response, digest, **made)
                receipt = await self.driver.call(find, size=upload.document.size)  # computes an MD5 for the ETag
            logger.info("delivered %d bytes to %s", upload.document.size, upload.url)
        except uninterrupted(Exception):
            # The target has the result, even if an exporter of traces or a filter of logs raises.
            if receipt is None:
                raise
        return receipt

    async def _in_one_request(self, delivery: PreparedDelivery, now: datetime, span: tracing.Span) -> Confirmation:
        upload, digest = await self.driver.call(delivery.request, now, span.traceparent, size=delivery.body.size)
        response = await self._exchange(upload)
        span.set(status=response.status)
        if response.status not in upload.accepts and not is_there_already(upload, response):
            raise self._error(upload, response)
        return upload, response, digest

    async def _in_parts(self, target: Target, delivery: PreparedDelivery) -> Confirmation:
        # Imported here, because few deliveries need it.
        with no_fork:
            from callback_sdk.writer.multipart import send_in_parts

        return await send_in_parts(
            target,
            delivery,
            send=self._exchange,
            error=self._error,
            seconds=attempt_seconds(self._timeouts, delivery.body.size),
            rounds=self.rounds,
            driver=self.driver,
        )

    async def _exchange(self, upload: Upload) -> Response:
        clusters = self._clusters_of(upload)
        return await (self._sender.exchange(upload) if clusters is None else clusters.send(upload))

    def _clusters_of(self, upload: Upload) -> Clusters | None:
        """Return the configured clusters if the upload is to one of them."""
        return self._clusters if self._settings.stores.in_cluster(upload.url) else None

    def _error(self, upload: Upload, response: Response) -> DeliveryError:
        # Most processes never read an error response, so only a failure imports what explains it.
        with no_fork:
            from callback_sdk.transport.error_responses import delivery_error

        error = delivery_error(upload, response)
        if response.status in (401, 403) and upload.has_expired(utc_now()) and not error.expired:
            # Not every store tells: the signature was valid when the request began.
            error.expired = True
            error.hint = f"The signature has expired since the request began: presign for longer. {error.hint}"
        clusters = self._clusters_of(upload)
        if clusters is not None and clusters.has_refused_token(upload, response):
            # The operator has to replace the token, which takes longer than `write` retries.
            error.retryable = True
        return error

    def _may_redirect(self, origin: SecretURL, destination: SecretURL) -> bool:
        provider = self._settings.stores.provider(destination)
        return same_host(origin, destination) or (
            provider is not None and provider == self._settings.stores.provider(origin)
        )
