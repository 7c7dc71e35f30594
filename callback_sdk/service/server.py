"""Runs the service: its data folder, its socket, its start and its end."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from callback_sdk.errors import MissingExtraError
from callback_sdk.parsing import several
from callback_sdk.redaction import Secret
from callback_sdk.service.algorithms.registry import load
from callback_sdk.service.files import make_data_folder, remove, write_whole
from callback_sdk.service.supervision.shortages import ResourceUnavailableError, unusable
from callback_sdk.service.work import isolation
from callback_sdk.transport.addresses import parse_network
from callback_sdk.transport.guard import AddressGuard
from callback_sdk.transport.proxies import any_proxy
from callback_sdk.transport.retry import SERVICE_DELAYS

_log = logging.getLogger(__name__)

_GRACE = 5
"""Seconds for the requests that run when the service is stopped."""


def serve(
    registry: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: Path | str = "callback-sdk-data",
    database: Secret[str] | None = None,
    blobs: str | None = None,
    encryption_keys: Sequence[Secret[str]] = (),
    engine: str = "embedded",
    broker: Secret[str] | None = None,
    processes: int | None = None,
    memory_limit: float | None = None,
    grace: timedelta = timedelta(seconds=20),
    keep: timedelta | None = None,
    storage_endpoints: Iterable[str] = (),
    allow_networks: Iterable[str] = (),
    allow_hosts: Iterable[str] = (),
    pass_env: Iterable[str] = (),
    webhook_secrets: Iterable[Secret[str]] = (),
    retry_delays: Sequence[timedelta] = SERVICE_DELAYS,
    max_body: int = 256 * 1024 * 1024,
    max_callbacks: int = 10,
    max_tasks: int = 100_000,
    max_bytes: float = 100 * 1024**3,
    max_connections: int = 1000,
    max_connections_per_address: int = 200,
    trusted_proxies: Iterable[str] = ("127.0.0.1/32", "::1/128"),
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT comes; then running tasks may go on for the grace, or until the next one.

    When it takes requests, its address, `http://127.0.0.1:8000` for one, is in the log and in the file
    `address` of the data folder; the REST API is below `/api/v2` there. The file is removed at the end. The
    token of the first user, `admin`, is in the file `token`.

    Args:
        registry: Name of a module and of the `Registry` in it, `"my_package.jobs:registry"`.
        host: Name or number of the interface to listen at.
        port: 0 takes a free one.
        data: Folder of the token, the address, and of whatever has no other place; made with mode 0700.
        database: URL of the store: `sqlite:///PATH` or `postgresql://...`; SQLite in the data folder when None.
        blobs: Folder or `s3://BUCKET/PREFIX` of large features and results; in the data folder when None.
        encryption_keys: Keys of the credentials in the database, the newest first; in the data folder when empty.
        engine: What brings tasks to workers: `"embedded"` or `"celery"`.
        broker: URL of Celery's message broker.
        processes: How many tasks run at once on this machine; one for each core when not given.
        memory_limit: Bytes of memory that a run may take whose algorithm has no limit of its own; `math.inf` for any
            number, 80 % of the machine's or the container's memory divided by the processes when None.
        grace: How long running tasks may go on when the service is stopped; then they are given back.
        keep: How long tasks are kept after their end, with their results and deliveries; None for ever.
        storage_endpoints: URLs of object stores besides the known providers.
        allow_networks: Networks that callbacks may reach although they are not public; see `AddressGuard`.
        allow_hosts: Hosts that callbacks may reach whatever their addresses are; likewise.
        pass_env: Variables of the environment that algorithms get besides the usual ones.
        webhook_secrets: What webhooks are signed with, the newest first.
        retry_delays: Pauses between the tries of a delivery, after the last of which it is dead.
        max_body: Bytes that a request may have.
        max_callbacks: Targets that a task may have.
        max_tasks: Tasks of one user that may not have ended.
        max_bytes: Bytes that the tasks of one user may take: features of those that have not ended, results of those
            that have, parameters and trained models; infinity for any number.
        max_connections: Connections at a time; fewer where the limit on open files is low.
        max_connections_per_address: Connections at a time from one IPv4 address or IPv6 /64 network.
        trusted_proxies: Networks of reverse proxies: their `X-Forwarded-For` and `X-Forwarded-Proto` count, and not
            the limit per address.
        ready: Called with the address when requests are taken.

    Raises:
        ConfigurationError: A setting is wrong, the port is taken, the folder is in use, or the database needs an
            upgrade.
        StoreUnavailableError: The database can't be reached.
        MissingExtraError: The extra `service`, or what the engine or the database needs, is not installed.
    """
    try:
        import uvicorn

        from callback_sdk.service.access.users import ensure_first_user
        from callback_sdk.service.api import ServiceLimits, create_app
        from callback_sdk.service.api.connections import ConnectionLimits, Connections, open_files, uvicorn_options
        from callback_sdk.service.core import TaskService
        from callback_sdk.service.dispatcher import Dispatcher
        from callback_sdk.service.engines import EngineOptions, open_engine
        from callback_sdk.service.housekeeping import Housekeeper
        from callback_sdk.service.pages import add_pages
        from callback_sdk.service.runtime import DeliveryConfig, StorageLocations, opened
        from callback_sdk.service.work.memory import default_limit
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("callback_sdk"):
            raise
        raise MissingExtraError(f"{error.name}", extra="service") from None

    reach = DeliveryConfig(
        storage_endpoints=several("storage_endpoints", storage_endpoints),
        webhook_secrets=several("webhook_secrets", webhook_secrets),
        guard=AddressGuard(allow_networks=allow_networks, allow_hosts=allow_hosts),
        retry_delays=tuple(retry_delays),
    )
    if any_proxy():
        _log.warning("The environment names a proxy; callbacks don't use it, as their addresses are checked here.")
    with contextlib.ExitStack() as stack:
        # Before anything is created: a start that fails by a wrong registry or port leaves nothing behind.
        isolation.start_tracker(tuple(pass_env))
        load(registry)
        listener = stack.enter_context(bound(host, port))
        folder = stack.enter_context(locked(Path(data)))
        places = StorageLocations(
            data=folder, database=database, blobs=blobs, keys=several("encryption_keys", encryption_keys)
        )
        slots = processes or default_processes()
        limit = default_limit(memory_limit, slots)
        parts = stack.enter_context(
            opened(registry, places, reach, pass_env=several("pass_env", pass_env), memory_limit=limit)
        )
        ensure_first_user(parts.store.users, folder / "token", label=f"serve {_instance(folder)}")
        options = EngineOptions(instance=_instance(folder), processes=slots, grace=grace, broker=broker)
        courier = stack.enter_context(open_engine(engine, parts, options))
        dispatcher = Dispatcher(store=parts.store, engine=courier, wakeup=parts.wakeup)
        housekeeper = Housekeeper(parts, keep=keep, wakeup=parts.wakeup.set)
        task_service = TaskService(parts, engine=courier, dispatcher=dispatcher, housekeeper=housekeeper)
        limits = ServiceLimits(max_body=max_body, max_callbacks=max_callbacks, max_tasks=max_tasks, max_bytes=max_bytes)
        proxies = tuple(parse_network(network) for network in several("trusted_proxies", trusted_proxies))
        connections = ConnectionLimits(
            total=max_connections, per_address=max_connections_per_address, trusted_proxies=proxies
        )
        config = uvicorn.Config(
            add_pages(create_app(task_service, limits=limits)),
            **uvicorn_options(Connections(connections.fitted(open_files())), proxies),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        server = uvicorn.Server(config)

        def stop() -> None:
            server.should_exit = True

        stack.enter_context(_signals_kept(stop, options.force_stop.set))
        # After the signals: they must be kept also during the grace, in which the next one has a meaning.
        stack.callback(task_service.close)
        with _explained(host, port):
            listener.listen()
        task_service.start()
        address = stack.enter_context(_announced(listener, host, folder, ready))
        _log.info("Ready at %s; the token is in %s.", address, folder / "token")
        server.run(sockets=[listener])


def default_processes() -> int:
    """Return how many tasks run at once when nobody says: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Make the data folder, and keep every other service off it.

    Raises:
        ConfigurationError: It can't be made, or another service uses it.
    """
    folder = make_data_folder(folder)
    try:
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(
            f"The data folder {folder} can't be used: {error.strerror}.",
            hint="Name another one with --data.",
            error=error,
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResourceUnavailableError(
                f"Another service uses the data folder {folder}.",
                hint="Stop it, or name another folder with --data.",
            ) from None
        yield folder
    finally:
        os.close(lock)


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Open the socket that the service will listen at: until it does, connections are refused.

    Raises:
        ConfigurationError: The host is unknown, or the port is taken.
    """
    # Here and not above: it needs uvicorn.
    from callback_sdk.service.api.connections import Listener

    with _explained(host, port):
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = Listener.of(_bind(family, address))
    with listener:
        # Connections inherit it. asyncio sets it only on sockets that were made with a protocol's number, and without
        # it the second packet of an answer waits 40 ms for the client's delayed acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _bind(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    """Bind a socket as `socket.create_server` does, which would listen at once."""
    unbound = socket.socket(family, socket.SOCK_STREAM)
    try:
        unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            unbound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        unbound.bind(address)
    except BaseException:
        unbound.close()
        raise
    return unbound


@contextlib.contextmanager
def _explained(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unusable(
            f"The service can't listen at {host}, port {port}: {error.strerror or error}.",
            hint="Choose another port with --port (0 takes a free one), or another --host.",
            error=error,
        ) from error


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


def _instance(folder: Path) -> str:
    """Return the name of the service whose data folder this is; it is made at the first start."""
    file = folder / "instance"
    if not file.exists():
        write_whole(file, [secrets.token_hex(8).encode()])
    return file.read_text().strip()


@contextlib.contextmanager
def _signals_kept(stop: Callable[[], None], force_stop: Callable[[], None]) -> Iterator[None]:
    """Keep signals from ending the process: the first one stops the service, and the next one ends the grace.

    While uvicorn runs it takes them itself, and raises them anew after its own end; before that, they come here.
    """
    steps = iter([stop, force_stop])

    def note(number: int, frame: Any) -> None:
        _log.info("Stopped by %s.", signal.Signals(number).name)
        next(steps, force_stop)()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
