"""Supervisor: the parent of a worker's processes, which starts and restarts them and reports their health."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from attrs import define, field

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.service.supervision.outages import retry_pause
from callback_sdk.service.supervision.reports import LOADING, Reports

_log = logging.getLogger(__name__)

COMPUTE = "compute"
COMPUTE_ON_DEVICES = "compute-on-devices"
SEND = "send"
"""Roles of a worker's processes."""

EXIT_SETTING = 78
EXIT_UNAVAILABLE = 75
"""Exit codes of sysexits.h: EX_CONFIG, after which a restart would fail the same way, and EX_TEMPFAIL."""

STARTUP_TIMEOUT = timedelta(minutes=5)
"""Timeout until a process is ready, including the import of its registry."""

_STABLE_AFTER = 60.0
"""Seconds of running after which the count of consecutive failures is reset."""

_TICK = 0.1

_HANG_TIMEOUT = 60.0
"""Seconds without a completed round after which the parent counts as hanging."""

_KILL_AFTER = 10.0
"""Seconds after the end of all runs after which a process that hasn't ended is killed."""

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class WorkerStartError(CallbackSDKError):
    """A worker could not start within its startup timeout; a later start may succeed."""


class WorkerSettingError(ConfigurationError):
    """A worker can't run with these settings; a restart would fail too."""


@define
class _Slot:
    """A slot for one process, with the state of its current process, and the failure of the one before."""

    role: str
    process: subprocess.Popen[bytes] | None = None
    reports: Reports | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    failure: str | None = None
    problems: list[str] = field(factory=lambda: ["it is starting."])


class WorkerSupervisor:
    """Keeps a worker's processes running until SIGTERM or SIGINT, and then waits for their end.

    A process that ends is restarted after 0.5 s to 1 min (exponential backoff with jitter). An invalid setting ends the
    worker.

    Args:
        command: Command line of a process, without its last arguments: role, parent's pid and pipe.
        processes: Number of processes that run tasks; one more makes delivery attempts.
        device_processes: Number of further processes, for tasks that need devices.
        environment: Environment of the processes.
        shutdown_timeout: Shutdown timeout of running tasks; a second signal ends it.
        stop_timeout: Time between SIGTERM and SIGKILL of a run that is stopped.
        startup_timeout: Timeout until a process is ready. The worker ends if no process has been ready by then since
            its start.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int,
        device_processes: int = 0,
        environment: Mapping[str, str],
        shutdown_timeout: timedelta,
        stop_timeout: timedelta,
        startup_timeout: timedelta = STARTUP_TIMEOUT,
    ) -> None:
        self._command = command
        self._environment = dict(environment)
        self._shutdown_timeout = shutdown_timeout.total_seconds()
        self._stop_timeout = stop_timeout.total_seconds()
        self._startup_timeout = startup_timeout.total_seconds()
        roles = [COMPUTE] * processes + [COMPUTE_ON_DEVICES] * device_processes + [SEND]
        self._slots = [_Slot(role) for role in roles]
        self._signals: list[int] = []
        self._has_been_ready = False
        self._started_at = self._round_at = time.monotonic()
        self._last_failure: str | None = None

    def run(self) -> None:
        """Run until a signal is received.

        Raises:
            WorkerSettingError: A setting is invalid.
            WorkerStartError: No process was ready within the startup timeout.
        """
        self._started_at = time.monotonic()
        with recorded_signals(self._signals):
            try:
                while not self._signals:
                    for slot in self._slots:
                        self._check_slot(slot)
                    self._check_startup_timeout()
                    self._round_at = time.monotonic()
                    time.sleep(_TICK)
                _log.info("Stopped by %s.", signal.Signals(self._signals[0]).name)
            finally:
                self._end()

    def is_alive(self) -> bool:
        """Return whether the parent itself makes progress."""
        return time.monotonic() - self._round_at < _HANG_TIMEOUT

    def problems(self) -> list[str]:
        """Return the reasons why the worker is not ready; an empty list if it is."""
        if self._signals:
            return ["The worker is stopping."]
        found = [f"A {slot.role} process isn't ready: {problem}" for slot in self._slots for problem in slot.problems]
        return list(dict.fromkeys(found))

    def states(self) -> list[tuple[str, bool, str | None]]:
        """Return the name of each process that runs tasks, whether it is loading, and its problem.

        A process without a problem that isn't loading is ready.
        """
        slots = [slot for slot in self._slots if slot.role != SEND]
        return [(f"{slot.role}-{number}", *_state(slot)) for number, slot in enumerate(slots)]

    def _check_slot(self, slot: _Slot) -> None:
        moment = time.monotonic()
        if slot.process is None:
            if moment >= slot.restart_at:
                self._start(slot)
            return
        # Before the pipe is read, so that the last report is in it.
        code = slot.process.poll()
        report = slot.reports.read() if slot.reports else None
        if report is not None:
            slot.problems = report.problems
            self._has_been_ready = self._has_been_ready or report.started
            slot.failure = None if report.started else slot.failure
        if code is not None:
            self._handle_end(slot, code)
        elif (report is None or not report.started) and moment - slot.started_at > self._startup_timeout:
            slot.process.kill()
            slot.process.wait()
            self._retry(slot, f"it was not ready within {self._startup_timeout:.0f} s: {'; '.join(slot.problems)}")

    def _start(self, slot: _Slot) -> None:
        reader, writer = os.pipe()
        try:
            # In a new session (setsid(2)), so that Ctrl-C in the terminal signals only the parent, which stops the
            # others.
            slot.process = subprocess.Popen(  # noqa: S603
                [*self._command, slot.role, str(os.getpid()), str(writer)],
                env=self._environment,
                start_new_session=True,
                pass_fds=[writer],
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        slot.reports, slot.started_at = Reports(reader), time.monotonic()

    def _handle_end(self, slot: _Slot, code: int) -> None:
        report = slot.reports.latest if slot.reports else None
        if report is not None and report.permanent and report.failure is not None:
            raise WorkerSettingError(f"The worker can't run: {report.failure}")
        self._retry(slot, (report.failure if report else None) or _describe_end(code))

    def _retry(self, slot: _Slot, reason: str) -> None:
        """Schedule the restart of a process that has ended, and log the reason in one line."""
        steady = time.monotonic() - slot.started_at > _STABLE_AFTER
        slot.failures = 1 if steady else slot.failures + 1
        pause = retry_pause(slot.failures)
        slot.restart_at = time.monotonic() + pause
        slot.problems, slot.failure = [reason], reason
        self._last_failure = reason
        self._release(slot)
        _log.warning("Worker process (%s) ended: %s Restarting in %.1f s.", slot.role, reason, pause)

    def _release(self, slot: _Slot) -> None:
        if slot.reports is not None:
            slot.reports.close()
        slot.process = slot.reports = None

    def _check_startup_timeout(self) -> None:
        if not self._has_been_ready and time.monotonic() - self._started_at > self._startup_timeout:
            raise WorkerStartError(
                f"The worker could not start within {self._startup_timeout:.0f} s: "
                f"{self._last_failure or ' '.join(self.problems())}",
                hint="Fix the cause and start the worker again, or raise --startup-timeout.",
            )

    def _end(self) -> None:
        """Signal all processes to end, and kill those that haven't ended after the shutdown timeout."""
        if self._signals:
            _log.info("The worker is stopping; running tasks may continue for up to %.0f s.", self._shutdown_timeout)
        end = time.monotonic() + self._shutdown_timeout + self._stop_timeout + _KILL_AFTER
        sent = 0
        try:
            while self._running_processes() and time.monotonic() < end:
                # After an error, processes are stopped as after one signal.
                while sent < max(1, len(self._signals)):
                    sent += 1
                    for process in self._running_processes():
                        # Celery drops all running tasks at a second SIGTERM, so SIGUSR1 is sent instead.
                        process.send_signal(signal.SIGTERM if sent == 1 else signal.SIGUSR1)
                self._round_at = time.monotonic()
                time.sleep(_TICK / 2)
        finally:
            for slot in self._slots:
                if slot.process is not None:
                    slot.process.kill()
                    slot.process.wait()
                self._release(slot)

    def _running_processes(self) -> list[subprocess.Popen[bytes]]:
        return [slot.process for slot in self._slots if slot.process is not None and slot.process.poll() is None]


def _state(slot: _Slot) -> tuple[bool, str | None]:
    is_new = slot.process is not None and not (slot.reports and slot.reports.latest.started)
    if is_new or slot.problems == [LOADING]:
        return True, slot.failure
    return False, " ".join(slot.problems) or None


@contextmanager
def recorded_signals(signals: list[int]) -> Iterator[None]:
    """Append each SIGTERM and SIGINT to a list while the block runs."""
    before = {number: signal.signal(number, lambda got, _: signals.append(got)) for number in _END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"it exited with code {code}."
    try:
        return f"it was killed by {signal.Signals(-code).name}."
    except ValueError:
        return f"it was killed by signal {-code}."
