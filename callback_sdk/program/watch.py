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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callback_sdk.program.memory_kills import memory_kills
from callback_sdk.program.process_status import ProcessStatus
from callback_sdk.program.watched import WatchedJob, WatchedOutbox

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_CHANNEL = 0
"""Descriptor of the socket to the worker, in place of standard input."""

_MAX_DESCRIPTOR = 65536

_CHUNK = 65536

_MAX_DELIVERIES = 32
"""Jobs of which the ends are delivered at the same time."""

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


class _WorkerWatch:
    """Reads what the worker sends at once, whatever the deliveries do: the worker waits when it can send no more."""

    def __init__(self, pid: int) -> None:
        self._status = ProcessStatus(pid)
        self._channel = socket.socket(fileno=_CHANNEL)
        self._outboxes: dict[str, WatchedOutbox] = {}
        self._open: set[str] = set()
        self._limits: dict[str, WatchedJob] = {}
        self._ending: set[str] = set()
        self._locks: list[int] = []
        self._kills = 0
        self._rest = b""
        self._deliveries: ThreadPoolExecutor | None = None

    def run(self) -> None:
        while self._receive():
            pass
        if self._open:
            code, kills = self._status.exit_code(), memory_kills() - self._kills
            for outbox in self._outboxes.values():
                self._start(_deliver, outbox, code, kills, frozenset(self._ending))
        if self._deliveries is not None:
            self._deliveries.shutdown()
        for outbox in self._outboxes.values():
            _remove(outbox)

    def _receive(self) -> bool:
        """Handle the next messages or time limits, and return whether the worker still runs."""
        moments = [ends_at for job in self._limits.values() if (ends_at := job.ends_at) is not None]
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
            self._open.discard(key)
            self._limits.pop(key, None)
        if (handed := message.get("handed")) is not None:
            self._ending.add(handed["key"])
            self._start(_finish, self._outboxes[handed["path"]], handed["key"], handed["error"], handed["status"])

    def _begin(self, job: WatchedJob) -> None:
        if not self._open:
            self._kills = memory_kills()
        self._open.add(job.key)
        if job.ends_at is not None:
            self._limits[job.key] = job

    def _end_due(self) -> None:
        """End the jobs that have reached their time limit."""
        now = time.monotonic()
        due = [job for job in self._limits.values() if job.ends_at is not None and job.ends_at <= now]
        for job in due:
            del self._limits[job.key]
            self._ending.add(job.key)
            self._start(_fail_at_limit, self._outboxes[job.path], job.key, job.limit)

    def _start(self, delivery: Callable[..., None], *arguments: Any) -> None:
        """Deliver something in the background."""
        # Imported here, because it takes longer than the rest of this module.
        from concurrent.futures import ThreadPoolExecutor

        if self._deliveries is None:
            self._deliveries = ThreadPoolExecutor(_MAX_DELIVERIES)
        try:
            self._deliveries.submit(_run, delivery, arguments)
        except RuntimeError:
            # The limit of threads is reached.
            _run(delivery, arguments)


def _run(delivery: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    try:
        delivery(*arguments)
    except Exception:  # noqa: BLE001 - the others go on
        import traceback

        traceback.print_exc()


# What they need is imported in their threads: that takes longer than what the worker may have to wait for.


def _finish(outbox: WatchedOutbox, key: str, error: str | None, status: str) -> None:
    from callback_sdk.program import lost_jobs

    lost_jobs.finish(outbox, key, error, status)


def _fail_at_limit(outbox: WatchedOutbox, key: str, seconds: float) -> None:
    from callback_sdk.program import lost_jobs

    lost_jobs.fail_at_limit(outbox, key, seconds)


def _deliver(outbox: WatchedOutbox, code: int | None, kills: int, but: frozenset[str]) -> None:
    from callback_sdk.program import lost_jobs

    lost_jobs.deliver(outbox, code, kills, but=but)


def _remove(outbox: WatchedOutbox) -> None:
    if outbox.directory is None:
        Path(outbox.lock).unlink(missing_ok=True)
        return
    # Imported here, because it takes longer than the rest of this module.
    import shutil

    shutil.rmtree(outbox.directory, ignore_errors=True)
