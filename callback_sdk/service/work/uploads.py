"""Results on their way to blob storage: they wait for it without holding a slot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from pathlib import Path

from attrs import define

from callback_sdk.service.blobs import BlobMissingError, BlobStorage, BlobStorageError, StorageUnavailableError
from callback_sdk.service.supervision.outages import OutageLog, retry_pause
from callback_sdk.service.supervision.threads import SupervisedThread
from callback_sdk.service.work.process import StopSignal

_log = logging.getLogger(__name__)

LIMIT = 16
"""Runs of one process whose results may wait. Each keeps its files and its claim meanwhile."""

_LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most."""

_TICK = 0.5
"""Seconds between looks at whether a run that waits was canceled."""

_LONGEST_ROUND = 3600.0
"""Seconds after which a round counts as hanging: a very large upload takes a while."""


@define(kw_only=True, eq=False)
class BlobUpload:
    """The files of one run that blob storage has to take before the task can end.

    Attributes:
        job_id: The task.
        files: Each file, and the name to keep it under; empty when everything is small enough for the database.
        stop: Breaks the waiting off.
        conclude: Called once, in any thread: with None when all files are kept, otherwise with what prevented it.
    """

    job_id: str
    files: list[tuple[Path, str]]
    stop: StopSignal
    conclude: Callable[[Exception | None], None]


class PendingUploads:
    """Uploads of one process, with the thread that retries those which wait for blob storage.

    A result may have cost hours, so it is never given up while its run may go on. It must not hold up tasks that need
    no blob storage either: whoever brings it waits for the first attempt only. When `limit` uploads wait, the next one
    makes its caller wait, so that an outage fills neither memory nor disk.

    An attempt may hang in a store that doesn't respond. It never keeps an upload from being given back.

    Args:
        blobs: Where results are kept.
        limit: How many uploads may wait.
    """

    def __init__(self, blobs: BlobStorage, *, limit: int = LIMIT) -> None:
        self._blobs = blobs
        self._limit = limit
        self._changed = threading.Condition()
        # Those that are not concluded, and those of them that wait for another attempt, in their order.
        self._open: set[BlobUpload] = set()
        self._waiting: list[BlobUpload] = []
        self._concluding = 0
        self._stopping = threading.Event()
        self._unavailable = False
        self._outage = OutageLog(_log, failing="Results can't be kept", working="Results are kept again")
        self._thread = SupervisedThread(
            self._loop, name="uploads", stopping=self._stopping, longest_round=_LONGEST_ROUND
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Give back what waits, and stop the thread; an attempt that hangs is left behind."""
        self.give_back()
        self._thread.join(_TICK)

    def give_back(self) -> None:
        """Conclude every upload at once, and any that comes: their tasks run again, which is no loss to them."""
        self._stopping.set()
        with self._changed:
            uploads = list(self._open)
        for upload in uploads:
            self._end(upload, BlobStorageError("The process ends.", hint="The task runs again."))

    def check(self) -> None:
        """Make sure that the thread runs.

        Raises:
            ThreadError: It has ended, or hangs.
        """
        self._thread.check()

    @property
    def count(self) -> int:
        """How many uploads are not concluded."""
        with self._changed:
            return len(self._open) + self._concluding

    def store(self, upload: BlobUpload) -> None:
        """Keep the files of a run now if possible, otherwise as soon as blob storage is back.

        Returns when the upload is concluded, or waits in the background.
        """
        with self._changed:
            self._open.add(upload)
        if not upload.files:
            self._end(upload, None)
        elif self._unavailable or self._stopping.is_set() or not self._attempted_aside(upload):
            self._add(upload)

    def _attempted_aside(self, upload: BlobUpload) -> bool:
        """Make the first attempt in a thread of its own, and return whether the upload is concluded by it.

        The caller could not be stopped while it hangs in a connection.
        """
        done: Future[bool] = Future()
        thread = threading.Thread(
            target=lambda: done.set_result(self._try(upload)), name=f"upload-{upload.job_id}", daemon=True
        )
        thread.start()
        while self._is_open(upload):
            with suppress(TimeoutError, FutureTimeoutError):
                return done.result(_TICK)
        return True

    def _try(self, upload: BlobUpload) -> bool:
        """Attempt an upload once, and return whether it is concluded by that."""
        failure: Exception | None = None
        try:
            self._attempt(upload)
        except Exception as error:  # noqa: BLE001 - whatever broke, the claim has to be given back
            self._unavailable = isinstance(error, StorageUnavailableError)
            if isinstance(error, BlobStorageError) and not isinstance(error, BlobMissingError):
                self._outage.failed(error)
                return False
            # When somebody removed the file, only another run can make it again.
            failure = error
        else:
            self._unavailable = False
            self._outage.recovered()
        self._end(upload, failure)
        return True

    def _attempt(self, upload: BlobUpload) -> None:
        while upload.files:
            path, name = upload.files[0]
            if not path.exists():
                raise BlobMissingError(f"{name} is gone before it was kept.", hint="The task runs again.")
            self._blobs.keep(path, name)
            # One that is kept is gone from the scratch folder, so it must not be kept again.
            del upload.files[0]

    def _add(self, upload: BlobUpload) -> None:
        with self._changed:
            while len(self._waiting) >= self._limit and not upload.stop.done() and upload in self._open:
                self._changed.wait(_TICK)
            if upload in self._open and not self._stopping.is_set():
                self._waiting.append(upload)
                self._changed.notify_all()
                return
        self._end(upload, BlobStorageError("The process ends.", hint="The task runs again."))

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
        """Attempt every upload, unless the storage doesn't respond at all; return whether none failed."""
        self._end_stopped()
        failed = 0
        for upload in self._snapshot():
            if self._stopping.is_set():
                break
            if not self._try(upload):
                failed += 1
                if self._unavailable:
                    break
        return not failed

    def _end_stopped(self) -> None:
        for upload in self._snapshot():
            if upload.stop.done():
                self._end(upload, BlobStorageError("The run was stopped while its results waited for blob storage."))

    def _end(self, upload: BlobUpload, failure: Exception | None) -> None:
        """Conclude an upload, unless another thread has done so."""
        with self._changed:
            if upload not in self._open:
                return
            self._open.discard(upload)
            self._concluding += 1
            if upload in self._waiting:
                self._waiting.remove(upload)
        try:
            upload.conclude(failure)
        except Exception:  # noqa: BLE001 - the others wait on; this one is taken back when its lease expires
            _log.exception("Task %s could not be ended; it runs again.", upload.job_id, extra={"job_id": upload.job_id})
        finally:
            with self._changed:
                self._concluding -= 1
                self._changed.notify_all()

    def _is_open(self, upload: BlobUpload) -> bool:
        with self._changed:
            return upload in self._open

    def _snapshot(self) -> list[BlobUpload]:
        with self._changed:
            return list(self._waiting)
