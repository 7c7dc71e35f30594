"""An S3 object store on loopback that checks signatures as AWS does: SeaweedFS, in a temporary folder."""

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
# weed puts these into /tmp, whatever TMPDIR says, and leaves them there when it is killed.
_SOCKET_FOLDER = Path("/tmp")  # noqa: S108
_SOCKETS = {
    "master.port.grpc": "master-grpc",
    "volume.port.grpc": "volume-grpc",
    "filer.port": "filer",
    "filer.port.grpc": "filer-grpc",
    "s3.port": "s3",
    "s3.port.grpc": "s3-grpc",
}
# Below the range from which the kernel takes the ports of outgoing connections.
_FIRST_PORT, _LAST_PORT = 12_000, 32_000
_STARTS = 4


class SeaweedFS:
    """A SeaweedFS server of one's own, with one user who may do everything.

    It listens on loopback ports that were free, keeps its data in a temporary folder, and is gone with its
    folder when the block ends or when the process that made it does, whatever ends that. Any number can run
    at a time.

        with SeaweedFS() as store:
            bucket = store.create_bucket()
            signer = S3Signer(bucket, client=store.client())

    Args:
        timeout: How long it may take until it answers.

    Attributes:
        region: The region to sign for.
        access_key: The user's access key id, made for this server.
        secret_key: The user's secret key, made for this server.

    Raises:
        MissingExtraError: There is no `weed` beside the Python interpreter or on the PATH.
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
        """Where S3 clients reach it, path-style: `http://127.0.0.1:PORT`."""
        if self._process is None:
            raise CallbackSDKError("SeaweedFS is not running.", hint="Use it in a with block, or call start().")
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    def start(self) -> None:
        """Start the server and wait until it can store objects.

        Raises:
            CallbackSDKError: It ended or didn't answer in time; the text has the end of its log.
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
            ended = self._ended()
            self.close()
            if not ended:
                break
            # It ends at once when another program has taken one of its ports in between: other ports, then.
        raise CallbackSDKError(
            f"SeaweedFS did not start. The end of its log:\n{self._log}",
            hint="It needs about 100 MB of memory and some free space in the folder for temporary files.",
        )

    def close(self) -> None:
        """Kill the server, wait until it is gone, remove its folder and its sockets. Twice is no error."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
            self._log = process.tail

    def client(self, **options: Any) -> Any:
        """Return a boto3 S3 client for this server: path-style, Signature Version 4, no proxy.

        Args:
            **options: More options for `boto3.client`; other credentials, for one.
        """
        return s3_client(self.endpoint_url, self.region, self.access_key, self.secret_key, **options)

    def create_bucket(self, name: str | None = None) -> str:
        """Make a bucket.

        Args:
            name: Its name; None for a new one that no other bucket has.

        Returns:
            The bucket's name.
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
            # Not the caller's: weed would take credentials and settings from it. One volume at a time is
            # enough for small tests, else each bucket takes seven.
            env={
                "HOME": str(self._folder),
                "PATH": "/usr/bin:/bin",
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            },
            folder=self._folder,
            files={"s3.json": json.dumps(self._identities())},
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
            # By default it goes read-only on a disk that is 99 % full.
            "-volume.minFreeSpace=8MiB",
            "-s3",
            f"-s3.config={folder / 's3.json'}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]

    def _identities(self) -> dict[str, Any]:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}

    def _wait_until_ready(self) -> bool:
        end = time.monotonic() + self._timeout.total_seconds()
        while time.monotonic() < end:
            if self._ended():
                return False
            # The store answers seconds before its first volume server has told the master of itself;
            # an upload in between would only be retried.
            if self._get("s3.port", "/healthz") is not None and self._has_volumes():
                return not self._ended()
            time.sleep(0.05)
        return False

    def _ended(self) -> bool:
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
    """Find ports that nobody listens on; another program may still take one before it is used."""
    ports: set[int] = set()
    while len(ports) < count:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return sorted(ports)
