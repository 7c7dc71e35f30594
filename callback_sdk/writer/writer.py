"""Uploads result documents to presigned URLs, object stores and webhooks."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from callback_sdk import tracing
from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackSDKError, ConfigurationError, MultipleDeliveryErrors
from callback_sdk.models import JobResult, check_job_id
from callback_sdk.parsing import Duration, positive_int, several, to_timedelta
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, clearing_locals, wrap_secret
from callback_sdk.targets import MAX_WEBHOOK_BYTES, Target, TargetSettings
from callback_sdk.targets.callbacks import Callback, parse_callbacks, required_callbacks
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLList
from callback_sdk.transport.driver import BLOCKING, Driver, Rounds, blocking
from callback_sdk.transport.http import Timeouts
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.confirmation import with_files
from callback_sdk.writer.delivery import FindURL, PreparedDelivery
from callback_sdk.writer.failures import unexpected_error
from callback_sdk.writer.retrying import MayRetry, send_with_retries

if TYPE_CHECKING:
    from callback_sdk.transport.delivery_proxy import DeliveryProxy
    from callback_sdk.transport.guard import AddressGuard
    from callback_sdk.transport.tls import ClientCert
    from callback_sdk.types import CallbackParams, CallbackURLs, OutputTargets, TokenSource
    from callback_sdk.webhooks import SigningKeys
    from callback_sdk.writer.events import JobEvents
    from callback_sdk.writer.output_plan import OutputPlan
    from callback_sdk.writer.outputs import OutputUpload, SharedUploads, StoredFile

logger = logging.getLogger(__name__)

MAX_PARALLEL = 16
"""Targets of one result that are sent to concurrently."""


class WriterBase:
    """What `ResultsWriter` and `AsyncResultsWriter` have in common: their options, and the deliveries of one result."""

    _driver: Driver

    @clearing_locals
    def __init__(
        self,
        *,
        storage_endpoints: Iterable[str] = (),
        aistore_clusters: Mapping[str, TokenSource | None] | None = None,
        webhook_secrets: Iterable[str | Secret[str]] = (),
        timeout: Duration = timedelta(minutes=2),
        attempt_timeouts: Timeouts | None = None,
        compress: str | None = None,
        max_webhook_bytes: int = MAX_WEBHOOK_BYTES,
        guard: AddressGuard | None = None,
        proxy: DeliveryProxy | None = None,
        client_cert: ClientCert | None = None,
    ) -> None:
        if compress not in (None, "gzip"):
            raise ConfigurationError(f"compress is {short_repr(compress)}.", hint="Give 'gzip' or None.")
        if guard is not None and not callable(getattr(guard, "resolve", None)):
            raise ConfigurationError(f"guard is of type {type(guard).__name__}.", hint="Give an AddressGuard.")
        if proxy is not None and not callable(getattr(proxy, "of", None)):
            raise ConfigurationError(f"proxy is of type {type(proxy).__name__}.", hint="Give a DeliveryProxy.")
        if attempt_timeouts is not None and not isinstance(attempt_timeouts, Timeouts):
            raise ConfigurationError(
                f"attempt_timeouts is of type {type(attempt_timeouts).__name__}.", hint="Give Timeouts(attempt=...)."
            )
        self._timeout = to_timedelta("timeout", timeout, zero=True)
        clusters = Secret(_clusters(aistore_clusters))
        hidden = [wrap_secret(secret) for secret in several("webhook_secrets", webhook_secrets)]
        settings = TargetSettings(
            stores=StorageProviders.of(storage_endpoints, clusters.reveal()),
            webhook_keys=_webhook_keys(hidden),
            max_webhook_bytes=positive_int("max_webhook_bytes", max_webhook_bytes),
        )
        self._rounds: Rounds | None = None
        self._attempts = DeliveryAttempts(
            settings,
            compress=compress,
            timeouts=attempt_timeouts,
            aistore_clusters=clusters.reveal(),
            guard=guard,
            proxy=proxy,
            client_cert=client_cert,
            driver=self._driver,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(timeout={self._timeout})"

    @clearing_locals
    def events(
        self,
        job_id: str,
        callback_url: CallbackURLs,
        callback_param: CallbackParams | Secret[Any] | None = None,
        *,
        run: int = 1,
        interval: Duration = timedelta(seconds=5),
    ) -> JobEvents:
        """Return the events of a job before its end, for those of its targets that subscribe to them.

        A target subscribes with `callback_param={"events": ["started", "progress", "completed"]}`. `write` sends the
        last progress first, and no event after it.

        Args:
            job_id: The job's id.
            callback_url: The targets, as `write` takes them.
            callback_param: As `write` takes it.
            run: Number of the job's run, from 1, if it may run again: orders the events of all runs.
            interval: Shortest time between two progress events at one target, a `timedelta` or seconds.

        Returns:
            The events, to be used in a `with` statement; in asyncio in `async with`.

        Raises:
            CallbackParamError: The parameters don't fit the URLs, or a target can't get events.
            EncodingError: The id is not a string, or it is empty.
            TargetError: A target that subscribes to events can't be used.

        Example:
            >>> with writer.events("42", url, {"events": ["progress", "completed"]}) as events:
            ...     events.progress(0.5, "counting cycles")
        """
        callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
        check_job_id(job_id)
        callbacks = parse_callbacks(callback_url, callback_param)
        return self._attempts.open_events(job_id, callbacks, run=positive_int("run", run), interval=interval)

    def _plan(self, callback: Callback) -> Target | CallbackSDKError:
        try:
            return self._attempts.plan(callback)
        except CallbackSDKError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a failure at one target must not lose the others' receipts
            return unexpected_error(callback, error)

    async def _deliver_all(
        self, job: _Job, targets: Sequence[Target | CallbackSDKError]
    ) -> list[Receipt | CallbackSDKError]:  # fmt: skip
        if len(targets) <= 1:
            return [await self._deliver(job, *one) for one in enumerate(targets)]
        if self._rounds is None:
            self._rounds = self._driver.rounds(MAX_PARALLEL)
        return await self._rounds.map(lambda one: self._deliver(job, *one), enumerate(targets))

    async def _deliver(self, job: _Job, index: int, target: Target | CallbackSDKError) -> Receipt | CallbackSDKError:
        """Make attempts until one succeeds, fails permanently, or the timeout is over."""
        try:
            if isinstance(target, CallbackSDKError):
                raise target
            with ExitStack() as stack:
                files = await self._send_outputs(job, target)
                prepare = partial(
                    self._attempts.prepare,
                    results_url=job.results_url,
                    traceparent=job.traceparent,
                    outputs={name: file.entry for name, file in files.items()},
                )
                size = job.results.size
                delivery = await self._driver.call(prepare, job.result, job.results, target, stack, size=size)
                issued = None if job.uploads is None else job.uploads.issued
                receipt, _ = await send_with_retries(
                    delivery,
                    send=partial(self._attempts.send, issued=issued),
                    may_retry=_until(job.deadline),
                    sleep=self._driver.sleep,
                    nulls_written=job.nulls_written,
                    on_refresh=lambda fresh: job.on_refresh(index, fresh),
                )
                return with_files(receipt, files)
        except CallbackSDKError as error:
            logger.error("delivery failed: %s", error)
            return error
        except Exception as error:  # noqa: BLE001 - a failure at one target must not lose the others' receipts
            return unexpected_error(target, error)

    async def _send_outputs(self, job: _Job, target: Target) -> dict[str, StoredFile]:
        """Send the output files that the document for a target lists, and return them by name."""
        if job.plan is None or job.uploads is None:
            return {}
        # Imported here, because few results have output files.
        with no_fork:
            from callback_sdk.writer.outputs import send_files

        return await send_files(job.plan.uploads(target), job.uploads.send, self._attempts.rounds)

    def _with_others(
        self, job: _Job, targets: Sequence[Target | CallbackSDKError], own: Secret[Any], stack: ExitStack
    ) -> _Job:
        """Return a job with several targets or output files, of which none replaces another.

        Raises:
            CallbackParamError: Two documents that differ would be one object.
            OutputError: A file is not valid, has no target, or has the place of another file or a document.
            TargetError: A target of a single file is invalid.
        """
        # Imported here, because most results have one target.
        with no_fork:
            from callback_sdk.targets.places import Places, ResultTarget

        places = Places.of_documents(targets)
        if not job.result.outputs and not own.reveal():
            return evolve(
                job, on_refresh=lambda index, fresh: places.replace(index, ResultTarget(target=fresh.target))
            )  # fmt: skip
        with no_fork:
            from callback_sdk.writer.issued import IssuedTargets
            from callback_sdk.writer.output_plan import plan_outputs
            from callback_sdk.writer.outputs import SharedUploads

        plan = plan_outputs(job.result, job.results, own, targets, stack, plan=self._attempts.plan, places=places)
        if plan is None:
            return job

        def on_refresh(index: int, fresh: PreparedDelivery) -> None:
            places.replace(index, plan.sent(fresh.target))

        async def send(upload: OutputUpload) -> StoredFile:
            name = upload.output.name
            return await self._attempts.send_file(
                upload,
                job_id=job.result.job_id,
                may_retry=_until(job.deadline),
                issued=issued,
                on_refresh=lambda fresh: places.replace(name, ResultTarget.of_file(name, fresh.target)),
            )

        given = {id(one.callback.given): index for index, one in enumerate(targets) if isinstance(one, Target)}
        issued = IssuedTargets(
            (one.callback.given for one in targets if isinstance(one, Target) and one.callback.given is not None),
            self._driver,
            on_refresh=lambda document, fresh: on_refresh(given[id(document)], fresh),
        )
        return evolve(job, on_refresh=on_refresh, plan=plan, uploads=SharedUploads(send, issued, self._driver))


class ResultsWriter(WriterBase):
    """Uploads result documents to presigned URLs, object stores and webhooks.

    Failed attempts are retried with exponential backoff and jitter. One writer serves a whole process. It is
    thread-safe, and may be used before and after a fork.

    Args:
        storage_endpoints: URLs of self-hosted object stores, so that a URL there without a signature is rejected and
            not taken for a webhook.
        aistore_clusters: AIStore clusters by the URLs of their proxies, each with a token, a function that returns one,
            an `aistore.Token`, or None without authentication. Uploads follow redirects to all their nodes, `guard` or
            not. The token is sent to the proxy only.
        webhook_secrets: Signing secrets of webhooks, newest first; see `webhooks.verify`. A webhook with a secret in
            its `callback_param` is signed with that one only.
        timeout: Total time that `write` may spend on retries, a `timedelta` or seconds. An attempt already in progress
            is not interrupted. 0 makes one attempt and no retry.
        attempt_timeouts: Timeouts of one attempt: `Timeouts(connect=5, read=30, attempt=120)` by default.
        compress: `"gzip"` to compress documents for object stores, where the target's signature allows it. A
            target signed with `Content-Encoding: gzip` gets it in any case.
        max_webhook_bytes: Largest document for a webhook. Above it, the document has the URL of the results instead.
        guard: SSRF protection for untrusted targets. Without it every host is reachable, including through the
            environment's proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY).
        proxy: Proxy that all uploads but those to AIStore clusters go through, instead of the environment's. It works
            with `guard`.
        client_cert: Client certificate for servers that require one (mutual TLS): the path of a PEM file with
            certificate and private key, or `(certificate, key)`, or `(certificate, key, password)`.

    Raises:
        ConfigurationError: An argument has a wrong type or value, or the client certificate can't be loaded.

    Example:
        >>> with ResultsWriter() as writer:
        ...     result = JobResult(job_id="42", success=True, results={"life": 7.5})
        ...     writer.write(result, url, {"s3_fields": fields})
    """

    _driver = BLOCKING

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @blocking
    async def close(self) -> None:
        """Close idle connections and end the threads. The writer can still be used."""
        self._attempts.close()
        if self._rounds is not None:
            self._rounds.close()

    @clearing_locals
    @blocking
    async def write(
        self,
        result: JobResult,
        callback_url: CallbackURLs,
        callback_param: CallbackParams | Secret[Any] | None = None,
        *,
        outputs: OutputTargets | Secret[Any] | None = None,
    ) -> list[Receipt]:
        """Upload a result to all targets concurrently, and retry transient failures.

        A webhook whose size limit is below the results gets the URL of the object instead, if another target is an
        object. It may get the URL a moment before the object exists.

        Args:
            result: The job's outcome.
            callback_url: A URL, what `S3Signer` returns, a `(url, param)` pair, or a list of these.
            callback_param: A dict for all of them, or a list with one for each. `s3_fields` in it makes the
                upload a presigned POST. Credentials in it are never included in the document.
            outputs: Targets of single output files, by their names. All other files go to the targets that take any
                number of objects, such as a `PresignedPrefix`. A document is sent when its files are stored.

        Returns:
            One receipt for each target that subscribes to the result, in the targets' order. Its `outputs` has the
            receipts of the files.

        Raises:
            CallbackParamError: The parameters don't fit the URLs; nothing was sent.
            EncodingError: The result can't be encoded as JSON; nothing was sent. `error.path` is the value's path. An
                `OutputError` for an output file that is not valid, or that no target takes.
            TargetError: A target can't be used, or there is none; nothing was sent to it.
            DeliveryError: A delivery failed; several failures raise one `MultipleDeliveryErrors`. `error.receipts` has
                the receipts of the other targets.
        """
        callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
        own = wrap_secret(outputs)
        del outputs
        deadline = time.monotonic() + self._timeout.total_seconds()
        given = required_callbacks(callback_url, callback_param)
        with ExitStack() as stack:
            results, nulls_written = await self._attempts.encode(result, stack)
            await self._attempts.end_events(result.job_id)
            given = tuple(callback for callback in given if callback.takes_result(success=result.success))
            targets = [self._plan(callback) for callback in given]
            job = _Job(result, results, nulls_written, _first_object(targets), tracing.current(), deadline)
            if len(targets) > 1 or result.outputs or own.reveal():
                size = None if result.outputs or own.reveal() else 0
                job = await self._driver.call(self._with_others, job, targets, own, stack, size=size)
            outcomes = await self._deliver_all(job, targets)
        errors = [outcome for outcome in outcomes if isinstance(outcome, CallbackSDKError)]
        receipts = HTMLList(outcome for outcome in outcomes if isinstance(outcome, Receipt))
        if errors:
            error = errors[0] if len(errors) == 1 else MultipleDeliveryErrors(errors)
            error.receipts = tuple(receipts)
            raise error
        return receipts


def _until(deadline: float) -> MayRetry:
    return lambda attempts, pause: time.monotonic() + pause <= deadline


def _clusters(given: Mapping[str, TokenSource | None] | None) -> dict[str, TokenSource | None]:
    if not isinstance(given or {}, Mapping):
        raise ConfigurationError(
            f"aistore_clusters is of type {type(given).__name__}.",
            hint="Give a dict from the URLs of proxies to tokens, such as {'http://aistore:8080': None}.",
        )
    return dict(given or {})


def _webhook_keys(secrets: Sequence[Secret[Any]]) -> SigningKeys:
    if not secrets:
        return tuple
    with no_fork:
        from callback_sdk import webhooks

    keys = tuple(map(webhooks.decode_secret, secrets))
    for key in keys:
        # A missing extra is reported now, and not at the first webhook.
        key.check()
    return lambda: keys


def attempts_of(writer: WriterBase) -> DeliveryAttempts:
    """Return the single attempts of a writer, for the outbox and the service. It is not part of the public API."""
    return writer._attempts


@define(frozen=True, eq=False, repr=False)
class _Job:
    result: JobResult
    results: Body
    nulls_written: int
    results_url: FindURL
    traceparent: str | None
    deadline: float
    on_refresh: Callable[[int, PreparedDelivery], None] = lambda index, fresh: None
    plan: OutputPlan | None = None
    uploads: SharedUploads | None = None


def _first_object(targets: Sequence[Target | CallbackSDKError]) -> FindURL:
    def find() -> str | None:
        for target in targets:
            # A target that raises here raises again in its own delivery.
            with contextlib.suppress(Exception):
                # The id only matters for a key with ${filename}, whose final name is not known before the upload.
                url = target.object_url("results") if isinstance(target, Target) else None
                if url is not None:
                    return url
        return None

    return find
