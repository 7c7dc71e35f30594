"""The connection to an outbox's file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import Outbox
from callback_sdk.outbox.database import VERSION, OutboxDatabase
from callback_sdk.receipt import Receipt
from callback_sdk.testing import WebhookReceiver


class _Interrupted:
    """A connection with a signal handler that runs after the statement `BEGIN IMMEDIATE`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str) -> sqlite3.Cursor:
        """Execute the statement, then raise the exception of the signal handler."""
        cursor = self._connection.execute(statement)
        if statement.startswith("BEGIN"):
            raise KeyboardInterrupt
        return cursor


def test_signal_right_after_begin_leaves_no_transaction_open(tmp_path: Path) -> None:
    """Other processes can write at once, and so can this one."""
    path = tmp_path / "outbox.sqlite3"
    database = OutboxDatabase(path, tmp_path / "files", create=True)
    connection = database._connection
    database._connection = _Interrupted(connection)
    with pytest.raises(KeyboardInterrupt), database.transaction():
        pass
    database._connection = connection
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    with database.transaction() as writing:
        assert writing.in_transaction
    database.close()


_VERSION_1 = """
    CREATE TABLE results (
        id INTEGER PRIMARY KEY, job TEXT NOT NULL, nulled INTEGER NOT NULL, object_url TEXT, data BLOB, file TEXT
    );
    CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        result INTEGER NOT NULL REFERENCES results(id),
        job_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        url TEXT NOT NULL,
        host TEXT NOT NULL,
        target TEXT,
        state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
        attempts INTEGER NOT NULL DEFAULT 0,
        next_attempt REAL,
        error TEXT,
        receipt TEXT,
        owner TEXT,
        lease REAL,
        claim INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        settled REAL
    );
    CREATE INDEX deliveries_due ON deliveries (state, next_attempt);
    CREATE INDEX deliveries_result ON deliveries (result);
    CREATE INDEX deliveries_owner ON deliveries (owner) WHERE owner IS NOT NULL;
    INSERT INTO results VALUES
        (1, '{"job_id":"42","success":true,"error":null,"status":"Finished"}', 3, NULL, x'7b7d', NULL);
    INSERT INTO deliveries VALUES
        (1, 'msg_1', 1, '42', 'webhook', 'http://h/', 'h:80', '{"url":"URL","param":{}}', 'pending', 2, 1000.0, '503',
         NULL, NULL, NULL, 2, 900.0, NULL),
        (2, 'msg_2', 1, '42', 'webhook', 'http://h/', 'h:80', NULL, 'dead', 9, NULL, '410', NULL, NULL, NULL, 9, 900.0,
         990.0),
        (3, 'msg_3', 1, '42', 's3-put', 'http://h/k', 'h:80', NULL, 'delivered', 1, NULL, NULL, 'RECEIPT', NULL, NULL,
         1, 900.0, 990.0);
    PRAGMA application_id = 1667395448;
    PRAGMA user_version = 1;
    PRAGMA journal_mode = WAL;
"""
_RECEIPT_1 = {
    "kind": "s3-put",
    "url": "http://h/k",
    "status": 200,
    "attempts": 1,
    "etag": "e",
    "version_id": None,
    "size": 2,
    "sha256": "0" * 64,
    "nulled": 3,
    "started_at": "2026-01-01T12:00:00+00:00",
    "finished_at": "2026-01-01T12:00:01+00:00",
}
"""A file of the first version with three deliveries, pending, dead and delivered, and the receipt of the last."""

_RECEIPT = Receipt(
    target_kind="s3-put",
    url="http://h/k",
    status=200,
    etag="e",
    size=2,
    sha256="0" * 64,
    nulls_written=3,
    started_at=datetime(2026, 1, 1, 12, tzinfo=timezone.utc),
    finished_at=datetime(2026, 1, 1, 12, 0, 1, tzinfo=timezone.utc),
)


def _first_version(path: Path, url: str = "http://h/", param: str = "{}") -> None:
    with closing(sqlite3.connect(path)) as old:
        tables = _VERSION_1.replace('"param":{}', f'"param":{param}')
        old.executescript(tables.replace("URL", url).replace("RECEIPT", json.dumps(_RECEIPT_1)))


def test_file_of_the_first_version_is_upgraded_and_sent(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """Its deliveries keep attempts, times and errors, and pending ones are delivered."""
    path = tmp_path / "outbox.sqlite3"
    _first_version(path, webhook.url)
    with Outbox(path, create=False) as outbox:
        pending, dead, delivered = outbox.entries()
        assert (pending.status, pending.attempts, pending.error) == ("pending", 2, "503")
        assert pending.next_attempt_at == datetime.fromtimestamp(1000, timezone.utc)
        assert (dead.status, dead.finished_at) == ("dead", datetime.fromtimestamp(990, timezone.utc))
        assert (delivered.target_kind, delivered.receipt) == ("s3-put", _RECEIPT)
        outbox.run(until_empty=True)
        delivered = outbox.entries(status="delivered")[0]
    assert delivered.receipt is not None
    assert (delivered.delivery_id, delivered.receipt.attempts, delivered.receipt.nulls_written) == ("msg_1", 3, 3)
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert new.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("events", ["all", ["started"]])
def test_member_that_had_no_meaning_stays_in_the_document(
    tmp_path: Path, webhook: WebhookReceiver, events: object
) -> None:
    """`events` of a target that an earlier version stored is no subscription."""
    _first_version(tmp_path / "outbox", webhook.url, json.dumps({"events": events, "run": 7}))
    with Outbox(tmp_path / "outbox", create=False) as outbox:
        outbox.run(until_empty=True)
    (request,) = webhook.requests
    assert json.loads(request.body)["callback_param"] == {"events": events, "run": 7}


def test_upgraded_file_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """Column by column, in their order; a second opening changes nothing."""
    _first_version(tmp_path / "old")
    for _ in range(2):
        OutboxDatabase(tmp_path / "old", tmp_path / "files", create=False).close()
    OutboxDatabase(tmp_path / "new", tmp_path / "files", create=True).close()
    tables = []
    for name in ("old", "new"):
        with closing(sqlite3.connect(tmp_path / name)) as database:
            tables.append(
                [database.execute(f"PRAGMA table_info({table})").fetchall() for table in ("results", "deliveries")]
            )
    assert tables[0] == tables[1]
