"""Alerter: a thread that observes the service, and sends alerts. Of several services, one sends those that all see.

While the database is unavailable, a service can't start: then each attempt to start it observes, in `failed_start`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from attrs import define

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.alerts import observations
from callback_sdk.service.alerts.books import Book, FileBook, Message, StoreBook
from callback_sdk.service.alerts.decisions import Problem, decide, last_message, observe
from callback_sdk.service.alerts.sender import AlertSender
from callback_sdk.service.blobs import BlobStorage
from callback_sdk.service.engines import Engine
from callback_sdk.service.store import Store, StoreUnavailableError
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.supervision.threads import PeriodicThread

_log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two observations."""

MESSAGE_INTERVAL = 30.0
"""Minimum seconds between two messages. What changes meanwhile is in the next one."""

MAX_CHANGES = 100
"""Maximum number of alerts in a message; the next one has the others."""

LEASE = 60.0
"""Seconds without an observation after which another service sends the alerts."""


@define(frozen=True, kw_only=True)
class AlertSettings:
    """Settings of alerts.

    Attributes:
        sender: Sends the messages.
        queue_age: Age of the oldest queued task that is a problem.
        service: URL of the service, for the messages.
        holder: Name of this service, which stays the same when it is restarted.
    """

    sender: AlertSender
    queue_age: timedelta
    service: str
    holder: str


class Notifier:
    """Sends messages about what changes in books of alerts.

    Args:
        settings: The settings.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._outage = OutageLog(_log, failing="Alerts can't be sent", working="Alerts are sent again")

    def keep(self, book: Book, problems: Sequence[Problem], now: float) -> None:
        """Update a book, and send the message that it has, or one about what has changed."""
        before, message = book.load()
        alerts = observe(before, problems, now)
        if message is None and now - last_message(alerts) >= MESSAGE_INTERVAL:
            changes = decide(alerts, now)[:MAX_CHANGES]
            alerts |= {change.alert.problem.name: change.alert for change in changes}
            if changes:
                at = datetime.fromtimestamp(now, timezone.utc).isoformat()
                message = Message.of(changes, service=self._settings.service, now=at)
                for change in changes:
                    _log.warning("Alert %s: %s", change.status, change.alert.problem.summary)
        if alerts or before:
            # Before it is sent: a crash may repeat the message, with the same id, but doesn't lose it.
            book.save(alerts, message)
        if message is not None and self._send(message):
            book.save(alerts, None)

    def _send(self, message: Message) -> bool:
        try:
            self._settings.sender.send(message)
        except CallbackSDKError as error:
            self._outage.record_failure(error)
            return False
        self._outage.record_recovery()
        return True


class Alerter(PeriodicThread):
    """Observes a service, and sends alerts.

    Args:
        store: The store.
        blobs: The blob storage.
        engine: The engine.
        file: The alerts that must not need the database, in the data directory.
        settings: The settings.
    """

    def __init__(
        self, *, store: Store, blobs: BlobStorage, engine: Engine, file: FileBook, settings: AlertSettings
    ) -> None:
        super().__init__(name="alerts", interval=INTERVAL)
        self._store = store
        self._blobs = blobs
        self._engine = engine
        self._file = file
        self._shared = StoreBook(store.alerts)
        self._settings = settings
        self._notifier = Notifier(settings)

    def run_round(self) -> None:
        """Observe once, and send what there is to say."""
        database = observations.of_check("database", self._store.check, what="The database")
        self._notifier.keep(self._file, [*database, *observations.of_disk(self._file.folder)], time.time())
        if database:
            return
        try:
            if self._store.alerts.hold_lease(self._settings.holder, LEASE):
                self._notifier.keep(self._shared, self._problems(), self._store.clock())
        except StoreUnavailableError:
            # The next round finds it, and has an alert for it.
            return

    def _problems(self) -> list[Problem]:
        return [
            *observations.of_store(self._store, queue_age=self._settings.queue_age),
            *observations.of_workers(self._engine.workers()),
            *observations.of_check("blob-storage", self._blobs.check, what="The blob storage"),
        ]


def failed_start(settings: AlertSettings, file: FileBook, error: StoreUnavailableError) -> None:
    """Alert that the database is unavailable, when services have failed to start because of it for a while.

    Args:
        settings: The settings.
        file: The alerts of the data directory. The alerter of the next service that starts resolves the alert.
        error: The error of this start.
    """

    def check() -> None:
        raise error

    problems = [*observations.of_check("database", check, what="The database"), *observations.of_disk(file.folder)]
    Notifier(settings).keep(file, problems, time.time())
