"""Texts of exceptions that code of an algorithm's author has raised."""

from __future__ import annotations

_MAX_ERROR = 2000
"""Maximum characters of an error."""


def describe(error: BaseException) -> str:
    """Return the type and the message of an exception."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the exception's __str__ may raise
        text = "(str() of the error fails)"
    name = type(error).__name__
    return clean(f"{name}: {text}" if text else name)


def clean(text: str, *, max_length: int | None = _MAX_ERROR) -> str:
    """Truncate a text, and replace lone surrogates."""
    return text[:max_length].replace("\0", "\ufffd").encode(errors="replace").decode()
