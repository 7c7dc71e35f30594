"""Starts `callback-sdk` by a fork of a process that has imported it: the imports are most of what a start costs.

Tests that are about the start itself, or that look at command lines, start an interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_PACKAGES = ("callback_sdk.commands", "callback_sdk.service")
_MODULES = (
    "callback_sdk.cli",
    "alembic",
    "pebble",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.protocols.http.auto",
)
_ROOT = Path(__file__).parents[1]
_LARGEST = 1 << 18
"""Bytes of a request, most of which are the environment."""


class CommandProcess:
    """A process of `callback-sdk`, with the part of `subprocess.Popen` that tests use.

    Args:
        arguments: The arguments after the program's name.
        env: The environment.
        stdout: A file for its standard output.
        stderr: A file for its standard error.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: IO[Any],
        stderr: IO[Any],
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._status, theirs = os.pipe()
        request = {"arguments": self.args, "env": dict(env), "cwd": str(Path.cwd())}
        try:
            socket.send_fds(_starter(), [json.dumps(request).encode()], [stdout.fileno(), stderr.fileno(), theirs])
        finally:
            os.close(theirs)
        self.pid = _read_number(self._status)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(_read_number(self._status))
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _read_number(descriptor: int) -> int:
    data = os.read(descriptor, 4)
    if len(data) < 4:
        raise RuntimeError("The process that starts others has ended.")
    number: int = struct.unpack("i", data)[0]
    return number


@functools.cache
def _starter() -> socket.socket:
    """Start the process that forks, and return the connection to it, with which it ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = "import sys; from tests import forkserver; sys.exit(forkserver.serve(int(sys.argv[1])))"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLBACK_SDK_")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())],
            env={**kept, "PYTHONPATH": str(_ROOT)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(lambda: (ours.close(), process.wait()))
    return ours


def serve(descriptor: int) -> int:
    """Fork a process for each request until the connection ends; return the exit code, in those processes theirs."""
    # A terminal signals the whole group, but only the processes that tests have started are to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    plain_path = [path for path in sys.path if path not in ("", str(_ROOT))]
    for name in (*_MODULES, *(name for package in _PACKAGES for name in _modules_of(package))):
        # Those of packages that are not installed.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Collections in the processes would write to all pages that are shared.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as connection:
        while True:
            data, files, _, _ = socket.recv_fds(connection, _LARGEST, 3)
            if not data:
                return 0
            if os.fork() == 0:
                break
            for file in files:
                os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    stdout, stderr, status = files
    if (pid := os.fork()) == 0:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        return _run(json.loads(data), plain_path)
    os.closerange(0, 3)
    os.write(status, struct.pack("i", pid))
    os.write(status, struct.pack("i", os.waitpid(pid, 0)[1]))
    os._exit(0)


def _modules_of(package: str) -> list[str]:
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    return [module.name for module in found if ".migrations" not in module.name]


def _run(request: Mapping[str, Any], plain_path: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[:] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *plain_path]
    sys.argv[:] = ["callback-sdk", *request["arguments"]]
    from callback_sdk import cli

    return cli.main(request["arguments"])
