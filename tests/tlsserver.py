"""A server with TLS, and the authority that issues its certificates."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization

from tests.rawserver import RawServer


class Authority:
    """Issues certificates that are not trusted by default.

    Args:
        folder: Directory for the authority's certificate, a file for `SSL_CERT_FILE`.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def client_cert(self, folder: Path, *, password: str | None = None, **options: Any) -> tuple[Path, Path]:
        """Write a client certificate and its key, and return their paths; options are those of trustme."""
        issued = self._authority.issue_cert("worker@example.org", **options)
        certificate, key = folder / "client.pem", folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        pem = issued.private_key_pem.bytes()
        if password is not None:
            loaded = serialization.load_pem_private_key(pem, None)
            encryption = serialization.BestAvailableEncryption(password.encode())
            pem = loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        key.write_bytes(pem)
        return certificate, key

    def server_cert(self, folder: Path, *names: str, **options: Any) -> Path:
        """Write the certificate of a server with its key to one file, and return its path."""
        path = folder / "server.pem"
        self._authority.issue_cert(*names, **options).private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def context(self, *names: str, clients: bool = False, **options: Any) -> ssl.SSLContext:
        """Return the TLS settings of a server; with `clients` it requires client certificates of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names, **options).configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context

    def serve(self, script: Callable[[socket.socket, int], None], *names: str, **options: Any) -> TLSServer:
        """Return a server with a certificate for these names; options are those of trustme."""
        return TLSServer(script, self.context(*names, **options))


class TLSServer(RawServer):
    """A `RawServer` with TLS.

    Attributes:
        asked: The names that clients asked for (SNI); None for a client that named none.
    """

    def __init__(
        self, script: Callable[[socket.socket, int], None], context: ssl.SSLContext, host: str = "127.0.0.1"
    ) -> None:
        self.asked: list[str | None] = []
        context.sni_callback = lambda sock, name, _: self.asked.append(name)

        def encrypted(connection: socket.socket, number: int) -> None:
            with context.wrap_socket(connection, server_side=True) as sock:
                script(sock, number)

        super().__init__(encrypted, host)
        self.url = f"https://{host}:{self.port}"
