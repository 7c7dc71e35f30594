"""Runtime: the components of each process of a service, created from its settings."""

from __future__ import annotations

import contextlib
import math
import platform
import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from callback_sdk.aistore.sources import token_sources
from callback_sdk.concurrency.circuit import DEFAULT_POLICY, HostLimits, HostPolicy
from callback_sdk.concurrency.leases import LEASE_DURATION
from callback_sdk.redaction import Secret
from callback_sdk.service.algorithms.output_folder import DEFAULT_LIMITS, OutputLimits
from callback_sdk.service.algorithms.versions import Algorithms
from callback_sdk.service.blobs import BlobStorage, open_blobs
from callback_sdk.service.files import TEMPORARY_PREFIX, Scratch
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from callback_sdk.service.store.store import sqlite_path
from callback_sdk.service.supervision.memory import NO_LIMIT, MemoryLimit, default_limit, has_room
from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.deliverer import Deliverer
from callback_sdk.service.work.devices import DevicePool
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.service.work.process import STOP_TIMEOUT, ChildProcess
from callback_sdk.service.work.results_bucket import ResultsBucket
from callback_sdk.service.work.runner import Runner
from callback_sdk.service.work.task_events import TaskEvents
from callback_sdk.service.work.uploads import PendingUploads
from callback_sdk.targets import MAX_WEBHOOK_BYTES
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.transport.delivery_proxy import DeliveryProxy
from callback_sdk.transport.guard import AddressGuard
from callback_sdk.transport.retry import SERVICE_DELAYS
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.events import INTERVAL
from callback_sdk.writer.writer import attempts_of

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig


@define(frozen=True, kw_only=True)
class StorageLocations:
    """Storage locations of a service.

    Attributes:
        data: The data directory: files of this machine, and the default location of the database, blobs and keys.
        database: URL of the database; SQLite in the data directory if None.
        blobs: Directory or `s3://` URL of large features and results; in the data directory if None.
        keys: Encryption keys, newest first. If empty, the keys in the file `keys` of the data directory, which is
            created if it doesn't exist.
    """

    data: Path
    database: Secret[str] | None = None
    blobs: str | None = None
    keys: tuple[Secret[str], ...] = ()

    @classmethod
    def of(cls, config: ServiceConfig, data: Path) -> StorageLocations:
        """Return the locations that the settings name; `data` is the directory that was created for `data_dir`."""
        return cls(data=data, database=config.database, blobs=config.blob_storage, keys=config.encryption_keys)

    def cipher(self) -> CredentialCipher:
        """Return the cipher with the encryption keys.

        Raises:
            ConfigurationError: A key is invalid.
        """
        return CredentialCipher(self.keys or ensure_keys(self.data / "keys"))

    def database_url(self) -> Secret[str]:
        """Return the database's URL."""
        return self.database or Secret(f"sqlite:///{self.data / 'store.sqlite3'}")

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return sqlite_path(self.database_url()) is not None

    def open_blobs(self) -> BlobStorage:
        """Open the storage of large features and results."""
        return open_blobs(self.blobs or str(self.data / "blobs"))


@define(frozen=True, kw_only=True)
class DeliveryConfig:
    """Settings of deliveries.

    Attributes:
        storage_endpoints: URLs of object stores besides the known providers.
        aistore_clusters: URLs of proxies of AIStore clusters, with the sources of their tokens.
        webhook_secrets: Secrets that sign webhooks, newest first.
        guard: SSRF protection: the hosts that callbacks may reach.
        proxy: Proxy of deliveries; None without one.
        retry_delays: Delays between the attempts of a delivery; after the last attempt it is dead.
        event_interval: Shortest time between two progress events of a task at one target.
        max_webhook_bytes: Maximum bytes of a document for a webhook; a larger one has a URL instead of the results.
        public_url: URL at which clients reach the service; empty if it is unknown.
        bucket: The bucket for targets `results:`; None without one.
        hosts: Circuits and limits of the hosts that deliveries go to.
    """

    storage_endpoints: tuple[str, ...] = ()
    aistore_clusters: tuple[tuple[str, Secret[str]], ...] = ()
    webhook_secrets: tuple[Secret[str], ...] = field(default=(), repr=False)
    guard: AddressGuard
    proxy: DeliveryProxy | None = None
    retry_delays: tuple[timedelta, ...] = SERVICE_DELAYS
    event_interval: timedelta = INTERVAL
    max_webhook_bytes: int = MAX_WEBHOOK_BYTES
    public_url: str = ""
    bucket: ResultsBucket | None = None
    hosts: HostPolicy = DEFAULT_POLICY

    @property
    def stores(self) -> StorageProviders:
        """Known object stores."""
        return StorageProviders.of(self.storage_endpoints, [url for url, _ in self.aistore_clusters])

    @classmethod
    def of(cls, config: ServiceConfig) -> DeliveryConfig:
        """Return the settings of deliveries in the service's settings."""
        return cls(
            storage_endpoints=config.storage_endpoints,
            aistore_clusters=config.aistore_clusters,
            webhook_secrets=config.webhook_secrets,
            guard=AddressGuard(allow_networks=config.allow_networks, allow_hosts=config.allow_hosts),
            proxy=_proxy(config),
            retry_delays=config.retry_delays,
            event_interval=config.event_interval,
            max_webhook_bytes=config.max_webhook_bytes,
            public_url=config.public_url or "",
            bucket=_bucket(config.results_bucket),
            hosts=HostPolicy(
                failures=config.circuit_failures,
                limits=HostLimits(max_concurrency=config.host_concurrency, max_rate=config.host_rate),
                max_hold=config.max_hold.total_seconds(),
            ),
        )


def _proxy(config: ServiceConfig) -> DeliveryProxy | None:
    if config.callback_proxy is None:
        return None
    return DeliveryProxy(
        url=config.callback_proxy,
        direct=config.callback_no_proxy,
        resolves=config.callback_proxy_dns == "proxy",
    )


def _bucket(place: str | None) -> ResultsBucket | None:
    if not place:
        return None
    bucket = ResultsBucket(place)
    bucket.check()
    return bucket


@define(frozen=True, kw_only=True)
class RunConfig:
    """Settings of the child processes that run algorithms.

    Attributes:
        pass_env: Environment variables that they get in addition to the usual ones.
        memory_limit: Memory limit of a run if its algorithm declares none.
        stop_timeout: Time between SIGTERM and SIGKILL of a run that is stopped.
        max_runs: Maximum number of runs of one process; None for no limit.
        output_limits: Limits of the output files of each run.
        devices: Ids of the devices that algorithms may use; empty to show those of the service.
        device_locks: Directory for the locks of these devices, which processes of the same machine share.
    """

    pass_env: tuple[str, ...] = ()
    memory_limit: MemoryLimit = NO_LIMIT
    stop_timeout: timedelta = STOP_TIMEOUT
    max_runs: int | None = None
    output_limits: OutputLimits = DEFAULT_LIMITS
    devices: tuple[str, ...] = ()
    device_locks: Path = Path("devices")

    @classmethod
    def of(cls, config: ServiceConfig, processes: int, data: Path) -> RunConfig:
        """Return the settings of runs in the service's settings.

        Args:
            config: The service's settings.
            processes: Number of concurrent runs on this machine, besides those with devices.
            data: The directory that was created for `data_dir`.
        """
        return cls(
            pass_env=config.pass_env,
            memory_limit=default_limit(config.memory_limit, processes + len(config.devices)),
            stop_timeout=config.stop_timeout,
            max_runs=config.max_runs,
            output_limits=OutputLimits.of(config),
            devices=config.devices,
            device_locks=data / "devices",
        )

    def new_child(self, registry_name: str, algorithms: Sequence[str] = (), devices: int = 0) -> ChildProcess:
        """Return a child process for runs, which starts when it is prepared.

        Args:
            registry_name: Module and variable of the registry.
            algorithms: Names of the algorithms that it runs; all if empty.
            devices: Number of devices that it leases.
        """
        pool = DevicePool(folder=self.device_locks, devices=self.devices, count=devices)
        return ChildProcess(
            registry_name,
            algorithms=algorithms,
            pass_env=self.pass_env,
            max_retained_bytes=self.memory_limit.max_retained_bytes,
            stop_timeout=self.stop_timeout,
            max_runs=self.max_runs or math.inf,
            devices=pool if self.devices else None,
        )

    def new_pair(
        self,
        registry_name: str,
        algorithms: Sequence[str] = (),
        devices: int = 0,
        *,
        current: ChildProcess | None = None,
    ) -> ChildPair:
        """Return a child process for runs, and a spare one that replaces it; see `new_child`.

        There is none where processes lease devices: its lease would wait for that of the other one.

        Args:
            registry_name: Module and variable of the registry.
            algorithms: Names of the algorithms that it runs; all if empty.
            devices: Number of devices that it leases.
            current: The first child process, with these algorithms and devices; a new one if None.
        """
        new_child = partial(self.new_child, registry_name, algorithms, devices)
        return ChildPair(new_child, may_start=lambda size: not devices and has_room(size), current=current)


@define(frozen=True, kw_only=True)
class Runtime:
    """Components that services and workers share.

    Attributes:
        registry: What is known of the algorithms, without their functions.
        registry_name: Module and variable of the registry, which child processes import.
        runs: Settings of the child processes that run algorithms.
        scratch: Files of requests and runs, in the data directory.
        temporary: Temporary directories of runs, in the system's temporary directory.
        lease: Time after the last heartbeat of a worker until its claims expire.
        wakeup: Set to make the dispatcher of this process check the store at once.
        slots_wanted: Set by the dispatcher while due deliveries may wait for a slot.
    """

    registry: Algorithms
    registry_name: str
    runs: RunConfig = field(factory=RunConfig)
    cipher: CredentialCipher
    store: Store
    blobs: BlobStorage
    scratch: Scratch
    temporary: Scratch
    delivery: DeliveryConfig
    lease: timedelta = LEASE_DURATION
    wakeup: threading.Event = field(factory=threading.Event)
    slots_wanted: threading.Event = field(factory=threading.Event)

    def new_pair(
        self, algorithms: Sequence[str] = (), devices: int = 0, *, current: ChildProcess | None = None
    ) -> ChildPair:
        """Return a child process for runs, with a spare one; see `RunConfig.new_pair`."""
        return self.runs.new_pair(self.registry_name, algorithms, devices, current=current)


@define(frozen=True, kw_only=True)
class WorkerRuntime:
    """Components that run tasks and deliver their results."""

    heartbeat: Heartbeat
    deliverer: Deliverer
    uploads: PendingUploads
    runner: Runner


@contextlib.contextmanager
def open_runtime(
    registry_name: str,
    registry: Algorithms,
    storage: StorageLocations,
    delivery: DeliveryConfig,
    runs: RunConfig,
    *,
    lease: timedelta = LEASE_DURATION,
) -> Iterator[Runtime]:
    """Create the components of a process, and close them at the end.

    Args:
        registry_name: Module and variable of the registry.
        registry: What is known of the algorithms.
        storage: Storage locations of the service.
        delivery: Settings of deliveries.
        runs: Settings of the child processes that run algorithms.
        lease: Time after the last heartbeat of a worker until its claims expire; must be the same in all processes.

    Raises:
        ConfigurationError: A setting is invalid, or the database needs an upgrade.
        StoreUnavailableError: The database can't be reached.
    """
    with contextlib.ExitStack() as stack:
        cipher = storage.cipher()
        database = open_database(storage.database_url())
        stack.callback(database.close)
        scratch = Scratch(storage.data / "scratch")
        stack.callback(scratch.close)
        # Not in the data directory: an algorithm that fills it up would stop the service.
        temporary = Scratch(Path(tempfile.gettempdir()), prefix=TEMPORARY_PREFIX)
        stack.callback(temporary.close)
        yield Runtime(
            registry=registry,
            registry_name=registry_name,
            runs=runs,
            cipher=cipher,
            store=Store(database, cipher, delivery.hosts),
            blobs=storage.open_blobs(),
            scratch=scratch,
            temporary=temporary,
            delivery=delivery,
            lease=lease,
        )


@contextlib.contextmanager
def open_worker(runtime: Runtime, worker: str) -> Iterator[WorkerRuntime]:
    """Create the components of a worker, and close them at the end.

    Args:
        runtime: The components of this process.
        worker: Name of the worker in its claims.
    """
    with ResultsWriter(
        storage_endpoints=runtime.delivery.storage_endpoints,
        aistore_clusters=token_sources(runtime.delivery.aistore_clusters),
        guard=runtime.delivery.guard,
        proxy=runtime.delivery.proxy,
        max_webhook_bytes=runtime.delivery.max_webhook_bytes,
    ) as writer:
        heartbeat = Heartbeat(runtime.store, worker, lease=runtime.lease)
        shared = {"store": runtime.store, "blobs": runtime.blobs, "scratch": runtime.scratch, "heartbeat": heartbeat}
        deliverer = Deliverer(
            **shared,  # type: ignore[arg-type]
            writer=attempts_of(writer),
            public_url=runtime.delivery.public_url,
            delays=runtime.delivery.retry_delays,
            bucket=runtime.delivery.bucket,
            claims_at_once=not runtime.delivery.hosts.limits,
            wakeup=runtime.wakeup,
            slots_wanted=runtime.slots_wanted,
        )
        uploads = PendingUploads(runtime.blobs)
        runner = Runner(
            **shared,  # type: ignore[arg-type]
            temporary=runtime.temporary,
            deliverer=deliverer,
            events=TaskEvents(runtime.store, attempts_of(writer), runtime.delivery.event_interval),
            uploads=uploads,
            registry=runtime.registry,
            registry_name=runtime.registry_name,
            memory_limit=runtime.runs.memory_limit,
            output_limits=runtime.runs.output_limits,
        )
        heartbeat.start()
        uploads.start()
        try:
            yield WorkerRuntime(heartbeat=heartbeat, deliverer=deliverer, uploads=uploads, runner=runner)
        finally:
            uploads.close()
            deliverer.close()
            heartbeat.close()


def worker_name() -> str:
    """Return a unique name for a worker: the host name with a random suffix."""
    return f"{platform.node()[:64]}-{secrets.token_hex(8)}"
