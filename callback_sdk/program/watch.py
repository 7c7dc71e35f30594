"""The process that watches a worker: it sees the worker's end, and delivers what becomes of the jobs it had open.

It imports the standard library only, until there is something to deliver: every process of a pool has one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callback_sdk.program.memory_kills import memory_kills
from callback_sdk.program.process_status import ProcessStatus
from callback_sdk.program.watched import WatchedJob, WatchedOutbox

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_CHANNEL = 0
"""Descriptor of the socket to the worker, in place of standard input."""

_MAX_DESCRIPTOR = 65536

_CHUNK = 65536

_MAX_DELIVERIES = 32
"""Jobs of which the ends are delivered at the same time."""

_RETRY_AFTER = 10.0
"""Seconds after which a delivery that has failed is started again, such as one while the disk is full."""

_LAST_RETRIES = 6
"""How often that is done after the end of the worker."""

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a service manager may send to all processes of a worker. This one ends when the worker has ended."""


def main(pid: int) -> None:
    """Watch a worker until it has ended.

    Args:
        pid: The worker.
    """
    os.setsid()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.closerange(3, _MAX_DESCRIPTOR)
    watch = _WorkerWatch(pid)
    # The worker waits for the end of its child: no program needs to expect one that it has not started itself.
    if os.fork():
        os._exit(0)
    watch.run()


class _JobEnd:
    """What is delivered at the end of a job, or of all that are left: it is kept until that has succeeded.

    Args:
        steps: Each returns whether it has succeeded. Each may run again.
    """

    def __init__(self, *steps: Callable[[], bool]) -> None:
        self.steps = steps
        self.look_at = 0.0
        self.outcome: Future[bool]

    def run(self, outcome: Future[bool]) -> None:
        """Run the steps until one fails, and set the outcome."""
        try:
            outcome.set_result(all(step() for step in self.steps))
        except Exception:  # noqa: BLE001 - the others go on
            import traceback

            traceback.print_exc()
            outcome.set_result(False)


class _WorkerWatch:
    """Reads what the worker sends at once, whatever the deliveries do: the worker waits when it can send no more."""

    def __init__(self, pid: int) -> None:
        self._status = ProcessStatus(pid)
        self._channel = socket.socket(fileno=_CHANNEL)
        self._outboxes: dict[str, WatchedOutbox] = {}
        self._open: set[str] = set()
        self._limits: dict[str, WatchedJob] = {}
        self._ends: dict[str, _JobEnd] = {}
        self._locks: list[int] = []
        self._kills = 0
        self._rest = b""
        self._has_started = False
        self._deliveries: ThreadPoolExecutor | None = None

    def run(self) -> None:
        while self._receive():
            pass
        if self._open:
            code, kills = self._status.exit_code(), memory_kills() - self._kills
            # Whatever these have not delivered, they try again: only they know why the job has ended.
            but = frozenset(self._ends)
            for path, outbox in self._outboxes.items():
                self._start(path, _JobEnd(partial(_deliver, outbox, code, kills, but)))
        self._finish_ends()
        for outbox in self._outboxes.values():
            if outbox.directory is None:
                Path(outbox.lock).unlink(missing_ok=True)
            elif not self._has_started or _is_empty(outbox):
                _remove(outbox.directory)

    def _receive(self) -> bool:
        """Handle the next messages or time limits, and return whether the worker still runs."""
        moments = [ends_at for job in self._limits.values() if (ends_at := job.ends_at) is not None]
        moments += [end.look_at for end in self._ends.values()]
        pause = max(0.0, min(moments) - time.monotonic()) if moments else None
        if not select.select([self._channel], [], [], pause)[0]:
            self._end_due()
            return True
        data, locks, _, _ = socket.recv_fds(self._channel, _CHUNK, 16)
        self._locks += locks
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._handle(json.loads(line))
        # However many messages there are.
        self._end_due()
        return bool(data)

    def _handle(self, message: dict[str, Any]) -> None:
        if (found := message.get("outbox")) is not None:
            self._outboxes[found["path"]] = WatchedOutbox(**found)
        if (begun := message.get("begun")) is not None:
            self._begin(WatchedJob(**begun))
        if (key := message.get("ended")) is not None:
            self._forget(key)
        if (handed := message.get("handed")) is not None:
            self._finish(**handed)
        if "check" in message:
            # The worker may have been killed meanwhile.
            with suppress(OSError):
                self._channel.send(b"\n")

    def _begin(self, job: WatchedJob) -> None:
        if not self._open:
            self._kills = memory_kills()
        self._open.add(job.key)
        if job.ends_at is not None:
            self._limits[job.key] = job

    def _forget(self, key: str) -> None:
        """Forget a job that the worker has open no longer. If it has reached its limit, its delivery goes on."""
        self._open.discard(key)
        self._limits.pop(key, None)

    def _finish(self, path: str, key: str, error: str | None, status: str) -> None:
        """End a job that was handed over. If it has reached its limit before, that is why it has failed."""
        self._forget(key)
        before = self._ends.get(key)
        last = partial(_finish, self._outboxes[path], key, error, status)
        self._start(key, _JobEnd(*(() if before is None else before.steps), last))

    def _end_due(self) -> None:
        """End the jobs that have reached their time limit, and look after the deliveries that have been started."""
        now = time.monotonic()
        for job in list(self._limits.values()):
            if job.limit is not None and job.ends_at is not None and job.ends_at <= now:
                del self._limits[job.key]
                self._start(job.key, _JobEnd(partial(_fail_at_limit, self._outboxes[job.path], job.key, job.limit)))
        for key in [key for key, end in self._ends.items() if end.look_at <= now]:
            self._look_after(key)

    def _look_after(self, key: str) -> None:
        """Forget a delivery that has succeeded, and start one again that has failed."""
        end = self._ends[key]
        if not end.outcome.done():
            end.look_at = time.monotonic() + _RETRY_AFTER
        elif end.outcome.result():
            del self._ends[key]
        else:
            self._start(key, end)

    def _finish_ends(self) -> None:
        """Wait for all deliveries, and start those again that fail. What fails nevertheless stays in its outbox."""
        for remaining in reversed(range(_LAST_RETRIES + 1)):
            for key in list(self._ends):
                self._look_after(key)
            if not self._ends:
                break
            outcomes = [end.outcome.result() for end in self._ends.values()]
            if remaining and not all(outcomes):
                time.sleep(_RETRY_AFTER)
        if self._deliveries is not None:
            self._deliveries.shutdown()

    def _start(self, key: str, end: _JobEnd) -> None:
        """Deliver something in the background."""
        # Imported here, because it takes longer than the rest of this module.
        from concurrent.futures import Future, ThreadPoolExecutor

        self._has_started = True
        self._ends[key] = end
        end.look_at = time.monotonic() + _RETRY_AFTER
        end.outcome = Future()
        pool = self._deliveries or ThreadPoolExecutor(_MAX_DELIVERIES)
        try:
            pool.submit(end.run, end.outcome)
        except RuntimeError:
            # The limit of threads is reached. The pool has queued it: if it has a thread, that runs it, and if it has
            # none, nobody does.
            if self._deliveries is None:
                end.run(end.outcome)
        else:
            self._deliveries = pool


# What they need is imported in their threads: that takes longer than what the worker may have to wait for.


def _finish(outbox: WatchedOutbox, key: str, error: str | None, status: str) -> bool:
    from callback_sdk.program import lost_jobs

    return lost_jobs.finish(outbox, key, error, status)


def _fail_at_limit(outbox: WatchedOutbox, key: str, seconds: float) -> bool:
    from callback_sdk.program import lost_jobs

    return lost_jobs.fail_at_limit(outbox, key, seconds)


def _deliver(outbox: WatchedOutbox, code: int | None, kills: int, but: frozenset[str]) -> bool:
    from callback_sdk.program import lost_jobs

    return lost_jobs.deliver(outbox, code, kills, but=but)


def _is_empty(outbox: WatchedOutbox) -> bool:
    from callback_sdk.program import lost_jobs

    return lost_jobs.is_empty(outbox)


def _remove(directory: str) -> None:
    # Imported here, because it takes longer than the rest of this module.
    import shutil

    shutil.rmtree(directory, ignore_errors=True)
