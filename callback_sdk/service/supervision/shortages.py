"""What keeps a process from starting for now: a resource that is in use or full, although its setting may be right."""

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
    # A name server that doesn't respond; of a name that doesn't exist it is another code.
    socket.EAI_AGAIN,
}


class ResourceUnavailableError(ConfigurationError):
    """What a setting names is in use or full at the moment: a later start may succeed with the same settings."""


def is_passing(error: OSError) -> bool:
    """Tell whether what the system refuses now may be possible later, with the same settings."""
    return error.errno in _PASSING


def unusable(message: str, *, hint: str, error: OSError) -> ConfigurationError:
    """Make the error for what the system refuses: of the kind that passes, or of a setting that is wrong.

    Args:
        message: What can't be used, and why.
        hint: What to do next.
        error: What the system said.
    """
    kind = ResourceUnavailableError if is_passing(error) else ConfigurationError
    return kind(message, hint=hint)
