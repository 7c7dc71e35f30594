"""Isolation of child processes that run algorithms: an allowlist of environment variables, and no inherited files.

Keys, passwords and credentials of the service are in its environment, its memory and its open files. An algorithm needs
none of them, and may disclose them: its calls and output may be controlled by its user's data.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import popen_spawn_posix, reduction, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess, set_spawning_popen
from typing import Any

from attrs import define, field

from callback_sdk.concurrency import reaper
from callback_sdk.service.work import orphans, output_capture

_PASSED = re.compile(
    # Search paths of programs, libraries and modules.
    r"PATH|LD_.*|DYLD_.*|PYTHON.*|VIRTUAL_ENV|CONDA_PREFIX"
    # User, home and temporary directories.
    r"|HOME|USER|LOGNAME|SHELL|TMPDIR|TMP|TEMP|XDG_.*_(HOME|DIR)|MPLCONFIGDIR"
    # Locale and time zone.
    r"|LANG|LANGUAGE|LC_.*|TZ|TZDIR|TERM|NO_COLOR"
    # Threads and devices of numerical libraries.
    r"|(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|NUMBA|MALLOC|CUDA|NVIDIA|ROCR|HIP|PYTORCH|TF|XLA|JAX)_.*"
    # Trusted certificates.
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
)
"""An allowlist, not a denylist: a variable with an unknown name may contain a password."""

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)(API_?)?KEY(_|$)", re.IGNORECASE)
"""Words that exclude a variable in spite of an allowed prefix, such as `TF_API_TOKEN`."""

_PR_SET_DUMPABLE = 4
"""prctl(2): whether processes of the same user may read this one's memory and environment."""


def environment(variables: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment of a child process.

    Args:
        variables: The environment of this process.
        names: Further variables that the operator passes on.
    """
    wanted = frozenset(names)
    return {name: text for name, text in variables.items() if name in wanted or _is_passed(name)}


def _is_passed(name: str) -> bool:
    return _PASSED.fullmatch(name) is not None and _SECRET.search(name) is None


def context(
    names: Iterable[str] = (),
    started: Callable[[int], None] = lambda pid: None,
    *,
    variables: Mapping[str, str] | None = None,
    descriptors: Iterable[int] = (),
) -> SpawnContext:
    """Return a context of multiprocessing whose processes are isolated.

    Args:
        names: Further variables that the operator passes on.
        started: Called with the pid of the reaper of each process as soon as that is started.
        variables: Variables with the values that the processes get instead of those of this process.
        descriptors: File descriptors that the processes inherit.
    """
    return _Context(
        _Start(names=tuple(names), started=started, variables=dict(variables or {}), descriptors=tuple(descriptors))
    )


def start_tracker(names: Iterable[str] = ()) -> None:
    """Start multiprocessing's resource tracker without credentials in its environment.

    Otherwise multiprocessing starts it with the first child process, and an algorithm can read the credentials in
    /proc/PID/environ (proc(5)). Call this function before any thread is started, because it temporarily replaces the
    environment and the standard streams of this process. The tracker's output is discarded: its warnings are about
    leaked semaphores of algorithms.

    Args:
        names: Further variables that the operator passes on.
    """
    whole = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment(whole, names))
        with _silent():
            resource_tracker.ensure_running()
    finally:
        os.environ.update(whole)


@contextmanager
def _silent() -> Iterator[None]:
    """Detach stdout and stderr of processes that are started in the block from those of this process."""
    null = os.open(os.devnull, os.O_WRONLY)
    before = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in before:
            os.dup2(null, number)
        yield
    finally:
        for number, old in before.items():
            os.dup2(old, number)
            os.close(old)
        os.close(null)


def forbid_inspection() -> None:
    """Prevent other processes of the same user from reading this one's memory and environment. Disables core dumps.

    A process that isn't dumpable can't be attached by ptrace, and its files in /proc belong to root; see
    PR_SET_DUMPABLE in prctl(2). execve(2) resets the attribute, so child processes don't inherit it. Root and processes
    with CAP_SYS_PTRACE are not restricted.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@define(frozen=True, kw_only=True)
class _Start:
    """How the processes of a context are started; see `context`."""

    names: tuple[str, ...] = ()
    started: Callable[[int], None] = lambda pid: None
    variables: Mapping[str, str] = field(factory=dict)
    descriptors: tuple[int, ...] = ()


class _Process(SpawnProcess):
    """A process of which the environment can be set."""

    passed: tuple[str, ...] = ()
    start_options = _Start()

    def __getstate__(self) -> dict[str, Any]:
        # The child process doesn't need them.
        return {name: value for name, value in vars(self).items() if name != "start_options"}

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return _Popen(process_obj)


class _Context(SpawnContext):
    def __init__(self, options: _Start) -> None:
        super().__init__()
        self._options = options

    def Process(self, *args: Any, **options: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        process = _Process(*args, **options)
        process.start_options = self._options
        return process


class _Popen(popen_spawn_posix.Popen):
    """Starts an interpreter below a reaper, like multiprocessing, which itself can only pass its own environment.

    The pid is that of the process itself; exit code and end are those of its reaper, which are the same a moment later.

    subprocess closes all other file descriptors, including those of C libraries. The process doesn't inherit stdout and
    stderr: an algorithm could forge records of the log, even after its run.
    """

    _fds: list[int]

    def _launch(self, process_obj: Any) -> None:
        tracker: Any = resource_tracker.getfd()
        options: _Start = process_obj.start_options
        message = self._message(process_obj)
        sentinel, child_sentinel = os.pipe()
        child_pipe, pipe = os.pipe()
        printed, output = os.pipe()
        pids, child_pids = os.pipe()
        *interpreter, program, mark = spawn.get_command_line(tracker_fd=tracker, pipe_handle=child_pipe)
        passed = [*self._fds, *options.descriptors, tracker, child_pipe, child_sentinel]
        if sys.platform == "linux":
            program = f"{reaper.program(child_pids, tracker)}; {program}"
            passed.append(child_pids)
        try:
            self._reaper = subprocess.Popen(  # noqa: S603
                [*interpreter, program, mark],
                executable=spawn.get_executable(),
                env={**environment(os.environ, options.names), **orphans.mark(), **options.variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=passed,
                # Ctrl-C in a terminal signals the whole group: this process ends the child itself, which would print a
                # traceback while its interpreter starts.
                start_new_session=True,
            )
        except BaseException:
            _close(sentinel, pipe, printed, pids)
            raise
        finally:
            _close(child_pipe, child_sentinel, output, child_pids)
        options.started(self._reaper.pid)
        threading.Thread(target=output_capture.log_lines, args=(printed,), name="printed", daemon=True).start()
        with os.fdopen(pids, "rb") as pid_file:
            # Empty if there is no reaper, or it has ended at once.
            self.pid = int(pid_file.read() or self._reaper.pid)
        # Open until the reaper has ended, and so have all descendants of the process.
        self.sentinel = sentinel
        # The pipe stays open: its end of file tells the child that this process has ended.
        self.finalizer = util.Finalize(self, _close, (sentinel, pipe))
        with os.fdopen(pipe, "wb", closefd=False) as file:
            file.write(message)

    def _message(self, process_obj: Any) -> bytes:
        file = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj.name), file)
            reduction.dump(process_obj, file)
        finally:
            set_spawning_popen(None)
        return file.getvalue()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code; None while the process runs."""
        if self.returncode is None:
            # subprocess locks waitpid: of two concurrently waiting threads, one would get ECHILD.
            self.returncode = self._reaper.wait() if flag == 0 else self._reaper.poll()
        return self.returncode


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
