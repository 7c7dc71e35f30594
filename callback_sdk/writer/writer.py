"""ResultsWriter: hands a result to its targets, each with the method that it calls for."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attrs import define

from callback_sdk import tracing, webhooks
from callback_sdk.concurrency.parallel import Parallel
from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    MultipleDeliveryErrors,
)
from callback_sdk.models import JobResult
from callback_sdk.parsing import Duration, positive_int, several, to_timedelta
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, SecretURL, clearing_locals, hide, strip_traceback
from callback_sdk.targets import MAX_WEBHOOK_BYTES, Target, TargetSettings, plan
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.upload import Upload
from callback_sdk.text.html import HTMLList
from callback_sdk.transport.connect import resolve
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.http import HTTPSender, Timeouts, same_host
from callback_sdk.transport.proxies import direct, environment_proxy
from callback_sdk.transport.response import Response
from callback_sdk.transport.retry import backoff
from callback_sdk.transport.tls import ClientCert
from callback_sdk.types import CallbackParams, CallbackURLs
from callback_sdk.writer.delivery import FindURL, PreparedDelivery, encoded_results, prepare

if TYPE_CHECKING:
    from callback_sdk.transport.guard import AddressGuard

logger = logging.getLogger(__name__)

MAX_PARALLEL = 16
"""Targets of one task that are sent to at the same time."""


class ResultsWriter:
    """Uploads result documents. One writer serves a whole process, and its threads.

    Args:
        storage_endpoints: URLs of object stores besides the known providers; a bare URL there lacks its
            signature and is refused.
        webhook_secrets: What webhooks are signed with, the newest first; see `webhooks.verify`.
        deadline: How long `write` tries, from its beginning; a try that has begun may still end.
        timeouts: How long one try may take.
        compress: `"gzip"` to compress documents for object stores, where the target's signature allows it. A
            target that was signed with `Content-Encoding: gzip` gets it in any case.
        max_webhook_bytes: Most bytes of a webhook's document; above it the document says where the results are.
        guard: Which hosts may be reached, for targets that come from strangers. Without one every host may, also
            through the environment's proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY).
        client_cert: The client certificate for servers that ask for one (mutual TLS): the path of a PEM file with
            certificate and private key, or `(certificate, key)`, or `(certificate, key, password)`.

    Raises:
        ConfigurationError: An argument is of another type, an endpoint is no URL, a secret no secret, or the client
            certificate can't be loaded.

    Example:
        >>> with ResultsWriter() as writer:
        ...     result = JobResult(job_id="42", success=True, results={"life": 7.5})
        ...     writer.write(result, url, {"s3_fields": fields})
    """

    @clearing_locals
    def __init__(
        self,
        *,
        storage_endpoints: Iterable[str] = (),
        webhook_secrets: Iterable[str | Secret[str]] = (),
        deadline: Duration = timedelta(minutes=2),
        timeouts: Timeouts | None = None,
        compress: str | None = None,
        max_webhook_bytes: int = MAX_WEBHOOK_BYTES,
        guard: AddressGuard | None = None,
        client_cert: ClientCert | None = None,
    ) -> None:
        if compress not in (None, "gzip"):
            raise ConfigurationError(f"compress is {compress!r}.", hint="Give 'gzip' or None.")
        if guard is not None and not callable(getattr(guard, "resolve", None)):
            raise ConfigurationError(f"guard is of type {type(guard).__name__}.", hint="Give an AddressGuard.")
        # Zero makes one attempt and no retry.
        self._deadline = to_timedelta("deadline", deadline, zero=True)
        hidden = [hide(secret) for secret in several("webhook_secrets", webhook_secrets)]
        keys = tuple(map(webhooks.decode_secret, hidden))
        self._settings = TargetSettings(
            stores=StorageProviders.of(storage_endpoints),
            webhook_keys=keys,
            max_webhook_bytes=positive_int("max_webhook_bytes", max_webhook_bytes),
        )
        self._compress = compress
        self._parallel = Parallel(MAX_PARALLEL)
        self._sender = HTTPSender(
            timeouts=timeouts,
            resolve=guard.resolve if guard else resolve,
            may_redirect=self._may_redirect,
            proxy=direct if guard else environment_proxy,
            client_cert=client_cert,
        )

    def __repr__(self) -> str:
        return f"ResultsWriter(deadline={self._deadline})"

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are open, and end its threads. The writer can still be used."""
        self._sender.close()
        self._parallel.close()

    @clearing_locals
    def write(
        self, result: JobResult, callback_url: CallbackURLs, callback_param: CallbackParams | Secret[Any] | None = None
    ) -> list[Receipt]:
        """Upload a result to every target, all at once, each as often as it takes.

        A webhook that is too small for the results is told where they are, if another target is an object. It may
        hear of it a moment before the object is there.

        Args:
            result: What the job has to say.
            callback_url: A URL, a `PresignedPut` or `PresignedPost`, a `(url, param)` pair, or a list of these.
            callback_param: A dict for all of them, or a list with one for each. `s3_fields` in it makes the
                upload a presigned POST. Credentials in it stay out of the document.

        Returns:
            One receipt for each target, in their order.

        Raises:
            CallbackParamError: The parameters don't fit the URLs; nothing was sent.
            EncodingError: JSON can't hold the result; nothing was sent. The error names the path.
            TargetError: A target can't be used, or there is none; nothing was sent to it.
            DeliveryError: A target doesn't have the result. When several fail it is a
                `MultipleDeliveryErrors`. Other targets have theirs: `error.receipts`.
        """
        callback_url, callback_param = hide(callback_url), hide(callback_param)
        deadline = time.monotonic() + self._deadline.total_seconds()
        given = required_callbacks(callback_url, callback_param)
        with ExitStack() as stack:
            results, nulls_written = encoded_results(result, stack)
            targets = [self._plan(callback) for callback in given]
            job = _Job(result, results, nulls_written, _first_object(targets), tracing.current())
            outcomes = self._deliver_all(job, targets, deadline)
        errors = [outcome for outcome in outcomes if isinstance(outcome, CallbackSDKError)]
        receipts = HTMLList(outcome for outcome in outcomes if isinstance(outcome, Receipt))
        if errors:
            error = errors[0] if len(errors) == 1 else MultipleDeliveryErrors(errors)
            error.receipts = tuple(receipts)
            raise error
        return receipts

    @clearing_locals
    def attempt(
        self,
        result: JobResult,
        callback: Callback,
        *,
        delivery_id: str,
        results_url: FindURL = lambda: None,
        traceparent: str | None = None,
    ) -> Receipt:
        """Make one try at one target.

        Args:
            result: What the job has to say.
            callback: The target.
            delivery_id: Stable over the tries of this delivery; a webhook's id.
            results_url: Tells where the results are, when the target is too small for them.
            traceparent: The trace that it belongs to, when that is another process's.

        Returns:
            The receipt.

        Raises:
            EncodingError: JSON can't hold the result.
            TargetError: The target can't be used; a later try won't help.
            DeliveryError: The target doesn't have it; `retryable` tells whether a later try may help.
        """
        try:
            with ExitStack() as stack:
                results, nulls_written = encoded_results(result, stack)
                delivery = self.prepare(
                    result,
                    results,
                    callback,
                    stack,
                    delivery_id=delivery_id,
                    results_url=results_url,
                    traceparent=traceparent,
                )
                return self._attempt(delivery, nulls_written=nulls_written)
        except CallbackSDKError:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised again, in our words
            failure = _unexpected(callback, error)
        raise failure

    def prepare(
        self,
        result: JobResult,
        results: Body,
        callback: Callback,
        stack: ExitStack,
        *,
        delivery_id: str | None = None,
        results_url: FindURL = lambda: None,
        traceparent: str | None = None,
    ) -> PreparedDelivery:
        """Make what one target is to receive, and send nothing.

        Args:
            result: The job's own members.
            results: The bytes of its results.
            callback: The target.
            stack: Keeps what must stay open while it is sent.
            delivery_id: Made from the place and the document when None.
            results_url: Tells where the results are, when the target is too small for them.
            traceparent: The trace that it belongs to, when that is another process's.

        Raises:
            TargetError: The target can't be used.
        """
        return prepare(
            plan(callback, self._settings),
            result,
            results,
            stack,
            compress=self._compress,
            results_url=results_url,
            delivery_id=delivery_id,
            traceparent=traceparent,
        )

    def _plan(self, callback: Callback) -> Target | CallbackSDKError:
        try:
            return plan(callback, self._settings)
        except CallbackSDKError as error:
            return error
        except Exception as error:  # noqa: BLE001 - it must not cost the other targets their receipts
            return _unexpected(callback, error)

    def _deliver_all(
        self, job: _Job, targets: Sequence[Target | CallbackSDKError], deadline: float
    ) -> list[Receipt | CallbackSDKError]:
        if len(targets) <= 1:
            return [self._deliver(job, target, deadline) for target in targets]
        return self._parallel.map(lambda target: self._deliver(job, target, deadline), targets)

    def _deliver(self, job: _Job, target: Target | CallbackSDKError, deadline: float) -> Receipt | CallbackSDKError:
        """Try until the target has it, or there is no point any more."""
        try:
            if isinstance(target, CallbackSDKError):
                raise target
            with ExitStack() as stack:
                delivery = prepare(
                    target,
                    job.result,
                    job.results,
                    stack,
                    compress=self._compress,
                    results_url=job.results_url,
                    traceparent=job.traceparent,
                )
                return self._try(delivery, job.nulls_written, deadline)
        except CallbackSDKError as error:
            logger.error("not delivered: %s", error)
            return error
        except Exception as error:  # noqa: BLE001 - it must not cost the other targets their receipts
            return _unexpected(target, error)

    def _try(self, delivery: PreparedDelivery, nulls_written: int, deadline: float) -> Receipt:
        started, attempts = _now(), 0
        while True:
            attempts += 1
            try:
                return self._attempt(delivery, nulls_written=nulls_written, attempts=attempts, started=started)
            except DeliveryError as error:
                error.attempts = attempts
                pause = max(backoff(attempts).total_seconds(), error.retry_after or 0.0)
                if not error.transient or time.monotonic() + pause > deadline:
                    raise
                logger.warning("try %d, another in %.1f s: %s", attempts, pause, error)
                time.sleep(pause)

    def _attempt(
        self, delivery: PreparedDelivery, *, nulls_written: int, attempts: int = 1, started: datetime | None = None
    ) -> Receipt:
        now = _now()
        facts = {"job_id": delivery.job_id, "delivery_id": delivery.delivery_id, "target": delivery.target.kind}
        url = str(delivery.target.callback.url)
        receipt: Receipt | None = None
        try:
            with tracing.span("deliver", "client", parent=delivery.traceparent, url=url, **facts) as span:
                upload = delivery.upload(now, traceparent=span.traceparent)
                digest = upload.document.sha256
                response = self._sender.send(upload)
                span.set(status=response.status)
                if response.status not in upload.accepts and not _is_there_already(upload, response):
                    raise delivery_error(upload, response)
                receipt = _receipt(
                    upload, response, digest, nulls_written=nulls_written, attempts=attempts, started_at=started or now
                )
            logger.info("delivered %d bytes to %s", upload.document.size, upload.url)
        except Exception:
            # The target has the result: neither an exporter of traces nor a filter of logs can change that.
            if receipt is None:
                raise
        return receipt

    def _may_redirect(self, origin: SecretURL, destination: SecretURL) -> bool:
        provider = self._settings.stores.provider(destination)
        return same_host(origin, destination) or (
            provider is not None and provider == self._settings.stores.provider(origin)
        )


@define(frozen=True)
class _Job:
    result: JobResult
    results: Body
    nulls_written: int
    results_url: FindURL
    traceparent: str | None


def _first_object(targets: Sequence[Target | CallbackSDKError]) -> FindURL:
    def find() -> str | None:
        for target in targets:
            # One that breaks says so in its own turn.
            with contextlib.suppress(Exception):
                # The id only matters for a key with ${filename}, and there the document's place is not known before.
                url = target.object_url("results") if isinstance(target, Target) else None
                if url is not None:
                    return url
        return None

    return find


def _is_there_already(upload: Upload, response: Response) -> bool:
    """Tell whether a write-once object is there because an earlier try of ours put it there.

    The try's answer may have been lost on the way. The same tag is the same bytes, and these hold the job's id.
    """
    return response.status == 412 and response.headers.get("etag", "").strip('"') == upload.document.md5.hex()


def _unexpected(target: Target | Callback | CallbackSDKError, error: Exception) -> DeliveryError:
    """Return the error for what should not have happened, and log where it did, without any value."""
    callback = target.callback if isinstance(target, Target) else target
    url = str(callback.url) if isinstance(callback, Callback) else None
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the attempt at %s broke with %s:\n%s", url, type(error).__name__, frames)
    failure = DeliveryError(
        f"The attempt at {url} broke with {type(error).__name__}.",
        hint="The program failed, not the target; the log says where. A later attempt may succeed.",
        url=url,
        retryable=True,
        transient=False,
    )
    failure.__cause__ = strip_traceback(error)
    return failure


def _receipt(upload: Upload, response: Response, digest: bytes, **members: Any) -> Receipt:
    return Receipt(
        kind=upload.kind,
        url=str(upload.url),
        status=response.status,
        # A server may put anything there, a credential of the request too.
        etag=upload.scrub(response.headers.get("etag", "").strip('"')) or None,
        version_id=upload.scrub(response.headers.get("x-amz-version-id", "")) or None,
        size=upload.document.size,
        sha256=digest.hex(),
        finished_at=_now(),
        **members,
    )


def _now() -> datetime:
    return datetime.now(timezone.utc)
