"""The command `doctor`: checks this machine and what a service needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from callback_sdk.commands.client_options import TokenFile, Url, read_token
from callback_sdk.commands.findings import TIMEOUT, Check, ok, run_all
from callback_sdk.commands.machine_checks import (
    check_disk,
    check_environment,
    check_extras,
    check_versions,
    invalid_settings,
)
from callback_sdk.commands.options import AsJSON, takes_settings
from callback_sdk.commands.printing import print_json, print_table
from callback_sdk.commands.service_checks import (
    check_blobs,
    check_broker,
    check_clock,
    check_database,
    check_keys,
    check_service,
)
from callback_sdk.config.settings import BLOB_STORAGE, BROKER, DATA_DIR, DATABASE, URL

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig

EXIT_FAILURE = 1
"""Exit code if a check has failed. Warnings don't count."""


@takes_settings(DATA_DIR, DATABASE, BLOB_STORAGE, BROKER, read=dict)
def doctor(
    *,
    config: dict[str, str],
    as_json: AsJSON = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Check versions, extras, environment variables, clock, disk, database, broker, blob storage and keys.

    Each line is ok, a warning or a failure, and says what to do. All checks run at the same time, for at most 10 s. The
    output contains no credentials. The database and the blob storage are not changed.

    Exit codes: 0 without a failure; 1 with one; 2 wrong usage.
    """
    environment = {**os.environ, **config}
    checks: dict[str, Check] = {
        "versions": check_versions,
        "extras": check_extras,
        "environment": partial(check_environment, environment),
    }
    settings = _settings(environment)
    url = url or environment.get(URL.variable)
    checks["service"] = partial(check_service, url, read_token(token_file))
    checks["clock"] = partial(check_clock, url, settings)
    if settings is None:
        checks["disk"] = lambda: ok("Not checked: the service isn't installed here.")
    else:
        checks |= {
            "disk": partial(check_disk, settings.data_dir, has_sqlite=settings.database is None),
            "database": partial(check_database, settings),
            "broker": partial(check_broker, settings),
            "blob storage": partial(check_blobs, settings),
            "keys": partial(check_keys, settings),
        }
    found = run_all(checks, timeout=TIMEOUT)
    if as_json:
        print_json(
            [
                {"check": name, "status": finding.status, "message": finding.message, "hint": finding.hint}
                for name, finding in found
            ]
        )
    else:
        rows = ((one.status, name, f"{one.message} {one.hint}".strip()) for name, one in found)
        print_table(("STATUS", "CHECK", "FINDING"), rows)
    if any(finding.status == "failure" for _, finding in found):
        raise typer.Exit(EXIT_FAILURE)


def _settings(environment: Mapping[str, str]) -> ServiceConfig | None:
    """Return the service's settings without invalid ones, which have their own line; None if it isn't installed."""
    if find_spec("sqlalchemy") is None or find_spec("fastapi") is None:
        return None
    from callback_sdk.config.service import ServiceConfig

    invalid = {setting.variable for setting in invalid_settings(environment)}
    return ServiceConfig.from_environ({name: text for name, text in environment.items() if name not in invalid})
