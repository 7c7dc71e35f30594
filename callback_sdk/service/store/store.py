"""The store: the single source of truth for tasks, their deliveries and their owners.

A delivery's target is stored with its credentials, encrypted, because it must be sent even after a crash.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from callback_sdk.concurrency.circuit import DEFAULT_POLICY, HostPolicy
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret, clearing_locals
from callback_sdk.service.store import schema
from callback_sdk.service.store.alerts import AlertStore
from callback_sdk.service.store.attention import DeliveryAttention
from callback_sdk.service.store.audit import AuditStore
from callback_sdk.service.store.batches import BatchStore
from callback_sdk.service.store.bulk_redelivery import BulkRedeliveryStore
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.clock import now
from callback_sdk.service.store.database import Database
from callback_sdk.service.store.deliveries import DeliveryStore
from callback_sdk.service.store.hosts import HostStore
from callback_sdk.service.store.live import LiveTasks
from callback_sdk.service.store.output import OutputStore
from callback_sdk.service.store.output_files import OutputFileStore
from callback_sdk.service.store.pauses import PauseStore
from callback_sdk.service.store.postgres import PostgresDatabase
from callback_sdk.service.store.queue import TaskQueue
from callback_sdk.service.store.search import TaskSearch
from callback_sdk.service.store.sessions import SessionStore
from callback_sdk.service.store.signing_secrets import SigningSecretStore
from callback_sdk.service.store.sqlite import SQLiteDatabase
from callback_sdk.service.store.stats import Statistics
from callback_sdk.service.store.subscriptions import SubscriptionStore
from callback_sdk.service.store.tasks import TaskStore
from callback_sdk.service.store.users import UserStore
from callback_sdk.service.store.versions import VersionStore
from callback_sdk.service.store.worker_states import WorkerStateStore
from callback_sdk.service.store.workers import WorkerStore

_SELECT_NOW = sa.select(now())


class Store:
    """All stores of one database, with an up-to-date schema.

    Args:
        database: The database; the store closes it.
        cipher: Encrypts and decrypts its credentials.
        policy: Circuits and limits of the hosts that deliveries go to.

    Attributes:
        tasks: The tasks.
        search: Searches tasks.
        attention: Counts the deliveries that need attention.
        live: What changes of tasks while they are watched.
        queue: Those that are queued.
        output: The output of their runs.
        output_files: Their output files.
        deliveries: The deliveries of their results.
        batches: Batches with a target that is told of their end.
        subscriptions: The events that their targets subscribe to.
        bulk_redelivery: The same, by filters, and their redelivery in bulk.
        audit: The audit log.
        hosts: The hosts that deliveries go to.
        alerts: The alerts of the service.
        users: The users and their API tokens.
        sessions: The login sessions.
        signing_secrets: The secrets that sign users' webhooks.
        versions: The trained versions of algorithms.
        stats: Statistics.
        worker_states: The states of the processes of Celery workers.
        workers: The processes that can claim tasks.
        pauses: The paused algorithms.

    Raises:
        ConfigurationError: The database needs an upgrade, or has other encryption keys.
    """

    def __init__(
        self, database: Database, cipher: CredentialCipher, policy: HostPolicy = DEFAULT_POLICY
    ) -> None:  # fmt: skip
        schema.prepare(database, cipher)
        self.database = database
        self.tasks = TaskStore(database, cipher)
        self.search = TaskSearch(database)
        self.attention = DeliveryAttention(database)
        self.live = LiveTasks(database)
        self.queue = TaskQueue(database)
        self.output = OutputStore(database)
        self.output_files = OutputFileStore(database)
        self.deliveries = DeliveryStore(database, cipher, policy)
        self.batches = BatchStore(database)
        self.subscriptions = SubscriptionStore(database, cipher, policy)
        self.bulk_redelivery = BulkRedeliveryStore(database, cipher)
        self.audit = AuditStore(database)
        self.hosts = HostStore(database, policy)
        self.alerts = AlertStore(database)
        self.users = UserStore(database)
        self.sessions = SessionStore(database)
        self.signing_secrets = SigningSecretStore(database, cipher)
        self.versions = VersionStore(database)
        self.stats = Statistics(database)
        self.worker_states = WorkerStateStore(database)
        self.workers = WorkerStore(database)
        self.pauses = PauseStore(database)

    def check(self) -> None:
        """Check that the database responds and can be written; see `Database.check`."""
        self.database.check()

    def clock(self) -> float:
        """Return the current time of the database's clock, in seconds since 1970 in UTC."""
        with self.database.read() as connection:
            return connection.execute(_SELECT_NOW).scalar_one()

    def close(self) -> None:
        """Close the database after all writes are durable."""
        self.database.close()


def open_database(url: Secret[str]) -> Database:
    """Open a database by its URL.

    Args:
        url: `sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        ConfigurationError: The URL is invalid.
        MissingExtraError: The database's driver is not installed.
    """
    scheme, rest = _split(url.reveal())
    if scheme in ("postgresql", "postgres"):
        return PostgresDatabase(Secret("postgresql+psycopg://" + rest.reveal()))
    path = sqlite_path(url)
    if path is not None:
        return SQLiteDatabase(path)
    raise ConfigurationError(
        f"The database's URL has the scheme {scheme[:20]!r}, or names no database.",
        hint="Give sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME.",
    )


def sqlite_path(url: Secret[str]) -> Path | None:
    """Return the file of a SQLite database; None if the URL is of another one."""
    scheme, rest = _split(url.reveal())
    path = rest.reveal().removeprefix("/") if scheme == "sqlite" and rest.reveal().startswith("/") else ""
    return Path(path) if path else None


@clearing_locals
def _split(url: str) -> tuple[str, Secret[str]]:
    """Return the scheme of a URL without a driver, such as the psycopg of `postgresql+psycopg`, and the rest."""
    scheme, separator, rest = url.partition("://")
    # Without a separator the text may be anything, a password included.
    return (scheme.partition("+")[0], Secret(rest)) if separator else ("", Secret(""))
