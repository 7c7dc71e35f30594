"""The audit log: who logged in and who failed to, and what became of users, tokens and sessions.

Its records have the logger `callback_sdk.service.access.audit`, and an `action`. They hold no credential, and what
came from outside is escaped.
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
]

_WARNINGS = frozenset({"login-failed", "refresh-token-reused"})

_LONGEST = 128
"""Characters of a value that are logged."""


def record(action: Action, user: str | None, **facts: str | float | None) -> None:
    """Log what has happened.

    Args:
        action: What.
        user: Name of the account; None for one that doesn't exist, whose name may be a password in the wrong field.
        **facts: What else there is to know, such as `address` and `via`; None is left out.
    """
    values = {name: _shown(value) for name, value in {"user": user, **facts}.items() if value is not None}
    level = logging.WARNING if action in _WARNINGS else logging.INFO
    text = " ".join(f"{name}={value}" for name, value in values.items())
    _log.log(level, "%s %s", action, text, extra={"action": action, **values})


def _shown(value: str | float) -> str | float:
    """Return a value in which nothing can pass for the end of a line, for another record or for a command."""
    return ascii(value[:_LONGEST])[1:-1] if isinstance(value, str) else value
