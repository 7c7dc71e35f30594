"""Uploads result documents to presigned URLs, object stores and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import ConfigurationError
from callback_sdk.models import JobResult, WriteOutcome, check_job_id
from callback_sdk.parsing import Duration, positive_int, several, to_timedelta
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, clearing_locals, wrap_secret
from callback_sdk.targets import MAX_WEBHOOK_BYTES, TargetSettings
from callback_sdk.targets.callbacks import parse_callbacks, required_callbacks
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.text.descriptions import short_repr
from callback_sdk.transport.driver import BLOCKING, Driver, blocking
from callback_sdk.transport.http import Timeouts
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.deliveries import ResultDeliveries

if TYPE_CHECKING:
    from callback_sdk.transport.delivery_proxy import DeliveryProxy
    from callback_sdk.transport.guard import AddressGuard
    from callback_sdk.transport.tls import ClientCert
    from callback_sdk.types import CallbackParams, CallbackURLs, OutputTargets, TokenSource, WriteItems
    from callback_sdk.webhooks import SigningKeys
    from callback_sdk.writer.events import JobEvents

T = TypeVar("T")

MAX_CONCURRENT = 1000
"""Results that `write_many` sends at a time, at most: a process may have 1,024 file descriptors (getrlimit(2))."""


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
        self._deliveries = ResultDeliveries(self._attempts, self._timeout.total_seconds())

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

    def _close(self) -> None:
        self._attempts.close()
        self._deliveries.close()

    async def _concurrently(self, call: Callable[[ResultDeliveries], Coroutine[Any, Any, T]]) -> T:
        """Call a coroutine function that sends over several connections at once."""
        return await call(self._deliveries)


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
    _multiplexed: ResultDeliveries | None = None

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _concurrently(self, call: Callable[[ResultDeliveries], Coroutine[Any, Any, T]]) -> T:
        # Imported here, because most results have one target.
        with no_fork:
            from callback_sdk.transport.multiplexing import MULTIPLEXING, multiplexed

        # Without a lock: two threads may each make one, and both use the connections of `_deliveries`.
        if self._multiplexed is None:
            self._multiplexed = self._deliveries.with_driver(MULTIPLEXING)
        return multiplexed(call(self._multiplexed))

    @blocking
    async def close(self) -> None:
        """Close idle connections and end the threads. The writer can still be used."""
        self._close()

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
        given = required_callbacks(callback_url, callback_param)
        if len(given) == 1:
            return await self._deliveries.deliver(result, given, own)
        return await self._concurrently(lambda deliveries: deliveries.deliver(result, given, own))

    @clearing_locals
    @blocking
    async def write_many(
        self,
        items: WriteItems,
        *,
        max_concurrent: int = 16,
        on_outcome: Callable[[WriteOutcome], object] | None = None,
        progress: bool = True,
    ) -> list[WriteOutcome]:
        """Upload many results, each to its targets, over several connections at once.

        An item is taken when a connection is free, so a generator may yield more results than memory holds. Nothing is
        sent while it computes the next one. Each result has the whole timeout for its retries.

        Args:
            items: Tuples `(result, callback_url)` or `(result, callback_url, callback_param)`, with what `write` takes.
                `AsyncResultsWriter` takes asynchronous iterables, too.
            max_concurrent: Maximum number of results that are sent at a time, up to 1,000. A result with several
                targets has a connection for each, at most 16.
            on_outcome: Called with each outcome when it is known, in the calling thread.
            progress: Whether to show a progress bar in a terminal and in a notebook, if tqdm is installed.

        Returns:
            One outcome for each item, in the order of the items: its receipts, and its error, if there was one. The
            error of one result doesn't affect the others.

        Raises:
            ConfigurationError: An argument has a wrong type or value; nothing was sent.
            Exception: What the iterable or `on_outcome` raised. No further item was taken, and the results that were
                being sent have been finished. `on_outcome` was called with their outcomes, unless it raised.
            RuntimeError: `on_outcome` raised StopIteration, which no coroutine can pass on; it is the cause.

        Example:
            >>> outcomes = writer.write_many((result, urls[result.job_id]) for result in results)
            >>> failed = [outcome for outcome in outcomes if outcome.error]
        """
        # Imported here, because most programs write one result at a time.
        with no_fork:
            from callback_sdk.progress import ProgressBar
            from callback_sdk.writer.bulk import BulkDelivery, check_items

        given = Secret(items)
        del items
        check_items(given, asynchronous=self._driver is not BLOCKING)
        limit = positive_int("max_concurrent", max_concurrent)
        if limit > MAX_CONCURRENT:
            raise ConfigurationError(
                f"max_concurrent is {short_repr(limit)}.",
                hint=f"Give at most {MAX_CONCURRENT}: each has a connection, which is a file descriptor.",
            )
        if on_outcome is not None and not callable(on_outcome):
            raise ConfigurationError(
                f"on_outcome is of type {type(on_outcome).__name__}.", hint="Give a function that takes an outcome."
            )
        with ProgressBar("Writing", wanted=progress) as bar:
            return await self._concurrently(
                lambda deliveries: BulkDelivery(given, deliveries, on_outcome, bar).run(limit)
            )


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


def close_writer(writer: WriterBase) -> None:
    """Close a writer, for the outbox, whose writers have different drivers. It is not part of the public API."""
    writer._close()
