"""Failures of attempts: their texts, and the error for an unexpected exception."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Sequence

from callback_sdk.errors import CallbackSDKError, DeliveryError, MultipleDeliveryErrors
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import strip_traceback
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback

logger = logging.getLogger(__name__)


def has_responded(error: Exception) -> bool | None:
    """Return whether the host of a failed attempt sent a response; None when no request was sent."""
    return error.status is not None if isinstance(error, DeliveryError) else None


def combined_error(errors: Sequence[CallbackSDKError], receipts: Iterable[Receipt]) -> CallbackSDKError:
    """Return the error of a result that one or more targets don't have, with the receipts of the others."""
    error = errors[0] if len(errors) == 1 else MultipleDeliveryErrors(errors)
    error.receipts = tuple(receipts)
    return error


def loggable_text(error: Exception) -> str:
    """Return an error's text if it is of this package. The text of any other error may hold credentials."""
    return str(error) if isinstance(error, CallbackSDKError) else f"The attempt failed with {type(error).__name__}."


def unexpected_error(target: Target | Callback | CallbackSDKError | None, error: Exception) -> DeliveryError:
    """Return the error for an unexpected exception, and log its traceback without any value."""
    callback = target.callback if isinstance(target, Target) else target
    url = str(callback.url) if isinstance(callback, Callback) else None
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the attempt at %s raised %s:\n%s", url, type(error).__name__, frames)
    failure = DeliveryError(
        f"The attempt at {url} raised {type(error).__name__}.",
        hint="This program failed, not the target: see the traceback in the log. A later attempt may succeed.",
        url=url,
        retryable=True,
        transient=False,
    )
    failure.__cause__ = strip_traceback(error)
    return failure
