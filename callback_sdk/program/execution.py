"""Runs a program: starts it, forwards signals to it, and stops it at its time limit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from callback_sdk.program.exit_codes import STOPS, ended_by
from callback_sdk.program.memory_kills import memory_kills
from callback_sdk.program.standard_error import StandardError

_NOT_FORWARDED = {
    # Only the kernel sends them, to the process that causes them.
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT),
    # Can't be caught.
    *(signal.SIGKILL, signal.SIGSTOP),
    # Those of a write to a closed pipe, and of the terminal's job control, act on this process itself.
    *(signal.SIGPIPE, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD),
}
_FORWARDED = {number for number in signal.valid_signals() if number not in _NOT_FORWARDED}

_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH, signal.SIGHUP, signal.SIGCONT}
"""Signals that a terminal sends to all processes of its foreground group, so the program has got them already."""

_SI_KERNEL = 0x80
"""`si_code` of signals that the kernel sends, such as those of a terminal, and no process; see sigaction(2)."""

_LONGEST_WAIT = 86_400.0
"""Seconds, as those of a time limit may be more than sigtimedwait(2) takes."""

_SIGNAL_LAG = 5.0
"""Seconds. A scheduler signals the processes of a job one after the other, the program perhaps before this process."""

_INIT = 1
"""The first process of a container."""

_DEADLY = {signal.SIGTERM, signal.SIGXCPU}
"""Signals of schedulers, which kill everything some time later."""


class ProgramExit(NamedTuple):
    """How a program ended.

    Attributes:
        status: Its wait status; see waitpid(2).
        stopped_by: The last signal that asked it to end; None without one.
        stopped_at: When, in seconds since the epoch.
        timed_out: Whether its time limit was reached.
        memory_kills: Number of processes that the kernel killed meanwhile because of the memory limit.
        error_tail: The end of its standard error.
    """

    status: int
    stopped_by: int | None
    stopped_at: float
    timed_out: bool
    memory_kills: int
    error_tail: bytes

    @property
    def code(self) -> int:
        """The exit code, or the negative number of the signal that ended it."""
        return os.waitstatus_to_exitcode(self.status)

    @property
    def ended_by(self) -> int | None:
        """The number of the signal that ended it, or the last command of a shell; None without one."""
        return ended_by(self.code)


class Execution:
    """The execution of one program.

    Args:
        command: The program with its arguments.
        environment: Its environment.
        timeout: Seconds after which it is asked to end with SIGTERM; None without a limit.
        grace_period: Seconds from the first request to end until it is killed.
        tail: Bytes of its standard error to keep.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        timeout: float | None,
        grace_period: float,
        tail: int,
    ) -> None:
        self._grace_period = grace_period
        self._kills_before = memory_kills()
        self._error = StandardError(2, tail)
        # A program in the foreground of a terminal must stay in its group, or it couldn't read from it.
        self._in_foreground = _in_foreground()
        self._stopped_by: int | None = None
        self._stopped_at = 0.0
        self._timed_out = False
        self._ignored = {number for number in STOPS if signal.getsignal(number) is signal.SIG_IGN}
        # A process whose parent ignored SIGCHLD would never learn how its own child ended; see waitpid(2).
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Blocked before the program starts, so that no signal is lost in between.
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
        try:
            self._pid = self._start(command, environment)
        except BaseException:
            self._error.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            raise
        self._limit = None if timeout is None else time.monotonic() + timeout
        self._kill_at: float | None = None
        self._error.start()

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        actions = [] if self._error.writer is None else [(os.POSIX_SPAWN_DUP2, self._error.writer, 2)]
        group = {} if self._in_foreground else {"setpgroup": 0}
        return os.posix_spawnp(
            command[0],
            list(command),
            environment,
            file_actions=actions,
            # Python ignores SIGPIPE and SIGXFSZ, and children would inherit that.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            setsigmask=self._mask,
            **group,  # type: ignore[arg-type]
        )

    def wait(self, give_up: Callable[[], bool], on_stop: Callable[[int, object], None]) -> ProgramExit:
        """Wait for the end of the program, and forward signals to it meanwhile.

        Args:
            give_up: Asked whenever SIGCHLD arrives: whether the program must be stopped.
            on_stop: Handler of signals that ask to end, once the program has ended.
        """
        while (status := self._poll()) is None:
            if give_up() and self._kill_at is None:
                self._stop()
            self._handle(self._next_signal())
            self._apply_limits()
        self._note_late_signals(ended_by(os.waitstatus_to_exitcode(status)))
        handle_stops(on_stop)
        kills = memory_kills() - self._kills_before
        tail = self._error.tail()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return ProgramExit(status, self._stopped_by, self._stopped_at, self._timed_out, kills, tail)

    def flush(self) -> None:
        """Wait until what the program has written to its standard error is passed on."""
        self._error.flush()

    def _poll(self) -> int | None:
        """Return the wait status of the program once it has ended."""
        if os.getpid() != _INIT:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            return status if pid else None
        # Processes whose parents have ended become children of the first process of a container: pid_namespaces(7).
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == self._pid:
                return found[1]
        return None

    def _note_late_signals(self, ended_by: int | None) -> None:
        """Note the signals that have also been sent to the program, which has ended of that before they were handled.

        Args:
            ended_by: The signal that ended the program.
        """
        # Whatever this process has sent itself explains how the program ended.
        lag = _SIGNAL_LAG if ended_by in STOPS and self._kill_at is None else 0.0
        until = time.monotonic() + lag
        while True:
            left = 0.0 if self._stopped_by == ended_by else max(0.0, until - time.monotonic())
            if (found := signal.sigtimedwait(_FORWARDED, left)) is None:
                return
            self._note(found.si_signo)

    def _next_signal(self) -> signal.struct_siginfo | None:
        times = [moment for moment in (self._limit, self._kill_at) if moment is not None]
        if not times:
            return signal.sigwaitinfo(_FORWARDED | {signal.SIGCHLD})
        left = max(0.0, min(times) - time.monotonic())
        return signal.sigtimedwait(_FORWARDED | {signal.SIGCHLD}, min(left, _LONGEST_WAIT))

    def _handle(self, found: signal.struct_siginfo | None) -> None:
        if found is None or found.si_signo == signal.SIGCHLD:
            return
        number = found.si_signo
        self._note(number)
        if not self._has_reached_program(found):
            self._signal(number)
        if number in _DEADLY and self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace_period

    def _has_reached_program(self, found: signal.struct_siginfo) -> bool:
        if not self._in_foreground or found.si_signo not in _TERMINAL or found.si_code != _SI_KERNEL:
            return False
        # A terminal that hangs up signals only the leader of its session.
        return found.si_signo != signal.SIGHUP or os.getsid(0) != os.getpid()

    def _note(self, number: int) -> None:
        # The program ignores what this process was started to ignore, as by nohup(1), unless it says otherwise.
        if number in STOPS - self._ignored:
            self._stopped_by, self._stopped_at = number, time.time()

    def _apply_limits(self) -> None:
        now = time.monotonic()
        if self._limit is not None and now >= self._limit:
            self._limit, self._timed_out = None, True
            self._stop()
        if self._kill_at is not None and now >= self._kill_at:
            # Again and again, as a process may be started while its group is killed.
            self._kill_at = now + 1.0
            self._signal(signal.SIGKILL)

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        # A stopped process doesn't get the other signal before.
        self._signal(signal.SIGCONT)
        self._kill_at = time.monotonic() + self._grace_period

    def _signal(self, number: int) -> None:
        try:
            if self._in_foreground:
                os.kill(self._pid, number)
            else:
                os.killpg(self._pid, number)
        except (ProcessLookupError, PermissionError):
            # It has ended, or is a program with another user's rights.
            pass


def handle_stops(handler: Callable[[int, object], None]) -> None:
    """Handle the signals that ask to end, and ignore others: what remains to be done is to deliver how a program ended.

    Args:
        handler: Called with each signal that this process wasn't started to ignore.
    """
    for number in _FORWARDED:
        is_stop = number in STOPS and signal.getsignal(number) is not signal.SIG_IGN
        signal.signal(number, handler if is_stop else signal.SIG_IGN)


def _in_foreground() -> bool:
    """Return whether this process is in the foreground group of its terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
