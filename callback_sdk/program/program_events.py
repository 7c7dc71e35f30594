"""Sends the events of a program while it runs: that it has started, and the progress that it writes to its file."""

from __future__ import annotations

import threading
from typing import Any

from callback_sdk.config.target_files import split_outputs
from callback_sdk.program.configured import open_writer
from callback_sdk.program.progress import ProgressFile
from callback_sdk.redaction import Secret
from callback_sdk.writer.events import CLOSE_TIMEOUT

_POLL_INTERVAL = 1.0
"""Seconds between two looks at the file."""

_JOIN_TIMEOUT = CLOSE_TIMEOUT.total_seconds() + 1.0


class ProgramEvents:
    """The events of one program.

    Args:
        job_id: The job's id.
        targets: Its targets.
        file: The file with its progress.

    Raises:
        CallbackSDKError: A target can't get events.
    """

    def __init__(self, job_id: str, targets: list[Secret[Any]], file: ProgressFile) -> None:
        documents, _ = split_outputs(targets)
        self._file = file
        self._writer = open_writer()
        self._events = self._writer.events(job_id, documents)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._events.started()
        self._thread.start()

    def close(self, *, has_succeeded: bool) -> None:
        """Send the last progress, and no event after that. The program has ended.

        Args:
            has_succeeded: Whether to wait for it: a scheduler that ends a job leaves little time for its document.
        """
        self._ended.set()
        self._thread.join(_JOIN_TIMEOUT)
        if has_succeeded:
            self._events.close()
        else:
            self._events.abort()
        self._writer.close()

    def _run(self) -> None:
        while not self._ended.wait(_POLL_INTERVAL):
            self._report()
        self._report()

    def _report(self) -> None:
        if (found := self._file.read()) is not None:
            self._events.progress(found.fraction, found.message)
