"""An upgrade: a database from before there were migrations works on, and no credential stays in it in plain."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from attrs import define
from sqlalchemy.schema import CreateIndex

from callback_sdk import Client
from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import open_database, schema
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.tables import metadata
from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server
from tests.topology import Topology, wait_until

MARKER = "MARKER7c1e"
HOOK = f"{MARKER}9f86d081884c7d659a2feaa0"
"""A segment of a path that is a credential, as webhooks of chat services have it."""

OLD_TOKEN = "Zm9yLXRlc3RzLW9ubHktbm90LWEtcmVhbC10b2tlbi0"
EARLIER = 1_700_000_000.0
FAR = timedelta(hours=8)
"""Less than the longest pause between two attempts: what is further away was set by a clock that was wrong."""

# What version 0.1 made; SQLite calls the type of times DOUBLE.
OLD_TABLES = """
CREATE TABLE tasks (
    job_id VARCHAR(64) NOT NULL,
    algorithm VARCHAR(128) NOT NULL,
    version VARCHAR(128) NOT NULL,
    features_format VARCHAR(16) NOT NULL,
    parameters JSON NOT NULL,
    evaluate JSON NOT NULL,
    options JSON NOT NULL,
    status VARCHAR(16) NOT NULL,
    success BOOLEAN,
    error TEXT,
    progress JSON,
    attempt INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    spans JSON,
    nulled INTEGER NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION,
    PRIMARY KEY (job_id)
);
CREATE INDEX tasks_by_status ON tasks (status, created_at);
CREATE TABLE deliveries (
    delivery_id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    position INTEGER NOT NULL,
    target TEXT NOT NULL,
    url TEXT NOT NULL,
    host VARCHAR(255) NOT NULL,
    param JSON NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at DOUBLE PRECISION,
    claimed BOOLEAN NOT NULL,
    last_error TEXT,
    receipt JSON,
    PRIMARY KEY (delivery_id),
    FOREIGN KEY(job_id) REFERENCES tasks (job_id) ON DELETE CASCADE
);
CREATE INDEX deliveries_by_task ON deliveries (job_id, position);
CREATE INDEX deliveries_due ON deliveries (state, claimed, next_attempt_at)
"""
RESULTS = b'{"predictions":{"a":6},"evaluations":null}'
SPANS = json.dumps({"predictions": [15, 22], "evaluations": [37, 41]})
RECEIPT = json.dumps(
    {
        "kind": "webhook",
        "url": "http://127.0.0.1/old?***",
        "status": 200,
        "attempts": 1,
        "etag": None,
        "version_id": None,
        "size": 99,
        "sha256": "0" * 64,
        "nulled": 3,
        "started_at": "2023-11-14T22:13:20+00:00",
        "finished_at": "2023-11-14T22:13:21+00:00",
    }
)
PENDING = ("t-waiting", "t-running", "t-last-chance")
DUE = ("d-waiting", "d-running", "d-last-chance", "d-due", "d-claimed", "d-canceled")


@define
class Old:
    """A data directory and a database as the version before left them."""

    folder: Path
    database: str | None
    engine: sa.Engine

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(
            [sys.executable, "-m", "callback_sdk.cli", *arguments],
            env=self.topology().environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,
        )
        assert "Traceback" not in run.stderr
        assert MARKER not in run.stdout + run.stderr
        return run

    def topology(self, **settings: str) -> Topology:
        return Topology(self.folder, "engine_jobs:registry", database=self.database, settings=settings)

    def revision(self) -> str | None:
        database = open_database(Secret(self.database or f"sqlite:///{self.data / 'store.sqlite3'}"))
        try:
            return schema.revision(database)
        finally:
            database.close()

    def plain(self) -> bool:
        """Return whether the marker is in any file of the database."""
        if self.database is None:
            return any(MARKER.encode() in path.read_bytes() for path in self.data.glob("store.sqlite3*"))
        with self.engine.connect() as connection:
            connection.execute(sa.text("CHECKPOINT"))
            query = sa.text("SELECT pg_read_binary_file(pg_relation_filepath('deliveries'))")
            return MARKER.encode() in connection.execute(query).scalar_one()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Give the URL of an empty PostgreSQL database, or None for SQLite in the data directory."""
    if request.param == "sqlite":
        return None
    try:
        server = request.getfixturevalue("callback_postgres")
    except CallbackSDKError as error:
        missing_server(str(error))
    return server.create_database()


@pytest.fixture
def old(database: str | None, tmp_path: Path, webhook: WebhookReceiver) -> Iterator[Old]:
    """Give a database with tasks and deliveries in every state, and the files that belong to them."""
    data = tmp_path / "data"
    for name in ("features", "results", "progress", "incoming"):
        (data / "blobs" / name).mkdir(parents=True, mode=0o700)
    (data / "token").write_text(f"{OLD_TOKEN}\n")
    for job_id in PENDING:
        (data / "blobs" / "features" / job_id).write_bytes(b'{"a": [1, 2, 3]}')
    (data / "blobs" / "results" / "t-finished.2.json").write_bytes(RESULTS)
    engine = sa.create_engine(database or f"sqlite:///{data / 'store.sqlite3'}")
    with engine.begin() as connection:
        if database is None:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        _fill(connection, webhook.url)
    yield Old(tmp_path, database, engine)
    engine.dispose()


def _fill(connection: sa.Connection, url: str) -> None:
    sqlite = connection.dialect.name == "sqlite"
    for statement in OLD_TABLES.split(";"):
        connection.exec_driver_sql(statement.replace("DOUBLE PRECISION", "DOUBLE") if sqlite else statement)
    finished = {"status": "Finished", "success": True, "spans": SPANS, "attempt": 2, "finished_at": EARLIER + 9}
    for job_id, task in {
        "t-waiting": {},
        "t-running": {"status": "In Progress", "attempt": 1, "started_at": EARLIER + 1},
        "t-last-chance": {"status": "In Progress", "attempt": 3, "losses": 2, "started_at": EARLIER + 1},
        "t-finished": finished,
        "t-failed": finished | {"success": False, "error": "ValueError: no", "spans": "null"},
        "t-canceled": finished
        | {"status": "Canceled", "success": False, "error": "The task was cancelled.", "spans": None},
    }.items():
        _insert(connection, "tasks", _TASK | {"job_id": job_id} | task)
    far = time.time() + FAR.total_seconds()
    for number, (delivery_id, job_id, delivery) in enumerate(
        [
            ("d-waiting", "t-waiting", {"next_attempt_at": None}),
            ("d-running", "t-running", {"next_attempt_at": None}),
            ("d-last-chance", "t-last-chance", {"next_attempt_at": None}),
            ("d-due", "t-finished", {"attempts": 2, "last_error": "503"}),
            ("d-claimed", "t-finished", {"attempts": 1, "claimed": True}),
            ("d-delivered", "t-finished", {"state": "delivered", "attempts": 1, "receipt": RECEIPT}),
            ("d-later", "t-failed", {"attempts": 3, "next_attempt_at": far, "last_error": f"/{HOOK}/ answered 503"}),
            ("d-dead", "t-failed", {"state": "dead", "attempts": 9, "next_attempt_at": None, "last_error": "410"}),
            ("d-canceled", "t-canceled", {}),
        ]
    ):
        place = f"{url}/{HOOK}/{delivery_id}" if delivery_id == "d-later" else f"{url}/{delivery_id}"
        target = {"url": f"{place}?token={MARKER}", "param": {"name": delivery_id, "token": MARKER}}
        row = {"delivery_id": delivery_id, "job_id": job_id, "position": number, "target": json.dumps(target)}
        shown = {"url": f"{place}?***", "param": json.dumps(target["param"])}
        _insert(connection, "deliveries", _DELIVERY | row | shown | delivery)


_TASK: dict[str, Any] = {
    "algorithm": "sum",
    "version": "1.0.0",
    "features_format": "json",
    "parameters": "{}",
    "evaluate": "true",
    "options": "{}",
    "status": "Pending",
    "success": None,
    "error": None,
    "progress": None,
    "attempt": 0,
    "losses": 0,
    "spans": None,
    "nulled": 0,
    "created_at": EARLIER,
    "started_at": None,
    "finished_at": None,
}
_DELIVERY: dict[str, Any] = {
    "host": "127.0.0.1",
    "state": "pending",
    "attempts": 0,
    "next_attempt_at": EARLIER,
    "claimed": False,
    "last_error": None,
    "receipt": None,
}


def _insert(connection: sa.Connection, table: str, row: dict[str, Any]) -> None:
    columns = ", ".join(row)
    connection.execute(
        sa.text(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(f':{name}' for name in row)})"), row
    )


def test_without_an_upgrade_the_service_refuses(old: Old) -> None:
    """It names the command, and leaves the database as it is."""
    run = old.run("serve", "engine_jobs:registry")
    assert run.returncode == 78
    assert "callback-sdk db upgrade" in run.stderr
    assert old.revision() == schema.FIRST


def test_after_an_upgrade_tasks_and_deliveries_continue(old: Old, webhook: WebhookReceiver) -> None:
    """Queued tasks run and are delivered, old tokens still show old results, and dead deliveries can be redelivered."""
    assert old.plain()
    assert old.run("db", "upgrade").stdout == f"Revision {schema.FIRST} -> {schema.newest()}.\n"
    assert not old.plain()
    with old.topology() as topology, topology.client() as client:
        assert client.get_task("t-waiting").wait(progress=False).predictions == {"a": 6}
        wait_until(lambda: set(_arrived(webhook)) >= set(DUE), what="the deliveries")
        _check_shown(client)
        client.redeliver("t-failed", "d-dead")
        wait_until(lambda: "d-dead" in _arrived(webhook), what="the redelivery")
        documents = _arrived(webhook)
    assert set(documents) == {*DUE, "d-dead"}
    assert {name: document["callback_param"] for name, document in documents.items()} == {
        name: {"name": name, "token": MARKER} for name in documents
    }
    for name in ("d-due", "d-claimed"):
        assert documents[name]["results"] == json.loads(RESULTS)
    assert documents["d-running"]["results"]["predictions"] == {"a": 6}
    assert "process died 3 times" in documents["d-last-chance"]["error"]
    assert documents["d-canceled"]["status"] == "Canceled"
    assert MARKER not in topology.log


def _arrived(webhook: WebhookReceiver) -> dict[str, Any]:
    """Return the documents by the delivery ids of old, which webhooks have as their ids."""
    return {request.delivery_id: request.document for request in webhook.requests if request.accepted}


def _check_shown(client: Client) -> None:
    task = client.get_task("t-finished")
    assert (task.status, task.success, task.predictions) == ("Finished", True, {"a": 6})
    (receipt,) = [receipt for receipt in task.receipts if receipt.url == "http://127.0.0.1/old?***"]
    assert (receipt.target_kind, receipt.nulls_written) == ("webhook", 3)
    failed = client.get_task("t-failed")
    assert (failed.success, failed.error, failed.predictions) == (False, "ValueError: no", None)
    (later,) = [delivery for delivery in failed.deliveries if delivery.attempt_count == 3]
    assert later.url.endswith("/***/d-later?***")
    assert later.error == "/***/ answered 503"
    assert client.get_task("t-running").wait(progress=False).success
    assert client.get_task("t-canceled").status == "Canceled"


def test_an_upgrade_may_come_again(old: Old) -> None:
    """One after the other or two at once: the second finds nothing to do."""
    with _begun(old) as first, _begun(old) as second:
        said = sorted(process.communicate(timeout=120) for process in (first, second))
    assert [process.returncode for process in (first, second)] == [0, 0], said
    last = f"The database has revision {schema.newest()}.\n"
    assert [out for out, _ in said] == [f"Revision {schema.FIRST} -> {schema.newest()}.\n", last]
    assert old.run("db", "upgrade").stdout == last
    assert not old.plain()


def test_an_upgrade_cleans_up_after_those_that_wait_for_it(old: Old) -> None:
    """PostgreSQL keeps the rows of before while a statement runs that began before the migration was committed."""
    if old.database is None:
        pytest.skip("SQLite's writers wait without a snapshot.")
    lock = f"pg_advisory_xact_lock({schema._LOCK})"

    def wait(connection: sa.Connection) -> None:
        connection.execute(sa.text(f"SELECT {lock}, pg_sleep(3)"))
        connection.rollback()

    with old.engine.connect() as holder, old.engine.connect() as other, ThreadPoolExecutor(1) as threads:
        holder.execute(sa.text(f"SELECT {lock}"))
        with _begun(old) as upgrade:
            wait_until(lambda: _waiting(old) == 1, what="the upgrade's wait")
            waiting = threads.submit(wait, other)
            wait_until(lambda: _waiting(old) == 2, what="the wait of another upgrade")
            holder.rollback()
            _, said = upgrade.communicate(timeout=120)
        waiting.result()
    assert upgrade.returncode == 0, said
    assert not old.plain()


def _waiting(old: Old) -> int:
    """Return the number of sessions that wait for the lock of upgrades."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM "
    with old.engine.connect() as connection:
        return int(connection.execute(sa.text(f"{query}pg_database WHERE datname = current_database())")).scalar_one())


def _begun(old: Old) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "callback_sdk.cli", "db", "upgrade"],
        env=old.topology().environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("table", ["seals", "key_checks"])
def test_an_upgrade_that_fails_in_the_middle_changes_nothing(old: Old, table: str) -> None:
    """All or nothing, whether a table can't be created or can't be renamed: the database is as it was."""
    before = _everything(old)
    with old.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {table} (in_the_way INTEGER)"))
    run = old.run("db", "upgrade")
    assert run.returncode == 1
    assert "is unchanged" in run.stderr
    assert _everything(old) == before
    with old.engine.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {table}"))
    assert old.run("db", "upgrade").returncode == 0


def _everything(old: Old) -> list[Any]:
    with old.engine.connect() as connection:
        return [
            connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY {key}")).all()
            for name, key in (("tasks", "job_id"), ("deliveries", "delivery_id"))
        ]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_upgrade_on_a_full_disk_changes_nothing(old: Old) -> None:
    """The old database is whole, and the upgrade succeeds when there is room."""
    with old.engine.begin() as connection:
        connection.execute(sa.text("UPDATE tasks SET error = :long"), {"long": "x" * 100_000})
        for number in range(300):
            row = {"delivery_id": f"more-{number}", "job_id": "t-waiting", "position": 100 + number, "url": "http://a"}
            filling = {"target": json.dumps({"url": f"http://a/{MARKER}", "param": {}}), "param": "{}"}
            _insert(connection, "deliveries", _DELIVERY | row | filling | {"next_attempt_at": None})
    old.engine.dispose()
    before = _everything(old)
    old.engine.dispose()
    # Enough for what SQLite shares between processes, and less than the new pages.
    room = 64 * 1024
    run = old.run("db", "upgrade", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    assert run.returncode == 1
    assert "disk" in run.stderr
    assert _everything(old) == before
    old.engine.dispose()
    assert old.run("db", "upgrade").returncode == 0
    assert not old.plain()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_full_disk_during_cleaning_has_its_own_error(old: Old) -> None:
    """The upgrade succeeds, the error says that credentials may be left, and a second upgrade removes them."""
    with old.engine.begin() as connection:
        connection.execute(sa.text("UPDATE tasks SET error = :long"), {"long": "x" * 500_000})
    old.engine.dispose()
    # Enough for what the migration changes, and less than the whole file.
    room = 1024 * 1024
    run = old.run("db", "upgrade", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    assert run.returncode == 1
    assert "up to date, but may still hold" in run.stderr
    assert old.revision() == schema.newest()
    assert old.run("db", "upgrade").returncode == 0
    assert not old.plain()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_upgrade_under_a_service(old: Old) -> None:
    """A service on the same data directory keeps the command off, and the other way round."""
    assert old.run("db", "upgrade").returncode == 0
    with old.topology():
        run = old.run("db", "upgrade")
    assert run.returncode == 1
    assert "Stop the service" in run.stderr


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_deleted_rows_are_removed_from_the_file(old: Old) -> None:
    """Free pages of the old file contain credentials of deleted rows."""
    with old.engine.begin() as connection:
        for number in range(200):
            row = {"delivery_id": f"gone-{number}", "job_id": "t-waiting", "position": 100 + number, "url": "http://a"}
            filling = {"target": json.dumps({"url": f"http://a/{MARKER}", "param": {"a": "x" * 500}}), "param": "{}"}
            _insert(connection, "deliveries", _DELIVERY | row | filling)
    with old.engine.begin() as connection:
        # As SQLite has it by itself; some distributions turn it on.
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.execute(sa.text("DELETE FROM deliveries"))
    old.engine.dispose()
    assert old.plain()
    assert old.run("db", "upgrade").returncode == 0
    assert not old.plain()


@pytest.mark.parametrize("origin", ["created", "migrated", "old"])
def test_the_migrations_lead_to_the_tables(
    origin: str, request: pytest.FixtureRequest, database: str | None, tmp_path: Path
) -> None:
    """From an empty database and from the first revision, the result equals the package's tables, as when created."""
    if origin == "old":
        request.getfixturevalue("old")
    (tmp_path / "data").mkdir(exist_ok=True)
    opened = open_database(Secret(database or f"sqlite:///{tmp_path / 'data' / 'store.sqlite3'}"))
    try:
        cipher = CredentialCipher([new_key()])
        if origin == "migrated":
            opened.write(lambda connection: schema._run_migrations(connection, cipher, None))
        schema.upgrade(opened, cipher)
        with opened.read() as connection:
            options = {"compare_type": True, "include_object": lambda thing, *_: not _skipped(thing, connection)}
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
            assert database is not None or _indexes(connection) == _indexes_wanted(connection)
            assert _columns(connection) == {
                table.name: [(column.name, bool(column.nullable)) for column in table.columns]
                for table in metadata.sorted_tables
            } | {"alembic_version": [("version_num", False)]}
    finally:
        opened.close()


def _skipped(thing: Any, connection: sa.Connection) -> bool:
    # Alembic can't compare SQLite's indexes on expressions, so there all are compared by their text.
    return isinstance(thing, sa.Index) and connection.dialect.name == "sqlite"


def _indexes(connection: sa.Connection) -> set[str]:
    query = sa.text("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    return set(connection.execute(query).scalars())


def _indexes_wanted(connection: sa.Connection) -> set[str]:
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    return {str(CreateIndex(index).compile(dialect=connection.dialect)) for index in indexes}


def _columns(connection: sa.Connection) -> dict[str, list[tuple[str, bool]]]:
    """Return names of columns and whether they may be null, in the order of the package's tables."""
    order = {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables}
    inspector = sa.inspect(connection)
    found = {}
    for name in inspector.get_table_names():
        columns = [(column["name"], bool(column["nullable"])) for column in inspector.get_columns(name)]
        found[name] = sorted(columns, key=lambda item: order.get(name, [item[0]]).index(item[0]))
    return found


def test_other_keys_are_noticed(database: str | None, tmp_path: Path) -> None:
    """An upgrade with keys that the database wasn't made with says so."""
    opened = open_database(Secret(database or f"sqlite:///{tmp_path / 'store.sqlite3'}"))
    try:
        schema.upgrade(opened, CredentialCipher([new_key()]))
        with pytest.raises(ConfigurationError, match="other keys"):
            schema.upgrade(opened, CredentialCipher([new_key()]))
    finally:
        opened.close()
