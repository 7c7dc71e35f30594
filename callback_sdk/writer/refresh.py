"""Ask the issuer of an expired target for a new one: a signed POST with JSON, and an answer that is not trusted."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from attrs import define

from callback_sdk import tracing, webhooks
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import Body
from callback_sdk.errors import AddressNotAllowedError, CallbackSDKError, DeliveryError, RefreshError, TargetError
from callback_sdk.redaction import Secret, SecretURL, clearing_locals
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.header_rules import LOGIN
from callback_sdk.targets.issuer import Issuer
from callback_sdk.targets.upload import Upload
from callback_sdk.text.quoted_secrets import without_secrets
from callback_sdk.transport.driver import clearing_locals_of_coroutine
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.response import Response
from callback_sdk.transport.sockets import Route
from callback_sdk.writer.clock import utc_now
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.issued import IssuedTargets

_ACCEPTS = frozenset({200, 201})

_ANSWER_HINT = 'The issuer has to answer with JSON of at most 64 KiB: {"url": "https://...", "param": {...}}.'


@define(frozen=True, kw_only=True)
class ExpiredDelivery:
    """The members of the request for a new target, for a delivery whose target has expired.

    Attributes:
        callback: The target.
        job_id: The job's id.
        delivery_id: The delivery's id.
        output: Name of the output file; None for the document.
    """

    callback: Callback
    job_id: str
    delivery_id: str
    output: str | None = None


async def new_target(
    delivery: PreparedDelivery,
    shared: IssuedTargets | None,
    *,
    keys: Sequence[webhooks.SigningKey],
    send: Callable[[Upload], Awaitable[Response]],
) -> Callback:
    """Return the target that replaces the expired one of a delivery.

    Args:
        delivery: The delivery.
        shared: New targets of a document and the files below its prefix, whose issuer is asked once for all of them, as
            for the document; None if the delivery is alone.
        keys: Signing keys of webhooks, newest first.
        send: Makes one attempt at a request.

    Raises:
        RefreshError: The issuer gave no target, or one that doesn't fit.
        TargetError: The address guard rejects the issuer's host.
    """
    old = delivery.target.callback
    expired = ExpiredDelivery(
        callback=old,
        job_id=delivery.job_id,
        delivery_id=(shared and shared.delivery_id) or delivery.delivery_id,
        output=delivery.output if shared is None else None,
    )
    url = None if old.issuer is None else str(old.issuer.url)
    facts = {"job_id": expired.job_id, "delivery_id": expired.delivery_id, "url": url}

    async def ask() -> Callback:
        with tracing.span("refresh", "client", parent=delivery.traceparent, **facts):
            return await request_target(expired, keys=keys, send=send)

    return await (ask() if shared is None or old.given is None else shared.replace(old.given, ask))


@clearing_locals_of_coroutine
async def request_target(
    expired: ExpiredDelivery, *, keys: Sequence[webhooks.SigningKey], send: Callable[[Upload], Awaitable[Response]]
) -> Callback:
    """Return the target with which the issuer replaces an expired one.

    The request has an id of its own as `webhook-id`: a receiver that ignores repeated ids must answer each.

    Args:
        expired: The delivery.
        keys: Signing keys of webhooks, newest first.
        send: Makes one attempt at a request.

    Raises:
        RefreshError: The issuer gave no target, or one that doesn't fit.
        TargetError: The address guard rejects the issuer's host.
    """
    issuer = expired.callback.issuer
    if issuer is None:
        raise TypeError("the target has no issuer")
    upload = _request(issuer, expired, keys)
    try:
        response = await send(upload)
    except DeliveryError as error:
        failure = error
    else:
        if response.status in _ACCEPTS:
            return _read_answer(issuer, upload, response, expired.callback)
        failure = delivery_error(upload, response)
    raise RefreshError(
        f"The target has expired, and no new one could be requested: {failure.message}",
        hint=failure.hint,
        url=failure.url,
        status=failure.status,
        code=failure.code,
        retryable=failure.retryable,
        transient=failure.transient,
        retry_after=failure.retry_after,
        # The cause tells the service that a host's name doesn't resolve.
    ) from failure.__cause__


def check_address(url: SecretURL, route: Route, timeout: timedelta) -> None:
    """Reject an issuer's target that the address guard blocks, before it replaces the stored one.

    Args:
        url: URL of the target.
        route: How it will be reached.
        timeout: To resolve the host's name.

    Raises:
        TargetError: The guard blocks it. An unknown host has the same message as one at a private address.
    """
    try:
        if route.is_resolved_by_proxy(url):
            route.check(url)
        else:
            route.resolve(url, time.monotonic() + timeout.total_seconds())
    except AddressNotAllowedError as error:
        if not error.resolved:
            raise
    except uninterrupted(OSError) as error:
        if not isinstance(error, socket.gaierror):
            # The attempt finds out whether the host can be reached.
            return
    else:
        return
    raise AddressNotAllowedError(
        f"The host name of {url} doesn't resolve to a public address.", hint="Check the spelling.", url=str(url)
    )


def unusable_answer(issuer: SecretURL, problem: str, *, hint: str = _ANSWER_HINT) -> RefreshError:
    """Return the error for an answer with which nothing can be delivered.

    The issuer's operator has to fix it, which takes longer than `ResultsWriter.write` retries.

    Args:
        issuer: URL of the issuer.
        problem: What is wrong with the answer, without credentials.
        hint: What to do.
    """
    return RefreshError(
        f"The target has expired, and its issuer {issuer} answered with {problem}",
        hint=hint,
        url=str(issuer),
        retryable=True,
        transient=False,
    )


def _request(issuer: Issuer, expired: ExpiredDelivery, keys: Sequence[webhooks.SigningKey]) -> Upload:
    members = {"job_id": expired.job_id, "delivery_id": expired.delivery_id, "output": expired.output}
    body = Body(json.dumps(members).encode())
    signed = webhooks.sign(keys, f"refresh_{secrets.token_hex(16)}", utc_now(), body)
    own = {"content-type": "application/json", "accept": "application/json"}
    return Upload(
        kind="refresh",
        method="POST",
        url=issuer.url,
        headers=Secret({**issuer.headers.reveal(), **own, **signed}),
        body=body,
        document=body,
        expires_at=None,
        accepts=_ACCEPTS,
        redirects=False,
    )


@clearing_locals
def _read_answer(issuer: Issuer, upload: Upload, response: Response, old: Callback) -> Callback:
    answer = _json(response)
    if not isinstance(answer.reveal(), dict) or not isinstance(answer.reveal().get("url"), str):
        raise unusable_answer(issuer.url, "something other than a JSON object with a url.")
    try:
        (new,) = parse_callbacks(Secret([answer.reveal()]))
        if _quotes_login(issuer, new.url):
            raise unusable_answer(issuer.url, "a URL that quotes a credential of the request.")
        return old.replaced_by(new)
    except TargetError as error:
        failure: CallbackSDKError = error
    # The response is the issuer's, and may quote what it was sent.
    problem, hint = upload.scrub(failure.message), upload.scrub(f"{failure.hint} {_ANSWER_HINT}")
    raise unusable_answer(issuer.url, f"a target that can't be used: {problem}", hint=hint)


def _quotes_login(issuer: Issuer, url: SecretURL) -> bool:
    """Return whether the part of a URL that is shown quotes a credential which the issuer was sent."""
    named = issuer.headers.reveal().items()
    credentials = (*issuer.url.secrets().reveal(), *(value for name, value in named if name in LOGIN))
    return without_secrets(str(url), credentials) != str(url)


def _json(response: Response) -> Secret[Any]:
    """Return the JSON of an answer; None if it is not JSON, or longer than what is read of a response."""
    try:
        return Secret(json.loads(response.decoded_body()))
    except (ValueError, RecursionError):
        # An integer of thousands of digits is a ValueError too.
        return Secret(None)
