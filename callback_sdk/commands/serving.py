"""The commands that run a service and its workers: `serve` and `worker`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.options import RegistryName, takes_settings
from callback_sdk.commands.printing import print_error
from callback_sdk.config import settings
from callback_sdk.errors import CallbackSDKError, ConfigurationError, MissingExtraError, UnknownAlgorithmError

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig

_log = logging.getLogger(__name__)

EXIT_SETTING = 78
EXIT_UNAVAILABLE = 75
"""Exit codes of `serve` and `worker`, EX_CONFIG and EX_TEMPFAIL of sysexits.h."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Print errors at the start in one line, and exit with a code that distinguishes wrong settings from outages."""
    _check_platform()
    try:
        with _interrupt_on_sigterm():
            yield
    except CallbackSDKError as error:
        print_error(error)
        raise typer.Exit(_exit_code(error)) from None
    except KeyboardInterrupt:
        # Stopped during the start.
        raise typer.Exit from None
    except OSError as error:
        from callback_sdk.service.supervision.shortages import is_passing

        print_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        raise typer.Exit(EXIT_UNAVAILABLE if is_passing(error) else 1) from None


def _check_platform() -> None:
    """Exit on systems without the interfaces by which the service limits and supervises its processes."""
    if sys.platform != "linux":
        # Checked before the service is imported, because the import may fail on this system.
        print_error(
            ConfigurationError(
                f"The service runs on Linux only, not on {sys.platform}: it needs fcntl, prctl and /proc.",
                hint="Run it in a container or on a Linux machine. Client, writer, signer and outbox work here too.",
            )
        )
        raise typer.Exit(EXIT_SETTING)


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C during the start. After that the service or worker installs its own handlers."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _begin(config: ServiceConfig) -> None:
    """Protect the process, start its log, and warn of misspelled settings."""
    from callback_sdk.config.reader import unknown_variables
    from callback_sdk.service.logs import log_to_stderr
    from callback_sdk.service.work.isolation import forbid_inspection

    forbid_inspection()
    log_to_stderr(config.log_format)
    for text in unknown_variables():
        _log.warning("%s", text)


def _exit_code(error: CallbackSDKError) -> int:
    if isinstance(error, MissingExtraError):
        # Decided first, because the imports below may need the missing extra.
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


_WORKER_SETTINGS = (
    settings.DATA_DIR,
    settings.DATABASE,
    settings.BLOB_STORAGE,
    settings.RESULTS_BUCKET,
    settings.BROKER,
    settings.PROCESSES,
    settings.DEVICES,
    settings.MEMORY_LIMIT,
    settings.MAX_RUNS,
    settings.MAX_OUTPUT_FILES,
    settings.MAX_OUTPUT_FILE_BYTES,
    settings.MAX_OUTPUT_BYTES,
    settings.SHUTDOWN_TIMEOUT,
    settings.STOP_TIMEOUT,
    settings.LEASE,
    settings.RETRY_DELAYS,
    settings.EVENT_INTERVAL,
    settings.CIRCUIT_FAILURES,
    settings.MAX_HOLD,
    settings.HOST_CONCURRENCY,
    settings.HOST_RATE,
    settings.MAX_WEBHOOK_BYTES,
    settings.PUBLIC_URL,
    settings.STORAGE_ENDPOINTS,
    settings.ALLOW_NETWORKS,
    settings.ALLOW_HOSTS,
    settings.CALLBACK_PROXY,
    settings.CALLBACK_NO_PROXY,
    settings.CALLBACK_PROXY_DNS,
    settings.PASS_ENV,
    settings.LOG_FORMAT,
)
"""The settings of every process that runs tasks and delivers results."""


_Reload = Annotated[
    bool, typer.Option("--reload", help="For development: restart when the code of the algorithms changes.")
]


@exit_codes()
@takes_settings(
    settings.HOST,
    settings.PORT,
    settings.ENGINE,
    *_WORKER_SETTINGS,
    settings.RETENTION,
    settings.AUDIT_RETENTION,
    settings.MAX_REQUEST_BYTES,
    settings.MAX_CALLBACKS,
    settings.MAX_TASKS,
    settings.MAX_BYTES,
    settings.MAX_CONNECTIONS,
    settings.MAX_CONNECTIONS_PER_ADDRESS,
    settings.TRUSTED_PROXIES,
    settings.PROXY_HEADERS,
    settings.ROOT_PATH,
    settings.ALERT_URL,
    settings.ALERT_QUEUE_AGE,
)
def serve(
    registry: RegistryName,
    *,
    config: ServiceConfig,
    given: dict[str, str],
    reload: _Reload = False,
    listening: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the service: accept tasks over the REST API, run them, and deliver their results.

    The first start creates the user `admin` and writes an API token into the file `token` of the data directory;
    `callback-sdk users` adds users. SSRF protection is on: callbacks may only reach public addresses, and the networks
    and hosts of --allow-network and --allow-host. With --engine celery, `callback-sdk worker` runs the tasks, on this
    and other machines.
    """
    # Imported here, so that --help needs none of the extras.
    from callback_sdk.service.server import serve as run_service

    _begin(config)
    if reload:
        raise typer.Exit(_run_with_reload(registry, config, given))
    if listening is not None:
        from callback_sdk.concurrency.reaper import end_with_parent

        end_with_parent(signal.SIGKILL, os.getppid())
    run_service(registry, config, listening=listening)


def _run_with_reload(registry: str, config: ServiceConfig, given: dict[str, str]) -> int:
    """Run the service until a signal, restarted when its code changes, and return its exit code."""
    from callback_sdk.service.server import bind_socket
    from callback_sdk.service.supervision.reloading import Reloader

    with bind_socket(config.host, config.port) as listener:
        # From now on, so that connections wait while the service starts or restarts.
        listener.listen()
        descriptor = listener.fileno()
        command = [sys.executable, "-m", "callback_sdk.cli", "serve", registry, "--listening", str(descriptor)]
        return Reloader(registry, command, environment={**os.environ, **given}, descriptors=[descriptor]).run()


@exit_codes()
@takes_settings(
    *_WORKER_SETTINGS, settings.HOST, settings.METRICS_PORT, settings.STARTUP_TIMEOUT, settings.STALL_TIMEOUT
)
def worker(
    registry: RegistryName,
    *,
    config: ServiceConfig,
    given: dict[str, str],
    algorithm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Run tasks of this algorithm only. Repeatable.", show_default="all algorithms"
        ),
    ] = None,
    reload: _Reload = False,
    reloaded: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run tasks for a service with --engine celery, and deliver their results; on any number of machines.

    Registry, database, broker, blob storage and encryption keys must be the same as the service's. On another machine,
    set CALLBACK_SDK_ENCRYPTION_KEYS to the keys in the file `keys` of the service's data directory. --host is the
    address of --metrics-port. SIGTERM stops the worker after the shutdown timeout. The exit code is 78 if a setting is
    wrong, and 75 if the worker could not start within the startup timeout.
    """
    from callback_sdk.service.algorithms.versions import Algorithms
    from callback_sdk.service.engines.announcements import Announcer
    from callback_sdk.service.engines.celery import require_broker
    from callback_sdk.service.files import make_data_folder
    from callback_sdk.service.runtime import StorageLocations
    from callback_sdk.service.server import default_processes
    from callback_sdk.service.supervision.health import open_health
    from callback_sdk.service.supervision.supervisor import WorkerSupervisor
    from callback_sdk.service.work import isolation
    from callback_sdk.service.work.devices import DevicePool, algorithms_with_devices, devices_per_run
    from callback_sdk.service.work.orphans import end_orphans
    from callback_sdk.service.work.process import ChildProcess
    from callback_sdk.service.worker import choose_algorithms

    _begin(config)
    if reload:
        from callback_sdk.service.supervision.reloading import Reloader

        options = [option for name in algorithm or () for option in ("--algorithm", name)]
        command = [sys.executable, "-m", "callback_sdk.cli", "worker", registry, "--reloaded", *options]
        raise typer.Exit(Reloader(registry, command, environment={**os.environ, **given}).run())
    if reloaded:
        from callback_sdk.concurrency.reaper import end_with_parent

        end_with_parent(signal.SIGKILL, os.getppid())
    # Validated here, so that a wrong setting is reported once and not by each process.
    require_broker(config.broker)
    isolation.start_tracker(config.pass_env)
    end_orphans()
    # No device is leased for the import.
    hidden = DevicePool(folder=config.data_dir, devices=config.devices, count=0) if config.devices else None
    with closing(ChildProcess(registry, algorithms=algorithm or (), pass_env=config.pass_env, devices=hidden)) as child:
        described = child.describe()
    found = Algorithms(described.versions)
    names = choose_algorithms(found, algorithm or ())
    needed_devices = algorithms_with_devices(map(found.versions, names))
    devices = devices_per_run(needed_devices, config.devices)
    with ExitStack() as stack:
        health = None
        if config.metrics_port is not None:
            health = stack.enter_context(open_health(config.host, config.metrics_port))
        supervisor = WorkerSupervisor(
            [sys.executable, "-m", "callback_sdk.service.worker", registry, ",".join(names)],
            processes=(config.processes or default_processes()) if len(needed_devices) < len(names) else 0,
            device_processes=len(config.devices) // devices if devices else 0,
            environment={**os.environ, **given, **(health.variables if health else {})},
            shutdown_timeout=config.shutdown_timeout,
            stop_timeout=config.stop_timeout,
            startup_timeout=sum((timeout for _, timeout in described.setups), config.startup_timeout),
        )
        if health is not None:
            health.watched = supervisor
        storage = StorageLocations.of(config, make_data_folder(config.data_dir))
        announcer = Announcer(storage.database_url(), supervisor.states)
        announcer.start()
        stack.callback(announcer.close)
        supervisor.run()
