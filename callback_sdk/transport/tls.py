"""TLS: trusted certificate authorities, and the client certificate."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import define

from callback_sdk.concurrency.forking import PerProcess, no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.parsing import path_of
from callback_sdk.redaction import Secret, wrap_secret

if TYPE_CHECKING:
    import socket
    import ssl

ClientCert = str | os.PathLike[str] | Sequence[str | os.PathLike[str] | Secret[str] | None]
"""A PEM file with certificate and private key, or `(certificate, key)`, or `(certificate, key, password)`."""


_RELOAD = 10.0
"""Minimum seconds between two reads of the certificate files, which take tens of milliseconds of CPU."""


class TLS:
    """TLS settings of one sender. Thread-safe; each process has its own context.

    Args:
        client_cert: The client certificate, or None.

    Raises:
        ConfigurationError: The client certificate can't be loaded.
    """

    def __init__(self, client_cert: ClientCert | None = None) -> None:
        self._client = None if client_cert is None else _ClientCertificate.of(client_cert)
        # Not a bound method: the cycle through `self` would keep an unused sender until a garbage collection.
        self._context = PerProcess(functools.partial(_make_context, self._client))
        self._reloaded = -_RELOAD
        if self._client is not None:
            # Fails here, and not at the first result.
            self._context.get()

    def context(self) -> ssl.SSLContext:
        """Return the context of this process, which reads the files of the certificates when it is created.

        Raises:
            ConfigurationError: The certificate authorities or the client certificate can't be loaded.
        """
        return self._context.get()

    @staticmethod
    def wrap(context: ssl.SSLContext, sock: socket.socket, host: str) -> ssl.SSLSocket:
        """Return an encrypted socket, before its handshake.

        Args:
            context: From `context`.
            sock: A connected socket.
            host: Host name or address that the server's certificate must be for.

        Raises:
            OSError: The connection has ended.
            InvalidTargetError: The host name is invalid.
        """
        # Certificates and SNI have names without the trailing dot (RFC 6066, section 3).
        name = host.removesuffix(".")
        _check_name(name)
        return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)

    def reload(self) -> None:
        """Let the next handshake read the files again: after a failed one an operator may have added an authority."""
        now = time.monotonic()
        if now - self._reloaded >= _RELOAD:
            self._reloaded = now
            self._context.pop()


def _make_context(client: _ClientCertificate | None) -> ssl.SSLContext:
    with no_fork:
        # The first handshake would import this codec outside `no_fork`; a fork at that moment inherits the import lock.
        import encodings.idna  # noqa: F401
        import ssl

        try:
            import certifi

            context = ssl.create_default_context()
            # Slim container images have no /etc/ssl/certs. Not by a path: it would be a temporary file of an archive.
            context.load_verify_locations(cadata=certifi.contents())
        except uninterrupted(OSError) as error:
            raise _unusable(error) from error
        if client is not None:
            client.load_into(context)
        return context


def _unusable(error: OSError) -> ConfigurationError:
    # ssl.create_default_context opens this file, and its error doesn't name it.
    if name := os.environ.get("SSLKEYLOGFILE"):
        problem, hint = (
            f"TLS can't be set up with SSLKEYLOGFILE={name}",
            "Unset it, or set it to a writable file.",
        )
    else:
        problem = "The certificates of the certificate authorities can't be loaded"
        hint = "Reinstall certifi, and check SSL_CERT_FILE and SSL_CERT_DIR."
    return ConfigurationError(f"{problem}: {error.strerror or error}.", hint=hint)


@define(frozen=True)
class _ClientCertificate:
    certificate: Path
    key: Path
    password: Secret[str] | None

    @classmethod
    def of(cls, given: ClientCert) -> _ClientCertificate:
        """Parse `client_cert`.

        Raises:
            ConfigurationError: The argument is neither a path nor two or three values.
        """
        parts: Secret[list[Any]] = Secret(list(given) if isinstance(given, (list, tuple)) else [given])
        del given
        files = [part for part in parts.reveal()[:2] if isinstance(part, (str, os.PathLike))]
        if not 1 <= len(parts.reveal()) <= 3 or len(files) != min(len(parts.reveal()), 2):
            raise ConfigurationError(
                "client_cert is neither a path nor (certificate, key) nor (certificate, key, password).",
                hint="Give the paths of PEM files.",
            )
        password = (
            wrap_secret(parts.reveal()[2]) if len(parts.reveal()) == 3 and parts.reveal()[2] is not None else None
        )
        return cls(path_of("client_cert", files[0]), path_of("client_cert", files[-1]), password)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load certificate and key.

        Raises:
            ConfigurationError: A file can't be read, the password is missing or wrong, or the key doesn't match.
        """
        with no_fork:
            import ssl

        for path in (self.certificate, self.key):
            _check_readable(path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._reject_prompt)
        except ssl.SSLError as error:
            self._explain(error)
        except ValueError as error:
            raise ConfigurationError(f"The password of {self.key} can't be used: {error}.") from None

    def _reject_prompt(self) -> str:
        # Without a function OpenSSL prompts at the terminal, and a worker would wait there forever.
        if self.password is None:
            raise ConfigurationError(
                f"The private key {self.key} is encrypted.",
                hint="Give its password too: client_cert=(certificate, key, password).",
            )
        return self.password.reveal()

    def _explain(self, error: ssl.SSLError) -> NoReturn:
        reason = error.reason or ""
        if reason == "KEY_VALUES_MISMATCH":
            problem = f"The private key {self.key} doesn't belong to the certificate {self.certificate}"
            hint = "Give the key that the certificate was requested with; a chain begins with the client's certificate."
        elif self.password is not None and "PEM" not in reason:
            problem, hint = f"The private key {self.key} can't be decrypted", "Check the password."
        else:
            problem = f"The certificate {self.certificate} or the private key {self.key} can't be loaded"
            hint = "Give PEM files, with -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY----- in them."
        raise ConfigurationError(f"{problem} ({reason or type(error).__name__}).", hint=hint) from error


def _check_name(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        # ".example.org", "a..example.org", or a label of more than 63 characters.
        raise InvalidTargetError(
            f"The target's host name {host} is invalid in TLS.", hint="Check its spelling."
        ) from error


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except uninterrupted(OSError) as error:
        raise ConfigurationError(
            f"The client certificate's file {path} can't be read: {error.strerror or error}.",
            hint="Check the path given as client_cert, and its permissions.",
        ) from error
