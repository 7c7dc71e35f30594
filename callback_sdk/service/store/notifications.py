"""Notifications between processes through PostgreSQL (NOTIFY and LISTEN).

NOTIFY is sent in transactions of its own: it holds a lock of the whole server during the commit, one transaction at a
time, so in the transactions that change tasks it would prevent group commit.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.store.changes import TaskChanges
from callback_sdk.service.store.database import StoreUnavailableError
from callback_sdk.service.supervision.outages import OutageLog, retry_pause

_CHANNEL = "callback_sdk_tasks"

_IDS = 100
"""Ids of a notification. Its payload must be shorter than 8,000 bytes (PostgreSQL, "NOTIFY"); an id has up to 64."""

_MAX_PENDING = 10_000
"""Ids that wait to be sent. Above that, any task may have changed."""

_ANY = "*"

_PAUSE = 0.02
"""Seconds for which changes are collected, so that many of them share one transaction."""

_PROBE = 15.0
"""Seconds between two notifications to itself, which show that the listening connection still receives any."""

_DEAF = 1.0
"""Seconds between two checks of all tasks while no notifications are received."""

_TURN = 0.5
"""Seconds of waiting for notifications, after which the listener looks whether it is stopped."""

NOTIFY = sa.select(sa.func.pg_notify(_CHANNEL, sa.bindparam("_payload", type_=sa.String)))
"""Sends a notification with the parameter `_payload`."""

_log = logging.getLogger(__name__)


@define
class _PendingIds:
    """Ids that wait to be sent, in order; each is sent once."""

    ids: dict[str, None] = field(factory=dict)
    any: bool = False

    def add(self, job_ids: Collection[str] | None) -> None:
        if job_ids is None or len(self.ids) + len(job_ids) > _MAX_PENDING:
            self.ids.clear()
            self.any = True
        elif not self.any:
            self.ids.update(dict.fromkeys(job_ids))

    def texts(self) -> Iterator[str]:
        """Yield what each notification says."""
        if self.any:
            yield _ANY
        ids = iter(self.ids)
        while some := tuple(islice(ids, _IDS)):
            yield ",".join(some)


class NotificationSender:
    """Sends the ids of changed tasks to other processes, in a thread that starts with the first one.

    Args:
        send: Sends payloads. What it can't send is dropped: listeners check all tasks from time to time.

    Attributes:
        origin: Names this process in its notifications.
    """

    def __init__(self, send: Callable[[Sequence[str]], object]) -> None:
        self.origin = secrets.token_hex(4)
        self._send = send
        self._pending = _PendingIds()
        self._lock = Lock()
        self._due = threading.Event()
        self._closed = False
        self._outage = OutageLog(
            _log,
            failing="Changes of tasks are not sent to other processes",
            working="Changes of tasks are sent to other processes again",
        )
        self._thread: threading.Thread | None = None

    def __call__(self, job_ids: Collection[str] | None) -> None:
        """Send ids soon; None for all tasks."""
        with self._lock:
            if self._closed:
                return
            self._pending.add(job_ids)
            if self._thread is None:
                self._start()
        self._due.set()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The limit of threads is reached. The change is committed, so its caller must not fail; the next call tries
            # again.
            self._outage.record_failure(error)
        else:
            self._thread = thread

    def close(self) -> None:
        """Send what is left."""
        with self._lock:
            self._closed, thread = True, self._thread
        self._due.set()
        if thread is not None:
            thread.join()

    def payload(self, text: str) -> str:
        """Return the payload of a notification of this process."""
        return f"{self.origin} {text}"

    def _run(self) -> None:
        while True:
            self._due.wait()
            if not self._closed:
                time.sleep(_PAUSE)
            self._due.clear()
            with self._lock:
                pending, self._pending, closed = self._pending, _PendingIds(), self._closed
            try:
                self._send([self.payload(text) for text in pending.texts()])
            except Exception as error:  # noqa: BLE001 - the thread must survive any error
                self._outage.record_failure(_without_traceback(error))
            else:
                self._outage.record_recovery()
            if closed:
                return


class NotificationListener:
    """Receives the notifications of other processes, and passes them on to the listeners of this one.

    It needs a connection of its own to the server. A connection pool in the mode "transaction", such as PgBouncer's,
    accepts LISTEN and passes no notifications on. So the listener notifies itself now and then, through another
    connection; while it doesn't receive that, the tasks are checked every second.

    Args:
        connect: Opens a connection of psycopg outside of the pool.
        notifier: Sends the notifications to itself.
        send: Sends payloads through another connection.
        changes: The listeners.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        notifier: NotificationSender,
        send: Callable[[Sequence[str]], object],
        changes: TaskChanges,
    ) -> None:
        self._connect = connect
        self._notifier = notifier
        self._send = send
        self._changes = changes
        self._outage = OutageLog(
            _log,
            failing="No notifications from the database, tasks that clients wait for are checked every second",
            working="Notifications from the database are received again",
        )
        self._probe = ""

    def run(self, stopping: threading.Event) -> None:
        """Receive notifications until stopped, and connect again whenever the connection is lost."""
        while not stopping.is_set():
            error = self._receive_until_error(stopping)
            if error is not None:
                pause = retry_pause(self._outage.record_failure(error), max_pause=_PROBE)
                self._check_until(time.monotonic() + pause, stopping)

    def _receive_until_error(self, stopping: threading.Event) -> Exception | None:
        try:
            with self._listening() as connection:
                self._receive(connection, stopping)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error
            return _without_traceback(error)
        return None

    def _check_until(self, end: float, stopping: threading.Event) -> None:
        """Let the listeners check their tasks every second."""
        while not stopping.is_set() and (left := end - time.monotonic()) > 0:
            self._changes.tell(None)
            stopping.wait(min(left, _DEAF))

    @contextmanager
    def _listening(self) -> Iterator[Any]:
        with closing(self._connect()) as connection:
            connection.autocommit = True
            connection.execute(f"LISTEN {_CHANNEL}")
            # What changed before was not received.
            self._changes.tell(None)
            yield connection

    def _receive(self, connection: Any, stopping: threading.Event) -> None:
        probe_due = told_at = -_PROBE
        self._probe = ""
        while not stopping.is_set():
            moment = time.monotonic()
            if moment >= probe_due:
                if self._probe:
                    raise _NotHeardError(
                        "a notification to itself was not received",
                        hint="A connection pool between service and database must be in the mode session, or be "
                        "bypassed.",
                    )
                self._probe, probe_due = secrets.token_hex(4), moment + _PROBE
                self._send([self._notifier.payload(f"?{self._probe}")])
            if self._probe and moment - told_at >= _DEAF:
                self._changes.tell(None)
                told_at = moment
            for notification in connection.notifies(timeout=_TURN):
                self._take(notification.payload)

    def _take(self, payload: str) -> None:
        origin, _, text = payload.partition(" ")
        if origin == self._notifier.origin:
            # This process was told when it sent it.
            if text == f"?{self._probe}":
                self._probe = ""
                self._outage.record_recovery()
        elif text == _ANY:
            self._changes.tell(None)
        elif not text.startswith("?"):
            self._changes.tell([job_id for job_id in text.split(",") if job_id])


def _without_traceback(error: Exception) -> Exception:
    """Return an error of the driver, which all have an SQLSTATE, as one whose traceback isn't logged."""
    return StoreUnavailableError(" ".join(str(error).split())) if hasattr(error, "sqlstate") else error


class _NotHeardError(CallbackSDKError):
    """The database accepts LISTEN, but passes no notifications on."""
