"""The service on loopback, as a process of its own, with a data directory that is removed."""

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

from callback_sdk.config import settings
from callback_sdk.errors import CallbackSDKError
from callback_sdk.parsing import several
from callback_sdk.redaction import Secret
from callback_sdk.testing import supervisor

_STOP_TIMEOUT = 5.0
_ADDRESS_FILE = "address"
_TOKEN_FILE = "token"  # noqa: S105


class LocalService:
    """The service with algorithms of one's own: what `callback-sdk serve` starts, on a free port.

    It is gone with its data when the block ends or when the process that made it does, whatever ends that.

    ::

        with LocalService("my_package.jobs:registry") as service, WebhookReceiver() as webhook:
            with Client(service.url, token=service.token) as client:
                client.run_algorithm("my-algorithm", data, callback_url=webhook.url)
            (request,) = webhook.wait_for(1)

    Args:
        registry: Name of a module and of the registry in it; the working folder is searched too.
        processes: Algorithms that run at a time.
        storage_endpoints: Hosts that are object stores, beside the well-known ones.
        allow_networks: Networks that callbacks may reach although they are not public; loopback at every
            port, unless given. Each with its port; see `AddressGuard`.
        allow_hosts: Hosts that callbacks may reach whatever their addresses are, likewise.
        pass_env: Variables of the environment that algorithms get besides the usual ones.
        webhook_secrets: What it signs webhooks with, the newest first.
        database: URL of its database; a SQLite file of its own when None.
        broker: URL of a message broker: a worker runs the tasks then, in place of the service itself.
        timeout: How long it may take until it answers.
    """

    def __init__(
        self,
        registry: str,
        *,
        processes: int = 1,
        storage_endpoints: Sequence[str] = (),
        allow_networks: Sequence[str] = ("127.0.0.0/8:*", "[::1]:*"),
        allow_hosts: Sequence[str] = (),
        pass_env: Sequence[str] = (),
        webhook_secrets: Sequence[str] = (),
        database: str | None = None,
        broker: str | None = None,
        timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._registry = registry
        self._has_worker = broker is not None
        variables = {
            settings.PORT.variable: "0",
            settings.PROCESSES.variable: str(processes),
            settings.ENGINE.variable: "celery" if broker else "embedded",
            settings.SHUTDOWN_TIMEOUT.variable: f"{_STOP_TIMEOUT / 2}s",
            settings.STORAGE_ENDPOINTS.variable: " ".join(several("storage_endpoints", storage_endpoints)),
            settings.ALLOW_NETWORKS.variable: " ".join(several("allow_networks", allow_networks)),
            settings.ALLOW_HOSTS.variable: " ".join(several("allow_hosts", allow_hosts)),
            settings.PASS_ENV.variable: " ".join(several("pass_env", pass_env)),
            settings.WEBHOOK_SECRETS.variable: " ".join(several("webhook_secrets", webhook_secrets)),
            settings.DATABASE.variable: database or "",
            settings.BROKER.variable: broker or "",
        }
        # Database and broker have passwords in their URLs, and some of the others are secrets.
        self._settings = Secret(variables)
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
        """Where its REST API is: `http://127.0.0.1:PORT/api/v2`."""
        if self._process is None:
            raise CallbackSDKError("The service is not running.", hint="Use it in a with block.")
        return f"{self._address}/api/v2"

    @property
    def token(self) -> str:
        """The bearer token that it takes, in plain."""
        return self._token.reveal()

    def start(self) -> None:
        """Start the service and wait until it answers.

        Raises:
            CallbackSDKError: It ended or didn't answer in time; the text has the end of its log.
        """
        if self._process is not None:
            return
        self._launch()
        try:
            ready = self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        if not ready:
            log = self.close()
            raise CallbackSDKError(f"The service did not start. The end of its log:\n{log}")

    def close(self) -> str:
        """Stop the service, wait until it is gone, remove its data, and return the end of its log."""
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
        self._process = self._keep("serve", self._folder)
        if self._has_worker:
            self._worker = self._keep("worker", self._folder.with_name(f"{self._folder.name}-worker"))

    def _keep(self, command: str, folder: Path) -> supervisor.SupervisedProcess:
        data = {settings.DATA_DIR.variable: str(self._folder / "data")}
        return supervisor.SupervisedProcess(
            [sys.executable, "-m", "callback_sdk.cli", command, self._registry],
            env=_environment() | self._settings.reveal() | data,
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


def _environment() -> dict[str, str]:
    """Return this process's environment without settings that are meant for another service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLBACK_SDK_")}
    # So that the service imports what its parent can import, scripts' folders and notebooks' paths included.
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
