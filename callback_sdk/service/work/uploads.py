"""Pending uploads of results to blob storage, which wait for it without occupying a slot."""

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
from callback_sdk.service.work.outcome import StopSignal

_log = logging.getLogger(__name__)

LIMIT = 16
"""Maximum number of pending uploads of one process. Each retains its files and its claim."""

_MAX_PAUSE = 30.0
"""Maximum seconds between two attempts."""

_TICK = 0.5
"""Seconds between checks for canceled runs."""

_ROUND_TIMEOUT = 3600.0
"""Seconds after which a round counts as hanging: a very large upload takes long."""


class UploadInterruptedError(BlobStorageError):
    """The process ended before the results were stored."""


def _interruption() -> UploadInterruptedError:
    return UploadInterruptedError("The process is ending.", hint="The task runs again.")


@define(kw_only=True, eq=False)
class BlobUpload:
    """The files of one run that must be uploaded before the task can end.

    Attributes:
        job_id: The task.
        files: Pairs of file and blob name; empty if everything is small enough for the database.
        stop: Stops the wait.
        conclude: Called once, in any thread: with None if all files are stored, otherwise with the error.
    """

    job_id: str
    files: list[tuple[Path, str]]
    stop: StopSignal
    conclude: Callable[[Exception | None], None]


class PendingUploads:
    """Uploads of one process, with a thread that retries the pending ones.

    A result may have taken hours, so its upload is retried as long as the run has its claim. The caller waits for the
    first attempt only, so that the retries don't delay other tasks. When `limit` uploads are pending, the next caller
    blocks, so that an outage fills neither memory nor disk.

    An attempt may hang if the storage doesn't respond. Uploads can be released nevertheless.

    Args:
        blobs: The blob storage.
        limit: Maximum number of pending uploads.
    """

    def __init__(self, blobs: BlobStorage, *, limit: int = LIMIT) -> None:
        self._blobs = blobs
        self._limit = limit
        self._changed = threading.Condition()
        # All uploads that are not concluded, and those that wait for another attempt, in order.
        self._open: set[BlobUpload] = set()
        self._waiting: list[BlobUpload] = []
        self._concluding: set[BlobUpload] = set()
        self._stopping = threading.Event()
        self._unavailable = False
        self._outage = OutageLog(_log, failing="Results can't be stored", working="Results are stored again")
        self._thread = SupervisedThread(
            self._loop, name="uploads", stopping=self._stopping, round_timeout=_ROUND_TIMEOUT
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Release the pending uploads, and stop the thread; don't wait for an attempt that hangs."""
        self.release_all()
        self._thread.join(_TICK)

    def release_all(self) -> None:
        """Conclude all current and future uploads at once: their tasks run again, which isn't counted as a crash."""
        self._stopping.set()
        with self._changed:
            uploads = list(self._open)
        for upload in uploads:
            self._end(upload, _interruption())

    def check(self) -> None:
        """Check that the thread runs.

        Raises:
            ThreadError: The thread has ended, or hangs.
        """
        self._thread.check()

    @property
    def count(self) -> int:
        """Number of uploads that are not concluded."""
        with self._changed:
            return len(self._open) + len(self._concluding)

    def store(self, upload: BlobUpload) -> None:
        """Upload the files of a run now if possible, otherwise as soon as blob storage is available.

        Returns when the upload is concluded, or pending in the background.
        """
        with self._changed:
            self._open.add(upload)
        if not upload.files:
            self._end(upload, None)
        elif self._unavailable or self._stopping.is_set() or not self._attempt_in_thread(upload):
            self._add(upload)

    def _attempt_in_thread(self, upload: BlobUpload) -> bool:
        """Make the first attempt in a separate thread, and return whether it concluded the upload.

        In the caller's thread, a hanging connection could not be interrupted.
        """
        done: Future[bool] = Future()
        thread = threading.Thread(
            target=lambda: done.set_result(self._try_upload(upload)), name=f"upload-{upload.job_id}", daemon=True
        )
        thread.start()
        while not self._is_concluded(upload):
            with suppress(TimeoutError, FutureTimeoutError):
                return done.result(_TICK)
        return True

    def _try_upload(self, upload: BlobUpload) -> bool:
        """Attempt an upload once, and return whether it is concluded."""
        failure: Exception | None = None
        try:
            self._attempt(upload)
        except Exception as error:  # noqa: BLE001 - the claim must be released after any error
            self._unavailable = isinstance(error, StorageUnavailableError)
            if isinstance(error, BlobStorageError) and not isinstance(error, BlobMissingError):
                self._outage.record_failure(error)
                return False
            # If the file was removed, only another run can create it.
            failure = error
        else:
            self._unavailable = False
            self._outage.record_recovery()
        self._end(upload, failure)
        return True

    def _attempt(self, upload: BlobUpload) -> None:
        while upload.files:
            path, name = upload.files[0]
            if not path.exists():
                raise BlobMissingError(f"{name} was removed before it was stored.", hint="The task runs again.")
            self._blobs.put(path, name)
            # A stored file has been moved out of the scratch directory, so it must not be uploaded again.
            del upload.files[0]

    def _add(self, upload: BlobUpload) -> None:
        with self._changed:
            while len(self._waiting) >= self._limit and not upload.stop.done() and upload in self._open:
                self._changed.wait(_TICK)
            if upload in self._open and not self._stopping.is_set():
                self._waiting.append(upload)
                self._changed.notify_all()
                return
        self._end(upload, _interruption())

    def _loop(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._thread.complete_round()
            self._wait(retry_pause(failures, first=2.0, max_pause=_MAX_PAUSE) if failures else None)
            failures = 0 if self._try_all() else failures + 1

    def _wait(self, pause: float | None) -> None:
        """Wait for a pause, or without one for the first upload; conclude uploads of stopped runs meanwhile."""
        with self._changed:
            if pause is None:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set(), _TICK)
                return
        while pause > 0 and not self._stopping.wait(min(pause, _TICK)):
            self._conclude_stopped()
            pause -= _TICK

    def _try_all(self) -> bool:
        """Attempt each upload, until one finds the storage unavailable; return whether none failed."""
        self._conclude_stopped()
        failed = 0
        for upload in self._snapshot():
            if self._stopping.is_set():
                break
            if not self._try_upload(upload):
                failed += 1
                if self._unavailable:
                    break
        return not failed

    def _conclude_stopped(self) -> None:
        for upload in self._snapshot():
            if upload.stop.done():
                self._end(upload, BlobStorageError("The run was stopped while its results waited for blob storage."))

    def _end(self, upload: BlobUpload, failure: Exception | None) -> None:
        """Conclude an upload, unless another thread has done so."""
        with self._changed:
            if upload not in self._open:
                return
            self._open.discard(upload)
            self._concluding.add(upload)
            if upload in self._waiting:
                self._waiting.remove(upload)
        try:
            upload.conclude(failure)
        except Exception:  # noqa: BLE001 - the others must continue; this task is reclaimed when its lease expires
            _log.exception("Task %s could not be ended; it runs again.", upload.job_id, extra={"job_id": upload.job_id})
        finally:
            with self._changed:
                self._concluding.discard(upload)
                self._changed.notify_all()

    def _is_concluded(self, upload: BlobUpload) -> bool:
        with self._changed:
            return upload not in self._open and upload not in self._concluding

    def _snapshot(self) -> list[BlobUpload]:
        with self._changed:
            return list(self._waiting)
