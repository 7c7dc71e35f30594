"""Results on their way to blob storage: they wait for it without holding a slot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from attrs import define

from callback_sdk.service.blobs import BlobMissingError, Blobs, StorageError
from callback_sdk.service.outages import OutageLog, retry_pause
from callback_sdk.service.process import Stop
from callback_sdk.service.threads import SupervisedThread

_log = logging.getLogger(__name__)

LIMIT = 16
"""Runs of one process whose results may wait. Each keeps its files and its claim meanwhile."""

_LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""

_TICK = 0.5
"""Seconds between looks at whether a run that waits was canceled."""

_LONGEST_ROUND = 3600.0
"""Seconds after which a round counts as hanging: a very large upload takes a while."""


@define(kw_only=True)
class Upload:
    """The files of one run that blob storage has to take before the task can end.

    Attributes:
        job_id: The task.
        files: Each file, and the name to keep it under; empty when everything is small enough for the database.
        stop: Breaks the waiting off.
        conclude: Called once, in any thread: with None when all files are kept, otherwise with what prevented it.
    """

    job_id: str
    files: list[tuple[Path, str]]
    stop: Stop
    conclude: Callable[[Exception | None], None]


class PendingUploads:
    """Uploads of one process that wait for blob storage, with the thread that retries them.

    A result may have cost hours, so it is never given up while its run may go on. It must not hold up tasks that need
    no blob storage either: the first attempt is made by the caller, the others here. When `limit` uploads wait, the
    next caller waits too, so that an outage fills neither memory nor disk.

    Args:
        blobs: Where results are kept.
        limit: How many uploads may wait.
    """

    def __init__(self, blobs: Blobs, *, limit: int = LIMIT) -> None:
        self._blobs = blobs
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: list[Upload] = []
        self._stopping = threading.Event()
        self._outage = OutageLog(_log, failing="Results can't be kept", working="Results are kept again")
        self._thread = SupervisedThread(
            self._loop, name="uploads", stopping=self._stopping, longest_round=_LONGEST_ROUND
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and break off what waits. Its tasks run again."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        for upload in self._snapshot():
            self._end(upload, StorageError("The process ends.", hint="The task runs again."))

    def check(self) -> None:
        """Make sure that the thread runs.

        Raises:
            ThreadError: It has ended, or hangs.
        """
        self._thread.check()

    @property
    def count(self) -> int:
        """How many uploads wait."""
        with self._changed:
            return len(self._waiting)

    def store(self, upload: Upload) -> None:
        """Keep the files of a run now if possible, otherwise as soon as blob storage is back.

        Returns when the upload is concluded, or waits in the background.
        """
        # While others wait the storage is known to be away: another attempt would only take time.
        if upload.files and self.count:
            self._add(upload)
            return
        failure: Exception | None = None
        try:
            self._attempt(upload)
        except Exception as error:  # noqa: BLE001 - whatever broke, the claim has to be given back
            if _may_pass(error):
                self._outage.failed(error)
                self._add(upload)
                return
            failure = error
        upload.conclude(failure)

    def _attempt(self, upload: Upload) -> None:
        while upload.files:
            self._blobs.keep(*upload.files[0])
            # One that is kept is gone from the scratch folder, so it must not be kept again.
            del upload.files[0]

    def _add(self, upload: Upload) -> None:
        with self._changed:
            while len(self._waiting) >= self._limit and not upload.stop.done() and not self._stopping.is_set():
                self._changed.wait(_TICK)
            self._waiting.append(upload)
            self._changed.notify_all()

    def _loop(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._thread.complete_round()
            self._wait(retry_pause(failures, first=2.0, longest=_LONGEST_PAUSE) if failures else None)
            failures = 0 if self._round() else failures + 1

    def _wait(self, pause: float | None) -> None:
        """Wait for the end of a pause, or without one for the first upload; conclude what was broken off meanwhile."""
        with self._changed:
            if pause is None:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set(), _TICK)
                return
        while pause > 0 and not self._stopping.wait(min(pause, _TICK)):
            self._end_stopped()
            pause -= _TICK

    def _round(self) -> bool:
        """Attempt every upload until one fails, and return whether none did."""
        self._end_stopped()
        for upload in self._snapshot():
            failure: Exception | None = None
            try:
                self._attempt(upload)
            except Exception as error:  # noqa: BLE001 - whatever broke, the claim has to be given back
                if _may_pass(error):
                    self._outage.failed(error)
                    return False
                failure = error
            self._outage.recovered()
            self._end(upload, failure)
        return True

    def _end_stopped(self) -> None:
        for upload in self._snapshot():
            if upload.stop.done():
                self._end(upload, StorageError("The run was stopped while its results waited for blob storage."))

    def _end(self, upload: Upload, failure: Exception | None) -> None:
        try:
            upload.conclude(failure)
        except Exception:  # noqa: BLE001 - the others wait on; this one is taken back when its lease expires
            _log.exception("Task %s could not be ended; it runs again.", upload.job_id, extra={"job_id": upload.job_id})
        finally:
            with self._changed:
                self._waiting.remove(upload)
                self._changed.notify_all()

    def _snapshot(self) -> list[Upload]:
        with self._changed:
            return list(self._waiting)


def _may_pass(error: Exception) -> bool:
    # When somebody removed the file, only another run can make it again.
    return isinstance(error, StorageError) and not isinstance(error, BlobMissingError)
