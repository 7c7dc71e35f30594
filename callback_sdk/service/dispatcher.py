"""Sends what is due: waiting tasks to the engine, deliveries to the deliverer."""

from __future__ import annotations

import logging
import threading
import time

from callback_sdk.service.deliverer import Deliverer
from callback_sdk.service.engines import Engine
from callback_sdk.service.store import Store

_log = logging.getLogger(__name__)

_BATCH = 100
"""Tasks or deliveries that are looked up at once."""

_LONGEST_SLEEP = 5.0
"""Seconds between looks at the store when nothing is known to become due."""


class Dispatcher:
    """A thread that looks into the store when woken, when something is due, and now and then.

    Args:
        store: The truth.
        engine: Brings tasks to workers.
        deliverer: Makes attempts at deliveries.
    """

    def __init__(self, *, store: Store, engine: Engine, deliverer: Deliverer) -> None:
        self._store = store
        self._engine = engine
        self._deliverer = deliverer
        self._awake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Take up the work."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something may be due."""
        self._awake.set()

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def deliver(self, job_id: str) -> None:
        """Make the first attempts of an ended task at once; those that find no room come later."""
        for delivery_id, host in self._store.due_of(job_id):
            self._deliverer.send(delivery_id, host)
        self.wake()

    def _loop(self) -> None:
        while not self._stopping:
            self._awake.clear()
            try:
                self._send_tasks()
                self._send_deliveries()
                sleep = self._until_next()
            except Exception:  # noqa: BLE001 - the loop must outlive every fault
                _log.exception("The store could not be read; another look follows.")
                sleep = _LONGEST_SLEEP
            self._awake.wait(sleep)

    def _send_tasks(self) -> None:
        for job_id in self._store.pending(_BATCH):
            self._engine.send(job_id)

    def _send_deliveries(self) -> None:
        while True:
            due = self._store.due(_BATCH, skip_hosts=self._deliverer.full_hosts())
            sent = [delivery_id for delivery_id, host in due if self._deliverer.send(delivery_id, host)]
            if not sent or len(due) < _BATCH:
                return

    def _until_next(self) -> float:
        moment = self._store.next_due()
        if moment is None:
            return _LONGEST_SLEEP
        # What is due now and was not sent waits for a free thread, which wakes the loop.
        return min(_LONGEST_SLEEP, moment - time.time()) if moment > time.time() else _LONGEST_SLEEP
