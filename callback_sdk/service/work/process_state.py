"""The state of the child process that an algorithm may change, restored after each run."""

from __future__ import annotations

import contextlib
import gc
import io
import locale
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from attrs import define

from callback_sdk.service.work.logging_state import LoggingState
from callback_sdk.service.work.random_state import RandomState

_SIGNALS = range(1, signal.SIGSYS + 1)
"""The standard signals."""

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


@define(frozen=True)
class _StatePart:
    """One part of the state.

    Attributes:
        name: What it is.
        read: Returns its value.
        write: Sets it.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]

    def value(self) -> Any:
        """Return the value; None if it can't be read: on other systems, or for a working directory that was removed."""
        with contextlib.suppress(Exception):
            return self.read()
        return None

    def restore(self, saved: Any) -> bool:
        """Set the value unless it is set, and return whether that was possible."""
        if self.value() == saved:
            return True
        with contextlib.suppress(Exception):
            self.write(saved)
        return bool(self.value() == saved)


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in _SIGNALS]


def _set_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        # None: not set by Python code.
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _timers() -> list[bool]:
    return [signal.getitimer(timer)[0] > 0 for timer in _TIMERS]


def _stop_timers(_: list[bool]) -> None:
    for timer in _TIMERS:
        signal.setitimer(timer, 0)


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(number) for number in _LIMITS]


def _set_limits(limits: list[tuple[int, int]]) -> None:
    for number, limit in zip(_LIMITS, limits, strict=True):
        resource.setrlimit(number, limit)


def _set_filters(filters: list[Any]) -> None:
    # It also discards which warnings were shown already.
    warnings.resetwarnings()
    warnings.filters.extend(filters)  # type: ignore[attr-defined]


def _set_gc(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


_PARTS = (
    _StatePart("working directory", os.getcwd, os.chdir),
    _StatePart("environment", lambda: dict(os.environ), _set_environment),
    _StatePart("umask", _umask, os.umask),
    _StatePart("timers", _timers, _stop_timers),
    _StatePart("signal handlers", _handlers, _set_handlers),
    _StatePart(
        "signal mask",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    _StatePart("locale", lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    _StatePart("user", lambda: os.getresuid(), lambda ids: os.setresuid(*ids)),
    _StatePart("group", lambda: os.getresgid(), lambda ids: os.setresgid(*ids)),
    _StatePart(
        "priority",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda value: os.setpriority(os.PRIO_PROCESS, 0, value),
    ),
    _StatePart("CPU affinity", lambda: os.sched_getaffinity(0), lambda cpus: os.sched_setaffinity(0, cpus)),
    _StatePart("resource limits", _limits, _set_limits),
    _StatePart("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _StatePart("warnings filter", lambda: list(warnings.filters), _set_filters),
    _StatePart("garbage collector", gc.isenabled, _set_gc),
)
"""Other state of the interpreter, such as modules and their variables, stays: an algorithm may keep a model there."""


class ProcessState:
    """The state of this process at startup.

    Args:
        random_state: The state of the random number generators.
    """

    def __init__(self, random_state: RandomState) -> None:
        self._random = random_state
        self._saved = [part.value() for part in _PARTS]
        self._logging = LoggingState()
        self._streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def restore(self) -> list[str]:
        """Restore the state, and return the names of the parts for which that isn't possible."""
        os.dup2(self._null, 0)
        for name, stream in self._streams.items():
            if not _is_usable(stream):
                self._streams[name] = stream = open_stream(name)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        self._logging.restore()
        self._random.reset()
        return [part.name for part, saved in zip(_PARTS, self._saved, strict=True) if not part.restore(saved)]


def open_stream(name: str) -> io.TextIOWrapper:
    """Open a standard stream of this process. Closing it doesn't close the file descriptor.

    Args:
        name: `"stdin"`, `"stdout"` or `"stderr"`.
    """
    number = ("stdin", "stdout", "stderr").index(name)
    raw = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115 - as long as the process
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=number > 0)


def _is_usable(stream: Any) -> bool:
    # A stream without its buffer, which `detach` returned, raises ValueError.
    with contextlib.suppress(ValueError, AttributeError):
        return not stream.closed
    return False
