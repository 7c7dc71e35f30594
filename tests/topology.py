"""A service and its workers as processes that a test can kill and start again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import psutil
import requests

from callback_sdk import Client
from tests.commands import run_here
from tests.forkserver import CommandProcess

Process = subprocess.Popen[bytes] | CommandProcess

PATIENCE = 90.0
HERE = Path(__file__).parent
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.01, 0.2, 1.3
"""Seconds between two looks at a condition: most ask a service, which takes the machine's time from what is awaited."""


def wait_until(condition: Callable[[], Any], *, patience: float = PATIENCE, what: str = "it") -> None:
    end, pause = time.monotonic() + patience, _FIRST_PAUSE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(pause)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)


def kill_tree(process: Process) -> None:
    """Kill a process with SIGKILL, and wait until its descendants have ended too."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    psutil.wait_procs(family, timeout=PATIENCE)


def imported_at_startup(module: str, folder: Path) -> Path:
    """Make a directory that lets each Python process with it in `PYTHONPATH` import a module, before its program.

    `opentelemetry-instrument` does the same. The processes of the service don't import the registry.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import {module}\n")
    return folder


class Topology:
    """A service with a data directory, and a worker if the engine needs one.

    They are forks of a process that has imported what they need, unless directories or a limit are given.

    Args:
        folder: Directory for data and logs.
        registry: Module and variable of the registry, importable from `tests/integration`.
        engine: `"embedded"` or `"celery"`.
        database: URL of the database; SQLite in the data directory if None.
        broker: URL of Celery's broker.
        settings: Further environment variables, without the prefix `CALLBACK_SDK_`.
        environment: Further environment variables with their full names.
        paths: Further directories of modules, before the others.
        open_files: Limit on the open files of each process; that of the test process if None.
    """

    def __init__(
        self,
        folder: Path,
        registry: str,
        *,
        engine: str = "embedded",
        database: str | None = None,
        broker: str | None = None,
        processes: int = 2,
        algorithms: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
        paths: Sequence[Path] = (),
        open_files: int | None = None,
    ) -> None:
        self._prefix = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files} && exec "$@"', "sh"]
        self._is_forked = open_files is None and not paths
        self.data = folder / "data"
        self.engine = engine
        self._registry = registry
        self._algorithms = algorithms
        self._log = folder / "log"
        variables = {
            "DATA_DIR": str(self.data),
            "PORT": "0",
            "ENGINE": engine,
            "PROCESSES": str(processes),
            "ALLOW_NETWORKS": "127.0.0.0/8:*",
            "SHUTDOWN_TIMEOUT": "1s",
            **({"DATABASE": database} if database else {}),
            **({"BROKER": broker} if broker else {}),
            **(settings or {}),
        }
        modules = [*map(str, paths), str(HERE / "integration"), str(HERE / "acceptance"), str(HERE.parent)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLBACK_SDK_")}
        self.environment = {
            **kept,
            **(environment or {}),
            **{f"CALLBACK_SDK_{name}": value for name, value in variables.items()},
            "PYTHONPATH": os.pathsep.join(modules),
        }
        self.service: Process | None = None
        self.worker: Process | None = None

    def __enter__(self) -> Topology:
        try:
            self.start_service()
            self.start_worker()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that ends by itself on the service's data directory, and return its output."""
        done = run_here(arguments, environment=self.environment, stdin=stdin)
        done.check_returncode()
        return done.stdout.strip()

    def start_service(self) -> None:
        (self.data / "address").unlink(missing_ok=True)
        self.launch("service")
        wait_until(lambda: (self.data / "address").exists() or self.service.poll() is not None)
        assert self.service.poll() is None, self.log[-3000:]

    def start_worker(self) -> None:
        if self.engine == "celery":
            self.launch("worker")

    def is_ready(self) -> bool:
        """Return whether the service is running and ready."""
        try:
            address = (self.data / "address").read_text().strip()
            with requests.Session() as session:
                session.trust_env = False
                return session.get(urljoin(address, "/readyz"), timeout=60).ok
        except (OSError, requests.RequestException):
            return False

    def launch(self, name: str) -> None:
        """Start the service or the worker, without waiting until it is ready."""
        if name == "service":
            self.service = self._start("serve")
        else:
            chosen = [word for algorithm in self._algorithms for word in ("--algorithm", algorithm)]
            self.worker = self._start("worker", *chosen)

    def client(self, **options: Any) -> Client:
        """Return a client of the first user for the current address of the service, which changes at each start."""
        address = (self.data / "address").read_text().strip()
        token = (self.data / "token").read_text().strip()
        return Client(address, token=token, **options)

    def close(self) -> None:
        for process in (self.worker, self.service):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.worker, self.service):
            if process is not None:
                try:
                    # Killed while it stops in good order, a task would count that as a crash.
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    kill_tree(process)

    def _start(self, *arguments: str) -> Process:
        command, *rest = arguments
        words = [command, self._registry, *rest]
        with self._log.open("ab") as log:
            if self._is_forked:
                return CommandProcess(words, env=self.environment, stdout=log, stderr=log)
            return subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "callback_sdk.cli", *words],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
