"""What a child process that runs algorithms gets of this one: a few variables, three streams, and nothing else.

Keys, passwords and credentials of the service are in its environment, its memory and its open files. An algorithm has
no use for any of them; what it calls, prints or sends may come from its user's data.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import popen_spawn_posix, reduction, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess, set_spawning_popen
from typing import Any

from callback_sdk.service.work import output_capture

_PASSED = re.compile(
    # What finds programs, libraries and modules.
    r"PATH|LD_.*|DYLD_.*|PYTHON.*|VIRTUAL_ENV|CONDA_PREFIX"
    # Who and where: nothing of it is a secret.
    r"|HOME|USER|LOGNAME|SHELL|TMPDIR|TMP|TEMP|XDG_.*_(HOME|DIR)|MPLCONFIGDIR"
    # How texts and times look.
    r"|LANG|LANGUAGE|LC_.*|TZ|TZDIR|TERM|NO_COLOR"
    # How many threads and which devices a computation takes.
    r"|(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|NUMBA|MALLOC|CUDA|NVIDIA|ROCR|HIP|PYTORCH|TF|XLA|JAX)_.*"
    # Which certificates are trusted.
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
)
"""A list of what is passed and not of what isn't, because a name that nobody thought of may hold a password."""

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)(API_?)?KEY(_|$)", re.IGNORECASE)
"""What a variable with a harmless prefix is not passed with, such as `TF_API_TOKEN`."""

_PR_SET_DUMPABLE = 4
"""prctl(2): whether processes of the same user may read this one's memory and environment."""


def environment(variables: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """Return the part of an environment that a child process gets.

    Args:
        variables: The environment.
        names: Further variables that the operator passes on.
    """
    wanted = frozenset(names)
    return {name: text for name, text in variables.items() if name in wanted or _is_passed(name)}


def _is_passed(name: str) -> bool:
    return _PASSED.fullmatch(name) is not None and _SECRET.search(name) is None


def context(names: Iterable[str] = ()) -> SpawnContext:
    """Return a context of multiprocessing whose processes are isolated.

    Args:
        names: Variables that they get besides the usual ones.
    """
    return _Context(tuple(names))


def start_tracker(names: Iterable[str] = ()) -> None:
    """Start the process that multiprocessing keeps beside all others, without credentials in its environment.

    Otherwise the first child process starts it, and an algorithm can read them there. Call it before there are threads:
    the environment and the standard streams are exchanged meanwhile. What it would print to the service's log, names of
    leaked semaphores, comes from algorithms, and nobody can act upon it.

    Args:
        names: Variables that it gets besides the usual ones.
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
    """Give processes that are started while the block lasts no stdout and stderr of this one."""
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
    """Keep other processes of the same user from reading this one's memory and environment; there are no core dumps.

    A process that is started from here can be inspected again. Root, and who has CAP_SYS_PTRACE, always can.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class _Process(SpawnProcess):
    """A process that knows which variables it gets."""

    passed: tuple[str, ...] = ()

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return _Popen(process_obj)


class _Context(SpawnContext):
    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    def Process(self, *args: Any, **options: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        process = _Process(*args, **options)
        process.passed = self._names
        return process


class _Popen(popen_spawn_posix.Popen):
    """Starts an interpreter as multiprocessing does, which has no way to give it another environment than its own.

    subprocess closes all file descriptors that aren't named, those of libraries in C too. The process never has this
    one's stdout and stderr: an algorithm could write records of its own to the log, also after its run.
    """

    _fds: list[int]

    def _launch(self, process_obj: Any) -> None:
        tracker: Any = resource_tracker.getfd()
        message = self._message(process_obj)
        sentinel, child_sentinel = os.pipe()
        child_pipe, pipe = os.pipe()
        printed, output = os.pipe()
        try:
            self._child = subprocess.Popen(  # noqa: S603
                spawn.get_command_line(tracker_fd=tracker, pipe_handle=child_pipe),
                executable=spawn.get_executable(),
                env=environment(os.environ, process_obj.passed),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[*self._fds, tracker, child_pipe, child_sentinel],
                # Ctrl-C at a terminal goes to the whole group: this process ends the child itself, which would print a
                # traceback while its interpreter starts.
                start_new_session=True,
            )
        except BaseException:
            _close(sentinel, pipe, printed)
            raise
        finally:
            _close(child_pipe, child_sentinel, output)
        threading.Thread(target=output_capture.log_lines, args=(printed,), name="printed", daemon=True).start()
        self.pid, self.sentinel = self._child.pid, sentinel
        # The pipe stays open: by its end the child knows that this process has ended.
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
        """Return the exit code; None while it runs."""
        if self.returncode is None:
            # subprocess knows the lock: of two threads that wait, one would find no such process.
            self.returncode = self._child.wait() if flag == 0 else self._child.poll()
        return self.returncode


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
