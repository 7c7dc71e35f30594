"""Server: the service's data directory, listening socket, startup and shutdown."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from callback_sdk.errors import ConfigurationError, needs_extra
from callback_sdk.filesystem.files import PRIVATE, remove, write_whole
from callback_sdk.filesystem.locks import try_lock
from callback_sdk.service.files import make_data_folder
from callback_sdk.service.loading import pause_garbage_collection
from callback_sdk.service.supervision.shortages import ResourceUnavailableError, unusable
from callback_sdk.service.work import isolation
from callback_sdk.service.work.orphans import end_orphans
from callback_sdk.transport.addresses import Network, parse_network
from callback_sdk.transport.proxies import any_proxy
from callback_sdk.webhooks import decode_secret

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.service.alerts.alerter import Alerter, AlertSettings
    from callback_sdk.service.alerts.books import FileBook
    from callback_sdk.service.engines import Engine
    from callback_sdk.service.runtime import DeliveryConfig, Runtime

_log = logging.getLogger(__name__)

_GRACE = 5
"""Seconds that requests in progress may still take when the service is stopped."""


def serve(
    registry: str,
    config: ServiceConfig,
    *,
    ready: Callable[[str], None] | None = None,
    listening: int | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT; then running tasks may continue for the shutdown timeout.

    A second signal ends this timeout. Once the service accepts requests, it logs its address, such as
    `http://127.0.0.1:8000`, and writes it to the file `address` in the data directory until it stops; the REST API is
    under `/api/v2` at this address. The token of the first user, `admin`, is in the file `token`.

    Args:
        registry: Module and variable of the `Registry`, such as `"my_package.jobs:registry"`.
        config: The settings.
        ready: Called with the address once the service accepts requests.
        listening: Descriptor of the listening socket, from a parent process; a new socket if None.

    Raises:
        ConfigurationError: A setting is invalid, the port or the data directory is in use, or the database needs an
            upgrade.
        StoreUnavailableError: The database can't be reached.
        MissingExtraError: The extra `service`, or an extra of the engine or the database, is not installed.
    """
    with needs_extra("service"), pause_garbage_collection():
        import uvicorn

        from callback_sdk.service.access.audit import AuditLog
        from callback_sdk.service.access.users import ensure_first_user
        from callback_sdk.service.algorithms.versions import Algorithms
        from callback_sdk.service.api import ServiceLimits, create_app
        from callback_sdk.service.api.connections import (
            ConnectionLimits,
            Connections,
            StoppableServer,
            open_files,
            uvicorn_options,
        )
        from callback_sdk.service.api.forwarded import ForwardedRequests
        from callback_sdk.service.core import TaskService
        from callback_sdk.service.dispatcher import Dispatcher
        from callback_sdk.service.engines import EngineOptions, open_engine
        from callback_sdk.service.housekeeping import Housekeeper
        from callback_sdk.service.pages import add_pages
        from callback_sdk.service.runtime import DeliveryConfig, RunConfig, StorageLocations, open_runtime

    delivery = DeliveryConfig.of(config)
    if any_proxy() and delivery.proxy is None:
        _log.warning(
            "Callbacks don't use the proxy of the environment: the SSRF protection checks the addresses that it "
            "connects to, and a proxy would resolve the hosts again. Name the proxy with --callback-proxy."
        )
    with contextlib.ExitStack() as stack:
        # Before anything is created: a start that fails because of a wrong registry or port leaves no files behind.
        isolation.start_tracker(config.pass_env)
        slots = config.processes or default_processes()
        # In a child process: this one needs no more than names, limits and schemas. No device is leased for that.
        runs = RunConfig.of(config, slots, config.data_dir)
        child = stack.enter_context(contextlib.closing(runs.new_child(registry)))
        algorithms = Algorithms(child.describe().versions)
        listener = stack.enter_context(bind_socket(config.host, config.port, listening))
        address = _address(listener, config.host)
        delivery = evolve(delivery, public_url=delivery.public_url or f"{address}{config.root_path}")
        folder = stack.enter_context(lock_data_dir(config.data_dir))
        end_orphans()
        storage = StorageLocations.of(config, folder)
        runs = RunConfig.of(config, slots, folder)
        with _alert_of_outage(config, delivery, folder):
            runtime = stack.enter_context(
                open_runtime(registry, algorithms, storage, delivery, runs, lease=config.lease)
            )
        audit = AuditLog(runtime.store.audit)
        ensure_first_user(runtime.store.users, folder / "token", audit, label=f"serve {_instance(folder)}")
        if config.webhook_secrets and not runtime.store.signing_secrets.exist():
            _log.warning(
                "Webhooks of tasks are unsigned: CALLBACK_SDK_WEBHOOK_SECRETS would let each user's receivers forge "
                "those of the others. Give each user a secret: callback-sdk secrets create NAME [--import]."
            )
        options = EngineOptions(
            instance=_instance(folder),
            processes=slots,
            shutdown_timeout=config.shutdown_timeout,
            broker=config.broker,
            child=child,
        )
        engine = stack.enter_context(open_engine(config.engine, runtime, options))
        dispatcher = Dispatcher(
            store=runtime.store,
            engine=engine,
            wakeup=runtime.wakeup,
            slots_wanted=runtime.slots_wanted,
            lease=runtime.lease,
        )
        housekeeper = Housekeeper(
            runtime, keep=config.retention, keep_audit=config.audit_retention, wakeup=runtime.wakeup.set
        )
        alerter = None if config.alert_url is None else _alerter(config, runtime, engine, folder)
        task_service = TaskService(
            runtime, engine=engine, dispatcher=dispatcher, housekeeper=housekeeper, alerter=alerter
        )
        proxies = tuple(parse_network(network) for network in config.trusted_proxies)
        warn_of_trusted_clients(proxies)
        connections = ConnectionLimits(
            total=config.max_connections,
            per_address=config.max_connections_per_address,
            trusted_proxies=proxies,
        ).fit_to(open_files())
        limits = ServiceLimits(
            max_request_bytes=config.max_request_bytes,
            max_callbacks=config.max_callbacks,
            max_tasks=config.max_tasks,
            max_bytes=config.max_bytes,
            max_waiters=connections.total * 3 // 4,
        )
        pages = add_pages(create_app(task_service, limits=limits))
        app = ForwardedRequests(
            pages,
            trusted=proxies,
            root_path=config.root_path,
            headers=config.proxy_headers,
        )
        uvicorn_config = uvicorn.Config(
            app,
            **uvicorn_options(Connections(connections)),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        server = StoppableServer(uvicorn_config, on_stop=pages.state.app_state.watches.stop)

        def stop() -> None:
            server.should_exit = True

        stack.enter_context(_handle_signals(stop, options.force_stop.set))
        # Entered after the signal handlers, so closed before them: during the shutdown timeout a second signal must
        # still reach the handler.
        stack.callback(task_service.close)
        with _translated_errors(config.host, config.port):
            listener.listen()
        task_service.start()
        stack.enter_context(_write_address(address, folder, ready))
        _log.info("Ready at %s; the token is in %s.", address, folder / "token")
        server.run(sockets=[listener])


def warn_of_trusted_clients(proxies: Iterable[Network]) -> None:
    """Log a warning for a network of trusted proxies that has all addresses.

    Then the first address in `X-Forwarded-For` counts, which is the one that the client has sent.
    """
    for network in proxies:
        if not network.prefixlen:
            _log.warning(
                "--trusted-proxy %s trusts every client: each can choose the address that the limits of logins and the "
                "audit log see. Name the network of the proxies.",
                network,
            )


def _alerter(config: ServiceConfig, runtime: Runtime, engine: Engine, folder: Path) -> Alerter:
    """Return the alerter of a service with a receiver of alerts."""
    from callback_sdk.service.alerts.alerter import Alerter

    settings, file = _alert_settings(config, runtime.delivery, folder)
    return Alerter(store=runtime.store, blobs=runtime.blobs, engine=engine, file=file, settings=settings)


def _alert_settings(config: ServiceConfig, delivery: DeliveryConfig, folder: Path) -> tuple[AlertSettings, FileBook]:
    from callback_sdk.service.alerts.alerter import AlertSettings
    from callback_sdk.service.alerts.books import FileBook
    from callback_sdk.service.alerts.sender import AlertSender

    if config.alert_url is None:
        raise TypeError("there is no receiver of alerts")
    settings = AlertSettings(
        sender=AlertSender(
            config.alert_url, [decode_secret(one) for one in config.alert_secrets or config.webhook_secrets]
        ),
        queue_age=config.alert_queue_age,
        service=delivery.public_url,
        holder=_instance(folder),
    )
    return settings, FileBook(folder / "alerts.json")


@contextlib.contextmanager
def _alert_of_outage(config: ServiceConfig, delivery: DeliveryConfig, folder: Path) -> Iterator[None]:
    """Alert that the database is unavailable if it prevents the start."""
    from callback_sdk.service.alerts.alerter import failed_start
    from callback_sdk.service.store import StoreUnavailableError

    try:
        yield
    except StoreUnavailableError as error:
        if config.alert_url is not None:
            failed_start(*_alert_settings(config, delivery, folder), error)
        raise


def default_processes() -> int:
    """Return the default number of concurrent tasks: the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def lock_data_dir(folder: Path) -> Iterator[Path]:
    """Create the data directory and lock it against other services.

    Raises:
        ConfigurationError: The directory can't be created, or another service uses it.
    """
    folder = make_data_folder(folder)
    try:
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | PRIVATE, 0o600)
    except OSError as error:
        raise unusable(
            f"The data directory {folder} can't be used: {error.strerror}.",
            hint="Choose another directory with --data-dir.",
            error=error,
        ) from error
    try:
        is_locked = try_lock(lock)
        if is_locked is None:
            raise ConfigurationError(
                f"The file system of the data directory {folder} doesn't support locks.",
                hint="Choose a directory on a local disk with --data-dir.",
            )
        if not is_locked:
            raise ResourceUnavailableError(
                f"Another service uses the data directory {folder}.",
                hint="Stop that service, or choose another directory with --data-dir.",
            )
        yield folder
    finally:
        os.close(lock)


@contextlib.contextmanager
def bind_socket(host: str, port: int, listening: int | None = None) -> Iterator[socket.socket]:
    """Bind the service's socket. Connections are refused until the caller calls `listen`.

    Args:
        host: The host.
        port: The port; 0 for any free one.
        listening: Descriptor of a socket that is bound already.

    Raises:
        ConfigurationError: The host is unknown, or the port is in use.
    """
    # Imported here because the module needs uvicorn.
    from callback_sdk.service.api.connections import Listener

    with _translated_errors(host, port):
        if listening is None:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            listener = Listener.of(_bind(family, address))
        else:
            listener = Listener.of(socket.socket(fileno=listening))
    with listener:
        # Accepted connections inherit TCP_NODELAY. asyncio sets it only on sockets that were created with the protocol
        # number IPPROTO_TCP. Without it, Nagle's algorithm holds the second packet of a response until the client's
        # delayed acknowledgement of the first, about 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _bind(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    """Bind a socket like `socket.create_server`, but without listening."""
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
def _translated_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unusable(
            f"The service can't listen at {host}, port {port}: {error.strerror or error}.",
            hint="Choose another port with --port (0 for any free port), or another --host.",
            error=error,
        ) from error


def _address(listener: socket.socket, host: str) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def _write_address(address: str, folder: Path, ready: Callable[[str], None] | None) -> Iterator[None]:
    # The socket already listens, so the kernel queues connections until the server accepts them.
    file = folder / "address"
    write_whole(file, [f"{address}\n".encode()])
    try:
        if ready is not None:
            ready(address)
        yield
    finally:
        remove(file)


def _instance(folder: Path) -> str:
    """Return the name of the service, which is created at the first start and stored in the data directory."""
    file = folder / "instance"
    if not file.exists():
        write_whole(file, [secrets.token_hex(8).encode()])
    return file.read_text().strip()


@contextlib.contextmanager
def _handle_signals(stop: Callable[[], None], force_stop: Callable[[], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM: the first signal stops the service, the second one ends the shutdown timeout.

    While uvicorn runs, its own handlers are installed; it raises the signals again after its shutdown.
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
