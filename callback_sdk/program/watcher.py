"""The worker's side of the process that watches it: starts it, and tells it about outboxes and open jobs."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from callback_sdk.errors import ConfigurationError
from callback_sdk.program.watched import WatchedJob, WatchedOutbox

_REPLY_TIMEOUT = 10.0
"""Seconds for which the other process may take to reply."""

IS_SUPPORTED = hasattr(os, "fork") and hasattr(os, "posix_spawn") and hasattr(socket, "send_fds")
"""Whether this system can have such a process."""

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from callback_sdk.program.watch import main; main(int(sys.argv[1]))"


class Watcher:
    """The process that watches this one, and delivers the failures of its open jobs if it is killed.

    It is a new interpreter, and not a fork: it has neither the memory of this process, which would make it a victim of
    the OOM killer, nor its threads and locks. Its session is its own, so that no signal to a process group reaches it.

    Raises:
        ConfigurationError: It can't be started.
    """

    def __init__(self) -> None:
        own, other = socket.socketpair()
        try:
            _start(other)
        except BaseException:
            own.close()
            raise
        finally:
            other.close()
        # A number, as it stays open until the end of the process, of which a socket would warn.
        self._channel = own.detach()

    def add(self, outbox: WatchedOutbox, lock: int) -> None:
        """Watch the open jobs of an outbox.

        Args:
            outbox: The outbox.
            lock: Descriptor of the lock of their owner, which the other process holds from now on, too.
        """
        self._send({"outbox": outbox._asdict()}, [lock])

    def begin(self, job: WatchedJob) -> None:
        """Record that a job is open."""
        self._send({"begun": job._asdict()})

    def end(self, key: str) -> None:
        """Record that a job has ended."""
        self._send({"ended": key})

    def hand_over(self, outbox: WatchedOutbox, key: str, error: str | None, status: str) -> None:
        """Let the other process end a job, and send what is pending.

        Args:
            outbox: Its outbox.
            key: Its key.
            error: Its error, unless its outcome is stored already; None for no document.
            status: Its status, likewise.
        """
        self._send({"handed": {"path": outbox.path, "key": key, "error": error, "status": status}})

    def check(self) -> None:
        """Raise OSError if the other process has been killed, and wait for its reply.

        A process that is being killed still accepts messages until the last of its threads has ended.
        """
        self._send({"check": True})
        channel = socket.socket(fileno=self._channel)
        channel.settimeout(_REPLY_TIMEOUT)
        try:
            if not channel.recv(1):
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        except TimeoutError:
            # It has no time at present, and reads the messages later.
            return
        finally:
            channel.setblocking(True)
            channel.detach()

    def leave(self) -> None:
        """Close this process's copy of the channel: the other process waits for the end of the last one."""
        channel, self._channel = self._channel, -1
        if channel >= 0:
            os.close(channel)

    def _send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._channel < 0:
            # The number may be that of another connection by now.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        data = json.dumps(message).encode() + b"\n"
        channel = socket.socket(fileno=self._channel)
        try:
            if descriptors:
                data = data[socket.send_fds(channel, [data], list(descriptors)) :]
            channel.sendall(data)
        finally:
            channel.detach()


def _start(channel: socket.socket) -> None:
    """Start the process, which has started when this returns."""
    # As multiprocessing does it: of an embedded interpreter, sys.executable may be another program.
    from multiprocessing import spawn

    python = os.fsdecode(spawn.get_executable() or "")
    # Without site and environment, as nothing but the standard library is needed at first.
    root = str(Path(__file__).parents[2])
    command = [python, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), *map(os.fsdecode, sys.path), root]
    try:
        pid = os.posix_spawn(
            python,
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, channel.fileno(), 0)],
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE],
        )
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        # Somebody else has waited for it.
        return
    except OSError as error:
        raise _cannot_start(python, error.strerror or str(error)) from None
    if status:
        raise _cannot_start(python, f"it ended with code {os.waitstatus_to_exitcode(status)}")


def _cannot_start(python: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The process that watches this one can't be started with {python or 'no interpreter'}: {reason}.",
        hint="Check the limit of processes (ulimit -u). An embedded interpreter: multiprocessing.set_executable().",
    )
