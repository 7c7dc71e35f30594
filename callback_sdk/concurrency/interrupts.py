"""Exceptions that signal handlers raise: they interrupt whatever runs, and are not failures of it.

Time limits of task queues are raised so: `SoftTimeLimitExceeded` of Celery, `JobTimeoutException` of RQ, or a
`TimeoutError` of a program's own handler of SIGALRM. Unlike `KeyboardInterrupt` they are an `Exception`, so that code
which expects failures would catch them, and try again.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import CodeType
from typing import Any, TypeVar

from callback_sdk.concurrency.forking import no_fork

E = TypeVar("E", bound=BaseException)


def uninterrupted(*kinds: type[E]) -> tuple[type[E], ...]:
    """Return the exceptions to catch, which are none if a signal handler has raised the one that is being handled.

    Args:
        *kinds: The exceptions.

    Example:
        >>> try:
        ...     send()
        ... except uninterrupted(Exception) as error:
        ...     retry(error)
    """
    error = sys.exc_info()[1]
    return () if error is not None and is_interrupt(error) else kinds


def is_interrupt(error: BaseException) -> bool:
    """Return whether an exception interrupts a program, as `KeyboardInterrupt` does, or a signal handler has raised it.

    A handler is called between two instructions of any function, so that a frame of it is in the traceback. This holds
    as long as the handler is the one of its signal.
    """
    if not isinstance(error, Exception):
        return True
    trace = error.__traceback__
    if trace is None or trace.tb_next is None:
        # The exception was raised where it is caught.
        return False
    codes = {frame.f_code for frame, _ in traceback.walk_tb(trace.tb_next)}
    return any(code in codes for code in _handlers())


def _handlers() -> Iterator[CodeType]:
    # Imported here, because few processes see a failure.
    with no_fork:
        import signal

    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and (code := _code(handler)) is not None:
            yield code


def _code(handler: Any) -> CodeType | None:
    """Return the code of a Python function, a method, or an object with `__call__`; None for a function in C."""
    with no_fork:
        import inspect

    while isinstance(handler, partial):
        handler = handler.func
    # All functions with one decorator share the code of its wrapper.
    with suppress(ValueError):
        handler = inspect.unwrap(handler)
    # The attributes of a method are those of its function.
    code = getattr(handler, "__code__", None) or getattr(handler.__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
