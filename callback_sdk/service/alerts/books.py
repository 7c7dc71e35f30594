"""Books: the alerts and the unsent message that a restart must neither repeat nor lose.

That the database is unavailable is written to a file of the data directory; everything else to the database, which all
services share.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from attrs import define

from callback_sdk.filesystem.files import write_whole
from callback_sdk.service.alerts.decisions import Alert, Change
from callback_sdk.service.store.alerts import AlertStore

_log = logging.getLogger(__name__)

_MAX_BYTES = 4 * 1024 * 1024


@define(frozen=True)
class Message:
    """A message about alerts, which is sent until the receiver has it.

    Attributes:
        message_id: The same in each attempt, so that receivers recognize repeats.
        document: Its JSON.
    """

    message_id: str
    document: dict[str, Any]

    @classmethod
    def of(cls, changes: Sequence[Change], *, service: str, now: str) -> Message:
        """Return a message.

        Args:
            changes: What it says.
            service: URL of the service.
            now: The time in ISO 8601.
        """
        data = {"service": service, "alerts": [change.to_dict() for change in changes]}
        return cls(f"alert_{secrets.token_hex(16)}", {"type": "alerts", "timestamp": now, "data": data})


class Book(Protocol):
    """Storage of alerts and of the message that isn't sent yet."""

    def load(self) -> tuple[dict[str, Alert], Message | None]:
        """Return the alerts by name, and the unsent message."""
        ...

    def save(self, alerts: Mapping[str, Alert], message: Message | None) -> None:
        """Replace the alerts and the unsent message, both or none."""
        ...


class FileBook:
    """A book in a file. One that can't be written is kept in memory, because a full disk is what it may be about.

    Args:
        path: The file.

    Attributes:
        folder: Its directory.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self._path = path
        self._kept: tuple[dict[str, Alert], Message | None] | None = None

    def load(self) -> tuple[dict[str, Alert], Message | None]:
        """See `Book.load`."""
        if self._kept is None:
            self._kept = self._read()
        return self._kept

    def save(self, alerts: Mapping[str, Alert], message: Message | None) -> None:
        """See `Book.save`."""
        self._kept = (dict(alerts), message)
        content = {
            "alerts": [alert.to_dict() for alert in alerts.values()],
            "message": None if message is None else [message.message_id, message.document],
        }
        try:
            write_whole(self._path, [orjson.dumps(content)])
        except OSError as error:
            _log.warning("%s can't be written, so a restart may repeat alerts: %s.", self._path, error.strerror)

    def _read(self) -> tuple[dict[str, Alert], Message | None]:
        try:
            content = orjson.loads(self._path.read_bytes()[:_MAX_BYTES])
            alerts = [Alert.from_dict(one) for one in content["alerts"]]
            message = None if content["message"] is None else Message(*content["message"])
        except FileNotFoundError:
            return {}, None
        except (OSError, ValueError, TypeError, KeyError):
            _log.warning("%s can't be read, so alerts may be repeated.", self._path)
            return {}, None
        return {alert.problem.name: alert for alert in alerts}, message


class StoreBook:
    """A book in the database.

    Args:
        store: The alerts in the database.
    """

    def __init__(self, store: AlertStore) -> None:
        self._store = store

    def load(self) -> tuple[dict[str, Alert], Message | None]:
        """See `Book.load`."""
        states, found = self._store.load()
        message = None if found is None else Message(*found)
        return {name: Alert.from_dict(state) for name, state in states.items()}, message

    def save(self, alerts: Mapping[str, Alert], message: Message | None) -> None:
        """See `Book.save`."""
        states = {name: alert.to_dict() for name, alert in alerts.items()}
        self._store.save(states, None if message is None else (message.message_id, message.document))
