"""A server with TLS, and the authority that its certificates come from."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from tests.rawserver import RawServer


class Authority:
    """Issues certificates that nobody trusts until they are told to.

    Args:
        folder: Where its own certificate is put, in a file for `SSL_CERT_FILE`.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def serve(self, script: Callable[[socket.socket, int], None], *names: str, **options: Any) -> TLSServer:
        """Return a server whose certificate is for these names; options are those of trustme."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names, **options).configure_cert(context)
        return TLSServer(script, context)


class TLSServer(RawServer):
    """A raw server behind TLS.

    Attributes:
        asked: The names that clients asked for (SNI); None for a client that named none.
    """

    def __init__(self, script: Callable[[socket.socket, int], None], context: ssl.SSLContext) -> None:
        self.asked: list[str | None] = []
        context.sni_callback = lambda sock, name, _: self.asked.append(name)

        def encrypted(connection: socket.socket, number: int) -> None:
            with context.wrap_socket(connection, server_side=True) as sock:
                script(sock, number)

        super().__init__(encrypted)
        self.url = f"https://127.0.0.1:{self.port}"
