"""Background removal of unused blobs, so that no request waits for it."""

from __future__ import annotations

import logging
import queue
import threading

from callback_sdk.service.blobs import BlobStorage, BlobStorageError
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.supervision.threads import SupervisedThread

_log = logging.getLogger(__name__)

_MAX_PENDING = 10_000
"""Maximum number of blobs that wait for removal. Housekeeping removes the others, as it does after a crash."""

_TICK = 0.5


class BlobRemover:
    """A thread that removes blobs.

    Args:
        blobs: The storage of the blobs.
    """

    def __init__(self, blobs: BlobStorage) -> None:
        self._blobs = blobs
        self._names: queue.Queue[str] = queue.Queue(_MAX_PENDING)
        self._stopping = threading.Event()
        self._outage = OutageLog(_log, failing="Removing blobs fails", working="Blobs are removed again")
        self._thread = SupervisedThread(self._loop, name="removals", stopping=self._stopping)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread. Housekeeping removes the blobs that still wait."""
        self._stopping.set()

    def check(self) -> None:
        """Check that the thread is running.

        Raises:
            ThreadError: The thread has ended.
        """
        self._thread.check()

    def remove(self, name: str) -> None:
        """Queue a blob for removal, or leave it to housekeeping if the queue is full."""
        try:
            self._names.put_nowait(name)
        except queue.Full:
            _log.debug("%s is left to housekeeping.", name)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                name = self._names.get(timeout=_TICK)
            except queue.Empty:
                continue
            try:
                self._blobs.remove(name)
            except BlobStorageError as error:
                self._outage.record_failure(error)
            else:
                self._outage.record_recovery()
