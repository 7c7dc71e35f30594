"""One attempt at one delivery, as the outbox and the service's workers make it."""

from __future__ import annotations

from typing import Protocol

from callback_sdk.errors import CallbackSDKError, DeliveryError
from callback_sdk.models import JobResult
from callback_sdk.receipt import Receipt
from callback_sdk.targets.callbacks import Callback
from callback_sdk.writer.delivery import FindURL


class AttemptWriter(Protocol):
    """The one method of `ResultsWriter` that makes a single attempt."""

    def attempt(
        self,
        result: JobResult,
        callback: Callback,
        *,
        delivery_id: str,
        results_url: FindURL,
        traceparent: str | None = None,
    ) -> Receipt:
        """Make one attempt at one target; see `ResultsWriter.attempt`."""
        ...


def has_responded(error: Exception) -> bool | None:
    """Tell whether the host of a failed attempt sent a response; None when no request was sent."""
    return error.status is not None if isinstance(error, DeliveryError) else None


def loggable_text(error: Exception) -> str:
    """Return an error's text if it is one of ours. The text of any other error may hold credentials."""
    return str(error) if isinstance(error, CallbackSDKError) else f"The attempt failed with {type(error).__name__}."
