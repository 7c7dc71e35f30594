"""The commands that run a service and its workers: `serve` and `worker`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from callback_sdk.commands.options import (
    AllowHost,
    AllowNetwork,
    Blobs,
    Broker,
    Data,
    Database,
    Grace,
    Keep,
    LogFormat,
    MaxBytes,
    MaxConnections,
    MaxConnectionsPerAddress,
    MemoryLimit,
    PassEnv,
    Processes,
    RegistryName,
    StorageEndpoint,
    TrustedProxy,
    settings,
    variables,
)
from callback_sdk.commands.printing import print_error
from callback_sdk.errors import CallbackSDKError, ConfigurationError, MissingExtraError, UnknownAlgorithmError

EXIT_SETTING = 78
EXIT_UNAVAILABLE = 75
"""Exit codes of `serve` and `worker`, EX_CONFIG and EX_TEMPFAIL of sysexits.h."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what keeps a process from starting into one line, and a code that tells a wrong setting from an outage."""
    try:
        with _terminated():
            yield
    except CallbackSDKError as error:
        print_error(error)
        raise typer.Exit(_exit_code(error)) from None
    except KeyboardInterrupt:
        # Stopped while it started.
        raise typer.Exit from None
    except OSError as error:
        from callback_sdk.service.supervision.shortages import is_passing

        print_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        raise typer.Exit(EXIT_UNAVAILABLE if is_passing(error) else 1) from None


@contextmanager
def _terminated() -> Iterator[None]:
    """Let SIGTERM end a start as Ctrl-C does. Once it has started, the service or worker takes both itself."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit_code(error: CallbackSDKError) -> int:
    if isinstance(error, MissingExtraError):
        # What is missing may be what the imports below need.
        return EXIT_SETTING
    from callback_sdk.service.engines import BrokerRefusedError, EngineError
    from callback_sdk.service.store import StoreRefusedError, StoreUnavailableError
    from callback_sdk.service.supervision.shortages import ResourceUnavailableError
    from callback_sdk.service.supervision.supervisor import WorkerStartError

    if isinstance(error, ResourceUnavailableError):
        return EXIT_UNAVAILABLE
    if isinstance(error, (ConfigurationError, UnknownAlgorithmError, BrokerRefusedError, StoreRefusedError)):
        return EXIT_SETTING
    return EXIT_UNAVAILABLE if isinstance(error, (EngineError, StoreUnavailableError, WorkerStartError)) else 1


@exit_codes()
def serve(
    registry: RegistryName,
    *,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at: 127.0.0.1, or CALLBACK_SDK_HOST.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port: 8000, or CALLBACK_SDK_PORT. 0 takes a free one.", show_default=False
        ),
    ] = None,
    data: Data = None,
    database: Database = None,
    blobs: Blobs = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What runs the tasks: embedded (here), celery (workers), or CALLBACK_SDK_ENGINE."),
    ] = None,
    broker: Broker = None,
    processes: Processes = None,
    memory_limit: MemoryLimit = None,
    grace: Grace = None,
    keep: Keep = None,
    storage_endpoint: StorageEndpoint = None,
    allow_network: AllowNetwork = None,
    allow_host: AllowHost = None,
    pass_env: PassEnv = None,
    max_bytes: MaxBytes = None,
    max_connections: MaxConnections = None,
    max_connections_per_address: MaxConnectionsPerAddress = None,
    trusted_proxy: TrustedProxy = None,
    log_format: LogFormat = None,
) -> None:
    """Run the service: take jobs over the REST API, compute them, deliver the results.

    The token of the first user, `admin`, is made at the first start, in the file `token` of the data folder;
    `callback-sdk users` makes more. Callbacks reach public addresses only, and whatever --allow-network and
    --allow-host add. With --engine celery, `callback-sdk worker` runs the tasks, here and on other machines.
    """
    # Here and not above, so that the help is there at once.
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.server import serve as run_service
    from callback_sdk.service.work.isolation import forbid_inspection

    forbid_inspection()
    config = settings(
        host=host,
        port=port,
        data=data,
        database=database,
        blobs=blobs,
        engine=engine,
        broker=broker,
        processes=processes,
        memory_limit=memory_limit,
        grace=grace,
        keep=keep,
        storage_endpoints=storage_endpoint,
        allow_networks=allow_network,
        allow_hosts=allow_host,
        pass_env=pass_env,
        max_bytes=max_bytes,
        max_connections=max_connections,
        max_connections_per_address=max_connections_per_address,
        trusted_proxies=trusted_proxy,
        log_format=log_format,
    )
    log_to_stderr(config.log_format)
    run_service(
        registry,
        host=config.host,
        port=config.port,
        data=config.data,
        database=config.database,
        blobs=config.blobs,
        encryption_keys=config.encryption_keys,
        engine=config.engine,
        broker=config.broker,
        processes=config.processes,
        memory_limit=config.memory_limit,
        grace=config.grace,
        keep=config.keep,
        storage_endpoints=config.storage_endpoints,
        allow_networks=config.allow_networks,
        allow_hosts=config.allow_hosts,
        pass_env=config.pass_env,
        webhook_secrets=config.webhook_secrets,
        retry_delays=config.retry_delays,
        max_body=config.max_body,
        max_callbacks=config.max_callbacks,
        max_tasks=config.max_tasks,
        max_bytes=config.max_bytes,
        max_connections=config.max_connections,
        max_connections_per_address=config.max_connections_per_address,
        trusted_proxies=config.trusted_proxies,
    )


@exit_codes()
def worker(
    registry: RegistryName,
    *,
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Take tasks of this algorithm only; repeatable. All, unless given.", show_default=False
        ),
    ] = None,
    data: Data = None,
    database: Database = None,
    blobs: Blobs = None,
    broker: Broker = None,
    processes: Processes = None,
    memory_limit: MemoryLimit = None,
    grace: Grace = None,
    storage_endpoint: StorageEndpoint = None,
    allow_network: AllowNetwork = None,
    allow_host: AllowHost = None,
    pass_env: PassEnv = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port of /healthz, /readyz and /metrics, at CALLBACK_SDK_HOST; or CALLBACK_SDK_METRICS_PORT. Without "
            "it there are none.",
            show_default=False,
        ),
    ] = None,
    startup_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long it may take until it is ready: 5m, or CALLBACK_SDK_STARTUP_TIMEOUT. Then it ends.",
            show_default=False,
        ),
    ] = None,
    log_format: LogFormat = None,
) -> None:
    """Run tasks for a service with --engine celery, and deliver their results; on any number of machines.

    Registry, database, broker, blobs, encryption keys and webhook secrets must be the service's own: on another
    machine the keys come by CALLBACK_SDK_ENCRYPTION_KEYS, from the file `keys` of the service's data folder. A GPU
    machine takes only what it is for with --algorithm. SIGTERM ends it, with the grace for running tasks. It exits with
    code 78 when a setting is wrong, and with 75 when it could not start within the startup timeout.
    """
    from callback_sdk.service.algorithms.registry import load
    from callback_sdk.service.engines.celery import needed
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.server import default_processes
    from callback_sdk.service.supervision.health import open_health
    from callback_sdk.service.supervision.supervisor import WorkerSupervisor
    from callback_sdk.service.work.isolation import forbid_inspection
    from callback_sdk.service.worker import chosen

    given = {
        "data": data,
        "database": database,
        "blobs": blobs,
        "broker": broker,
        "processes": processes,
        "memory_limit": memory_limit,
        "grace": grace,
        "storage_endpoints": storage_endpoint,
        "allow_networks": allow_network,
        "allow_hosts": allow_host,
        "pass_env": pass_env,
        "metrics_port": metrics_port,
        "startup_timeout": startup_timeout,
        "log_format": log_format,
    }
    forbid_inspection()
    config = settings(**given)
    log_to_stderr(config.log_format)
    # What is wrong is said once, and not by each process.
    needed(config.broker)
    names = chosen(load(registry), algorithm or ())
    with ExitStack() as stack:
        health = None
        if config.metrics_port is not None:
            health = stack.enter_context(open_health(config.host, config.metrics_port))
        supervisor = WorkerSupervisor(
            [sys.executable, "-m", "callback_sdk.service.worker", registry, ",".join(names)],
            processes=config.processes or default_processes(),
            environment={**os.environ, **variables(**given), **(health.variables if health else {})},
            grace=config.grace,
            startup_timeout=config.startup_timeout,
        )
        if health is not None:
            health.watched = supervisor
        supervisor.run()
