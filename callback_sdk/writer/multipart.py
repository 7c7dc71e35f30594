"""One attempt at a document that takes several requests: its parts in parallel, then the completion, once.

Parts are ranges of the document's file or memory, and are never copied. Each part is retried on its own, so that an
attempt at hundreds of parts succeeds even if every fifth request fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from attrs import evolve

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import CallbackSDKError, DeliveryError, TargetError, TargetExpiredError
from callback_sdk.targets import Target
from callback_sdk.targets.multipart import MultipartTarget, PartRange, SessionTarget
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.driver import Driver, Rounds
from callback_sdk.transport.response import Response
from callback_sdk.transport.retry import backoff
from callback_sdk.writer.clock import utc_now
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.failures import loggable_text
from callback_sdk.writer.sessions import SessionRequests

logger = logging.getLogger(__name__)

MAX_REQUEST_ATTEMPTS = 8
"""Attempts at one request. If every fifth fails, one in 400,000 requests fails eight times in a row."""

MAX_PAUSE = 30.0
"""Maximum seconds between two attempts at a request. After a longer `Retry-After` the delivery's attempt ends."""

T = TypeVar("T")

Take = Callable[[Upload, Response], Awaitable[None]]
"""Takes the response to a request, and raises an error if the request failed."""

Exchanged = tuple[Upload, Response]
"""A request, and the response to it."""


async def send_in_parts(
    target: Target,
    delivery: PreparedDelivery,
    *,
    send: Callable[[Upload], Awaitable[Response]],
    error: Callable[[Upload, Response], DeliveryError],
    seconds: float,
    rounds: Rounds,
    driver: Driver,
) -> tuple[Upload, Response, bytes]:
    """Make one attempt at a delivery that takes several requests.

    An upload that can't be completed any more is aborted.

    Args:
        target: The `MultipartTarget` for the size of the document.
        delivery: The delivery. It remembers which parts are stored, for the next attempt in this process.
        send: Makes a request.
        error: Returns the error for a response without success.
        seconds: Maximum duration, after which nothing is retried.
        rounds: Sends parts in parallel.
        driver: Waits, and computes the digest.

    Returns:
        The request and the response that confirm that the target has the document, and its SHA-256.

    Raises:
        TargetError: The target would reject the document.
        DeliveryError: The attempt failed.
    """
    if not isinstance(target, MultipartTarget):
        raise TypeError(type(target).__name__)
    attempt = _MultipartAttempt(target, delivery, send, error, time.monotonic() + seconds, rounds, driver)
    try:
        if target.needs_digest:
            await attempt.digest()
        # Otherwise the document is read twice at the same time, by the digest and by the parts.
        both: tuple[Callable[[], Any], ...] = (attempt.digest, attempt.make)
        digest, (upload, response) = await rounds.map(lambda call: call(), both)
    except CallbackSDKError as failure:
        is_wasted = isinstance(target, SessionTarget) and target.is_own
        if is_wasted or _is_final(failure, has_issuer=delivery.rebuild is not None):
            await attempt.abort()
        raise
    return evolve(upload, document=delivery.body), response, digest


def _is_final(error: CallbackSDKError, *, has_issuer: bool) -> bool:
    """Return whether no later attempt can complete the upload.

    Args:
        error: The error of the attempt.
        has_issuer: Whether the target has an issuer, which may sign the same upload again when it has expired.
    """
    if isinstance(error, TargetExpiredError):
        return not has_issuer
    if isinstance(error, DeliveryError):
        return not error.retryable and not (has_issuer and error.expired)
    return isinstance(error, TargetError)


class _MultipartAttempt:
    """The state of one attempt; see `send_in_parts`."""

    def __init__(
        self,
        target: MultipartTarget,
        delivery: PreparedDelivery,
        send: Callable[[Upload], Awaitable[Response]],
        error: Callable[[Upload, Response], DeliveryError],
        deadline: float,
        rounds: Rounds,
        driver: Driver,
    ) -> None:
        self._target = target
        self._document = delivery.body
        self._stored = delivery.stored_parts.setdefault(target.upload_key(), {})
        self._send = send
        self._error = error
        self._deadline = deadline
        self._rounds = rounds
        self._driver = driver
        self._failure: BaseException | None = None
        self._is_completing = False

    async def _compute(self, function: Callable[[], T]) -> T:
        """Make a call that may compute a digest of the document."""
        return await self._driver.call(function, size=self._document.size)

    async def digest(self) -> bytes:
        """Return the SHA-256 of the document."""
        return await self._driver.call(lambda: self._document.sha256, size=self._document.size)

    async def make(self) -> Exchanged:
        """Send the parts and complete the upload; return the exchange that confirms that the target has the document.

        Raises:
            TargetError: The target would reject the document.
            DeliveryError: The attempt failed.
        """
        try:
            self._target.check_limits(now=utc_now(), size=self._document.size)
            if isinstance(self._target, SessionTarget):
                return await self._send_in_session(await self._start(self._target))
            parts = self._target.ranges(self._document.size)
            await self._send_parts(parts)
            return await self._complete([self._stored[part.number] for part in parts])
        except TargetExpiredError:
            # An earlier attempt may have completed it, whose process ended before the receipt was stored.
            if (verified := await self._verify()) is None:
                raise
        except DeliveryError as error:
            if self._target.has_lost_parts(error):
                self._stored.clear()
            if not (self._is_completing or self._target.may_exist(error)):
                raise
            if (verified := await self._verify()) is None:
                raise
        return verified

    async def _start(self, target: SessionTarget) -> SessionTarget:
        """Return the target with its session, which is started unless it was given."""
        if (start := await self._compute(partial(target.start, self._document, now=utc_now()))) is None:
            return target
        _, response = await self._exchange(start)
        self._target = started = target.with_session(response)
        return started

    async def _send_in_session(self, target: SessionTarget) -> Exchanged:
        requests = SessionRequests(target, self._document, self._send, self._error, self._compute)
        while True:
            exchanged = await self._exchange(requests.next, requests.take)
            if requests.is_complete:
                return exchanged

    async def _send_parts(self, parts: list[PartRange]) -> None:
        """Send the parts that are not stored yet."""
        await self._rounds.map(self._send_part, [part for part in parts if part.number not in self._stored])

    async def _send_part(self, part: PartRange) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            _, response = await self._exchange(lambda: self._part(part))
            self._stored[part.number] = self._target.part_identity(part, response)
        except BaseException as error:
            # The attempt has failed: no further part is sent.
            self._failure = error
            raise

    async def _part(self, part: PartRange) -> Upload:
        # A store may require the part's digest.
        return await self._driver.call(lambda: self._target.part(part, self._document, now=utc_now()), size=part.size)

    async def _complete(self, stored: list[str]) -> Exchanged:
        completion = await self._compute(partial(self._target.completion, self._document, stored, now=utc_now()))
        self._is_completing = True
        upload, response = await self._exchange(completion, self._check_completion)
        return upload, evolve(response, headers={**response.headers, "etag": self._target.etag(response)})

    async def _verify(self) -> Exchanged | None:
        """Return the exchange that shows that the object exists although no completion was confirmed; otherwise None.

        Raises:
            DeliveryError: The request failed, and a later attempt may succeed.
        """
        self._failure = None
        try:
            verification = self._target.verification(now=utc_now())
            if verification is None:
                return None
            upload, response = await self._exchange(verification)
        except DeliveryError as error:
            if error.retryable:
                raise
            return None
        except TargetError:
            # The URL of the verification has expired.
            return None
        stored = [self._stored[number] for number in sorted(self._stored)] if self._is_completing else []
        is_stored = await self._compute(partial(self._target.is_stored, response, self._document, stored))
        return (upload, response) if is_stored else None

    async def abort(self) -> None:
        """Abort the upload, if the target has a request for that."""
        self._failure = None
        try:
            if (abort := self._target.abort(now=utc_now())) is not None:
                await self._exchange(abort)
                logger.info("aborted the upload to %s", abort.url)
        except uninterrupted(Exception) as error:  # it must not hide why the delivery failed
            logger.warning("the upload was not aborted: %s", loggable_text(error))

    async def _exchange(self, request: Upload | Callable[[], Awaitable[Upload]], take: Take | None = None) -> Exchanged:
        """Make a request until it succeeds or fails permanently, or the attempt has ended.

        Args:
            request: The request, or returns it.
            take: Takes the response, and raises an error if the request failed.
        """
        attempts = 0
        while True:
            attempts += 1
            try:
                upload = request if isinstance(request, Upload) else await request()
                response = await self._send(upload)
                await (take or self._check)(upload, response)
            except DeliveryError as error:
                pause = max(backoff(attempts).total_seconds(), error.retry_after or 0.0)
                if attempts == MAX_REQUEST_ATTEMPTS or not self._may_retry(error, pause):
                    raise
                logger.warning("a request failed, retrying in %.1f s: %s", pause, error)
                await self._driver.sleep(pause)
            else:
                return upload, response

    async def _check(self, upload: Upload, response: Response) -> None:
        if response.status not in upload.accepts:
            raise self._error(upload, response)

    async def _check_completion(self, upload: Upload, response: Response) -> None:
        await self._check(upload, response)
        if not self._target.confirms(response):
            raise self._unconfirmed_error(upload, response)

    def _may_retry(self, error: DeliveryError, pause: float) -> bool:
        in_time = pause <= MAX_PAUSE and time.monotonic() + pause < self._deadline
        return error.transient and in_time and self._failure is None and not self._target.has_lost_parts(error)

    def _unconfirmed_error(self, upload: Upload, response: Response) -> DeliveryError:
        """Return the error for a response with a status of success that doesn't confirm the completion."""
        error = self._error(upload, response)
        if error.code is not None:
            return error
        return DeliveryError(
            f"{response.url} answered {response.status}, and not that the upload is complete: the end of the response "
            "was lost.",
            hint="The completion is retried. If it persists, a proxy in between replaces or shortens the response.",
            url=str(response.url),
            status=response.status,
            retryable=True,
        )
