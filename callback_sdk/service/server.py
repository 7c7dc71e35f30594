"""Runs the service: its data folder, its socket, its start and its end."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.guard import AddressGuard
from callback_sdk.proxies import any_proxy
from callback_sdk.redaction import Secret
from callback_sdk.service.auth import ensure_token
from callback_sdk.service.blobs import remove, write_whole
from callback_sdk.service.registry import load

_log = logging.getLogger(__name__)

_GRACE = 5
"""Seconds for the requests that run when the service is stopped."""


def serve(
    registry: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: Path | str = "callback-sdk-data",
    processes: int | None = None,
    storage_endpoints: Iterable[str] = (),
    allow_networks: Iterable[str] = (),
    allow_hosts: Iterable[str] = (),
    webhook_secrets: Iterable[str | Secret[str]] = (),
    max_body: int = 256 * 1024 * 1024,
    max_callbacks: int = 10,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT comes.

    When it takes requests, its address, `http://127.0.0.1:8000` for one, is in the log and in the file
    `address` of the data folder; the REST API is below `/api/v2` there. The file is removed at the end. The
    token is in the file `token`.

    Args:
        registry: Name of a module and of the `Registry` in it, `"my_package.jobs:registry"`.
        host: Name or number of the interface to listen at.
        port: 0 takes a free one.
        data: Folder of the database, the files, the token and the address; made with mode 0700. It has
            credentials of callbacks in it, in plain.
        processes: How many tasks run at once; one for each core when not given.
        storage_endpoints: URLs of object stores besides the known providers.
        allow_networks: Networks that callbacks may reach although they are not public; see `AddressGuard`.
        allow_hosts: Hosts that callbacks may reach whatever their addresses are.
        webhook_secrets: What webhooks are signed with, the newest first.
        max_body: Bytes that a request may have.
        max_callbacks: Targets that a task may have.
        ready: Called with the address when requests are taken.

    Raises:
        ConfigurationError: The registry can't be found, the port is taken, the folder is in use, or an endpoint,
            a network or a host is none.
        MissingExtraError: The extra `service` is not installed.
    """
    try:
        import uvicorn

        from callback_sdk.service.api import create_app
        from callback_sdk.service.hub import Hub, default_processes
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("callback_sdk"):
            raise
        raise MissingExtraError(f"{error.name}", extra="service") from None
    from callback_sdk.writer import ResultsWriter

    guard = AddressGuard(allow_networks=allow_networks, allow_hosts=allow_hosts)
    found = load(registry)
    _log_to_stderr()
    if any_proxy():
        _log.warning("The environment names a proxy; callbacks don't use it, as their addresses are checked here.")
    endpoints = tuple(storage_endpoints)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(locked(Path(data)))
        token = ensure_token(folder / "token")
        listener = stack.enter_context(listen(host, port))
        writer = stack.enter_context(
            ResultsWriter(storage_endpoints=endpoints, webhook_secrets=webhook_secrets, guard=guard)
        )
        hub = Hub(
            folder,
            registry=found,
            registry_name=registry,
            writer=writer,
            processes=processes or default_processes(),
        )
        stack.callback(hub.close)
        app = create_app(
            hub,
            token=token,
            guard=guard,
            storage_endpoints=endpoints,
            max_body=max_body,
            max_callbacks=max_callbacks,
        )
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", server_header=False, timeout_graceful_shutdown=_GRACE
        )
        stack.enter_context(_signals_kept())
        hub.start()
        address = stack.enter_context(_announced(listener, host, folder, ready))
        _log.info("Ready at %s; the token is in %s.", address, folder / "token")
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Make the data folder, and keep every other service off it.

    Raises:
        ConfigurationError: It can't be made, or another service uses it.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} can't be used: {error.strerror}.", hint="Name another one with --data."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"Another service uses the data folder {folder}.",
                hint="Stop it, or name another folder with --data.",
            ) from None
        yield folder
    finally:
        os.close(lock)


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Open the socket that the service listens at.

    Raises:
        ConfigurationError: The host is unknown, or the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise ConfigurationError(
            f"The service can't listen at {host}, port {port}: {error.strerror or error}.",
            hint="Choose another port with --port (0 takes a free one), or another --host.",
        ) from error
    with listener:
        yield listener


@contextlib.contextmanager
def _announced(listener: socket.socket, host: str, folder: Path, ready: Callable[[str], None] | None) -> Iterator[str]:
    # The socket listens already, so a request from now on waits until it is answered.
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}"
    file = folder / "address"
    write_whole(file, [f"{address}\n".encode()])
    try:
        if ready is not None:
            ready(address)
        yield address
    finally:
        remove(file)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep uvicorn from ending the process: after its own end it raises the signal anew, and ours follows."""

    def ignore(number: int, frame: Any) -> None:
        _log.info("Stopped by %s.", signal.Signals(number).name)

    before = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
