"""Failed calls raise, or return False and keep the error, like calls of the platform's SDK."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from callback_sdk.client.api import ServiceAPI
from callback_sdk.client.connection import ServiceConnection
from callback_sdk.errors import CallbackSDKError, ServiceError
from callback_sdk.redaction import hides_tracebacks, strip_traceback

C = TypeVar("C", bound=type)


class Failures:
    """The choice between raising and returning False, and the last error of each thread.

    Args:
        raises: Whether a failed call raises.
    """

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises
        self._threads = threading.local()

    @property
    def last(self) -> CallbackSDKError | None:
        """The error of this thread's last call; None if it succeeded."""
        return getattr(self._threads, "last", None)

    @last.setter
    def last(self, error: CallbackSDKError | None) -> None:
        self._threads.last = error


class PlatformAPI(ServiceAPI):
    """The service's API, with the choice that a client shares with its tasks.

    Args:
        connection: Connection to the service.
        failures: Whether a failed call raises.
    """

    def __init__(self, connection: ServiceConnection, failures: Failures) -> None:
        super().__init__(connection)
        self.failures = failures


class LastError(ServiceError):
    """The error of a call that returned False, with `messages` and `status_code` as in the platform's SDK.

    Attributes:
        error: The error itself, with its own type.
        messages: Messages of the service, at least one.
        status_code: HTTP status of the response; None if there was no response.
    """

    def __init__(self, error: CallbackSDKError) -> None:
        facts: dict[str, Any] = {
            name: getattr(error, name, None) for name in ("status", "request_id", "retry_after", "job_id")
        }
        super().__init__(error.message, hint=error.hint, **facts)
        self.error = error
        self.messages: list[str] = [error.message]
        self.status_code: int | None = self.status


def returns_false_on_error(*names: str) -> Callable[[C], C]:
    """Make methods of a class, its own and inherited ones, follow the `_failures` of their object.

    Args:
        names: Names of the methods.
    """

    def decorate(kind: C) -> C:
        for name in names:
            setattr(kind, name, _wrap(getattr(kind, name)))
        return kind

    return decorate


def _wrap(method: Callable[..., Any]) -> Callable[..., Any]:
    call = hides_tracebacks(method)

    @functools.wraps(method)
    def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        failures = self._failures
        failures.last = None
        try:
            return call(self, *args, **kwargs)
        except CallbackSDKError as error:
            if failures.raises:
                raise
            failures.last = strip_traceback(error)
            return False
        finally:
            del args, kwargs

    return wrapper
