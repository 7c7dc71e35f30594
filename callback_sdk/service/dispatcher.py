"""Sends what is due: waiting tasks and deliveries to the engine; and takes back what dead workers held."""

from __future__ import annotations

import logging
import threading
import time

from callback_sdk.service.claims import LEASE
from callback_sdk.service.deliverer import PER_HOST
from callback_sdk.service.engines import Engine
from callback_sdk.service.store import Store, StoreUnavailableError, keys

_log = logging.getLogger(__name__)

AGAIN_AFTER = 15.0
"""Seconds after which an id that an engine was given, and nobody claimed, counts as lost and is given again."""

_LONGEST_SLEEP = 5.0
"""Seconds between looks at the store when nothing is known to become due."""

_SHORT_SLEEP = 0.25
"""Seconds between looks while more waits than the engine takes."""

_PAUSE = 0.01
"""Seconds between two looks at least: what wakes the loop meanwhile shares the next one."""

_WATCH = 5.0
"""Seconds between looks for dead workers."""

_TIDY = 3600.0
"""Seconds between looks for what is too old."""

KEY_AGE = 24 * 3600.0
"""Seconds that an idempotency key is remembered."""


class Dispatcher:
    """A thread that looks into the store when woken, when something is due, and now and then.

    Any number of services may have one each on the same store.

    Args:
        store: The truth.
        engine: Brings tasks and deliveries to workers.
        awake: Whoever sets it makes the thread look at once.
    """

    def __init__(self, *, store: Store, engine: Engine, awake: threading.Event) -> None:
        self._store = store
        self._engine = engine
        self._awake = awake
        self._stopping = False
        self._reachable_since: float | None = None
        self._watched_at = self._tidied_at = 0.0
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Take up the work."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping:
            time.sleep(_PAUSE)
            self._awake.clear()
            try:
                sleep = self._look()
            except StoreUnavailableError as error:
                self._reachable_since = None
                _log.error("Nothing can be dispatched: %s", error)
                sleep = _LONGEST_SLEEP
            except Exception:  # noqa: BLE001 - the loop must outlive every fault
                _log.exception("Something could not be dispatched; another look follows.")
                sleep = _LONGEST_SLEEP
            self._awake.wait(sleep)

    def _look(self) -> float:
        self._watch()
        self._tidy()
        more = self._send_tasks()
        more = self._send_deliveries() or more
        if more:
            return _SHORT_SLEEP
        seconds = self._store.deliveries.next_due()
        # What is due now and was not sent waits for room, which wakes the loop, or for whoever has it.
        return min(_LONGEST_SLEEP, seconds) if seconds else _LONGEST_SLEEP

    def _send_tasks(self) -> bool:
        """Give the engine as many tasks as it takes, and return whether there may be more."""
        more = False
        for room in self._engine.rooms():
            taken: list[str] = []
            if room.limit > 0:
                taken = self._store.tasks.take(room.limit, algorithms=room.algorithms, again_after=AGAIN_AFTER)
                self._engine.send(room, taken)
            more = more or (len(taken) == room.limit and self._engine.silent)
        return more

    def _send_deliveries(self) -> bool:
        limit, full_hosts = self._engine.delivery_room()
        if limit <= 0:
            return self._engine.silent
        full_hosts = {*full_hosts, *self._store.deliveries.busy_hosts(PER_HOST)}
        due = self._store.deliveries.take(limit, skip_hosts=full_hosts, again_after=AGAIN_AFTER)
        for delivery_id in self._engine.send_deliveries(due):
            self._store.deliveries.give_back(delivery_id)
        return len(due) == limit

    def _watch(self) -> None:
        """Take back what workers held that have been silent for too long.

        While the database was away nobody could give a sign of life, so the silence counts from its return.
        """
        moment = time.monotonic()
        if self._reachable_since is None:
            self._store.check()
            self._reachable_since = moment
        if moment - self._reachable_since < LEASE or moment - self._watched_at < _WATCH:
            return
        self._watched_at = moment
        for job_id, attempt in self._store.tasks.take_back(silent_for=LEASE):
            _log.warning(
                "Task %s: its worker was not heard of any more.",
                job_id,
                extra={"action": "take_back", "job_id": job_id, "attempt": attempt},
            )
        self._store.deliveries.take_back(silent_for=LEASE)

    def _tidy(self) -> None:
        moment = time.monotonic()
        if not self._tidied_at or moment - self._tidied_at > _TIDY:
            self._tidied_at = moment
            keys.forget(self._store.database, older_than=KEY_AGE)
