"""Encryption of credentials at rest, with keys that are not in the database."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.filesystem.files import write_once
from callback_sdk.redaction import Secret, clearing_locals

_HINT = "Generate a key for CALLBACK_SDK_ENCRYPTION_KEYS with callback-sdk db generate-key."


class CredentialCipherError(CallbackSDKError):
    """A ciphertext was encrypted with a key that the cipher doesn't have, or is corrupt."""


class CredentialCipher:
    """Encrypts and decrypts (Fernet: AES-128-CBC and HMAC-SHA256).

    Args:
        keys: The keys, newest first. The newest one encrypts; all of them decrypt.

    Raises:
        ConfigurationError: `keys` is empty, or has an invalid key.
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
        """Encrypt a text with the newest key."""
        # Lone surrogates are encoded too: a UnicodeEncodeError would contain the whole text.
        return self._fernet.encrypt(plain.reveal().encode("utf-8", "surrogatepass")).decode()

    def decrypt(self, encrypted: str) -> Secret[str]:
        """Decrypt a text.

        Raises:
            CredentialCipherError: None of the keys can decrypt it.
        """
        try:
            return Secret(self._fernet.decrypt(encrypted.encode()).decode("utf-8", "surrogatepass"))
        except InvalidToken:
            raise _undecryptable() from None

    def rotate(self, encrypted: str) -> str:
        """Re-encrypt a text with the newest key.

        Raises:
            CredentialCipherError: None of the keys can decrypt it.
        """
        try:
            return self._fernet.rotate(encrypted.encode()).decode()
        except InvalidToken:
            raise _undecryptable() from None

    def derive(self, purpose: str) -> tuple[Secret[bytes], ...]:
        """Derive a 32-byte key for another purpose from each key, newest first (HKDF with SHA-256, RFC 5869)."""
        return tuple(Secret(_hkdf(purpose).derive(key.reveal())) for key in self._raw)


def new_key() -> Secret[str]:
    """Generate a key from 256 random bits."""
    return Secret(Fernet.generate_key().decode())


def ensure_keys(path: Path) -> tuple[Secret[str], ...]:
    """Read the keys from a file, one per line and newest first; create the file if it is missing.

    Args:
        path: The file; a new file has mode 0600.

    Raises:
        ConfigurationError: The file is empty, or not UTF-8 text.
    """
    keys = Secret(secret_file(path, new_key).reveal().split())
    return tuple(Secret(key) for key in keys.reveal())


def secret_file(path: Path, make: Callable[[], Secret[str]]) -> Secret[str]:
    """Read a secret from a file; create the file if it is missing.

    Args:
        path: The file; a new file has mode 0600.
        make: Generates the secret for a new file.

    Raises:
        ConfigurationError: The file is empty, or not UTF-8 text.
    """
    if not path.exists():
        # On disk before it is used: without the key the credentials in the database could not be decrypted.
        write_once(path, _line(make()))
    return _read_secret(path)


@clearing_locals
def _read_secret(path: Path) -> Secret[str]:
    # Not read_text: a UnicodeDecodeError would contain the whole file.
    text = path.read_bytes().decode("utf-8", "replace").strip()
    if "\ufffd" in text:
        raise ConfigurationError(f"The file {path} is not UTF-8 text.", hint="Restore the file from a backup.")
    if not text:
        raise ConfigurationError(
            f"The file {path} is empty.", hint="Restore it from a backup, or remove it to create a new one."
        )
    return Secret(text)


def _line(secret: Secret[str]) -> Iterator[bytes]:
    yield f"{secret.reveal()}\n".encode()


def _fernet(key: Secret[str], number: int) -> Fernet:
    try:
        return Fernet(key.reveal())
    except ValueError:
        pass
    raise ConfigurationError(f"Encryption key {number} is not a Fernet key: 32 bytes in URL-safe base64.", hint=_HINT)


def _hkdf(purpose: str) -> HKDF:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"callback-sdk {purpose}".encode())


def _undecryptable() -> CredentialCipherError:
    return CredentialCipherError(
        "Credentials in the database can't be decrypted with any of the keys.",
        hint="List the key that they were encrypted with in CALLBACK_SDK_ENCRYPTION_KEYS, after the new one.",
    )
