"""Password hashing with Argon2id. Verification takes the same time whether or not the user exists."""

from __future__ import annotations

import functools
import secrets
import threading

from argon2 import PasswordHasher, profiles
from argon2.exceptions import HashingError, VerificationError

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret

MIN_LENGTH = 12
MAX_LENGTH = 1024
"""Minimum and maximum length of a password, in characters."""

# RFC 9106, section 4, second recommended option: 64 MiB of memory.
_hasher = PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY)
_few = threading.Semaphore(2)


def hash_password(password: Secret[str]) -> str:
    """Hash a password.

    Raises:
        ConfigurationError: The password is too short or too long, or there is not enough memory to hash it.
    """
    if not MIN_LENGTH <= len(password.reveal()) <= MAX_LENGTH:
        raise ConfigurationError(
            f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters; this one has {len(password.reveal())}.",
            hint="Choose a longer password, such as a sentence."
            if len(password.reveal()) < MIN_LENGTH
            else "Shorten it.",
        )
    with _few:
        try:
            return _hasher.hash(_bytes(password))
        except HashingError as error:
            reason = str(error)
    # Outside the except clause, so that the error has no frames of argon2, which contain the password.
    raise ConfigurationError(
        f"The password can't be hashed: {reason}.", hint="Hashing a password takes 64 MiB of memory."
    )


def verify_password(hashed: str | None, password: Secret[str]) -> bool:
    """Return whether a password matches a hash.

    Args:
        hashed: The stored hash; None if the user or its password doesn't exist, which takes as long to reject.
        password: The password of the request.
    """
    if len(password.reveal()) > MAX_LENGTH:
        return False
    with _few:
        # Computed for existing users too, as otherwise only the first login of an unknown user would take longer.
        somebody = _dummy_hash()
        try:
            return _hasher.verify(somebody if hashed is None else hashed, _bytes(password)) and hashed is not None
        except (VerificationError, ValueError):
            return False


def needs_rehash(hashed: str) -> bool:
    """Return whether a hash was computed with weaker parameters than the current ones."""
    return _hasher.check_needs_rehash(hashed)


@functools.cache
def _dummy_hash() -> str:
    return _hasher.hash(secrets.token_bytes(32))


def _bytes(password: Secret[str]) -> bytes:
    # Lone surrogates, which a pipe can contain, are encoded too: a UnicodeEncodeError would contain the password.
    return password.reveal().encode("utf-8", "surrogatepass")
