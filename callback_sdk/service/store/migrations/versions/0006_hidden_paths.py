"""Deliveries without `callback_param` in plain text, and without credentials in the paths of URLs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
"""Deliveries in memory at a time."""


class _PlainJSON(sa.TypeDecorator[Secret[str | None]]):
    """A text that may contain a credential, wrapped in `Secret` when it is read."""

    impl = sa.Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Secret[str | None]:
        return Secret(value)


_SHOWN = ("url", "last_error", "receipt")
_DELIVERIES = sa.table(
    "deliveries",
    sa.column("delivery_id"),
    sa.column("target"),
    *(sa.column(name, _PlainJSON() if name != "receipt" else sa.JSON(none_as_null=True)) for name in _SHOWN),
)
_WRITTEN = sa.table(
    "deliveries",
    *(sa.column(name) for name in ("delivery_id", "url", "last_error")),
    sa.column("receipt", sa.JSON(none_as_null=True)),
)
_TRIES = sa.table("tries", sa.column("delivery_id"), sa.column("number"), sa.column("error", _PlainJSON()))
_WRITTEN_TRIES = sa.table("tries", sa.column("delivery_id"), sa.column("number"), sa.column("error"))


def upgrade(cipher: CredentialCipher) -> None:
    """Drop the parameters, which the encrypted targets contain too, and redact credentials in the displayed URLs."""
    connection = op.get_bind()
    for row in _rows(connection):
        url = _url(row, cipher)
        if url.has_secret_path:
            _hide(connection, row, url)
    op.drop_column("deliveries", "param")


def _rows(connection: sa.Connection) -> Iterator[Any]:
    last = ""
    while True:
        some = sa.select(_DELIVERIES).where(_DELIVERIES.c.delivery_id > last)
        found = connection.execute(some.order_by(_DELIVERIES.c.delivery_id).limit(_AT_ONCE)).all()
        if not found:
            return
        yield from found
        last = found[-1].delivery_id


def _url(row: Any, cipher: CredentialCipher) -> SecretURL:
    try:
        return SecretURL(json.loads(cipher.decrypt(row.target).reveal())["url"])
    except CredentialCipherError:
        # The key was removed, so it is no longer known whether the query was a signature.
        return SecretURL(row.url.reveal() or "")


def _hide(connection: sa.Connection, row: Any, url: SecretURL) -> None:
    one = _WRITTEN.c.delivery_id == row.delivery_id
    receipt = None if row.receipt is None else {**row.receipt, "url": str(url)}
    values = {"url": str(url), "last_error": _scrubbed(row.last_error, url), "receipt": receipt}
    connection.execute(_WRITTEN.update().where(one).values(values))
    tries = connection.execute(sa.select(_TRIES).where(_TRIES.c.delivery_id == row.delivery_id)).all()
    for attempt in tries:
        number = _WRITTEN_TRIES.c.number == attempt.number
        update = _WRITTEN_TRIES.update().where(_WRITTEN_TRIES.c.delivery_id == row.delivery_id, number)
        connection.execute(update.values(error=_scrubbed(attempt.error, url)))


def _scrubbed(text: Secret[str | None], url: SecretURL) -> str | None:
    return None if text.reveal() is None else url.scrub(text.reveal() or "")
