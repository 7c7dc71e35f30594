"""The audit log: logins, failed logins, changes of users, tokens and sessions, and new targets of deliveries.

Its records have the logger `callback_sdk.service.access.audit` and an `action`. They contain no credentials, and
external values are escaped.
"""

from __future__ import annotations

import logging
from typing import Literal

_log = logging.getLogger(__name__)

Action = Literal[
    "login",
    "login-failed",
    "logout",
    "refresh-token-reused",
    "token-created",
    "tokens-revoked",
    "password-changed",
    "user-added",
    "user-disabled",
    "user-enabled",
    "target-replaced",
]

_WARNINGS = frozenset({"login-failed", "refresh-token-reused"})

_MAX_LENGTH = 128
"""Maximum logged characters of a value."""


def record(action: Action, user: str | None, **facts: str | float | None) -> None:
    """Log an event.

    Args:
        action: Name of the event.
        user: Name of the account; None if it doesn't exist, as the name may be a password typed into the wrong field.
        **facts: Further fields, such as `address` and `via`; those that are None are omitted.
    """
    values = {name: _shown(value) for name, value in {"user": user, **facts}.items() if value is not None}
    level = logging.WARNING if action in _WARNINGS else logging.INFO
    text = " ".join(f"{name}={value}" for name, value in values.items())
    _log.log(level, "%s %s", action, text, extra={"action": action, **values})


def _shown(value: str | float) -> str | float:
    """Escape a value against log injection: line ends, forged records and terminal escape sequences."""
    return ascii(value[:_MAX_LENGTH])[1:-1] if isinstance(value, str) else value
