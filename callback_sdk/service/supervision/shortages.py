"""Temporary failures of a start: a resource is in use or exhausted, although its setting may be correct."""

from __future__ import annotations

import errno
import socket

from callback_sdk.errors import ConfigurationError

_PASSING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EADDRINUSE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    # The name server doesn't respond; a name that doesn't exist has another code.
    socket.EAI_AGAIN,
}


class ResourceUnavailableError(ConfigurationError):
    """A configured resource is in use or exhausted: a later start may succeed with the same settings."""


def is_passing(error: OSError) -> bool:
    """Return whether a failed system call may succeed later with the same settings."""
    return error.errno in _PASSING


def unusable(message: str, *, hint: str, error: OSError) -> ConfigurationError:
    """Return the error for a failed system call: a temporary shortage, or an invalid setting.

    Args:
        message: The error's message.
        hint: The error's hint.
        error: The system's error.
    """
    kind = ResourceUnavailableError if is_passing(error) else ConfigurationError
    return kind(message, hint=hint)
