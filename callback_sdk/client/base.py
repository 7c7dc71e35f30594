"""What every part of the client stands on: the connection, the choice of what a failure does, and paths."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from urllib.parse import quote, urlencode

from callback_sdk.client.connection import ServiceConnection, service_url
from callback_sdk.client.failures import Failures
from callback_sdk.client.login import credentials_of
from callback_sdk.client.resources import Algorithm, Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.errors import CallbackSDKError, ConfigurationError, InvalidRequestError, NotFoundError, ServiceError
from callback_sdk.parsing import parse_bool
from callback_sdk.redaction import Secret, hide
from callback_sdk.targets import TargetSettings
from callback_sdk.targets.providers import StorageProviders

if TYPE_CHECKING:
    from callback_sdk.client.client import Client
    from callback_sdk.config.client import ClientConfig

C = TypeVar("C", bound="ClientBase")
T = TypeVar("T")


class ClientBase:
    """The part of the client that the others share; see `Client`.

    Args:
        url: Where the service's API is.
        token: The bearer token.
        username: Who logs in where there is no token.
        password: Their password.
        callback_url: Where results go when a job names no target.
        timeout: The longest silence of the service within one answer.
        connect_timeout: The longest wait for a connection.
        retries: Tries after the first one.
        storage_endpoints: Object stores beside the well-known ones.
        config: What counts where these say nothing.
    """

    def __init__(
        self,
        url: str | None,
        *,
        token: Secret[Any] | None,
        username: str | None,
        password: Secret[Any] | None,
        callback_url: Secret[Any] | None,
        timeout: timedelta | None,
        connect_timeout: timedelta | None,
        retries: int | None,
        storage_endpoints: Iterable[str] | None,
        config: ClientConfig,
    ) -> None:
        self._failures = Failures(raises=config.fail_on_error)
        self._callback_url: Secret[Any] = hide(config.callback_url if callback_url is None else callback_url)
        endpoints = config.storage_endpoints if storage_endpoints is None else storage_endpoints
        self._settings = TargetSettings(stores=StorageProviders.of(endpoints))
        self._connection = ServiceConnection(
            service_url(_needed_url(hide(url or config.url))),
            credentials_of(token, username, password, config),
            timeout=config.timeout if timeout is None else timeout,
            connect_timeout=config.connect_timeout if connect_timeout is None else connect_timeout,
            retries=config.retries if retries is None else retries,
            max_response=config.max_response_bytes,
        )
        self.closed = False

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __copy__(self: C) -> C:
        # Threads share a client, and so do objects.
        return self

    def __deepcopy__(self: C, memo: object) -> C:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"A client holds a credential, so {self!r} is not pickled. Make a client in the other process: "
            "Client(url, token=...), or Client() with CALLBACK_SDK_URL and CALLBACK_SDK_TOKEN in its environment."
        )

    @property
    def url(self) -> str:
        """Where the service's API is."""
        return self._connection.url

    @property
    def last_error(self) -> CallbackSDKError | None:
        """Why this thread's last call returned False; None when it didn't."""
        return self._failures.last

    def fail_on_error(self, option: bool | str = True) -> None:
        """Choose what a failed call does: raise, or return False and set `last_error`.

        It counts for the client's tasks and algorithms too.

        Args:
            option: True to raise; the environment's words, such as `"false"` and `"on"`, will do.

        Raises:
            ConfigurationError: It is neither.
        """
        try:
            self._failures.raises = option if isinstance(option, bool) else parse_bool(str(option))
        except ValueError:
            raise ConfigurationError(f"fail_on_error takes no {option!r}.", hint="Give True or False.") from None

    def close(self) -> None:
        """Close all connections."""
        self.closed = True
        self._connection.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _task(self, state: TaskSnapshot) -> Task:
        return Task(cast("Client", self), state)

    def _algorithm(self, data: Any) -> Algorithm:
        return parse_response("an algorithm", Algorithm.from_dict, cast("Client", self), data)

    def _suggest(self, error: NotFoundError, algorithm_id: str) -> None:
        """Put similar names into the hint, if the service tells them without trouble."""
        try:
            data = self._connection.request("GET", "/algorithms", deadline=time.monotonic() + 2).data
            names = [algorithm["id"] for algorithm in data]
        except (ServiceError, KeyError, TypeError):
            return
        if any(f"'{name}'" in error.message for name in names):
            # The service has made its own suggestion.
            error.hint = ""
            return
        similar = difflib.get_close_matches(algorithm_id, names, n=3)
        listed = ", ".join(repr(name) for name in similar or names[:5])
        if algorithm_id not in names and listed:
            error.hint = f"Did you mean {listed}?" if similar else f"The service has {listed}."


def segment(name: str) -> str:
    """Quote a name for its place in a path, where it must not lead to another one.

    Raises:
        InvalidRequestError: It is no name.
    """
    if isinstance(name, str) and name not in ("", ".", ".."):
        # A lone surrogate, as of a file name that is no UTF-8, can't be in a URL.
        with contextlib.suppress(UnicodeEncodeError):
            return quote(name, safe="")
    raise InvalidRequestError(f"{name!r:.100} is no id.", hint="Give the id as a string.")


def with_query(path: str, parameters: Mapping[str, Any]) -> str:
    """Return a path with the parameters that are not None as its query."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def parse_response(what: str, read: Callable[..., T], *arguments: Any) -> T:
    """Read a part of an answer.

    Args:
        what: What it should be, for the error.
        read: What reads it.
        *arguments: What it is called with.

    Raises:
        ServiceError: It is something else.
    """
    try:
        return read(*arguments)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unexpected(what) from None


def unexpected(what: str) -> ServiceError:
    """Make the error for an answer that isn't what was asked for."""
    return ServiceError(f"The service's answer is not {what}.", hint="Do client and service speak the same API?")


def _needed_url(value: Secret[Any]) -> Secret[str]:
    if value.reveal() is None:
        raise ConfigurationError(
            "The client has no url.",
            hint="Give url=, or set CALLBACK_SDK_URL. `callback-sdk serve` prints the URL of a service of one's own.",
        )
    if not isinstance(value.reveal(), str):
        raise ConfigurationError(f"url is of type {type(value.reveal()).__name__}.", hint="Give a string.")
    return value
