"""The service on loopback in a separate process, with a temporary data directory."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import requests

from callback_sdk.config import settings
from callback_sdk.errors import CallbackSDKError
from callback_sdk.parsing import several
from callback_sdk.redaction import Secret
from callback_sdk.testing import supervisor

_STOP_TIMEOUT = 10.0
_ADDRESS_FILE = "address"
_TOKEN_FILE = "token"  # noqa: S105


class LocalService:
    """A local service for tests of algorithms and clients, started by `callback-sdk serve` on a free port.

    The service ends and its data are removed with the block, or with the process that started it, even if that is
    killed.

    ::

        with LocalService("my_package.jobs:registry") as service, WebhookReceiver() as webhook:
            with Client(service.url, token=service.token) as client:
                client.run_algorithm("my-algorithm", data, callback_url=webhook.url)
            (request,) = webhook.wait_for(1)

    Args:
        registry: Module and variable of the registry; the working directory is searched too.
        processes: Number of concurrent runs.
        devices: Ids of devices for algorithms with `devices=`; they need not exist.
        storage_endpoints: URLs of object stores besides the known providers.
        aistore_clusters: AIStore clusters, each as in CALLBACK_SDK_AISTORE_CLUSTERS.
        allow_networks: Private networks that callbacks may reach, each with a port; see `AddressGuard`. Loopback with
            every port by default.
        allow_hosts: Hosts that callbacks may reach regardless of their addresses, each with a port.
        pass_env: Environment variables that algorithms get in addition to the usual ones.
        webhook_secrets: Secrets that sign webhooks of the first user's tasks, newest first.
        results_bucket: Bucket for callbacks `results:`, `s3://BUCKET/PREFIX`; none if empty.
        database: URL of the database; a new SQLite file if None.
        broker: URL of a message broker; a worker then runs the tasks.
        timeout: Maximum duration of the start.
    """

    def __init__(
        self,
        registry: str,
        *,
        processes: int = 1,
        devices: Sequence[str] = (),
        storage_endpoints: Sequence[str] = (),
        aistore_clusters: Sequence[str] = (),
        allow_networks: Sequence[str] = ("127.0.0.0/8:*", "[::1]:*"),
        allow_hosts: Sequence[str] = (),
        pass_env: Sequence[str] = (),
        webhook_secrets: Sequence[str] = (),
        results_bucket: str = "",
        database: str | None = None,
        broker: str | None = None,
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._registry = registry
        self._has_worker = broker is not None
        variables = {
            settings.PORT.variable: "0",
            settings.PROCESSES.variable: str(processes),
            settings.DEVICES.variable: ",".join(several("devices", devices)),
            settings.ENGINE.variable: "celery" if broker else "embedded",
            settings.SHUTDOWN_TIMEOUT.variable: f"{_STOP_TIMEOUT / 4}s",
            settings.STORAGE_ENDPOINTS.variable: " ".join(several("storage_endpoints", storage_endpoints)),
            settings.AISTORE_CLUSTERS.variable: " ".join(several("aistore_clusters", aistore_clusters)),
            settings.ALLOW_NETWORKS.variable: " ".join(several("allow_networks", allow_networks)),
            settings.ALLOW_HOSTS.variable: " ".join(several("allow_hosts", allow_hosts)),
            settings.PASS_ENV.variable: " ".join(several("pass_env", pass_env)),
            settings.RESULTS_BUCKET.variable: results_bucket,
            settings.DATABASE.variable: database or "",
            settings.BROKER.variable: broker or "",
        }
        # Wrapped, because the URLs of database and broker contain passwords, and some other settings are secrets.
        self._settings = Secret(variables)
        self._webhook_secrets = Secret(several("webhook_secrets", webhook_secrets))
        self._timeout = timeout
        self._process: supervisor.SupervisedProcess | None = None
        self._worker: supervisor.SupervisedProcess | None = None
        self._address = ""
        self._token = Secret("")
        self._folder = Path()

    def __repr__(self) -> str:
        return f"LocalService({self._address!r})" if self._process else "LocalService()"

    def __enter__(self) -> LocalService:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """URL of the REST API: `http://127.0.0.1:PORT/api/v2`."""
        if self._process is None:
            raise CallbackSDKError("The service is not running.", hint="Use it in a with block.")
        return f"{self._address}/api/v2"

    @property
    def token(self) -> str:
        """The bearer token of the first user, in plain text."""
        return self._token.reveal()

    def start(self) -> None:
        """Start the service, and wait until it responds.

        Raises:
            CallbackSDKError: The service ended, or didn't respond in time; the message has the end of its log.
        """
        if self._process is not None:
            return
        self._launch()
        try:
            ready = self._wait_until_ready()
            if ready:
                self._import_secrets()
        except BaseException:
            self.close()
            raise
        if not ready:
            log = self.close()
            raise CallbackSDKError(f"The service did not start. The end of its log:\n{log}")

    def close(self) -> str:
        """Stop the service, wait for its end, remove its data, and return the end of its log."""
        process, self._process = self._process, None
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        if process is None:
            return ""
        process.stop()
        return process.tail + (f"\nThe worker's:\n{worker.tail}" if worker is not None else "")

    def _launch(self) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"callback-sdk-service-{secrets.token_hex(6)}"
        self._process = self._launch_process("serve", self._folder)
        if self._has_worker:
            self._worker = self._launch_process("worker", self._folder.with_name(f"{self._folder.name}-worker"))

    def _launch_process(self, command: str, folder: Path) -> supervisor.SupervisedProcess:
        # Temporary files too are in the directory that is removed with it, even if it has to be killed.
        places = {settings.DATA_DIR.variable: str(self._folder / "data"), "TMPDIR": str(folder)}
        return supervisor.SupervisedProcess(
            [sys.executable, "-m", "callback_sdk.cli", command, self._registry],
            env=_environment() | self._settings.reveal() | places,
            folder=folder,
            cwd=Path.cwd(),
            stop_timeout=_STOP_TIMEOUT,
        )

    def _wait_until_ready(self) -> bool:
        end = time.monotonic() + self._timeout.total_seconds()
        while self._process is not None and not self._process.ended and time.monotonic() < end:
            with contextlib.suppress(OSError):
                self._address = (self._folder / "data" / _ADDRESS_FILE).read_text().strip().rstrip("/")
                self._token = Secret((self._folder / "data" / _TOKEN_FILE).read_text().strip())
                if self._address and self._token.reveal():
                    return True
            time.sleep(0.02)
        return False

    def _import_secrets(self) -> None:
        """Give the first user the signing secrets, all of which are valid at the same time."""
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self._token.reveal()}"
            for secret in reversed(self._webhook_secrets.reveal()):
                body = {"secret": secret, "overlap": timedelta(days=1).total_seconds()}
                answer = session.post(f"{self.url}/signing-secrets", json=body, timeout=self._timeout.total_seconds())
                if not answer.ok:
                    raise CallbackSDKError(f"The service rejected a signing secret: {answer.json().get('error')}")


def _environment() -> dict[str, str]:
    """Return this process's environment without settings of this package, which may be meant for another service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLBACK_SDK_")}
    # With this process's sys.path, so that the service can import modules next to a script or notebook too.
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
