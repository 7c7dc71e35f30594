"""The service's one token: made at first start, kept in a file, asked for with every request."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret


def ensure_token(path: Path) -> Secret[str]:
    """Read the token, after making it when there is none.

    Args:
        path: Its file; a new one has mode 0600.

    Raises:
        ConfigurationError: The file is empty.
    """
    if not path.exists():
        _make(path)
    token = Secret(path.read_text(encoding="utf-8").strip())
    if not token.reveal():
        raise ConfigurationError(
            f"The token file {path} is empty.", hint="Remove it; the next start makes a new token."
        )
    return token


def is_allowed(authorization: str | None, token: Secret[str]) -> bool:
    """Tell whether an `Authorization` header carries the token."""
    scheme, _, given = (authorization or "").partition(" ")
    # compare_digest takes text only when it is ASCII.
    same = hmac.compare_digest(given.strip().encode(), token.reveal().encode())
    return scheme.lower() == "bearer" and same


def _make(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link never replaces: of two that start at once, one token wins and both read it.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
