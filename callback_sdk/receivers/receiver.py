"""Receiver: an endpoint for webhooks with result documents."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from callback_sdk import webhooks
from callback_sdk.errors import DocumentError, WebhookVerificationError
from callback_sdk.parsing import Duration, positive_int
from callback_sdk.receivers.authentication import Authentication, Secrets
from callback_sdk.receivers.documents import ReceivedEvent, read_document
from callback_sdk.receivers.handover import (
    EventHandler,
    Handler,
    Handover,
    HandoverOutcome,
    IsHandled,
    Steps,
    event_steps,
    run,
)
from callback_sdk.receivers.ids import DeliveryIds
from callback_sdk.receivers.reply import Reply, busy, refusal, rejection
from callback_sdk.redaction import clearing_locals

logger = logging.getLogger(__name__)

MAX_BYTES = 16 * 1024 * 1024
"""Default limit of a webhook's body."""

_REPLIES = {
    HandoverOutcome.HANDLED: Reply(200),
    HandoverOutcome.DUPLICATE: Reply(200),
    HandoverOutcome.RUNNING: busy("Another copy of this delivery is being handled."),
    HandoverOutcome.FAILED: refusal(500, "The handler failed."),
    HandoverOutcome.UNAVAILABLE: busy("The delivery can't be checked for duplicates now."),
}


class Endpoint(Protocol):
    """What the modules for frameworks need: `Receiver`, `BucketReceiver` and `TargetIssuer`."""

    @property
    def max_bytes(self) -> int:
        """Maximum bytes of a request's body. No more are read."""

    def steps(self, headers: Mapping[str, str], body: bytes) -> Steps[Reply]:
        """Return the steps that answer a request.

        Args:
            headers: The request's headers; names in any letter case.
            body: The raw body.
        """


class Receiver:
    """An endpoint for webhooks: verifies them, hands over each result once, and replies when that is done.

    A framework serves it, by one of the modules `starlette`, `flask`, `django` and `aws_lambda`; or call `receive`.

    Args:
        handler: Called with each `ReceivedResult`. The reply is 200 once it has returned. It is called again when it
            raises, and in rare cases after it has returned, so it has to be idempotent.
        secrets: Secrets (`whsec_...`) or public keys (`whpk_...`) of senders: one, all that are valid, or a function
            that returns them. None to verify no signature; `headers` are required then.
        headers: Headers that each request must have, such as `{"Authorization": "Bearer ..."}`.
        ids: Stores the ids of deliveries: `MemoryIds`, `SQLiteIds` or `RedisIds`; or a function that is called with a
            result and returns whether the handler has stored it. None for `MemoryIds()`.
        on_event: Called with each `ReceivedEvent`. None to ignore events.
        tolerance: Maximum difference between a webhook's timestamp and the clock, a `timedelta` or seconds.
        max_bytes: Maximum bytes of a body; no more are read.

    Raises:
        ConfigurationError: There are neither secrets nor headers, or an argument is invalid.
        MissingExtraError: The extra `ed25519`, for public keys, is not installed.
    """

    @clearing_locals
    def __init__(
        self,
        handler: Handler,
        *,
        secrets: Secrets | None,
        headers: Mapping[str, str] | None = None,
        ids: DeliveryIds | IsHandled | None = None,
        on_event: EventHandler | None = None,
        tolerance: Duration = webhooks.TOLERANCE,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._authentication = Authentication(secrets, headers, tolerance)
        self._handover = Handover(handler, ids)
        self._on_event = on_event
        self.max_bytes = positive_int("max_bytes", max_bytes)

    def receive(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer a request.

        Args:
            headers: The request's headers; names in any letter case.
            body: The raw body, before any decoding or JSON parsing.

        Returns:
            200 after the handler, and for a copy of a delivery that was handled; 401 for a wrong signature, 422 for a
            body that is not a result document; 500 when the handler failed, and 503 while another copy is handled.
        """
        return run(self.steps(headers, body))

    def steps(self, headers: Mapping[str, str], body: bytes) -> Steps[Reply]:
        """See `Endpoint.steps`."""
        try:
            delivery_id = self._authentication.verify(headers, body)
            received = read_document(body, delivery_id=delivery_id)
        except WebhookVerificationError as error:
            logger.warning("A webhook was rejected: %s", error.message)
            return rejection(error)
        except DocumentError as error:
            logger.warning("A webhook with a valid signature was rejected: %s", error.message)
            return rejection(error)
        if isinstance(received, ReceivedEvent):
            return _REPLIES[(yield from event_steps(self._on_event, received))]
        return _REPLIES[(yield from self._handover.steps(received))]
