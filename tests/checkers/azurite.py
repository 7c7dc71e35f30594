"""Azurite on loopback: Microsoft's emulator of Azure Blob Storage, which rejects wrong signatures."""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import define
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

from callback_sdk.testing import supervisor

COMMAND = "azurite-blob"
HOW_TO_GET_IT = "Azurite is missing: install Node.js with npm, then `make azurite`."
CONTAINER = "results"


@define(frozen=True)
class Azurite:
    """An account with one container.

    Attributes:
        endpoint: URL of the account.
        account: Name of the account.
        key: Key of the account, generated for this server.
        data: Directory of its data.
        kill: Kills the server with SIGKILL. Its data is kept, except what it has not saved within the last seconds.
        restart: Starts it again with its data, and waits until it responds.
    """

    endpoint: str
    account: str
    key: str
    data: Path
    kill: Callable[[], None]
    restart: Callable[[], None]

    def client(self) -> BlobServiceClient:
        """Return a client of Azure's library for the account."""
        return BlobServiceClient(self.endpoint, credential=self.key, retry_total=0)

    def url(self, name: str) -> str:
        """Return the unsigned URL of a blob."""
        return f"{self.endpoint}/{CONTAINER}/{quote(name)}"

    def sign(
        self,
        name: str,
        *,
        expires: timedelta = timedelta(hours=1),
        permission: BlobSasPermissions | None = None,
        policy_id: str | None = None,
    ) -> str:
        """Return the URL of a blob with a shared access signature of Azure's library.

        Args:
            name: Name of the blob.
            expires: Lifetime of the signature; negative for an expired one.
            permission: Permissions of the signature; create and write by default.
            policy_id: A stored access policy with expiry and permissions, instead of the two arguments.
        """
        given: dict[str, Any] = (
            {}
            if policy_id
            else {
                "permission": permission or BlobSasPermissions(create=True, write=True),
                "expiry": datetime.now(timezone.utc) + expires,
            }
        )
        query = generate_blob_sas(self.account, CONTAINER, name, account_key=self.key, policy_id=policy_id, **given)
        return f"{self.url(name)}?{query}"

    def read(self, name: str) -> bytes | None:
        """Return the content of a blob; None if it doesn't exist."""
        with self.client() as client:
            blob = client.get_blob_client(CONTAINER, name)
            return blob.download_blob().readall() if blob.exists() else None


def find() -> Path | None:
    """Return the command, from the directory of the interpreter or from the PATH."""
    beside = Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / COMMAND
    found = str(beside) if beside.is_file() else shutil.which(COMMAND)
    return Path(found) if found and shutil.which("node") else None


@contextmanager
def running(command: Path, *, timeout: timedelta = timedelta(seconds=60)) -> Iterator[Azurite]:
    """Run the server in a temporary directory.

    Args:
        command: The result of `find`.
        timeout: Maximum duration of the start.
    """
    account, key = "results", base64.b64encode(secrets.token_bytes(32)).decode()
    folder = Path(tempfile.gettempdir()) / f"callback-sdk-azurite-{secrets.token_hex(6)}"
    (port,) = supervisor.free_ports(1)
    arguments = [f"--blobPort={port}", "--blobHost=127.0.0.1", f"--location={folder}", "--disableTelemetry"]
    process = supervisor.SupervisedProcess(
        [str(command), *arguments, "--skipApiVersionCheck", "--silent"],
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "AZURITE_ACCOUNTS": f"{account}:{key}"},
        folder=folder,
    )

    def restart() -> None:
        process.restart()
        _wait(port, process, time.monotonic() + timeout.total_seconds())

    try:
        server = Azurite(f"http://127.0.0.1:{port}/{account}", account, key, folder, process.kill, restart)
        _wait(port, process, time.monotonic() + timeout.total_seconds())
        with server.client() as client:
            client.create_container(CONTAINER)
        yield server
    finally:
        process.stop()


def _wait(port: int, process: supervisor.SupervisedProcess, end: float) -> None:
    while time.monotonic() < end and not process.ended:
        with suppress(OSError, http.client.HTTPException), closing(http.client.HTTPConnection("127.0.0.1", port)) as it:
            it.request("GET", "/")
            it.getresponse()
            return
        time.sleep(0.05)
    process.stop()
    raise RuntimeError(f"Azurite did not start: {process.tail}")
