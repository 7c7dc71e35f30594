"""Announcer: stores the states of a Celery worker's processes, so that the services show them."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence

from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret, without_credentials
from callback_sdk.service.engines.preparation import FAILED, LOADING, READY
from callback_sdk.service.store import open_database
from callback_sdk.service.store.worker_states import REPORT_INTERVAL, ReportedState, WorkerStateStore

_log = logging.getLogger(__name__)

_TICK = 1.0
"""Seconds between checks of the states."""

_MAX_PROBLEM = 1000
"""Maximum characters of a problem."""


class Announcer:
    """Stores the states when they change, and every few seconds, in a thread of its own.

    The worker doesn't depend on it: the database may be unavailable.

    Args:
        database: URL of the database.
        states: Returns name, whether it is loading, and problem of each process.
    """

    def __init__(
        self, database: Secret[str], states: Callable[[], Sequence[tuple[str, bool, str | None]]]
    ) -> None:  # fmt: skip
        self._url = database
        self._states = states
        self._prefix = f"{platform.node()[:64]}:{os.getpid()}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Delete the states, if the database is available, and end the thread."""
        self._stopping.set()
        self._thread.join(REPORT_INTERVAL)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._announce()
            except CallbackSDKError as error:  # noqa: PERF203 - outages are rare
                # The processes log an outage of the database.
                _log.debug("The states of the worker can't be stored: %s", error)
                self._stopping.wait(REPORT_INTERVAL)

    def _announce(self) -> None:
        database = open_database(self._url)
        try:
            store = WorkerStateStore(database)
            stored: list[ReportedState] = []
            due = 0.0
            while not self._stopping.is_set():
                states = [self._reported_state(*state) for state in self._states()]
                if states != stored or time.monotonic() >= due:
                    store.report(states)
                    stored, due = states, time.monotonic() + REPORT_INTERVAL
                self._stopping.wait(_TICK)
            store.remove([one.name for one in stored])
        finally:
            database.close()

    def _reported_state(self, name: str, is_loading: bool, problem: str | None) -> ReportedState:
        status = LOADING if is_loading else READY if problem is None else FAILED
        text = None if problem is None else without_credentials(problem, show_plain_queries=True)[:_MAX_PROBLEM]
        return ReportedState(name=f"{self._prefix} {name}", status=status, problem=text)
