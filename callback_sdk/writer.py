"""ResultsWriter: hands a result to its targets, each with the method that it calls for."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any

from attrs import evolve

from callback_sdk import webhooks
from callback_sdk.body import Body
from callback_sdk.callbacks import Callback, callbacks
from callback_sdk.document import document, results_body
from callback_sdk.errors import CallbackSDKError, DeliveryError, SeveralDeliveriesError, TargetError
from callback_sdk.http import Answer, Sender, Timeouts, same_host
from callback_sdk.models import JobResult, Receipt, Upload
from callback_sdk.redaction import Secret, SecretURL, hide
from callback_sdk.refusals import refusal
from callback_sdk.retry import backoff
from callback_sdk.stores import Stores
from callback_sdk.targets import Settings, Target, plan

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

    Raises:
        ConfigurationError: An endpoint is no URL, or a secret no secret.

    Example:
        >>> with ResultsWriter() as writer:
        ...     result = JobResult(job_id="42", success=True, results={"life": 7.5})
        ...     writer.write(result, url, {"s3_fields": fields})
    """

    def __init__(
        self,
        *,
        storage_endpoints: Iterable[str] = (),
        webhook_secrets: Iterable[str | Secret[str]] = (),
        deadline: timedelta = timedelta(minutes=2),
        timeouts: Timeouts | None = None,
    ) -> None:
        keys = tuple(webhooks.decode_secret(secret) for secret in [hide(s) for s in webhook_secrets])
        self._settings = Settings(stores=Stores.of(storage_endpoints), webhook_keys=keys)
        self._deadline = deadline
        self._sender = Sender(timeouts=timeouts, may_redirect=self._may_redirect)

    def __repr__(self) -> str:
        return f"ResultsWriter(deadline={self._deadline})"

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are open. The writer can still be used."""
        self._sender.close()

    def write(self, result: JobResult, callback_url: Any, callback_param: Any = None) -> list[Receipt]:
        """Upload a result to every target, all at once, each as often as it takes.

        Args:
            result: What the job has to say.
            callback_url: A URL, a `PutTarget` or `PostTarget`, a `(url, param)` pair, or a list of these.
            callback_param: A dict for all of them, or a list with one for each. `s3_fields` in it makes the
                upload a presigned POST. Credentials in it stay out of the document.

        Returns:
            One receipt for each target, in their order.

        Raises:
            CallbackParamError: The parameters don't fit the URLs; nothing was sent.
            EncodingError: JSON can't hold the result; nothing was sent. The error names the path.
            TargetError: A target can't be used; nothing was sent to it.
            DeliveryError: A target doesn't have the result. When several fail it is a
                `SeveralDeliveriesError`. Other targets have theirs: `error.receipts`.
        """
        callback_url, callback_param = hide(callback_url), hide(callback_param)
        until = time.monotonic() + self._deadline.total_seconds()
        targets = callbacks(callback_url, callback_param)
        with ExitStack() as stack:
            results, nulled = results_body(result.results if result.success else None, stack)
            outcomes = self._deliver_all(targets, [_job(result, results, target) for target in targets], until)
        errors = [outcome for outcome in outcomes if isinstance(outcome, CallbackSDKError)]
        receipts = [evolve(outcome, nulled=nulled) for outcome in outcomes if isinstance(outcome, Receipt)]
        if errors:
            error = errors[0] if len(errors) == 1 else SeveralDeliveriesError(errors)
            error.receipts = tuple(receipts)
            raise error
        return receipts

    def attempt(self, result: JobResult, callback: Callback, *, delivery_id: str) -> Receipt:
        """Make one try at one target.

        Args:
            result: What the job has to say.
            callback: The target.
            delivery_id: Stable over the tries of this delivery; a webhook's id.

        Returns:
            The receipt.

        Raises:
            EncodingError: JSON can't hold the result.
            TargetError: The target can't be used; a later try won't help.
            DeliveryError: The target doesn't have it; `retryable` tells whether a later try may help.
        """
        with ExitStack() as stack:
            results, nulled = results_body(result.results if result.success else None, stack)
            body = document(result, callback.param, results)
            return evolve(self._attempt(plan(callback, self._settings), body, delivery_id), nulled=nulled)

    def _deliver_all(
        self, targets: tuple[Callback, ...], documents: list[Body], until: float
    ) -> list[Receipt | TargetError | DeliveryError]:
        if len(targets) <= 1:
            return [self._deliver(*job, until) for job in zip(targets, documents, strict=True)]
        with ThreadPoolExecutor(min(len(targets), MAX_PARALLEL), thread_name_prefix="callback-sdk") as pool:
            return list(pool.map(self._deliver, targets, documents, [until] * len(targets)))

    def _deliver(self, callback: Callback, body: Body, until: float) -> Receipt | TargetError | DeliveryError:
        """Try until the target has it, or there is no point any more."""
        started, attempts = _now(), 0
        try:
            target = plan(callback, self._settings)
            delivery_id = _delivery_id(callback, body)
            while True:
                attempts += 1
                try:
                    receipt = self._attempt(target, body, delivery_id)
                except DeliveryError as error:
                    error.attempts = attempts
                    pause = max(backoff(attempts).total_seconds(), error.retry_after or 0.0)
                    if not error.retryable or time.monotonic() + pause > until:
                        raise
                    logger.warning("try %d, another in %.1f s: %s", attempts, pause, error)
                    time.sleep(pause)
                else:
                    return evolve(receipt, attempts=attempts, started_at=started)
        except (TargetError, DeliveryError) as error:
            logger.error("not delivered (tries: %d): %s", attempts, error)
            return error

    def _attempt(self, target: Target, body: Body, delivery_id: str) -> Receipt:
        started = _now()
        upload = target.upload(body, delivery_id=delivery_id, now=started)
        answer = self._sender.send(upload)
        if answer.status not in upload.accepts:
            raise refusal(upload, answer)
        receipt = _receipt(upload, answer, started)
        logger.info("delivered %d bytes to %s", receipt.size, receipt.url)
        return receipt

    def _may_redirect(self, origin: SecretURL, destination: SecretURL) -> bool:
        provider = self._settings.stores.provider(destination)
        return same_host(origin, destination) or (
            provider is not None and provider == self._settings.stores.provider(origin)
        )


def _job(result: JobResult, results: Body, callback: Callback) -> Body:
    return document(result, callback.param, results)


def _delivery_id(callback: Callback, body: Body) -> str:
    """Return an id that is the same whenever the same document goes to the same place, also after a crash."""
    place = hashlib.sha256(f"{callback.url}\n".encode() + body.sha256).hexdigest()
    return f"msg_{place[:32]}"


def _receipt(upload: Upload, answer: Answer, started: datetime) -> Receipt:
    return Receipt(
        kind=upload.kind,
        url=str(upload.url),
        status=answer.status,
        etag=answer.headers.get("etag", "").strip('"') or None,
        version_id=answer.headers.get("x-amz-version-id"),
        size=upload.document.size,
        sha256=upload.document.sha256.hex(),
        started_at=started,
        finished_at=_now(),
    )


def _now() -> datetime:
    return datetime.now(timezone.utc)
