"""The request to stop a run: a file with the reason, and SIGTERM, which the child process raises as `RunInterrupt`.

The file distinguishes the request from a SIGTERM that the algorithm or the operator sends. It is visible to all threads
and child processes of the algorithm, also while its main thread doesn't return from a C library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from attrs import define

from callback_sdk.filesystem.files import write_whole
from callback_sdk.service.algorithms import event_loop
from callback_sdk.service.algorithms.interrupts import RunInterrupt

_MAX_REASON = 100
"""Maximum bytes of a reason."""

_masks = threading.local()


def request_stop(pid: int, file: Path, reason: str) -> None:
    """Request a process to stop its run.

    Args:
        pid: Pid of the process.
        file: The run's file for the request. If it can't be written, SIGTERM ends the process at once.
        reason: The reason.
    """
    with contextlib.suppress(OSError):
        write_whole(file, [reason.encode()], durable=False)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def prepare() -> None:
    """Give SIGTERM and SIGINT the actions of a plain Python process, also in processes that this one forks."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_reset)


@contextlib.contextmanager
def raise_on_stop(file: Path) -> Iterator[None]:
    """Raise `RunInterrupt` in the main thread while the block runs, when the parent requests to stop the run.

    Any other SIGTERM ends the process, as it ends a script.

    Args:
        file: The run's file for the request.
    """
    signal.signal(signal.SIGTERM, _Handler(file))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@define(frozen=True)
class _Handler:
    """The handler of SIGTERM during a run."""

    file: Path

    def __call__(self, number: int, _: FrameType | None) -> None:
        reason = self._reason()
        if reason is None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        error = RunInterrupt(reason)
        if not event_loop.interrupt(error):
            raise error

    def _reason(self) -> str | None:
        try:
            with self.file.open("rb") as opened:
                return opened.read(_MAX_REASON).decode(errors="replace")
        except OSError:
            return None


# A forked process gets the default action before it can receive SIGTERM: `Pool.terminate` waits forever for a worker
# whose handler doesn't end it. Python discards signals that arrive between fork(2) and the hook, so they are blocked.


def _block() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _reset() -> None:
    if isinstance(signal.getsignal(signal.SIGTERM), _Handler):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock()
