"""The schema of a database: made, looked at, and brought up to date by Alembic's migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret, strip_traceback
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError
from callback_sdk.service.store.database import Database, StoreUnavailableError, unavailable
from callback_sdk.service.store.tables import deliveries, key_checks

FIRST = "0001"
"""The schema of databases from before there were migrations; they have no table that says so."""

_LOCK = 7_263_541_980
"""Any number: PostgreSQL lets one of those who ask for it migrate at a time."""

_CHECK_NAME = "credentials"


def revision(database: Database) -> str | None:
    """Return the database's revision; None when it is empty."""
    with database.read() as connection:
        return _revision(connection)


def newest() -> str:
    """Return the revision that this version of the package works with."""
    head: str = _script().get_current_head()
    return head


def prepare(database: Database, cipher: CredentialCipher) -> None:
    """Make the schema of an empty database, and refuse any other that is not up to date.

    Args:
        database: The database.
        cipher: Holds the keys of its credentials.

    Raises:
        ConfigurationError: It needs an upgrade, or is newer than this package, or its keys are others.
    """
    found = revision(database)
    if found is None:
        _migrate(database, cipher, is_new=True)
    elif found != newest():
        known = {script.revision for script in _script().walk_revisions()}
        if found not in known:
            raise ConfigurationError(
                f"The database has revision {found}, which this version of callback-sdk doesn't know.",
                hint="Use the version that made it, or a newer one.",
            )
        raise ConfigurationError(
            f"The database has revision {found}, and this version of callback-sdk needs {newest()}.",
            hint="Stop all services and workers that use it, make a backup, and run: callback-sdk db upgrade",
        )
    # Also of one that was empty a moment ago: another process may have made its schema first, with other keys.
    _check_key(database, cipher)


def upgrade(database: Database, cipher: CredentialCipher) -> tuple[str | None, str]:
    """Bring a database up to date, or make its schema when it is empty.

    Afterwards nothing of it holds a credential in plain, free space included. Doing it again does no harm.

    Args:
        database: The database.
        cipher: Encrypts credentials that an old database has in plain.

    Returns:
        Its revisions before and after.

    Raises:
        ConfigurationError: It can't be upgraded, and is as it was; or its keys are others.
        StoreUnavailableError: It can't be written, and is as it was; or it is up to date, but could not be cleaned.
    """
    before = _migrate(database, cipher)
    _check_key(database, cipher)
    if before is not None:
        _clean(database)
    return before, newest()


def rotate(database: Database, cipher: CredentialCipher) -> int:
    """Encrypt all credentials anew with the newest key, so that the older ones can be thrown away.

    Args:
        database: The database.
        cipher: Has the new key first, and all that were used before.

    Returns:
        How many deliveries there are.

    Raises:
        CredentialCipherError: One was encrypted with a key that the cipher doesn't have. Nothing is changed.
    """

    def work(connection: sa.Connection) -> int:
        count = 0
        query = sa.select(deliveries.c.delivery_id, deliveries.c.encrypted_target)
        for delivery_id, target in connection.execute(query).all():
            update = deliveries.update().where(deliveries.c.delivery_id == delivery_id)
            connection.execute(update.values(encrypted_target=cipher.rotate(target)))
            count += 1
        connection.execute(
            key_checks.update()
            .where(key_checks.c.name == _CHECK_NAME)
            .values(encrypted_value=cipher.encrypt(Secret(_CHECK_NAME)))
        )
        return count

    return database.write(work)


def _migrate(database: Database, cipher: CredentialCipher, *, is_new: bool = False) -> str | None:
    """Run the migrations that a database lacks, all or none, and return the revision that it had."""
    from alembic import command
    from alembic.util import CommandError

    def migrate(connection: sa.Connection) -> str | None:
        if connection.dialect.name == "postgresql":
            # Neither a large table nor somebody else's migration is a reason to give up.
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        before = _revision(connection)
        config = _config(connection=connection, cipher=cipher)
        if before == FIRST:
            command.stamp(config, FIRST)
        command.upgrade(config, "head")
        if connection.execute(sa.select(key_checks.c.name).where(key_checks.c.name == _CHECK_NAME)).first() is None:
            connection.execute(
                key_checks.insert(), {"name": _CHECK_NAME, "encrypted_value": cipher.encrypt(Secret(_CHECK_NAME))}
            )
        return before

    done = "created" if is_new else "upgraded, and is as it was"
    try:
        return database.write(migrate)
    except StoreUnavailableError as error:
        raise type(error)(
            f"The database {database.place} was not {done}. {error.message}", hint=error.hint
        ) from error.__cause__
    except (sa.exc.SQLAlchemyError, CommandError) as error:
        cause = strip_traceback(error)
        reason = " ".join(str(getattr(cause, "orig", cause)).split())[:300]
    raise ConfigurationError(
        f"The database {database.place} was not {done}: {reason}.",
        hint="Is it callback-sdk's own? If so, report this with the backup's schema.",
    )


def _clean(database: Database) -> None:
    """Write anew what may hold credentials in plain where rows were before: they outlast an update there."""
    statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
    if database.engine.dialect.name == "postgresql":
        statements = ["SET statement_timeout = 0", "VACUUM (FULL) deliveries", "VACUUM (FULL) delivery_attempts"]
    try:
        with unavailable(), database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            # Its settings are not for whoever would have it next.
            connection.invalidate()
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"The database is up to date, but may still hold old credentials in plain. {error.message}",
            hint="See that its disk has as much room again as it takes, and run callback-sdk db upgrade once more.",
        ) from error.__cause__


def _check_key(database: Database, cipher: CredentialCipher) -> None:
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
            "The database's credentials were encrypted with other keys than this process has.",
            hint="Give CALLBACK_SDK_ENCRYPTION_KEYS the keys of the service that made it; without it, they are in the "
            "file keys of that service's data folder.",
        ) from None


def _revision(connection: sa.Connection) -> str | None:
    names = sa.inspect(connection).get_table_names()
    if "alembic_version" in names:
        found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return found
    return FIRST if "tasks" in names else None


def _config(**attributes: Any) -> Any:
    from alembic.config import Config

    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _script() -> Any:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())
