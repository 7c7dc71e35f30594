"""Passwords of users: hashed with Argon2id, and compared in the same time whether there is such a user or not."""

from __future__ import annotations

import functools
import secrets
import threading

from argon2 import PasswordHasher, profiles
from argon2.exceptions import HashingError, VerificationError

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret

SHORTEST = 12
LONGEST = 1024
"""Characters of a password."""

# RFC 9106, section 4, second recommended option: 64 MiB for each.
_hasher = PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY)
_few = threading.Semaphore(2)


def hash_password(password: Secret[str]) -> str:
    """Return the hash to keep.

    Raises:
        ConfigurationError: The password is too short or too long, or there is no memory to hash it.
    """
    if not SHORTEST <= len(password.reveal()) <= LONGEST:
        raise ConfigurationError(
            f"A password has {SHORTEST} to {LONGEST} characters; this one has {len(password.reveal())}.",
            hint="A sentence is easy to remember.",
        )
    with _few:
        try:
            return _hasher.hash(_bytes(password))
        except HashingError as error:
            reason = str(error)
    # Outside of the except clause, so that no frame of argon2, which has the password, comes along.
    raise ConfigurationError(
        f"The password can't be hashed: {reason}.", hint="Hashing a password takes 64 MiB of memory."
    )


def verify_password(hashed: str | None, password: Secret[str]) -> bool:
    """Tell whether it is the password.

    Args:
        hashed: What was kept; None when there is no such user or no password, which takes as long to refuse.
        password: What came.
    """
    if len(password.reveal()) > LONGEST:
        return False
    with _few:
        # Made for those whom we know, too: whoever comes first would wait for it.
        somebody = _somebody()
        try:
            return _hasher.verify(somebody if hashed is None else hashed, _bytes(password)) and hashed is not None
        except (VerificationError, ValueError):
            return False


def needs_rehash(hashed: str) -> bool:
    """Tell whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(hashed)


@functools.cache
def _somebody() -> str:
    return _hasher.hash(secrets.token_bytes(32))


def _bytes(password: Secret[str]) -> bytes:
    # A lone surrogate, which a pipe can bring, passes: the error would carry the whole password.
    return password.reveal().encode("utf-8", "surrogatepass")
