"""callback_sdk.service.store.schema"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, open_database, schema
from callback_sdk.service.store.cipher import CredentialCipher
from callback_sdk.service.store.tables import schema_compatibility


def test_the_revisions_are_alembics() -> None:
    """The names of the files begin with them, and the newest one is the last."""
    script = ScriptDirectory.from_config(schema._config())
    assert schema._revisions() == {one.revision for one in script.walk_revisions()}
    assert schema.newest() == script.get_current_head()


def test_a_database_is_created_and_opened_without_alembic(
    database_url: Secret[str], cipher: CredentialCipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of a service and of its workers opens it when it starts; only an upgrade needs Alembic."""
    monkeypatch.setitem(sys.modules, "alembic", None)
    for _ in range(2):
        with contextlib.closing(Store(open_database(database_url), cipher)) as store:
            assert schema.revision(store.database) == schema.newest()


def _stamp(store: Store, found: str, oldest: str | None) -> None:
    """Set the revision, and the oldest one whose version of the package works with the schema."""
    statements = [
        sa.text("UPDATE alembic_version SET version_num = :found").bindparams(found=found),
        schema_compatibility.delete(),
        *([] if oldest is None else [schema_compatibility.insert().values(name="oldest", revision=oldest)]),
    ]
    store.database.write(lambda connection: [connection.execute(statement) for statement in statements])


@pytest.mark.parametrize(
    ("found", "oldest", "said"),
    [("0001", None, "db upgrade"), ("9999", None, "doesn't know"), ("9999", "9998", "doesn't know")],
)
def test_a_schema_that_the_package_does_not_work_with_is_an_error(
    open_store: Callable[[], Store], cipher: CredentialCipher, found: str, oldest: str | None, said: str
) -> None:
    """An older one needs an upgrade, and a newer one a newer package."""
    store = open_store()
    _stamp(store, found, oldest)
    with pytest.raises(ConfigurationError, match=said):
        schema.prepare(store.database, cipher)


def test_a_newer_schema_that_works_with_the_package_is_accepted(
    open_store: Callable[[], Store], cipher: CredentialCipher
) -> None:
    """In a rolling upgrade old processes start beside new ones, and an upgrade by the old version changes nothing."""
    store = open_store()
    _stamp(store, "9999", schema.newest())
    assert open_store().tasks.counts() == {"Pending": 0, "In Progress": 0}
    assert schema.upgrade(store.database, cipher) == ("9999", "9999")
    assert schema.revision(store.database) == "9999"


def test_the_oldest_user_becomes_an_operator(database_url: Secret[str], cipher: CredentialCipher) -> None:
    """Who may not read results, as nobody decided that; all others stay ordinary users."""
    database = open_database(database_url)

    def create(connection: sa.Connection) -> None:
        command.upgrade(schema._config(connection=connection, cipher=cipher), "0014")
        insert = (
            "INSERT INTO users (user_id, name, token_generation, disabled, created_at) VALUES (:id, :id, 0, :no, :at)"
        )
        rows = [{"id": name, "no": False, "at": at} for name, at in (("bert", 2.0), ("anna", 1.0), ("carl", 3.0))]
        connection.execute(sa.text(insert), rows)

    database.write(create)
    schema.upgrade(database, cipher)
    users = Store(database, cipher).users.all()
    database.close()
    assert [(user.name, user.role, user.may_read) for user in users] == [
        ("anna", "operator", False),
        ("bert", "user", False),
        ("carl", "user", False),
    ]
