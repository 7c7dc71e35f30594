"""SeaweedFS on loopback, in a temporary directory: an S3 object store that verifies signatures like AWS."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import shutil
import socket
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from callback_sdk.errors import CallbackSDKError, MissingExtraError
from callback_sdk.testing import supervisor
from callback_sdk.testing.s3client import s3_client

_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)
# weed creates these in /tmp regardless of TMPDIR, and leaves them there when it is killed.
_SOCKET_FOLDER = Path("/tmp")  # noqa: S108
_SOCKETS = {
    "master.port.grpc": "master-grpc",
    "volume.port.grpc": "volume-grpc",
    "filer.port": "filer",
    "filer.port.grpc": "filer-grpc",
    "s3.port": "s3",
    "s3.port.grpc": "s3-grpc",
}
# Below the range of ephemeral ports for outgoing connections (ip_local_port_range in ip(7)).
_FIRST_PORT, _LAST_PORT = 12_000, 32_000
_STARTS = 4


class SeaweedFS:
    """A local SeaweedFS server with one user, who has all permissions.

    It listens on free loopback ports, and stores its data in a temporary directory. The server ends and its directory
    is removed with the block, or with the process that started it, even if that is killed. Any number can run at a
    time.

        with SeaweedFS() as store:
            bucket = store.create_bucket()
            signer = S3Signer(bucket, client=store.client())

    Args:
        timeout: Maximum duration of the start.

    Attributes:
        region: Region for signatures.
        access_key: Access key id of the user, random for each server.
        secret_key: Secret key of the user, random for each server.

    Raises:
        MissingExtraError: The program `weed` is neither in the directory of the Python interpreter nor on the PATH.
    """

    region = "us-east-1"

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        self._program = _find_weed()
        self._timeout = timeout
        self.access_key = "AK" + secrets.token_hex(9).upper()
        self.secret_key = secrets.token_urlsafe(30)
        self._process: supervisor.SupervisedProcess | None = None
        self._folder = Path()
        self._log = ""
        self._ports: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"SeaweedFS({self.endpoint_url!r})" if self._process else "SeaweedFS()"

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def endpoint_url(self) -> str:
        """URL for S3 clients, path-style: `http://127.0.0.1:PORT`."""
        if self._process is None:
            raise CallbackSDKError("SeaweedFS is not running.", hint="Use it in a with block, or call start().")
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    def start(self) -> None:
        """Start the server, and wait until it can store objects.

        Raises:
            CallbackSDKError: The server ended, or didn't respond in time; the message has the end of its log.
        """
        if self._process is not None:
            return
        for _ in range(_STARTS):
            self._launch()
            try:
                if self._wait_until_ready():
                    return
            except BaseException:
                self.close()
                raise
            ended = self._has_ended()
            self.close()
            if not ended:
                break
            # The server ends at once if another program has bound one of the ports. Then other ports are tried.
        raise CallbackSDKError(
            f"SeaweedFS did not start. The end of its log:\n{self._log}",
            hint="It needs about 100 MB of memory, and free space in the directory for temporary files.",
        )

    def close(self) -> None:
        """Kill the server, wait for its end, and remove its directory and sockets. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
            self._log = process.tail

    def client(self, **options: Any) -> Any:
        """Return a boto3 S3 client for this server: path-style, Signature Version 4, no proxy.

        Args:
            **options: Further options of `boto3.client`, such as other credentials.
        """
        return s3_client(self.endpoint_url, self.region, self.access_key, self.secret_key, **options)

    def create_bucket(self, name: str | None = None) -> str:
        """Create a bucket.

        Args:
            name: Name of the bucket; None for a new unique name.

        Returns:
            Name of the bucket.
        """
        name = name or f"bucket-{secrets.token_hex(6)}"
        with contextlib.closing(self.client()) as client:
            client.create_bucket(Bucket=name)
        return name

    def _launch(self) -> None:
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self._folder = Path(tempfile.gettempdir()) / f"callback-sdk-seaweedfs-{secrets.token_hex(6)}"
        self._process = supervisor.SupervisedProcess(
            self._command(),
            # Not the caller's environment, from which weed would read credentials and settings. One volume per bucket
            # is enough for small tests; the default is seven.
            env={
                "HOME": str(self._folder),
                "PATH": "/usr/bin:/bin",
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            },
            folder=self._folder,
            files=self._files(),
            remove=[_SOCKET_FOLDER / f"seaweedfs-{name}-{self._ports[port]}.sock" for port, name in _SOCKETS.items()],
        )

    def _command(self) -> list[str]:
        folder = self._folder
        return [
            str(self._program),
            f"-logdir={folder}",
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={folder}",
            "-master.volumeSizeLimitMB=64",
            "-master.telemetry=false",
            "-volume.max=10000",
            # By default SeaweedFS becomes read-only if its disk is 99 % full.
            "-volume.minFreeSpace=8MiB",
            "-s3",
            f"-s3.config={folder / 's3.json'}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]

    def _files(self) -> dict[str, str]:
        """Return the settings, by the names of their files in the server's directory."""
        return {"s3.json": json.dumps(self._identities())}

    def _identities(self) -> dict[str, Any]:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}

    def _wait_until_ready(self) -> bool:
        end = time.monotonic() + self._timeout.total_seconds()
        while time.monotonic() < end:
            if self._has_ended():
                return False
            # The S3 API responds seconds before the volume server has registered with the master, and uploads fail
            # until then.
            if self._get("s3.port", "/healthz") is not None and self._has_volumes():
                return not self._has_ended()
            time.sleep(0.05)
        return False

    def _has_ended(self) -> bool:
        return self._process is None or self._process.ended

    def _has_volumes(self) -> bool:
        answer = self._get("master.port", "/dir/status")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return bool(json.loads(answer or b"")["Topology"]["Max"])
        return False

    def _get(self, port: str, path: str) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[port], timeout=2)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read() if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _find_weed() -> Path:
    beside = Path(sys.executable).parent / "weed"
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise MissingExtraError("SeaweedFS", extra="demo")
    return Path(found)


def _free_ports(count: int) -> list[int]:
    """Find free ports. Another program may still bind one of them before it is used."""
    ports: set[int] = set()
    while len(ports) < count:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return sorted(ports)
