"""Credentials at rest: encrypted with a key that is not in the database."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.redaction import Secret

_HINT = "callback-sdk db generate-key makes one for CALLBACK_SDK_ENCRYPTION_KEYS."


class CredentialCipherError(CallbackSDKError):
    """A text was encrypted with a key that the cipher doesn't have, or was changed."""


class CredentialCipher:
    """Encrypts and decrypts (Fernet: AES-128-CBC and HMAC-SHA256).

    Args:
        keys: The newest first. It encrypts; all of them decrypt.

    Raises:
        ConfigurationError: There is no key, or one that is none.
    """

    def __init__(self, keys: Sequence[Secret[str]]) -> None:
        self._count = len(keys)
        if not keys:
            raise ConfigurationError("There is no encryption key.", hint=_HINT)
        self._fernet = MultiFernet([_fernet(key, number) for number, key in enumerate(keys, 1)])
        self._raw = tuple(Secret(base64.urlsafe_b64decode(key.reveal())) for key in keys)

    def __repr__(self) -> str:
        return f"Vault({self._count} keys)"

    def encrypt(self, plain: Secret[str]) -> str:
        """Return what only a holder of the newest key can read."""
        # A lone surrogate passes: the error would carry the whole text.
        return self._fernet.encrypt(plain.reveal().encode("utf-8", "surrogatepass")).decode()

    def decrypt(self, sealed: str) -> Secret[str]:
        """Return what was encrypted.

        Raises:
            CredentialCipherError: None of the keys fits.
        """
        try:
            return Secret(self._fernet.decrypt(sealed.encode()).decode("utf-8", "surrogatepass"))
        except InvalidToken:
            raise _undecryptable() from None

    def rotate(self, sealed: str) -> str:
        """Return the same text encrypted with the newest key.

        Raises:
            CredentialCipherError: None of the keys fits.
        """
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise _undecryptable() from None

    def derive(self, purpose: str) -> tuple[Secret[bytes], ...]:
        """Return 32 bytes for another purpose from each key, the newest first (HKDF with SHA-256, RFC 5869)."""
        return tuple(Secret(_hkdf(purpose).derive(key.reveal())) for key in self._raw)


def new_key() -> Secret[str]:
    """Make a key from 256 random bits."""
    return Secret(Fernet.generate_key().decode())


def ensure_keys(path: Path) -> tuple[Secret[str], ...]:
    """Read the keys of a file, one in each line and the newest first, after making it when there is none.

    Args:
        path: The file; a new one has mode 0600.

    Raises:
        ConfigurationError: The file is empty, or no text.
    """
    keys = Secret(secret_file(path, new_key).reveal().split())
    return tuple(Secret(key) for key in keys.reveal())


def secret_file(path: Path, make: Callable[[], Secret[str]]) -> Secret[str]:
    """Read a file that holds a secret, after making it when there is none.

    Args:
        path: The file; a new one has mode 0600.
        make: Gives the secret of a new file.

    Raises:
        ConfigurationError: The file is empty, or no text.
    """
    if not path.exists():
        _make(path, make())
    # Not read_text: the codec's error would carry the whole file.
    found = Secret(path.read_bytes().decode("utf-8", "replace").strip())
    if "\ufffd" in found.reveal():
        raise ConfigurationError(f"The file {path} is no UTF-8 text.", hint="Put its backup there.")
    if not found.reveal():
        raise ConfigurationError(f"The file {path} is empty.", hint="Put its backup there, or remove it for a new one.")
    return found


def _make(path: Path, secret: Secret[str]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret.reveal()}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link never replaces: of two that start at once, one secret wins and both read it.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    # Without the key, what the database keeps for good would be lost with the power.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _fernet(key: Secret[str], number: int) -> Fernet:
    try:
        return Fernet(key.reveal())
    except ValueError:
        pass
    raise ConfigurationError(f"Encryption key {number} is no Fernet key: 32 bytes in URL-safe base64.", hint=_HINT)


def _hkdf(purpose: str) -> HKDF:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"callback-sdk {purpose}".encode())


def _undecryptable() -> CredentialCipherError:
    return CredentialCipherError(
        "Credentials in the database can't be decrypted with any of the keys.",
        hint="List the key that they were encrypted with in CALLBACK_SDK_ENCRYPTION_KEYS, after the new one.",
    )
