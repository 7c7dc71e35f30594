"""Runs one command for its parent, and ends it and removes its files as soon as the parent is gone.

Started by `Kept`, as a process of its own, because only a process can outlive a parent that was killed. It
learns of the parent's end from a pipe that nobody else holds, and, should a forked sibling hold the pipe too,
from its own parent's id. Its session is its own, so that a Ctrl-C in the terminal reaches the parent alone,
which then decides.

Only the standard library is used here: the file runs with `python -I -S`, which takes a few milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_REAP_SECONDS = 5.0
_TAIL_BYTES = 4000
_POLL = 0.2


class Kept:
    """A command that runs under a keeper, with a folder of its own.

    The keeper makes the folder as well as it removes it, so that no moment is left in which the parent's end
    could leave one behind.

    Args:
        command: Program and arguments.
        env: The command's whole environment.
        folder: The folder to make; the command's output goes to the file `log` in it.
        files: Texts to put there before the start, by name.
        cwd: The command's working folder; `folder` when None.
        remove: Other files to remove when the command has ended, whatever ended it.
        grace: Seconds between SIGTERM and SIGKILL; 0 for SIGKILL at once.

    Attributes:
        pid: Id of the keeper's process.
        tail: End of the log, or why the command could not be started; empty until `stop`.

    Raises:
        OSError: The keeper can't be started.
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
        grace: float = 0.0,
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
        self.pid = self._process.pid
        plan = {
            "command": list(command),
            "folder": str(folder),
            "files": dict(files),
            "cwd": str(cwd or folder),
            "remove": [str(path) for path in remove],
            "grace": grace,
            "parent": os.getpid(),
        }
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(json.dumps(plan).encode() + b"\n")
            self._stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether the command has ended by itself."""
        return self._process.poll() is not None

    def stop(self) -> int:
        """End the command, wait until it is gone and its files are removed, and return its exit code."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        if self._process.stdout is not None and not self._process.stdout.closed:
            self.tail = self._process.stdout.read().decode(errors="replace").strip()
            self._process.stdout.close()
        return self._process.wait()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101
        return self._process.stdin


def main() -> int:
    """Do what the plan on standard input says."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ask_to_end)
    line = _first_line()
    if not line:
        return 1
    plan = json.loads(line)
    # Orphans of the command become children of this process, which can then find and end them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder = Path(plan["folder"])
    code = 127
    try:
        folder.mkdir(mode=0o700)
        for name, text in plan["files"].items():
            (folder / name).write_text(text)
        child = _start(plan["command"], cwd=plan["cwd"], log=folder / "log")
        try:
            _watch(child, plan["parent"])
        finally:
            code = _end(child, plan["grace"])
            _show_tail(folder / "log")
    except OSError as error:
        sys.stdout.write(f"{error.filename}: {error.strerror}\n")
    finally:
        _remove(folder, plan["remove"])
    return code if code >= 0 else 128 - code


def _start(command: Sequence[str], *, cwd: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Safe here, unlike in most programs: this process has one thread.
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
        # Byte by byte: what is buffered is invisible to the poll below.
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


def _watch(child: subprocess.Popen[bytes], parent: int) -> None:
    pipe = select.poll()
    pipe.register(0, select.POLLIN | select.POLLHUP)
    while child.poll() is None and os.getppid() == parent and not _asked_to_end:
        if pipe.poll(_POLL * 1000):
            return


def _end(child: subprocess.Popen[bytes], grace: float) -> int:
    if child.poll() is None and grace:
        child.terminate()
        end = time.monotonic() + grace
        while child.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    _end_orphans()
    return code


def _end_orphans() -> None:
    """End what the command had started and left behind; it could still write into what is to be removed."""
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


def _show_tail(log: Path) -> None:
    """Write the end of the log, which is removed next; it fits the pipe, so nobody needs to read it."""
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
