"""Serve a receiver with AWS Lambda, behind a function URL, API Gateway or a load balancer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from callback_sdk.errors import BodyTooLargeError
from callback_sdk.receivers.bodies import check_length
from callback_sdk.receivers.handover import run
from callback_sdk.receivers.receiver import Endpoint
from callback_sdk.receivers.reply import Reply, refusal, unreadable

LambdaFunction = Callable[[Any, Any], dict[str, Any]]
"""A function of AWS Lambda: called with event and context."""


def endpoint(receiver: Endpoint) -> LambdaFunction:
    """Return a Lambda function that answers HTTP requests.

    It takes events of API Gateway with payload format 1.0 and 2.0, of function URLs and of application load balancers.

    Args:
        receiver: The receiver.
    """

    def receive(event: Any, context: Any) -> dict[str, Any]:
        try:
            body = _body(event, receiver.max_bytes)
        except BodyTooLargeError as error:
            return _response(unreadable(error))
        except ValueError:
            return _response(refusal(400, "The body is not valid base64 or Unicode."))
        return _response(run(receiver.steps(_headers(event), body)))

    return receive


def _body(event: Mapping[str, Any], max_bytes: int) -> bytes:
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        body: bytes = text.encode()
        check_length(len(body), max_bytes)
        return body
    check_length(len(text) // 4 * 3 - 2, max_bytes)
    try:
        body = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    check_length(len(body), max_bytes)
    return body


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers. A load balancer may have lists of values instead, of which the last one counts."""
    several = event.get("multiValueHeaders") or {}
    return {**{name: values[-1] for name, values in several.items() if values}, **(event.get("headers") or {})}


def _response(reply: Reply) -> dict[str, Any]:
    # All replies are JSON or empty. A body of None is an error for load balancers.
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": reply.body.decode(),
        "isBase64Encoded": False,
    }
