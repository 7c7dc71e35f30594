"""Dumps of a PostgreSQL database, by the programs pg_dump and pg_restore of PostgreSQL's client."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import without_credentials
from callback_sdk.service.store.database import StoreUnavailableError

_MAX_TEXT = 600
"""Maximum characters of a program's error."""


def dump(url: sa.URL, target: Path) -> None:
    """Write a consistent dump of a database to a new file, and check that the file can be read.

    Args:
        url: URL of the database.
        target: The file.

    Raises:
        ConfigurationError: pg_dump is not installed, or is older than the server.
        StoreUnavailableError: The dump failed.
    """
    options = ("--format=custom", "--no-owner", "--no-privileges", f"--file={target}")
    _run("pg_dump", [*options, f"--dbname={_without_password(url)}"], url)
    _run("pg_restore", ["--list", str(target)], url)


def load(url: sa.URL, source: Path) -> None:
    """Load a dump to an empty database, completely or not at all.

    Args:
        url: URL of the database.
        source: The dump.

    Raises:
        ConfigurationError: pg_restore is not installed.
        StoreUnavailableError: The dump can't be loaded. The database is unchanged.
    """
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    _run("pg_restore", [*options, f"--dbname={_without_password(url)}", str(source)], url)


def _run(program: str, arguments: Sequence[str], url: sa.URL) -> None:
    path = shutil.which(program)
    if path is None:
        raise ConfigurationError(
            f"The program {program} was not found.",
            hint="Install PostgreSQL's client (Debian: postgresql-client), not older than the server.",
        )
    # Everybody can see a command line, but not the environment of another user's process.
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    run = subprocess.run(  # noqa: S603
        [path, *arguments],
        env={**os.environ, **password},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if run.returncode:
        reason = " ".join(without_credentials(run.stderr.decode(errors="replace")).split())[:_MAX_TEXT]
        raise StoreUnavailableError(
            f"{program} failed: {reason.rstrip('.')}.",
            hint="Check that the database can be reached and is not in use by an upgrade, and that the disk has space.",
        )


def _without_password(url: sa.URL) -> str:
    """Return a URL for libpq, without SQLAlchemy's name of the driver."""
    return url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
