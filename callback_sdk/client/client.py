"""The client: submits jobs to a service that speaks the AI Core v2 REST API, and asks after them."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import attrs

from callback_sdk.callbacks import Callback
from callback_sdk.callbacks import callbacks as paired
from callback_sdk.client.connection import Connection, service_url
from callback_sdk.client.failures import Failures, public
from callback_sdk.client.features import parameters_file, prepared
from callback_sdk.client.resources import Algorithm, Task, TaskState
from callback_sdk.client.submission import credentials, form_fields
from callback_sdk.errors import (
    CallbackParamError,
    CallbackSDKError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
)
from callback_sdk.multipart import encode_form
from callback_sdk.readings import parse_bool
from callback_sdk.redaction import Secret, hide, sealed
from callback_sdk.stores import Stores
from callback_sdk.targets import Settings, check_callback

if TYPE_CHECKING:
    from callback_sdk.config import ClientConfig

_instances: dict[tuple[int, ClientConfig], Client] = {}
_instances_lock = threading.Lock()


class Client:
    """What a notebook or a script has of a service: it submits jobs, and asks after them.

    What is not given comes from the environment (see `ClientConfig`). One client may be shared by threads.

    Calls are repeated after a failed connection, a 408, 425, 429, 500, 502, 503 or 504, with pauses that grow
    and heed `Retry-After`. `run_algorithm` is repeated only where no second task can come of it: when no
    connection came about, or the service answered 429, or 503 with `Retry-After`. Redirects are errors, so
    that the token goes to no other host.

    Args:
        url: Where the service's API is, such as `http://127.0.0.1:8000/api/v2`.
        token: The bearer token.
        callback_url: Where results go when `run_algorithm` names no target; the same forms as there.
        timeout: The longest silence of the service within one answer.
        connect_timeout: The longest wait for a connection.
        retries: Tries after the first one.
        storage_endpoints: Object stores beside the well-known ones, so that a URL there without a signature
            is refused.
        config: Takes the environment's place.

    Raises:
        ConfigurationError: There is no URL or no token, or a setting can't be used.
    """

    @sealed
    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | Secret[str] | None = None,
        callback_url: Any = None,
        timeout: timedelta | None = None,
        connect_timeout: timedelta | None = None,
        retries: int | None = None,
        storage_endpoints: Iterable[str] | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        config = config or _environment()
        self._failures = Failures(raises=config.fail_on_error)
        self._callback_url: Secret[Any] = hide(config.callback_url if callback_url is None else callback_url)
        endpoints = config.storage_endpoints if storage_endpoints is None else storage_endpoints
        self._settings = Settings(stores=Stores.of(endpoints))
        self._connection = Connection(
            service_url(_needed("url", hide(url or config.url))),
            _needed("token", hide(token or config.token)),
            timeout=config.timeout if timeout is None else timeout,
            connect_timeout=config.connect_timeout if connect_timeout is None else connect_timeout,
            retries=config.retries if retries is None else retries,
        )
        self.closed = False

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

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

    @public
    def get_algorithms(self) -> list[Algorithm]:
        """Return every algorithm of the service.

        Raises:
            ServiceError: The service didn't tell.
        """
        data = self._connection.request("GET", "/algorithms").data
        if not isinstance(data, list):
            raise _unexpected("a list of algorithms")
        return [self._algorithm(item) for item in data]

    @public
    def get_algorithm(self, algorithm_id: str) -> Algorithm:
        """Return one algorithm.

        Raises:
            NotFoundError: There is none of this name; the hint has similar ones.
            ServiceError: The service didn't tell.
        """
        path = f"/algorithms/{_segment(algorithm_id)}"
        try:
            return self._algorithm(self._connection.request("GET", path).data)
        except NotFoundError as error:
            self._suggest(error, algorithm_id)
            raise

    @public
    def run_algorithm(
        self,
        algorithm_id: str,
        features: Any,
        *,
        version: str | None = None,
        evaluate: bool | Mapping[str, Any] = True,
        parameters: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        callback_url: Any = None,
        callback_param: Any = None,
        callbacks: Any = None,
        monitor: bool = True,
        compression: str | None = None,
    ) -> Task:
        """Submit a task.

        Every target is checked before anything is sent: a result that could not be delivered is not computed.

        Args:
            algorithm_id: The algorithm's id.
            features: A dict of equally long columns, a dict of scalars (one row), a list of records, a pandas
                DataFrame, an Arrow table, or the path of a Parquet or JSON file, which is streamed.
            version: The algorithm's version; the service's own choice when None.
            evaluate: Whether to evaluate the predictions, or what the algorithm needs to know for it.
            parameters: The algorithm's parameters, or the path of a JSON file with them.
            callback_url: Where the result goes: a URL or a list of URLs.
            callback_param: What goes with it: a dict for all URLs, or a list as long as theirs. A presigned
                POST needs `{"s3_fields": fields}`.
            callbacks: Instead of these two, a list of targets: `PutTarget`, `PostTarget`, URLs, and
                `(url, param)` pairs.
            monitor: Whether the service keeps watch over the algorithm's output.
            compression: Parquet's codec for a DataFrame or an Arrow table; snappy when None.

        Returns:
            The task; `wait` for it, or let the targets tell.

        Raises:
            TargetError: A result could not go to a target; nothing was sent.
            FeaturesError: The features are no table, or an empty one; nothing was sent.
            EncodingError: The parameters are no JSON; nothing was sent.
            NotFoundError: There is no such algorithm or version.
            ServiceError: The service didn't accept the task.
        """
        asked = Secret((callback_url, callback_param, callbacks))
        # Signed URLs and form fields have no place in a traceback with locals.
        del callback_url, callback_param, callbacks
        path = f"/algorithms/{_segment(algorithm_id)}/predict"
        targets = self._targets(asked)
        fields = form_fields(targets, version=version, evaluate=evaluate, monitor=monitor, compression=compression)
        files = [] if parameters is None else [parameters_file(parameters)]
        with prepared(features, compression=compression) as file:
            body, content_type = encode_form(fields, [file, *files])
            try:
                answer = self._connection.request(
                    "POST", path, body=body, content_type=content_type, hidden=credentials(targets)
                )
            except NotFoundError as error:
                self._suggest(error, algorithm_id)
                raise
        return Task(self, _state(answer.data))

    @public
    def get_task_results(self, job_id: str) -> Task:
        """Return a task as it stands now.

        Raises:
            NotFoundError: There is none of this id.
            ServiceError: The service didn't tell.
        """
        return Task(self, self._task_state("GET", job_id))

    @public
    def cancel_task(self, job_id: str) -> Task:
        """Stop a task, also while it runs, and return it.

        Raises:
            NotFoundError: There is none of this id.
            ServiceError: The service didn't accept that.
        """
        return Task(self, self._task_state("DELETE", job_id))

    def close(self) -> None:
        """Close all connections."""
        self.closed = True
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _task_state(self, method: str, job_id: str, *, at_most: float | None = None) -> TaskState:
        answer = self._connection.request(method, f"/algorithms/tasks/{_segment(job_id)}", at_most=at_most)
        return _state(answer.data)

    def _algorithm(self, data: Any) -> Algorithm:
        try:
            return Algorithm.from_dict(self, data)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _unexpected("an algorithm") from None

    def _suggest(self, error: NotFoundError, algorithm_id: str) -> None:
        """Put similar names into the hint, if the service tells them without trouble."""
        try:
            data = self._connection.request("GET", "/algorithms", at_most=2.0).data
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

    def _targets(self, asked: Secret[tuple[Any, Any, Any]]) -> tuple[Callback, ...]:
        given = [value is not None for value in asked.reveal()]
        if given[2] and (given[0] or given[1]):
            raise CallbackParamError(
                "callbacks= is given together with callback_url= or callback_param=.",
                hint="Give each target once: in callbacks, as (url, param) where it has a parameter.",
            )
        if asked.reveal()[1] and not given[0] and self._callback_url.reveal() is None:
            raise CallbackParamError("callback_param= is given without callback_url=.", hint="Give the URL too.")
        if given[2]:
            targets = paired(Secret(_listed(asked.reveal()[2])))
        else:
            targets = paired(Secret(asked.reveal()[0]) if given[0] else self._callback_url, Secret(asked.reveal()[1]))
        for target in targets:
            check_callback(target, self._settings)
        return targets


@sealed
def get_instance(token: str | Secret[str] | None = None, url: str | None = None, callback_url: Any = None) -> Client:
    """Return the client that this process shares among all who ask with the same arguments and environment.

    `fail_on_error` counts for all of them. A client that was closed is replaced at the next call.

    Args:
        token: The bearer token; the environment's when None.
        url: Where the service's API is; the environment's when None.
        callback_url: Where results go when `run_algorithm` names no target; the environment's when None.

    Raises:
        ConfigurationError: There is no URL or no token, or a setting can't be used.
    """
    given = {
        "token": None if token is None else hide(token),
        "url": url,
        "callback_url": None if callback_url is None else hide(callback_url),
    }
    del token, callback_url
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    config: ClientConfig = attrs.evolve(cast("Any", _environment()), **changes)
    # Sockets don't survive a fork as two, so a child process gets a client of its own.
    key = (os.getpid(), config)
    with _instances_lock:
        client = _instances.get(key)
        if client is None or client.closed:
            client = _instances[key] = Client(config=config)
        return client


def _environment() -> ClientConfig:
    # Here, because environ-config loads boto3 wherever that is installed.
    from callback_sdk.config import ClientConfig

    return ClientConfig.from_environ()


def _needed(name: str, value: Secret[Any]) -> Secret[str]:
    if value.reveal() is None:
        raise ConfigurationError(
            f"The client has no {name}.",
            hint=f"Give {name}=, or set CALLBACK_SDK_{name.upper()}. `callback-sdk serve` prints the URL of "
            "a service of one's own, and keeps its token in the file `token` of its data folder.",
        )
    if not isinstance(value.reveal(), str):
        raise ConfigurationError(f"{name} is of type {type(value.reveal()).__name__}.", hint="Give a string.")
    return value


def _listed(targets: Any) -> Any:
    return list(targets) if isinstance(targets, Iterable) and not isinstance(targets, (str, Mapping)) else [targets]


def _segment(name: str) -> str:
    """Quote a name for its place in a path, where it must not lead to another one."""
    if not isinstance(name, str) or name in ("", ".", ".."):
        raise InvalidRequestError(f"{name!r:.100} is no id.", hint="Give the id as a string.")
    return quote(name, safe="")


def _state(data: Any) -> TaskState:
    try:
        return TaskState.from_dict(data)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _unexpected("a task") from None


def _unexpected(what: str) -> ServiceError:
    return ServiceError(f"The service's answer is not {what}.", hint="Do client and service speak the same API?")
