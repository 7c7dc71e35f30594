"""Fixtures with stores on both databases."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from argon2 import PasswordHasher

from callback_sdk.errors import MissingExtraError
from callback_sdk.redaction import Secret
from callback_sdk.service.access import passwords
from callback_sdk.service.store import Store, open_database, schema
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.tables import key_checks, metadata, schema_compatibility
from callback_sdk.testing import Postgres
from tests.conftest import missing_server

_MAX_DELETED = 1000
"""Rows of a database that is used again."""


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with next to no work: what is computed takes long on purpose."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def cipher() -> CredentialCipher:
    """Give a cipher with a new key."""
    return CredentialCipher([new_key()])


@pytest.fixture(scope="session")
def template(callback_postgres: Postgres) -> str:
    """Give the name of a PostgreSQL database with all tables, for copies: they take a sixth of the time."""
    url = Secret(callback_postgres.create_database())
    database = open_database(url)
    schema.prepare(database, CredentialCipher([new_key()]))
    # Each copy takes the keys of its test.
    database.write(lambda connection: connection.execute(key_checks.delete()))
    database.close()
    return url.reveal().rpartition("/")[2]


@pytest.fixture(scope="session")
def emptied() -> list[Secret[str]]:
    """Give the list of PostgreSQL databases that tests have left empty, for the next ones."""
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Secret[str]:
    """Give the URL of a database of each kind; it is empty unless the test opens a store in PostgreSQL."""
    if request.param == "sqlite":
        return Secret(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    try:
        server = request.getfixturevalue("callback_postgres")
    except MissingExtraError as error:
        missing_server(str(error))
    if "open_store" in request.fixturenames:
        template, emptied = request.getfixturevalue("template"), request.getfixturevalue("emptied")
        return emptied.pop() if emptied else _copy_database(server, template)
    return Secret(server.create_database())


def _copy_database(server: Postgres, template: str) -> Secret[str]:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return Secret(f"{server.url.rpartition('/')[0]}/{name}")


def _is_emptied(url: Secret[str]) -> bool:
    """Delete all rows, which is a tenth of the work of a copy, and return whether another test may use the database."""
    deleted = 0
    try:
        with psycopg.connect(url.reveal().replace("+psycopg", "")) as connection:
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(schema.newest(),)]:
                return False
            # A connection that a test has left may hold locks.
            connection.execute("SET lock_timeout = '1s'")
            for table in reversed(metadata.sorted_tables):
                # It belongs to the schema.
                if table is schema_compatibility:
                    continue
                deleted += connection.execute(str(table.delete()).encode()).rowcount
    except psycopg.Error:
        return False
    # What was deleted takes space for a while, and counts as work for those who read the table.
    return deleted <= _MAX_DELETED


@pytest.fixture
def open_store(
    request: pytest.FixtureRequest, database_url: Secret[str], cipher: CredentialCipher
) -> Iterator[Callable[[], Store]]:
    """Return a function that opens the same store repeatedly."""
    opened: list[Store] = []

    def open_it() -> Store:
        opened.append(Store(open_database(database_url), cipher))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
    if database_url.reveal().startswith("postgresql") and _is_emptied(database_url):
        request.getfixturevalue("emptied").append(database_url)


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    """Give an empty store."""
    return open_store()
