"""Checks of `callback-sdk doctor` of a service and what it needs: clock, database, broker, blob storage and keys."""

from __future__ import annotations

import stat
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callback_sdk.commands.findings import Finding, failure, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.redaction import Secret

SKEW = 30.0
MAX_SKEW = 300.0
"""Seconds of difference between two clocks that are noticeable, and that receivers of webhooks reject."""


def check_service(url: str | None, token: Secret[str] | None) -> list[Finding]:
    """Check that the service at a URL is ready, has this version and accepts the token."""
    if not url:
        return ok("Not configured: CALLBACK_SDK_URL is not set.")
    from callback_sdk.client import Client
    from callback_sdk.commands.health import request_readiness, service_root
    from callback_sdk.config.client import ClientConfig

    root = service_root(url)
    answer = request_readiness(root, is_local=False)
    if not answer.is_ready:
        return failure(f"The service is not ready: {answer.problem}", "See the service's log.")
    with Client(url, token=token, retries=0, config=ClientConfig.from_environ()) as client:
        list(client.get_tasks(limit=1))
    return ok(f"{root} is ready, and accepts the token.")


def check_clock(url: str | None, config: ServiceConfig | None) -> list[Finding]:
    """Compare this machine's clock with those of the service and of the database server."""
    found = [finding for name, theirs in _clocks(url, config) for finding in compare_clocks(name, theirs - time.time())]
    problems = [finding for finding in found if finding.status != "ok"]
    return problems or found or ok("There is no other clock to compare with: no service and no PostgreSQL.")


def compare_clocks(name: str, seconds: float) -> list[Finding]:
    """Return the finding for a clock.

    Args:
        name: Whose clock it is.
        seconds: How far it is ahead of this machine's.
    """
    if abs(seconds) <= SKEW:
        # A response has whole seconds, and took some time: a smaller difference can't be told from none.
        return ok(f"The clock of {name} agrees with this machine's.")
    text = f"The clock of {name} differs by {abs(seconds):.0f} s from this machine's."
    hint = "Synchronize both: timedatectl set-ntp true. For a container, that of its host."
    if abs(seconds) > MAX_SKEW:
        return failure(f"{text} Signatures and webhooks are rejected.", hint)
    return warning(text, hint)


def check_database(config: ServiceConfig) -> list[Finding]:
    """Check that the database responds, can be written, and has the schema of this version."""
    places = _places(config)
    if config.database is None and not (places.data / "store.sqlite3").is_file():
        return ok(f"{config.data_dir} has no database yet; callback-sdk serve creates one.")
    from callback_sdk.service.store import open_database, schema

    with closing(open_database(places.database_url())) as database:
        database.check()
        revision, newest = schema.revision(database), schema.newest()
        if revision is None:
            return ok(f"{database.place} is empty; callback-sdk serve creates the tables.")
        if revision > newest:
            return failure(
                f"{database.place} has revision {revision}, newer than this version's {newest}.",
                "Use the version of callback-sdk that upgraded it, or a newer one.",
            )
        if revision < newest:
            return failure(
                f"{database.place} has revision {revision}, and this version needs {newest}.",
                "Stop services and workers, make a backup, and run: callback-sdk db upgrade",
            )
        return ok(f"{database.place} responds, with revision {revision}.")


def check_broker(config: ServiceConfig) -> list[Finding]:
    """Connect to the message broker."""
    if config.broker is None:
        if config.engine == "celery":
            return failure("CALLBACK_SDK_ENGINE is celery, and there is no broker.", "Set CALLBACK_SDK_BROKER.")
        return ok("Not configured: tasks run in the service's own processes.")
    from callback_sdk.errors import needs_extra

    with needs_extra("celery"):
        from callback_sdk.service.engines import celery

    app = celery.make_app(celery.require_broker(config.broker))
    try:
        celery.check_broker(app)
    finally:
        app.close()
    return ok("The broker responds.")


def check_blobs(config: ServiceConfig) -> list[Finding]:
    """Check that the blob storage can be reached."""
    places = _places(config)
    if config.blob_storage is None and not (places.data / "blobs").is_dir():
        return ok(f"{config.data_dir} has no blobs yet; callback-sdk serve creates their directory.")
    places.open_blobs().check()
    return ok(f"{config.blob_storage or places.data / 'blobs'} responds.")


def check_keys(config: ServiceConfig) -> list[Finding]:
    """Check the encryption keys, and the secrets that sign webhooks."""
    from callback_sdk import webhooks

    found = list(_encryption_keys(config))
    for secret in config.webhook_secrets:
        webhooks.decode_secret(secret)
    if not config.webhook_secrets:
        found += ok("CALLBACK_SDK_WEBHOOK_SECRETS is not set: webhooks are sent without a signature of the service.")
    problems = [finding for finding in found if finding.status != "ok"]
    return problems or found


def _encryption_keys(config: ServiceConfig) -> Iterator[Finding]:
    places = _places(config)
    file = places.data / "keys"
    if not config.encryption_keys and not file.is_file():
        if config.database is not None:
            yield from failure(
                "There are no encryption keys for this database.",
                "Set CALLBACK_SDK_ENCRYPTION_KEYS to the keys of the service that created it.",
            )
        else:
            yield from ok("There are no encryption keys yet; callback-sdk serve creates one.")
        return
    from callback_sdk.service.store import open_database, schema

    cipher = places.cipher()
    if not config.encryption_keys and stat.S_IMODE(file.stat().st_mode) & 0o077:
        yield from warning(f"Other users can read {file}.", f"chmod 600 {file}")
    if config.database is not None or (places.data / "store.sqlite3").is_file():
        with closing(open_database(places.database_url())) as database:
            if schema.revision(database) is not None:
                schema.check_key(database, cipher)
    yield from ok("The encryption keys are those of the database.")


def _clocks(url: str | None, config: ServiceConfig | None) -> Iterator[tuple[str, float]]:
    """Yield the clocks that can be read. What can't be reached is reported by the other checks."""
    from callback_sdk.errors import CallbackSDKError

    with suppress(CallbackSDKError, OSError):
        yield from _service_clock(url)
    with suppress(CallbackSDKError, OSError):
        yield from _database_clock(config)


def _service_clock(url: str | None) -> Iterator[tuple[str, float]]:
    if not url:
        return
    from callback_sdk.commands.health import request_readiness, service_root

    date = request_readiness(service_root(url), is_local=False).date
    if date is not None:
        yield "the service", date.timestamp()


def _database_clock(config: ServiceConfig | None) -> Iterator[tuple[str, float]]:
    if config is None or config.database is None:
        return
    import sqlalchemy as sa

    from callback_sdk.service.store import clock, open_database

    with closing(open_database(config.database)) as database, database.read() as connection:
        yield "the database server", connection.execute(sa.select(clock.now())).scalar_one()


def _places(config: ServiceConfig) -> Any:
    from callback_sdk.service.runtime import StorageLocations

    return StorageLocations.of(config, Path(config.data_dir).absolute())
