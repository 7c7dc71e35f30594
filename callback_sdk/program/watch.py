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
from pathlib import Path
from typing import Any

from callback_sdk.program.memory_kills import memory_kills
from callback_sdk.program.process_status import ProcessStatus
from callback_sdk.program.watched import WatchedOutbox

_CHANNEL = 0
"""Descriptor of the socket to the worker, in place of standard input."""

_MAX_DESCRIPTOR = 65536

_CHUNK = 65536

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
    def __init__(self, pid: int) -> None:
        self._status = ProcessStatus(pid)
        self._channel = socket.socket(fileno=_CHANNEL)
        self._outboxes: list[WatchedOutbox] = []
        self._limits: dict[str, tuple[float, WatchedOutbox, float]] = {}
        self._locks: list[int] = []
        self._open = 0
        self._kills = 0
        self._rest = b""

    def run(self) -> None:
        while self._receive():
            pass
        if self._open:
            self._deliver()
        for outbox in self._outboxes:
            _remove(outbox)

    def _receive(self) -> bool:
        """Handle the next messages or time limits, and return whether the worker still runs."""
        due = [key for key, (moment, _, _) in self._limits.items() if moment <= time.monotonic()]
        for key in due:
            self._end_at_limit(key)
        if not select.select([self._channel], [], [], self._pause())[0]:
            return True
        data, locks, _, _ = socket.recv_fds(self._channel, _CHUNK, 16)
        self._locks += locks
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._handle(json.loads(line))
        return bool(data)

    def _pause(self) -> float | None:
        moments = [moment for moment, _, _ in self._limits.values()]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _handle(self, message: dict[str, Any]) -> None:
        if (found := message.get("outbox")) is not None:
            self._outboxes.append(WatchedOutbox(**found))
        if (limit := message.get("limit")) is not None:
            self._limits[limit["key"]] = (time.monotonic() + limit["seconds"], self._find(limit), limit["seconds"])
        if (key := message.get("ended")) is not None:
            self._limits.pop(key, None)
        change = message.get("open", 0)
        if change > 0 and not self._open:
            self._kills = memory_kills()
        self._open += change
        if (handed := message.get("handed")) is not None:
            self._finish(handed)

    def _find(self, message: dict[str, Any]) -> WatchedOutbox:
        return next(outbox for outbox in self._outboxes if outbox.path == message["path"])

    def _finish(self, handed: dict[str, Any]) -> None:
        from callback_sdk.program import lost_jobs

        lost_jobs.finish(self._find(handed), handed["key"], handed["error"], handed["status"])

    def _end_at_limit(self, key: str) -> None:
        from callback_sdk.program import lost_jobs

        _, outbox, seconds = self._limits.pop(key)
        lost_jobs.fail_at_limit(outbox, key, seconds)

    def _deliver(self) -> None:
        code = self._status.exit_code()
        kills = memory_kills() - self._kills
        from callback_sdk.program import lost_jobs

        for outbox in self._outboxes:
            lost_jobs.deliver(outbox, code, kills)


def _remove(outbox: WatchedOutbox) -> None:
    if outbox.directory is None:
        Path(outbox.lock).unlink(missing_ok=True)
        return
    # Imported here, because it takes longer than the rest of this module.
    import shutil

    shutil.rmtree(outbox.directory, ignore_errors=True)
