"""What a public call does when it fails: raise, or return False and remember why."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import hides_tracebacks, strip_traceback

P = ParamSpec("P")
R = TypeVar("R")


class Failures:
    """The choice between raising and returning False, and each thread's last error.

    Args:
        raises: Whether a failed call raises.
    """

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises
        self._threads = threading.local()

    @property
    def last(self) -> CallbackSDKError | None:
        """Why this thread's last call returned False; None when it didn't."""
        return getattr(self._threads, "last", None)

    @last.setter
    def last(self, error: CallbackSDKError | None) -> None:
        self._threads.last = error


class _Fallible(Protocol):
    @property
    def _failures(self) -> Failures: ...


S = TypeVar("S", bound=_Fallible)


def public(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make a method follow its object's `Failures`."""
    call = hides_tracebacks(method)

    @functools.wraps(method)
    def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        failures = self._failures
        failures.last = None
        try:
            return call(self, *args, **kwargs)
        except CallbackSDKError as error:
            if failures.raises:
                raise
            failures.last = strip_traceback(error)
            # Whoever asked for False knows that it comes; all others keep the exact type.
            return cast("R", False)
        finally:
            del args, kwargs

    return wrapper
