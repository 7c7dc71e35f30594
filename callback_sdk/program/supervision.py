"""The open jobs of this process, and the outboxes and the watching process that end them if this process can't."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from callback_sdk.concurrency.forking import PerProcess, RLock, no_fork
from callback_sdk.config.target_files import split_outputs
from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.models import JobResult
from callback_sdk.outbox import Outbox, WriteResult
from callback_sdk.outbox.jobs import begin_job, drop_job, end_job, open_events
from callback_sdk.outbox.open_jobs import JobFailure, OpenJob
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.state import folder_of
from callback_sdk.outbox.temporary import TemporaryOutbox
from callback_sdk.parsing import path_of
from callback_sdk.program.configured import open_writer
from callback_sdk.program.files import temporary_directory
from callback_sdk.program.watched import WatchedJob, WatchedOutbox
from callback_sdk.program.watcher import IS_SUPPORTED, Watcher
from callback_sdk.redaction import Secret
from callback_sdk.writer import ResultsWriter

if TYPE_CHECKING:
    from callback_sdk.writer.events import Admit, JobEvents

logger = logging.getLogger(__name__)

_MAX_HANDED = 256
"""Jobs that were handed over last, of which another watching process is told if the first one is killed."""


class BegunJob:
    """A job of this process.

    Args:
        outbox: The outbox, or the path of its file; None for one in a temporary directory.
        job_id: The job's id.
        targets: Its targets.
        run: Number of its run, from 1.
        limit: Seconds after which it has failed; None without a limit.
        reports_loss: Whether the end of this process is delivered as its failure.

    Raises:
        ConfigurationError: The outbox can't be opened, or no process to watch this one can be started.
    """

    def __init__(
        self,
        outbox: Outbox | str | os.PathLike[str] | None,
        *,
        job_id: str,
        targets: list[Secret[Any]],
        run: int,
        limit: float | None,
        reports_loss: bool,
    ) -> None:
        # A child that is forked before its supervision is known would keep a copy of the watcher's channel open.
        with no_fork:
            self._supervision = _supervision.get()
        self._place = self._supervision.place(outbox)
        documents, _ = split_outputs(targets)
        self._job = OpenJob(
            key=uuid.uuid4().hex,
            job_id=job_id,
            callbacks=documents,
            owner=self._place.owner.name,
            reports_loss=reports_loss,
        )
        ends_at = None if limit is None else time.monotonic() + limit
        self._events = open_events(self._place.outbox, self._job, run=run, admit=_until(ends_at))
        # If an interrupt comes before the caller knows of this object, nobody else ends it.
        self._end = weakref.finalize(self, _drop, self._supervision, self._place, self._job, self._events)
        self._end.atexit = False
        self._watched = WatchedJob(self._job.key, self._place.watched.path, limit, ends_at)

    def begin(self) -> None:
        """Begin the job: store it, so that its end is delivered whatever happens."""
        self._supervision.begin(self._place, self._job, self._watched)
        if self._events is not None:
            self._events.started()

    @property
    def path(self) -> Path:
        """The outbox."""
        return self._place.outbox.path

    def progress(self, fraction: float | None, message: str) -> None:
        """Report progress to the targets that subscribe to it; see `JobEvents.progress`."""
        if self._events is not None:
            self._events.progress(fraction, message)

    def end(self, result: JobResult, outputs: Secret[Any]) -> WriteResult:
        """Deliver its outcome; see `Outbox.write`.

        Raises:
            JobEndedError: Its end is recorded already: it has reached its limit.
        """
        written = end_job(self._place.outbox, self._job, result, outputs)
        self._supervision.end(self._job)
        self._end.detach()
        return written

    def hand_over(self, failure: JobFailure | None) -> None:
        """Let the other process do what is left, without waiting for it.

        Args:
            failure: What it delivers unless an outcome is stored already; None for nothing.
        """
        if self._events is not None:
            self._events.abort()
        if self._supervision.hand_over(self._place, self._job, failure):
            self._end.detach()
        else:
            self.close()

    def close(self) -> None:
        """End it without a document, unless it has ended."""
        self._end()


@define(frozen=True)
class _JobOutbox:
    """An outbox, with the lock that shows that its open jobs are those of a running process."""

    outbox: Outbox
    owner: ClaimOwner
    watched: WatchedOutbox


class _Supervision:
    """What one process has for its jobs."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._places: dict[Path, _JobOutbox] = {}
        self._temporary: Path | None = None
        self._own: list[Outbox | ResultsWriter] = []
        self._open: dict[str, WatchedJob] = {}
        self._handed: deque[Callable[[Watcher], None]] = deque(maxlen=_MAX_HANDED)
        self._watcher = Watcher() if IS_SUPPORTED else None

    def place(self, outbox: Outbox | str | os.PathLike[str] | None) -> _JobOutbox:
        """Return the place of jobs in an outbox."""
        with self._lock:
            if isinstance(outbox, Outbox):
                place = self._places.get(outbox.path) or self._add(outbox, None)
                return evolve(place, outbox=outbox)
            if outbox is None:
                return self._in_temporary_directory()
            path = path_of("outbox", outbox).resolve()
            return self._places.get(path) or self._add(self._open_own(Outbox, path), None)

    def _in_temporary_directory(self) -> _JobOutbox:
        if self._temporary is not None:
            return self._places[self._temporary]
        directory = temporary_directory("outbox", instead="Give an outbox in a directory that can be written")
        place = self._add(self._open_own(TemporaryOutbox, Path(directory, "outbox.sqlite3")), directory)
        self._temporary = place.outbox.path
        return place

    def _open_own(self, kind: type[Outbox], path: Path) -> Outbox:
        writer = open_writer()
        outbox = kind(path, writer=writer)
        self._own += [outbox, writer]
        return outbox

    def _add(self, outbox: Outbox, directory: str | None) -> _JobOutbox:
        owner = ClaimOwner(folder_of(outbox.path))
        owner.acquire_lock()
        watched = WatchedOutbox(str(outbox.path), str(owner.path), directory)
        place = _JobOutbox(outbox, owner, watched)
        if self._watcher is not None:
            self._tell(lambda watcher: watcher.add(watched, owner.fileno()))
        self._places[outbox.path] = place
        return place

    def begin(self, place: _JobOutbox, job: OpenJob, watched: WatchedJob) -> None:
        """Begin a job."""
        # In this order: if this process is killed between, the other one looks for open jobs, and finds none.
        self._tell(lambda watcher: watcher.begin(watched))
        with self._lock:
            self._open[job.key] = watched
        begin_job(place.outbox, job)

    def end(self, job: OpenJob) -> None:
        """Record that a job has ended."""
        with self._lock:
            if self._open.pop(job.key, None) is not None and self._watcher is not None:
                # It may have been killed, and has nothing to do then.
                with contextlib.suppress(OSError):
                    self._watcher.end(job.key)

    def hand_over(self, place: _JobOutbox, job: OpenJob, failure: JobFailure | None) -> bool:
        """Let the other process deliver what is left of a job, and return whether there is one."""
        if self._watcher is None:
            return False
        error, status = (None, "") if failure is None else (failure.error, failure.status)

        def hand_over(watcher: Watcher) -> None:
            watcher.hand_over(place.watched, job.key, error, status)

        self._tell(hand_over)
        with self._lock:
            self._open.pop(job.key, None)
            self._handed.append(hand_over)
        return True

    def _tell(self, message: Any) -> None:
        with self._lock:
            if self._watcher is None:
                return
            try:
                message(self._watcher)
            except OSError:
                # It was killed. Another one takes over.
                self._watcher.leave()
                with no_fork:
                    self._watcher = Watcher()
                for place in self._places.values():
                    self._watcher.add(place.watched, place.owner.fileno())
                for job in self._open.values():
                    self._watcher.begin(job)
                # The first one may not have delivered them. Whatever it has delivered is not delivered again.
                for hand_over in self._handed:
                    hand_over(self._watcher)
                message(self._watcher)

    def close(self) -> None:
        """Close files and connections, at the end of the process. A job in a daemon thread opens them again."""
        for each in self._own:
            each.close()
        if self._open or self._handed:
            # If the other process was killed, this is the last chance to replace it.
            with contextlib.suppress(ConfigurationError):
                self._tell(Watcher.check)

    def leave(self) -> None:
        """Leave everything to the parent process, in a forked child."""
        if self._watcher is not None:
            self._watcher.leave()


def _until(ends_at: float | None) -> Admit:
    """Return what admits events until a time limit: after that, the other process sends the document."""
    end = math.inf if ends_at is None else ends_at
    return lambda callback: contextlib.nullcontext(enter_result=time.monotonic() < end)


def _drop(supervision: _Supervision, place: _JobOutbox, job: OpenJob, events: JobEvents | None) -> None:
    """End a job without a document, unless it has ended."""
    # In a forked child this is the supervision of its parent.
    if _supervision.peek() is not supervision:
        return
    if events is not None:
        events.abort()
    try:
        drop_job(place.outbox, job)
    except CallbackSDKError as error:
        logger.error("job %s: %s", job.job_id, error)
    supervision.end(job)


_supervision = PerProcess(_Supervision, leave=_Supervision.leave)


@atexit.register
def _close() -> None:
    if (supervision := _supervision.peek()) is not None:
        supervision.close()
