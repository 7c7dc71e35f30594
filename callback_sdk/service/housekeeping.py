"""Removes expired data and fails tasks that can never run, at the start and then every hour."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.blobs import BlobStorage, output_name, results_name
from callback_sdk.service.runtime import Runtime
from callback_sdk.service.store import idempotency, repairs
from callback_sdk.service.supervision.threads import PeriodicThread
from callback_sdk.transport.retry import MAX_DELAY

_log = logging.getLogger(__name__)

_INTERVAL = 3600.0
"""Seconds between two rounds."""

KEY_AGE = timedelta(days=1)
"""Retention of idempotency keys."""

UNKNOWN_ALGORITHM_TIMEOUT = timedelta(days=1)
"""Time after which a queued task of an unregistered algorithm fails; a wrong registry may have been deployed."""

_MIN_LOST_AGE = 3600.0
"""Seconds after which output files without a task are removed: a process that lost its claim may upload them."""

AUDIT_RETENTION = timedelta(days=400)
"""Default retention of the audit log: a year, and time to look at it."""

_BATCH_SIZE = 500
"""Maximum tasks deleted in one transaction."""


class Housekeeper(PeriodicThread):
    """A thread that removes expired data. Several services may use the same store, each with such a thread.

    Args:
        runtime: The components of this process.
        keep: Retention of ended tasks and their results; None for unlimited.
        keep_audit: Retention of the audit log.
        wakeup: Called when deliveries have become due.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        keep: timedelta | None = None,
        keep_audit: timedelta = AUDIT_RETENTION,
        wakeup: Callable[[], None],
    ) -> None:
        # Listing a large bucket takes long.
        super().__init__(name="housekeeper", interval=_INTERVAL)
        self._store = runtime.store
        self._blobs: BlobStorage = runtime.blobs
        self._registry = runtime.registry
        self._keep = keep
        self._keep_audit = keep_audit
        self._lease = runtime.lease.total_seconds()
        self._max_delay = max((MAX_DELAY, *(delay * 1.1 for delay in runtime.delivery.retry_delays)))
        self._awake = wakeup
        self._missing: dict[str, float] = {}

    def run_round(self, moment: float | None = None) -> None:
        """Run every step once. A step that fails doesn't prevent the others, and is repeated in the next round.

        Args:
            moment: The time of a monotonic clock, in seconds; None for now.
        """
        steps = (
            self._delete_keys,
            self._delete_audit,
            self._store.sessions.delete_expired,
            self._clean,
            self._remove_lost_outputs,
            self._delete_tasks,
            self._release_space,
            self._repair_times,
        )
        for step in (*steps, lambda: self._end_unknown(time.monotonic() if moment is None else moment)):
            try:
                step()
            except CallbackSDKError as error:  # noqa: PERF203 - eight rounds
                # The database or blob storage is unavailable: there is no bug that a traceback would show.
                _log.warning("Housekeeping skipped: %s", error)
            except Exception:  # noqa: BLE001 - what is left over costs space only
                if self._stopping.is_set():
                    # The store is closed. The first round after the next start repeats the steps.
                    return
                _log.exception("A housekeeping step failed.")

    def _delete_keys(self) -> None:
        idempotency.delete(self._store.database, older_than=KEY_AGE.total_seconds())

    def _delete_audit(self) -> None:
        self._store.audit.delete(older_than=self._keep_audit.total_seconds())

    def _repair_times(self) -> None:
        delay = self._max_delay.total_seconds()
        count = repairs.repair_times(self._store.database, lease=self._lease, max_delay=delay)
        if count:
            _log.warning("Repaired %d times that were written by a wrong clock.", count)
            self._awake()

    def _release_space(self) -> None:
        if released := self._store.database.release_space():
            _log.info("Released %d MB of the database to the file system.", released // 1_000_000)

    def _clean(self) -> None:
        self._blobs.clean(frozenset(self._store.tasks.unfinished_ids()))

    def _end_unknown(self, moment: float) -> None:
        missing = self._store.tasks.unknown_algorithms(list(self._registry))
        if missing:
            _log.warning("Queued tasks need algorithms that this registry doesn't have: %s.", ", ".join(missing))
        self._missing = {name: self._missing.get(name, moment) for name in missing}
        for name, since in self._missing.items():
            if moment - since >= UNKNOWN_ALGORITHM_TIMEOUT.total_seconds():
                waited = f"the task waited {UNKNOWN_ALGORITHM_TIMEOUT} for it"
                error = f"The algorithm {name!r} is no longer registered; {waited}."
                for job_id in self._store.tasks.end_waiting(name, error):
                    _log.warning("Task %s has failed: %s", job_id, error, extra={"job_id": job_id})
                self._awake()

    def _remove_lost_outputs(self) -> None:
        """Remove the output files of runs whose process died, and of tasks that were canceled meanwhile."""
        while not self._stopping.is_set():
            lost = self._store.output_files.lost(older_than=_MIN_LOST_AGE, limit=_BATCH_SIZE)
            for job_id, attempt in lost:
                self._remove_outputs([job_id], attempt)
                self._store.output_files.delete(job_id, attempt)
            if len(lost) < _BATCH_SIZE:
                return

    def _remove_outputs(self, job_ids: Sequence[str], attempt: int | None = None) -> None:
        for file in self._store.output_files.blobs(job_ids):
            if attempt in (None, file.attempt):
                self._blobs.remove(output_name(file.job_id, file.attempt, file.position))

    def _delete_tasks(self) -> None:
        while self._keep is not None and not self._stopping.is_set():
            old = self._store.tasks.purgeable(older_than=self._keep.total_seconds(), limit=_BATCH_SIZE)
            # Blobs before their tasks: if this process is killed in between, the next round finds the tasks again.
            self._remove_outputs([ended.job_id for ended in old])
            for ended in old:
                for attempt in range(1, ended.attempt + 1) if ended.has_blobs else ():
                    self._blobs.remove(results_name(ended.job_id, attempt))
            self._store.tasks.delete([ended.job_id for ended in old])
            if old:
                _log.info("Purged %d tasks that ended more than %s ago.", len(old), self._keep)
            if len(old) < _BATCH_SIZE:
                return
