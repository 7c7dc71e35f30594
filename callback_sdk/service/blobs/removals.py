"""Background removal of unused blobs, so that no request waits for it."""

from __future__ import annotations

import logging
import queue

from callback_sdk.service.blobs import BlobStorage, BlobStorageError
from callback_sdk.service.supervision.outages import OutageLog
from callback_sdk.service.supervision.threads import BackgroundThread

_log = logging.getLogger(__name__)

_MAX_PENDING = 10_000
"""Maximum number of blobs that wait for removal. Housekeeping removes the others, as it does after a crash."""

_TICK = 0.5


class BlobRemover(BackgroundThread):
    """A thread that removes blobs. Housekeeping removes those that still wait when it is closed.

    Args:
        blobs: The storage of the blobs.
    """

    def __init__(self, blobs: BlobStorage) -> None:
        self._blobs = blobs
        self._names: queue.Queue[str] = queue.Queue(_MAX_PENDING)
        self._outage = OutageLog(_log, failing="Removing blobs fails", working="Blobs are removed again")
        super().__init__(name="removals")

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
