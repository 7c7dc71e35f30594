"""Reply: the response of a receiver, before a framework sends it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from callback_sdk.errors import BodyTooLargeError, CallbackSDKError, DocumentError, WebhookVerificationError

logger = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds after which a delivery that can't be taken now should be sent again."""


@define(frozen=True)
class Reply:
    """Response to a request.

    Attributes:
        status: HTTP status.
        body: Bytes of the body.
        headers: Headers of the response.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(factory=dict)


def json_reply(status: int, value: Any, **headers: str) -> Reply:
    """Return a reply with JSON.

    Args:
        status: HTTP status.
        value: What the body contains.
        **headers: Further headers; an underscore in a name is a hyphen.
    """
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json", **named})


def refusal(status: int, message: str) -> Reply:
    """Return a reply that tells what is wrong.

    Args:
        status: HTTP status.
        message: Description of the problem.
    """
    return json_reply(status, {"error": message})


def rejection(error: WebhookVerificationError | DocumentError) -> Reply:
    """Return the reply to a request that was not verified (401), or is none that was expected (422).

    Args:
        error: The reason.
    """
    return refusal(401 if isinstance(error, WebhookVerificationError) else 422, error.message)


def busy(message: str) -> Reply:
    """Return a reply after which the sender tries again.

    Args:
        message: Why the delivery can't be taken now.
    """
    return json_reply(503, {"error": message}, retry_after=str(RETRY_AFTER))


def unreadable(error: CallbackSDKError) -> Reply:
    """Return the reply to a request whose body can't be read.

    Args:
        error: A `BodyTooLargeError`, after which the sender ends, or another one, after which it tries again.
    """
    logger.warning("The body of a request was not read: %s", error)
    return refusal(413 if isinstance(error, BodyTooLargeError) else 500, error.message)
