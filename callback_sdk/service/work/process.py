"""ChildProcess: runs algorithms in a child process, stopped on timeout, memory limit or cancellation."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from attrs import define

from callback_sdk.errors import CallbackSDKError, ConfigurationError, MissingExtraError
from callback_sdk.service.supervision.memory import Meter, retained_by
from callback_sdk.service.supervision.memory_groups import MemoryGroup
from callback_sdk.service.work import child, isolation, startup
from callback_sdk.service.work.devices import DeviceLease, DevicePool
from callback_sdk.service.work.interrupts import request_stop
from callback_sdk.service.work.outcome import Outcome, StopSignal
from callback_sdk.service.work.stack_dump import StackDump
from callback_sdk.service.work.watch import is_alive, wait_for
from callback_sdk.text.descriptions import sentence
from callback_sdk.text.escaping import TRACEBACK

_log = logging.getLogger(__name__)

_IMPORT_TIMEOUT = timedelta(minutes=5)
"""Timeout for the import of the registry."""

STOP_TIMEOUT = timedelta(seconds=5)
"""Default time between SIGTERM and SIGKILL of a run that is stopped."""

_MAX_LIST = 200
"""Maximum logged characters of what a run has left."""

_FINISH_TIMEOUT = timedelta(minutes=1)
"""Timeout for the record of the child's state."""

_TIMEOUT = "timeout"


@define(frozen=True, kw_only=True)
class _Baseline:
    """A child that is prepared for tasks.

    Attributes:
        memory: Its memory, in bytes.
        children: Pids of the processes that its setups have started.
    """

    memory: int
    children: set[int]


class _StoppedError(Exception):
    """The preparation of a child was stopped."""


class SetupError(CallbackSDKError):
    """A child process can't be prepared for tasks: the import of its registry or a setup failed.

    Attributes:
        traceback: The traceback of an error of the author's code; may be empty.
        setting: Message and hint if the registry itself is wrong, so that another start would fail the same way.
    """

    def __init__(self, message: str, *, traceback: str = "", setting: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        # A command prints the log and the error in the same place.
        self.add_hint("The service's log has the details.", "The details are above.")
        self.traceback = traceback
        self.setting = setting


class ChildProcess:
    """A Pebble pool of one process. After a kill the whole pool is discarded, as its locks may be held.

    Use it from one thread, which must not end before `close`: the child is killed when the thread that started it ends;
    see `reaper`.

    Args:
        registry: Name of the registry, which the child imports.
        algorithms: Names of the algorithms that the child runs, whose setups it calls; all if empty.
        pass_env: Further environment variables passed to the child; see `isolation`.
        max_retained_bytes: Bytes of memory that the child may retain from earlier runs; above that, a new child is
            started.
        stop_timeout: Time between SIGTERM and SIGKILL of a run that is stopped.
        max_runs: Maximum number of runs of one child; after that, a new child is started.
        devices: The devices of which each child leases some; None to let it use those of this process.
    """

    def __init__(
        self,
        registry: str,
        *,
        algorithms: Sequence[str] = (),
        pass_env: Iterable[str] = (),
        max_retained_bytes: float = math.inf,
        stop_timeout: timedelta = STOP_TIMEOUT,
        max_runs: float = math.inf,
        devices: DevicePool | None = None,
    ) -> None:
        self._registry = registry
        self._algorithms = tuple(algorithms)
        self._pass_env = tuple(pass_env)
        self._max_retained_bytes = max_retained_bytes
        self._stop_timeout = stop_timeout
        self._default_max_runs = max_runs
        self._runs = 0
        self._max_runs = max_runs
        self._devices = devices
        self._lease: DeviceLease | None = None
        self._pool: Any = None
        self._group: MemoryGroup | None = None
        self._stack: StackDump | None = None
        self._pid = 0
        self._imported: startup.ImportedRegistry | None = None
        self._baseline: _Baseline | None = None

    def describe(self) -> startup.ImportedRegistry:
        """Let the child import the registry, and return what is registered.

        Raises:
            ConfigurationError: The registry doesn't exist, or a registration is invalid.
            SetupError: The import failed.
        """
        try:
            return self._imported or self._import(StopSignal())
        except SetupError as error:
            if error.setting is None:
                raise
            message, hint = error.setting
        raise ConfigurationError(message, hint=hint)

    @property
    def is_prepared(self) -> bool:
        """Whether the child can run a task at once."""
        self._discard_unusable()
        return self._baseline is not None

    @property
    def prepared_memory(self) -> int:
        """The memory of the child after its setups, in bytes; 0 if it isn't prepared."""
        return self._baseline.memory if self._baseline is not None else 0

    def is_used_up(self, max_runs: int | None) -> bool:
        """Return whether a task with this maximum number of runs needs another child."""
        return max_runs is not None and self._runs >= max_runs

    def is_ending(self, max_runs: int | None) -> bool:
        """Return whether the child will be replaced after the next run, or before any task that may follow.

        Args:
            max_runs: Maximum number of runs of a child with the next run.
        """
        versions = self._imported.versions if self._imported is not None else ()
        limits = [version.max_runs for version in versions if version.name in (self._algorithms or (version.name,))]
        lowest = min(self._max_runs, *(limit or math.inf for limit in (max_runs, *limits)))
        return self._runs + 1 >= lowest or self._retained_bytes() > self._max_retained_bytes / 2

    def prepare(self, stop: StopSignal) -> bool:
        """Prepare the child for a task, unless it is prepared: import the registry, and call the setups.

        Args:
            stop: Stops the preparation.

        Returns:
            False if it was stopped.

        Raises:
            SetupError: The import or a setup failed.
        """
        if self.is_prepared:
            return True
        try:
            imported = self._imported or self._import(stop)
            for number, (name, timeout) in enumerate(imported.setups):
                arguments = (self._registry, self._algorithms, number)
                self._step(startup.set_up, arguments, timeout, stop, f"The setup of {name}")
            self._step(startup.finish, (), _FINISH_TIMEOUT, stop, "The end of the setup")
        except _StoppedError:
            return False
        except SetupError as error:
            if error.setting is not None:
                _log.error("%s %s", *error.setting)
            elif error.traceback:
                _log.error("%s", error.message, extra={TRACEBACK: error.traceback})
            raise
        self._baseline = _Baseline(memory=retained_by(self._pid), children=_children(self._pid))
        return True

    def run(
        self, task: child.RunSpec, *, timeout: timedelta, stop: StopSignal, max_runs: int | None = None
    ) -> Outcome:  # fmt: skip
        """Run one task, and return its outcome.

        Args:
            task: The task.
            timeout: The run's timeout, without the import of the registry and the setups.
            stop: Stops the run.
            max_runs: Maximum number of runs of a child that runs this task, if it is less than the default.

        Raises:
            SetupError: The child is not prepared, and its preparation failed.
        """
        if self.is_used_up(max_runs):
            self.close()
        try:
            outcome = self._run(task, timeout, stop, max_runs)
        except RuntimeError as error:
            # Pebble's error if the idle child was killed from outside.
            outcome = Outcome(crash=f"its process could not be reached: {error}")
        reasons = _changes(outcome.result) if outcome.result is not None else []
        if outcome.result is None or reasons or self._has_new_children() or self._runs >= self._max_runs:
            self.close()
        if reasons:
            _log.info(
                "Task %s left %s; its process is replaced.",
                task.job_id,
                ", ".join(reasons)[:_MAX_LIST],
                extra={"job_id": task.job_id},
            )
        return outcome

    def close(self) -> None:
        """Kill the child and its descendants."""
        pool, pid, self._pool, self._pid = self._pool, self._pid, None, 0
        self._imported = self._baseline = None
        self._runs, self._max_runs = 0, self._default_max_runs
        if pid:
            # Its reaper kills the descendants; see `isolation`.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        group, self._group = self._group, None
        if group is not None:
            group.kill()
        if pool is not None:
            pool.stop()
            pool.join()
        if group is not None:
            group.remove()
        if self._stack is not None:
            self._stack.close()
            self._stack = None
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _run(self, task: child.RunSpec, timeout: timedelta, stop: StopSignal, max_runs: int | None) -> Outcome:
        if not self.prepare(stop):
            return Outcome(stop_reason=stop.result())
        self._runs += 1
        self._max_runs = min(self._max_runs, max_runs or math.inf)
        if self._group is not None:
            self._group.limit(task.memory_limit)
        meter = Meter(self._pid) if math.isfinite(task.memory_limit) else None
        future = self._pool.schedule(child.run, args=(task,))
        watch = partial(wait_for, future, pid=self._pid, output=task.output, meter=meter, limit=task.memory_limit)
        ended = watch(timeout, stop)
        if ended is None:
            return Outcome(result=future.result())
        if ended.crash is not None and self._group is not None and (taken := self._group.excess()):
            return Outcome(out_of_memory=taken)
        reason = _TIMEOUT if ended.timed_out else ended.stop_reason
        if reason is not None:
            # The process is killed after that. A result is discarded: the algorithm may have left out a part.
            request_stop(self._pid, task.stop, reason)
            watch(self._stop_timeout, StopSignal())
        return ended

    def _discard_unusable(self) -> None:
        if self._pool is not None and not (self._pool.active and is_alive(self._pid)):
            self.close()
        elif (retained := self._retained_bytes()) > self._max_retained_bytes:
            _log.info("The child process retains %d bytes after its runs; it is replaced.", retained)
            self.close()

    def _retained_bytes(self) -> int:
        """Return the bytes that the child retains from earlier runs."""
        return retained_by(self._pid) - self._baseline.memory if self._baseline is not None else 0

    def _has_new_children(self) -> bool:
        return not _children(self._pid) <= (self._baseline.children if self._baseline else set())

    def _import(self, stop: StopSignal) -> startup.ImportedRegistry:
        if self._devices is not None and self._lease is None:
            self._lease = self._devices.lease(stop.done)
            if self._lease is None:
                raise _StoppedError
        self._start()
        arguments, what = (self._registry, self._algorithms), f"The import of {self._registry!r}"
        self._pid = self._step(os.getpid, (), _IMPORT_TIMEOUT, stop, "The start of a process")
        imported: startup.ImportedRegistry = self._step(startup.import_registry, arguments, _IMPORT_TIMEOUT, stop, what)
        self._imported = imported
        return imported

    def _step(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: timedelta, stop: StopSignal, what: str
    ) -> Any:
        """Return the value of one step of the preparation. If it fails, the child is killed."""
        try:
            step = self._pool.schedule(function, args=arguments)
            ended = wait_for(step, timeout, stop, pid=self._pid)
            if ended is None:
                value = step.result()
                if not isinstance(value, startup.StartFailure):
                    return value
                message = f"{what} failed: {sentence(value.reason)}"
                raise SetupError(message, traceback=value.traceback, setting=value.setting)
            if ended.stop_reason is not None:
                raise _StoppedError
            if ended.timed_out:
                where = self._stack.describe(self._pid) if self._stack is not None else ""
                raise SetupError(f"{what} took longer than {timeout}. {where}".rstrip())
            raise SetupError(f"{what} failed: {ended.crash}.")
        except RuntimeError as error:
            # Pebble's error if the idle child was killed from outside.
            self.close()
            raise SetupError(f"{what} failed: its process could not be reached: {error}.") from None
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        try:
            import pebble
        except ImportError:
            raise MissingExtraError("Pebble", extra="service") from None
        self._group, self._stack = MemoryGroup.create(), StackDump()
        # Not fork: this process has threads, and the child would inherit locks that other threads hold (fork(2)).
        self._pool = pebble.ProcessPool(
            max_workers=1,
            initializer=child.prepare,
            initargs=(os.getpid(), self._stack.descriptor),
            context=isolation.context(
                self._pass_env,
                self._group.add if self._group is not None else _ignore,
                variables=self._lease.variables if self._lease is not None else {},
                descriptors=[self._stack.descriptor, *(self._lease.descriptors if self._lease is not None else ())],
            ),
        )


def _changes(result: child.RunResult) -> list[str]:
    """Return what a run has left, for which its process can't be used again.

    Leftover threads of an algorithm would use the time and memory of the next run, and print into its output, which may
    belong to another user.
    """
    threads = [f"the thread {name} running" for name in result.threads]
    segments = [f"the shared memory {name}" for name in result.segments]
    return threads + segments + [f"a changed {part} that can't be restored" for part in result.unrestored]


def _ignore(pid: int) -> None:
    """Do nothing with a process that has no control group."""


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return found


def _children(pid: int) -> set[int]:
    # Linux lists the children of each thread in /proc/PID/task/TID/children (proc(5)). psutil would read every process
    # of the machine, which takes milliseconds.
    if lists := list(Path(f"/proc/{pid}/task").glob("*/children")):
        with contextlib.suppress(OSError):
            return {int(child) for path in lists for child in path.read_bytes().split()}
    return {process.pid for process in _descendants(pid)}
