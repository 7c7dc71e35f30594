"""Reloader: restarts a service or a worker when the code of its algorithms changes."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.supervision.supervisor import recorded_signals

_log = logging.getLogger(__name__)

_TICK = 0.2
"""Seconds between checks of the files: polling also works on network drives and in containers, where no events come."""

_IMPORT_TIMEOUT = timedelta(minutes=5)
"""Timeout for the import of the registry, as in the service itself."""

_SCRIPT = """
import json, os, signal, sys
from callback_sdk.concurrency.reaper import end_with_parent
end_with_parent(signal.SIGKILL, int(sys.argv[3]))
from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.algorithms.registry import load
try:
    load(sys.argv[1])
except CallbackSDKError as error:
    sys.exit(str(error))
names = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
found = json.dumps(sorted(name for name in names if isinstance(name, str)))
sys.__stdout__.write(f"\\n{sys.argv[2]}{found}\\n")
"""
"""Imports a registry in a process of its own, and prints the files of all modules in a line with a mark."""

_MARK = "callback-sdk modules: "

_IMPORT_TICK = 0.02
"""Seconds between checks whether the import has ended."""

_LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
_PACKAGE = str(Path(__file__).parents[2])

_FILES = re.compile(r'(?:File "|^)(/[^"\n]{1,4096}?\.py)(?:"|, line)', re.MULTILINE)
"""Files in a traceback, or at the beginning of the error of a module that can't be parsed."""

_Stamps = dict[str, tuple[int, int]]


class _InterruptError(Exception):
    """An import was interrupted by a signal, or by another change of the code."""


class Reloader:
    """Runs a service or a worker in a process, and replaces the process when a file that its registry imports changes.

    The process is stopped in an orderly way, so running tasks may end, and those that don't are repeated by the next
    one. It shares its listening socket with this process, so that no connection is refused meanwhile. The code is
    imported in another process first: while it has an error, tasks stay queued, and connections wait.

    Args:
        registry: Module and variable of the registry.
        command: Command line of the service or the worker.
        environment: Its environment.
        descriptors: Descriptors that it inherits, such as that of its listening socket.
    """

    def __init__(
        self, registry: str, command: Sequence[str], *, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> None:  # fmt: skip
        self._registry = registry
        self._command = command
        # A compiled module is taken for current if time and size of its source are the same, in whole seconds.
        self._environment = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
        self._descriptors = tuple(descriptors)
        self._signals: list[int] = []
        self._files: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run the service until SIGTERM or SIGINT.

        Returns:
            The exit code of the service.

        Raises:
            ConfigurationError: The registry can't be imported at the start.
        """
        with recorded_signals(self._signals):
            try:
                error = self._import()
                if error is not None:
                    raise ConfigurationError(error)
                return self._run()
            except _InterruptError:
                return 0
            finally:
                if self._process is not None and self._process.poll() is None:
                    self._process.kill()

    def _run(self) -> int:
        stamps, is_first = _stamps(self._files), True
        process: subprocess.Popen[bytes] | None = self._start()
        while not self._signals:
            time.sleep(_TICK)
            code = None if process is None else process.poll()
            if code is not None:
                if is_first:
                    return code
                _log.error("The service ended with exit code %d. It starts again when its code changes.", code)
                process = None
            if _stamps(self._files) == stamps:
                continue
            stamps = self._wait_until_unchanged()
            try:
                error = self._import()
            except _InterruptError:
                continue
            # A file that has changed since then is taken as changed.
            known = {name: stamp for name, stamp in stamps.items() if name in self._files}
            stamps = _stamps(self._files) | known
            if process is not None:
                _log.info("The code has changed; the service is stopped.")
                self._stop(process)
                process = None
            if error is not None:
                # A worker that started now would fail its tasks.
                _log.error("The service waits until its code can be imported. %s", error)
            elif not self._signals:
                process, is_first = self._start(), False
        return 0 if process is None else self._stop(process)

    def _wait_until_unchanged(self) -> _Stamps:
        """Wait until the files don't change any more: editors write several, or one in several steps."""
        stamps = _stamps(self._files)
        while True:
            time.sleep(_TICK)
            before, stamps = stamps, _stamps(self._files)
            if stamps == before:
                return stamps

    def _start(self) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C in a terminal reaches the whole group, and the service would get it twice.
        self._process = subprocess.Popen(  # noqa: S603
            self._command, env=self._environment, pass_fds=self._descriptors, start_new_session=True
        )
        return self._process

    def _stop(self, process: subprocess.Popen[bytes]) -> int:
        """Stop the service, and return its exit code. Each further signal is passed on."""
        passed_on = max(1, len(self._signals))
        process.send_signal(signal.SIGTERM)
        while (code := process.poll()) is None:
            time.sleep(_TICK)
            for _ in self._signals[passed_on:]:
                process.send_signal(signal.SIGTERM)
            passed_on = max(passed_on, len(self._signals))
        return code

    def _import(self) -> str | None:
        """Import the registry in another process; return the error, or None after the list of files was renewed.

        Raises:
            _InterruptError: The result doesn't matter any more.
        """
        code, printed, errors = self._call_script()
        if code is None:
            return f"Its import took longer than {_IMPORT_TIMEOUT}."
        if code:
            # The cause may be in a module that wasn't imported before.
            self._files = sorted({*self._files, *filter(_is_users, _FILES.findall(errors))})
            return errors.strip() or f"Its import ended with exit code {code}."
        # The registry may print too, also when its process ends.
        line = next(line for line in reversed(printed.splitlines()) if line.startswith(_MARK))
        self._files = [name for name in json.loads(line.removeprefix(_MARK)) if _is_users(name)]
        return None

    def _call_script(self) -> tuple[int | None, str, str]:
        """Return exit code, output and errors of the import; no exit code if it took too long."""
        # Files, not pipes: programs that the module starts may keep a pipe open for ever.
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _SCRIPT, self._registry, _MARK, str(os.getpid())],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=errors,
                start_new_session=True,
            )
            try:
                return self._wait(process), _text(printed), _text(errors)
            finally:
                # What the module has started ends too.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """Return the exit code of the import; None if it takes too long."""
        stamps, end = _stamps(self._files), time.monotonic() + _IMPORT_TIMEOUT.total_seconds()
        while (code := process.poll()) is None and time.monotonic() < end:
            if self._signals or _stamps(self._files) != stamps:
                raise _InterruptError
            time.sleep(_IMPORT_TICK)
        return code


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _is_users(name: str) -> bool:
    return not name.startswith((*_LIBRARIES, f"{_PACKAGE}/"))


def _stamps(files: Sequence[str]) -> _Stamps:
    """Return time and size of each file; files that don't exist, as while an editor replaces them, are left out."""
    found: _Stamps = {}
    for name in files:
        try:
            status = Path(name).stat()
        except OSError:
            continue
        found[name] = (status.st_mtime_ns, status.st_size)
    return found
