"""The `error` of a document: the type and the message of an exception that users' code has raised."""

from __future__ import annotations

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.redaction import without_credentials

_MAX_ERROR = 2000
"""Maximum characters of an error."""


def describe(error: BaseException) -> str:
    """Return the type and the message of an exception."""
    try:
        text = str(error)
    except uninterrupted(Exception):  # the exception's __str__ may raise
        text = "(str() of the error fails)"
    name = type(error).__name__
    return clean(f"{name}: {text}" if text else name)


def clean(text: str, *, max_length: int | None = _MAX_ERROR) -> str:
    """Remove the credentials of URLs from a text, truncate it, and replace lone surrogates."""
    # Truncated before too, as the text may have any length, but not so that a URL that is shown is cut.
    bounded = text if max_length is None else text[: 2 * max_length]
    return (
        without_credentials(bounded, show_plain_queries=True)[:max_length]
        .replace("\0", "\ufffd")
        .encode(errors="replace")
        .decode()
    )
