"""Runs a command in a supervised process, which ends the command and removes its files when the parent process ends.

`SupervisedProcess` starts this module as a supervisor in a separate process, because only that survives a parent that
is killed. The supervisor detects the end of the parent by the end of file of a pipe. If a forked sibling has a copy of
the pipe, the supervisor detects it by the changed pid of its parent. The supervisor has a separate session (setsid(2)),
so that Ctrl-C in the terminal signals only the parent.

`SupervisedServer` is the base class of local servers. The module imports only the standard library: it runs with
`python -I -S`, and starts in a few milliseconds.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IPC_RMID = 0
_REAP_SECONDS = 5.0
_TAIL_BYTES = 4000
_POLL = 0.2
_KILL, _RESTART, _DONE = b"k", b"r", b"."
# Below the range of ephemeral ports for outgoing connections (ip(7)), so that a killed server can bind its port again.
_FIRST_PORT, _LAST_PORT = 12_000, 32_000
_STARTS = 4


class SupervisedProcess:
    """A command that runs under a supervisor, with a temporary directory.

    The supervisor both creates and removes the directory, so that it is removed whenever the parent ends.

    Args:
        command: Program and arguments.
        env: The whole environment of the command.
        folder: The directory to create; the command's output goes to the file `log` in it.
        files: Files to create in the directory before the start, as texts by name, with mode 0600.
        cwd: Working directory of the command; `folder` if None.
        remove: Other files to remove when the command has ended.
        stop_timeout: Seconds between SIGTERM and SIGKILL; 0 for SIGKILL at once.

    Attributes:
        pid: Pid of the supervisor.
        tail: End of the log, or the error of a failed start; empty until `stop`.

    Raises:
        OSError: The supervisor can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        files: Mapping[str, str] = MappingProxyType({}),
        cwd: Path | None = None,
        remove: Sequence[Path] = (),
        stop_timeout: float = 0.0,
    ) -> None:
        self.tail = ""
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        plan = {
            "command": list(command),
            "folder": str(folder),
            "files": dict(files),
            "cwd": str(cwd or folder),
            "remove": [str(path) for path in remove],
            "stop_timeout": stop_timeout,
            "parent": os.getpid(),
        }
        self._send(json.dumps(plan).encode() + b"\n")

    @property
    def ended(self) -> bool:
        """Whether the command has ended by itself."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the command and its descendants, and wait for their end. The directory is kept."""
        self._send(_KILL)
        self._stdout.read(len(_DONE))

    def restart(self) -> None:
        """Kill the command if it runs, and start it again in the same directory."""
        self._send(_RESTART)
        self._stdout.read(len(_DONE))

    def stop(self) -> int:
        """End the command, wait until it has ended and its files are removed, and return its exit code."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        if not self._stdout.closed:
            self.tail = self._stdout.read().decode(errors="replace").strip()
            self._stdout.close()
        return self._process.wait()

    def _send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(line)
            self._stdin.flush()


_Server = TypeVar("_Server", bound="SupervisedServer")


class SupervisedServer(abc.ABC):
    """A server on loopback under a supervisor, with a temporary directory and ports. Clients use the first port."""

    _NAME: ClassVar[str]
    _HINT: ClassVar[str] = "It needs some memory, and free space in the directory for temporary files."
    _PORTS: ClassVar[int] = 1

    def __init__(self, *, timeout: timedelta = timedelta(seconds=60)) -> None:
        self._timeout = timeout
        self._process: SupervisedProcess | None = None
        self._folder = Path()
        self._ports: list[int] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}(port={self._ports[0]})" if self._process else f"{type(self).__name__}()"

    def __enter__(self: _Server) -> _Server:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server unless it runs, and wait until it responds.

        Raises:
            CallbackSDKError: The server ended, or didn't respond in time; the message has the end of its log.
        """
        if self._process is not None:
            return
        for _ in range(_STARTS):
            self._ports = free_ports(self._PORTS)
            self._folder = Path(tempfile.gettempdir()) / f"callback-sdk-{self._NAME.lower()}-{secrets.token_hex(6)}"
            self._process = process = self._launch()
            ready, ended = self._wait_until_responding(process)
            if ready:
                return
            if not ended:
                break
            # The server ends at once if another program has bound one of the ports. Then other ports are tried.
        raise _error(f"{self._NAME} did not start. The end of its log:\n{process.tail}", self._HINT)

    def close(self) -> None:
        """Kill the server, wait for its end, and remove its directory. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def kill(self) -> None:
        """Kill all processes of the server, like a crash, and keep the directory for `restart`."""
        self._require_process().kill()

    def restart(self) -> None:
        """Kill the server if it runs, start it again with the same data and ports, and wait until it responds."""
        process = self._require_process()
        process.restart()
        ready, _ = self._wait_until_responding(process)
        if not ready:
            raise _error(f"{self._NAME} did not start again. The end of its log:\n{process.tail}", self._HINT)

    @abc.abstractmethod
    def _launch(self) -> SupervisedProcess:
        """Start the command with `_ports` and `_folder`."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Return whether the server is ready."""

    @property
    def _port(self) -> int:
        self._require_process()
        return self._ports[0]

    def _require_process(self) -> SupervisedProcess:
        if self._process is None:
            raise _error(f"{self._NAME} is not running.", "Use it in a with block, or call start().")
        return self._process

    def _wait_until_responding(self, process: SupervisedProcess) -> tuple[bool, bool]:
        """Wait until the server responds, or close it; return whether it responds, and whether it ended by itself."""
        end = time.monotonic() + self._timeout.total_seconds()
        try:
            while time.monotonic() < end and not process.ended:
                if self._answers() and not process.ended:
                    return True, False
                time.sleep(0.02)
        except BaseException:
            self.close()
            raise
        ended = process.ended
        self.close()
        return False, ended


def free_ports(count: int) -> list[int]:
    """Find free ports. Another program may still bind one of them before it is used."""
    ports: set[int] = set()
    while len(ports) < count:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return sorted(ports)


def _error(message: str, hint: str) -> Exception:
    # Imported here, because this package can't be imported in the supervisor's process.
    from callback_sdk.errors import CallbackSDKError

    return CallbackSDKError(message, hint=hint)


def main() -> int:
    """Execute the plan on standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ask_to_end)
    line = _first_line()
    if not line:
        return 1
    plan = json.loads(line)
    # Orphans of the command are reparented to this process (PR_SET_CHILD_SUBREAPER, prctl(2)), which can then end them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder = Path(plan["folder"])
    code = 127
    try:
        folder.mkdir(mode=0o700)
        for name, text in plan["files"].items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)
        code = _run(plan, folder / "log")
    except OSError as error:
        sys.stdout.write(f"{error.filename}: {error.strerror}\n")
    finally:
        _remove(folder, plan["remove"])
    return code if code >= 0 else 128 - code


def _run(plan: Mapping[str, Any], log: Path) -> int:
    """Run the command, kill and restart it on request, and return its exit code at the end."""
    child: subprocess.Popen[bytes] | None = _start(plan["command"], cwd=plan["cwd"], log=log)
    code = -signal.SIGKILL
    try:
        while order := _next_order(child, plan["parent"]):
            if child is not None:
                _end(child, stop_timeout=0.0)
            child = _start(plan["command"], cwd=plan["cwd"], log=log) if order == _RESTART else None
            os.write(1, _DONE)
    finally:
        if child is not None:
            code = _end(child, plan["stop_timeout"])
        _show_tail(log)
    return code


def _start(command: Sequence[str], *, cwd: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # preexec_fn is safe here, because this process has a single thread.
            preexec_fn=_die_with_parent,
        )


_asked_to_end = False
_keeper = os.getpid()


def _ask_to_end(number: int, frame: object) -> None:
    global _asked_to_end
    _asked_to_end = True


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # Read byte by byte, because poll(2) below doesn't see bytes in a buffer of this process.
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _keeper:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _next_order(child: subprocess.Popen[bytes] | None, parent: int) -> bytes:
    """Wait for the next request of the parent; return an empty text if the command or the parent has ended."""
    pipe = select.poll()
    pipe.register(0, select.POLLIN | select.POLLHUP)
    while (child is None or child.poll() is None) and os.getppid() == parent and not _asked_to_end:
        if pipe.poll(_POLL * 1000):
            return os.read(0, 1)
    return b""


def _end(child: subprocess.Popen[bytes], stop_timeout: float) -> int:
    if child.poll() is None and stop_timeout:
        child.terminate()
        end = time.monotonic() + stop_timeout
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    _end_orphans()
    _remove_shared_memory(child.pid)
    return code


def _end_orphans() -> None:
    """End leftover descendants of the command, which could still write into the directory."""
    end = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return


def _remove_shared_memory(creator: int) -> None:
    """Remove System V shared memory of a killed process, which the kernel keeps until it is removed (shmctl(2))."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            _, number, _, _, pid, _, attached, *_ = line.split()
            if int(pid) == creator and not int(attached):
                ctypes.CDLL(None).shmctl(int(number), _IPC_RMID, None)


def _show_tail(log: Path) -> None:
    """Print the end of the log, which is then removed. The text fits into the pipe, so this doesn't block."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        os.write(1, file.read(_TAIL_BYTES))


def _remove(folder: Path, others: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path in others:
        with contextlib.suppress(OSError):
            Path(path).unlink()


if __name__ == "__main__":
    sys.exit(main())
