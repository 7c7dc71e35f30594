"""The schema of a database: created from the tables, checked, and upgraded by Alembic's migrations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret, strip_traceback
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.database import Database, StoreUnavailableError, unavailable
from callback_sdk.service.store.tables import (
    batches,
    deliveries,
    key_checks,
    metadata,
    schema_compatibility,
    signing_secrets,
)

_log = logging.getLogger(__name__)

FIRST = "0001"
"""The revision of databases that were created before there were migrations, and have no `alembic_version`."""

_MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK = 7_263_541_980
"""An arbitrary key of PostgreSQL's advisory locks: one process migrates at a time."""

_LAST_WITH_CREDENTIALS = "0006"
"""The revision whose migration removed the last credentials in plain text."""

OLDEST = "0020"
"""The oldest revision whose version of the package works with the newest schema."""

_LOCK_TIMEOUT = 10_000
"""Milliseconds that a migration waits for a table: while it waits, nobody else can use the table."""

_CHECK_NAME = "credentials"

_versions = sa.Table(
    "alembic_version",
    # Alembic's own table, which is none of the store's.
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


class _MigrationError(Exception):
    """Alembic can't run the migrations."""


_ENCRYPTED: tuple[tuple[sa.Column[Any], sa.Column[Any]], ...] = (
    (deliveries.c.delivery_id, deliveries.c.encrypted_target),
    (signing_secrets.c.secret_id, signing_secrets.c.encrypted_secret),
    (batches.c.job_id, batches.c.encrypted_target),
)
"""Keys and columns of encrypted credentials."""


def revision(database: Database) -> str | None:
    """Return the database's revision; None when it is empty."""
    with database.read() as connection:
        return _revision(connection)


def newest() -> str:
    """Return the revision that this version of the package works with."""
    return max(_revisions())


def prepare(database: Database, cipher: CredentialCipher) -> None:
    """Create the schema of an empty database, and reject any other that this version of the package can't use.

    A newer schema is accepted if it says so: during a rolling upgrade, old workers start beside new ones.

    Args:
        database: The database.
        cipher: Holds the keys of its credentials.

    Raises:
        ConfigurationError: The database needs an upgrade, is newer than this package, or has other encryption keys.
    """
    found = revision(database)
    if found is None:
        _migrate(database, cipher, is_new=True)
    elif found not in _revisions():
        _check_newer(database, found)
    elif found != newest():
        raise ConfigurationError(
            f"The database has revision {found}, and this version of callback-sdk needs {newest()}.",
            hint="Make a backup, and run: callback-sdk db upgrade",
        )
    # Also after creating it: another process may have created the schema first, with other keys.
    check_key(database, cipher)


def upgrade(database: Database, cipher: CredentialCipher) -> tuple[str | None, str]:
    """Upgrade a database, or create its schema if it is empty. Idempotent.

    Afterwards the database has no credential in plain text, not even in its free space.

    Args:
        database: The database.
        cipher: Encrypts credentials that an old database has in plain text.

    Returns:
        Its revisions before and after.

    Raises:
        ConfigurationError: The upgrade failed and changed nothing, or the database has other encryption keys.
        StoreUnavailableError: The database can't be written and is unchanged, or is upgraded, but its free space could
            not be cleaned.
    """
    before = revision(database)
    if before is not None and before not in _revisions():
        _check_newer(database, before)
        return before, before
    before = _migrate(database, cipher)
    check_key(database, cipher)
    if before is not None and (before < _LAST_WITH_CREDENTIALS or database.engine.dialect.name == "sqlite"):
        _clean(database)
    return before, newest()


def rotate(database: Database, cipher: CredentialCipher) -> int:
    """Re-encrypt all credentials with the newest key, so that the older keys can be removed.

    Args:
        database: The database.
        cipher: The new key first, then all keys used before.

    Returns:
        The number of deliveries.

    Raises:
        CredentialCipherError: A credential was encrypted with a key that the cipher doesn't have. Nothing is changed.
    """

    def work(connection: sa.Connection) -> int:
        counts = [_rotate_column(connection, key, column, cipher) for key, column in _ENCRYPTED]
        connection.execute(
            key_checks.update()
            .where(key_checks.c.name == _CHECK_NAME)
            .values(encrypted_value=cipher.encrypt(Secret(_CHECK_NAME)))
        )
        return counts[0]

    return database.write(work)


def _rotate_column(
    connection: sa.Connection, key: sa.Column[Any], column: sa.Column[Any], cipher: CredentialCipher
) -> int:
    """Re-encrypt a column, and return the number of rows."""
    rows = connection.execute(sa.select(key, column)).all()
    for ident, encrypted in rows:
        connection.execute(key.table.update().where(key == ident).values({column.name: cipher.rotate(encrypted)}))
    return len(rows)


def _migrate(database: Database, cipher: CredentialCipher, *, is_new: bool = False) -> str | None:
    """Create the schema, or run the migrations that a database lacks, all or none; return the revision that it had."""

    def migrate(connection: sa.Connection) -> str | None:
        if connection.dialect.name == "postgresql":
            # The migration of a large table, or waiting for another process's migration, exceeds the usual timeout.
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            connection.execute(sa.text(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT}"))
        before = _revision(connection)
        if before is None:
            _create(connection)
        elif before != newest():
            _run_migrations(connection, cipher, before)
        if connection.execute(sa.select(key_checks.c.name).where(key_checks.c.name == _CHECK_NAME)).first() is None:
            connection.execute(
                key_checks.insert(), {"name": _CHECK_NAME, "encrypted_value": cipher.encrypt(Secret(_CHECK_NAME))}
            )
        connection.execute(schema_compatibility.delete())
        connection.execute(schema_compatibility.insert(), {"name": "oldest", "revision": OLDEST})
        return before

    done = "created" if is_new else "upgraded and is unchanged"
    try:
        return database.write(migrate)
    except StoreUnavailableError as error:
        raise type(error)(
            f"The database {database.place} was not {done}. {error.message}", hint=error.hint
        ) from error.__cause__
    except (sa.exc.SQLAlchemyError, _MigrationError) as error:
        cause = strip_traceback(error)
        reason = " ".join(str(getattr(cause, "orig", cause)).split())[:300]
    raise ConfigurationError(
        f"The database {database.place} was not {done}: {reason}.",
        hint="Check that the database belongs to callback-sdk. If it does, report this with the schema of the backup.",
    )


def _create(connection: sa.Connection) -> None:
    """Create all tables as the newest migration leaves them: ten times as fast as all migrations."""
    metadata.create_all(connection)
    _versions.create(connection)
    connection.execute(_versions.insert(), {"version_num": newest()})


def _run_migrations(connection: sa.Connection, cipher: CredentialCipher, before: str | None) -> None:
    # Imported here, because few processes migrate a database.
    from alembic import command
    from alembic.util import CommandError

    config = _config(connection=connection, cipher=cipher)
    try:
        if before == FIRST:
            command.stamp(config, FIRST)
        command.upgrade(config, "head")
    except CommandError as error:
        raise _MigrationError(str(error)) from error


def _clean(database: Database) -> None:
    """Rewrite the files: updated and deleted rows stay in free pages and dead tuples, in plain text."""
    statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
    again = "run callback-sdk db upgrade again"
    if database.engine.dialect.name == "postgresql":
        again = "run VACUUM (FULL) of deliveries and delivery_attempts in the database"
        # Another upgrade that waited for the lock during the migration has a snapshot of before, whose rows VACUUM
        # keeps. The lock is granted in order, so all of these have had it when it is granted here.
        passed = f"SELECT pg_advisory_lock({_LOCK}), pg_advisory_unlock({_LOCK})"
        tables = ["VACUUM (FULL) deliveries", "VACUUM (FULL) delivery_attempts"]
        statements = ["SET statement_timeout = 0", passed, *tables]
    try:
        with unavailable(), database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            # Don't return the connection to the pool with this statement_timeout.
            connection.invalidate()
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"The database is up to date, but may still hold old credentials in plain text. {error.message}",
            hint=f"Free as much disk space as the database occupies, then {again}.",
        ) from error.__cause__


def _check_newer(database: Database, found: str) -> None:
    """Check that a schema which is newer than this package works with it; see `schema_compatibility`.

    Raises:
        ConfigurationError: It doesn't.
    """
    oldest: str | None = None
    with database.read() as connection:
        if sa.inspect(connection).has_table(schema_compatibility.name):
            oldest = connection.execute(sa.select(schema_compatibility.c.revision)).scalar()
    if oldest is None or newest() < oldest:
        raise ConfigurationError(
            f"The database has revision {found}, which this version of callback-sdk doesn't know.",
            hint="Use the version of callback-sdk that created the database, or a newer version.",
        )
    _log.info("The database has the newer revision %s. This version of callback-sdk works with it.", found)


def check_key(database: Database, cipher: CredentialCipher) -> None:
    """Check that a cipher has the keys of a database.

    Raises:
        ConfigurationError: The database has other encryption keys.
    """
    with database.read() as connection:
        encrypted = connection.execute(
            sa.select(key_checks.c.encrypted_value).where(key_checks.c.name == _CHECK_NAME)
        ).scalar()
    if encrypted is None:
        return
    try:
        cipher.decrypt(encrypted)
    except CredentialCipherError:
        raise ConfigurationError(
            "The credentials in the database were encrypted with other keys than this process has.",
            hint="Set CALLBACK_SDK_ENCRYPTION_KEYS to the keys of the service that created the database. By default "
            "they are in the file keys of that service's data directory.",
        ) from None


def _revision(connection: sa.Connection) -> str | None:
    names = sa.inspect(connection).get_table_names()
    if "alembic_version" in names:
        found: str | None = connection.execute(sa.select(_versions.c.version_num)).scalar()
        return found
    return FIRST if "tasks" in names else None


def _config(**attributes: Any) -> Any:
    from alembic.config import Config

    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _revisions() -> set[str]:
    # By the names of the migrations: to ask Alembic, each process would have to import it, which takes longer than all
    # other work on the database at the start.
    return {path.name[: len(FIRST)] for path in _MIGRATIONS.glob("versions/[0-9]*.py")}
