"""Dispatches due tasks and deliveries to the engine, and requeues those whose lease has expired."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from attrs import define

from callback_sdk.concurrency.host_slots import PER_HOST
from callback_sdk.concurrency.leases import LEASE_DURATION
from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.engines import Engine, EngineError
from callback_sdk.service.store import Store, StoreUnavailableError, repairs
from callback_sdk.service.supervision.outages import OutageLog, retry_pause
from callback_sdk.service.supervision.threads import SupervisedThread

_log = logging.getLogger(__name__)

AGAIN_AFTER = 15.0
"""Seconds after which an id that was dispatched but not claimed counts as lost and is dispatched again."""

_MAX_SLEEP = 5.0
"""Maximum seconds between checks of the store."""

_FIRST_PAUSE = 0.5
_MAX_PAUSE = 10.0
"""Maximum seconds between retries while the store or the engine is unavailable."""

_ROUND_TIMEOUT = 180.0
"""Seconds after which a check counts as hanging: more than the sum of the database's and the broker's timeouts."""

_SHORT_SLEEP = 0.25
"""Seconds between checks while more tasks are queued than the engine takes."""

_PAUSE = 0.01
"""Minimum seconds between two checks, so that several wakeups share one."""

_LEASE_CHECK_INTERVAL = 2.0
"""Minimum seconds between checks for expired leases and tasks."""

_MAX_GAP = 10.0
"""Maximum gap between two checks, or clock skew, in seconds, with which missing heartbeats still count."""


@define
class Watch:
    """Measures for how long workers could write heartbeats and the dispatcher could read them.

    A missing heartbeat proves nothing while the database was unavailable, or while this machine, which may run the
    workers too, was suspended. After the database's clock was set forward, every heartbeat looks old.

    Attributes:
        clock_was_set: Whether the database's clock was set forward or back between the last two checks.
    """

    clock_was_set: bool = False
    _since: float | None = None
    _seen_at: float = 0.0
    _clock: float = 0.0

    def interrupt(self) -> None:
        """Restart the measurement with the next check, as the database is unavailable."""
        self._since = None

    def update(self, moment: float, clock: float) -> float:
        """Return for how many seconds missing heartbeats have counted.

        Args:
            moment: The current time of a monotonic clock, in seconds.
            clock: The current time of the database's clock, in seconds.
        """
        passed = moment - self._seen_at
        self.clock_was_set = self._seen_at > 0 and abs(clock - self._clock - passed) > _MAX_GAP
        if self._since is None or passed > _MAX_GAP or self.clock_was_set:
            self._since = moment
        self._seen_at, self._clock = moment, clock
        return moment - self._since


class Dispatcher:
    """A thread that dispatches due tasks and deliveries: on `wakeup`, when one becomes due, and every few seconds.

    Several services may use the same store, each with a dispatcher.

    Args:
        store: The store.
        engine: Transports tasks and deliveries to workers.
        wakeup: Set to make the thread check the store at once.
        slots_wanted: Set while due deliveries may wait for a slot: the end of an attempt sets `wakeup` then.
        lease: Time after the last heartbeat of a worker until its claims expire.
    """

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        wakeup: threading.Event,
        slots_wanted: threading.Event | None = None,
        lease: timedelta = LEASE_DURATION,
    ) -> None:
        self._store = store
        self._engine = engine
        self._lease = lease.total_seconds()
        self._wakeup = wakeup
        self._slots_wanted = slots_wanted or threading.Event()
        self._watch = Watch()
        self._watched_at: float | None = None
        self._outage = OutageLog(_log, failing="Dispatch failed", working="Tasks are dispatched again")
        self._stopping = threading.Event()
        self._thread = SupervisedThread(
            self._loop, name="dispatcher", stopping=self._stopping, round_timeout=_ROUND_TIMEOUT
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        self._wakeup.set()
        self._thread.join()

    def check(self) -> None:
        """Check that the thread runs, and that its latest check succeeded.

        A broker may accept connections but no tasks; a Redis replica does.

        Raises:
            ThreadError: The thread has ended, or hangs.
            EngineError: Nothing can be dispatched.
        """
        self._thread.check()
        if isinstance(error := self._outage.error, CallbackSDKError):
            # A new error each time: raising one object repeatedly would extend its traceback.
            raise EngineError(error.message, hint=error.hint)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            time.sleep(_PAUSE)
            self._wakeup.clear()
            try:
                sleep = self._run_round()
            except Exception as error:  # noqa: BLE001 - the loop must survive any error
                self._retry_later(error)
                self._thread.complete_round()
            else:
                self._outage.record_recovery()
                # Set before the sleep, so that readiness checks during the sleep get the result of this check.
                self._thread.complete_round()
                self._wakeup.wait(sleep)

    def _retry_later(self, error: Exception) -> None:
        """Wait before the next check, even if tasks are submitted meanwhile: it would fail as well."""
        if isinstance(error, StoreUnavailableError):
            self._watch.interrupt()
            self._watched_at = None
        self._stopping.wait(retry_pause(self._outage.record_failure(error), first=_FIRST_PAUSE, max_pause=_MAX_PAUSE))

    def _run_round(self) -> float:
        self._check_leases_and_expiry()
        more = self._send_tasks()
        next_release = self._store.hosts.release_due()
        more = self._send_deliveries() or more
        if more:
            return _SHORT_SLEEP
        seconds = self._store.deliveries.next_due()
        # Due ids that were not dispatched wait for free capacity, which sets `wakeup`, or for the process that claimed
        # them.
        return min(_MAX_SLEEP, seconds or _MAX_SLEEP, _MAX_SLEEP if next_release is None else next_release)

    def _send_tasks(self) -> bool:
        """Dispatch as many tasks as the engine takes, and return whether there may be more."""
        more = False
        for capacity in self._engine.capacities():
            taken: list[str] = []
            if capacity.limit > 0:
                taken = self._store.queue.fetch_due(
                    capacity.limit, algorithms=capacity.algorithms, redispatch_after=AGAIN_AFTER
                )
                self._engine.send(capacity, taken)
            more = more or (len(taken) == capacity.limit and self._engine.needs_polling)
        return more

    def _send_deliveries(self) -> bool:
        # Before the slots are counted: an attempt may end at any time.
        self._slots_wanted.set()
        limit, full_hosts = self._engine.delivery_capacity()
        if limit <= 0:
            return self._engine.needs_polling
        full_hosts = {*full_hosts, *self._store.deliveries.busy_hosts(PER_HOST)}
        due = self._store.deliveries.fetch_due(limit, skip_hosts=full_hosts, redispatch_after=AGAIN_AFTER)
        refused = self._engine.send_deliveries(due)
        for delivery_id in refused:
            self._store.deliveries.unmark_dispatched(delivery_id)
        if not full_hosts and not refused and len(due) < limit:
            self._slots_wanted.clear()
        return len(due) == limit

    def _check_leases_and_expiry(self) -> None:
        """Requeue tasks and deliveries whose lease has expired, and end queued tasks that have expired."""
        moment = time.monotonic()
        if self._watched_at is not None and moment - self._watched_at < _LEASE_CHECK_INTERVAL:
            return
        silence = self._watch.update(moment, self._store.clock())
        if self._watch.clock_was_set:
            _log.warning("The database's clock was set; repairing times that lie in its future.")
            repairs.repair_times(self._store.database, lease=self._lease)
        if silence >= self._lease:
            for task in self._store.tasks.reclaim(silent_for=self._lease):
                _log.warning(
                    "Task %s: lease expired, %s.",
                    task.job_id,
                    "failing it after its last run" if task.has_failed else "requeueing",
                    extra={"action": "take_back", "job_id": task.job_id, "attempt": task.attempt},
                )
            self._store.deliveries.reclaim(silent_for=self._lease)
        if count := self._store.hosts.end_expired():
            _log.warning("%d held deliveries are dead: their targets expired, or their hosts are gone.", count)
        for job_id in self._store.tasks.end_expired(self._problem_of_workers()):
            _log.info("Task %s expired before it was started.", job_id, extra={"action": "expire", "job_id": job_id})
        for job_id in self._store.batches.end_complete():
            _log.info("Batch %s: all tasks and deliveries have ended.", job_id, extra={"job_id": job_id})
        self._watched_at = moment

    def _problem_of_workers(self) -> str | None:
        """Return why none of the workers in this process can start a task; None if one can, or if it has none."""
        workers = self._engine.workers()
        if any(one.is_available for one in workers):
            return None
        return next((one.problem for one in workers if one.problem is not None), None)
