"""The names and call forms that scripts written for the AI platform's SDK (COMPREDICT-AI-SDK 2.1) use.

    from callback_sdk import compat as api

    client = api.get_instance(token=token)

New code uses `callback_sdk.Client`. Differences that remain are listed in docs/migrating.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar, cast

import attrs
from attrs import define, field

from callback_sdk.client import Algorithm, Client, Task, Version
from callback_sdk.client.failures import public
from callback_sdk.client.login import Login, RefreshableToken
from callback_sdk.client.settings import environment_config, hidden
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import (
    AuthenticationError,
    CallbackSDKError,
    ConfigurationError,
    InvalidRequestError,
    ServiceError,
)
from callback_sdk.redaction import Secret, hide, hides_tracebacks

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig

T = TypeVar("T")

_instances: dict[tuple[int, ClientConfig], PlatformClient] = {}
_instances_lock = Lock()


class LastError(ServiceError):
    """Why a call returned False: `error.messages` and `error.status_code`, as the platform's SDK has them.

    Attributes:
        error: The error itself, with its own type.
        messages: What the service said, at least one.
        status_code: HTTP status of the response; None when there was none.
    """

    def __init__(self, error: CallbackSDKError) -> None:
        facts: dict[str, Any] = {
            name: getattr(error, name, None) for name in ("status", "request_id", "retry_after", "job_id")
        }
        super().__init__(error.message, hint=error.hint, **facts)
        self.error = error
        self.messages: list[str] = [error.message]
        self.status_code: int | None = self.status


class _Runs(Generic[T]):
    """The last task that an algorithm or a version was run for."""

    last: T | None = None


@define(frozen=True, kw_only=True)
class PlatformVersion(Version):
    """A version of an algorithm that can be run.

    Attributes:
        algorithm_id: The algorithm's id.
    """

    _client: PlatformClient = field(repr=False, eq=False)
    _runs: _Runs[PlatformTask] = field(factory=_Runs, init=False, repr=False, eq=False)
    algorithm_id: str

    @classmethod
    def of(cls, client: PlatformClient, algorithm_id: str, version: Version) -> PlatformVersion:
        """Make one of what the client returns."""
        facts = {name: getattr(version, name) for name in Version.__annotations__}
        return cls(client=client, algorithm_id=algorithm_id, **facts)

    @property
    def last_results(self) -> PlatformTask | None:
        """The task of the last `run`; None before it."""
        return self._runs.last

    def run(self, data: Any, **options: Any) -> PlatformTask:
        """Submit a task to this version; the options are those of `PlatformClient.run_algorithm`."""
        self._runs.last = self._client.run_algorithm(self.algorithm_id, data, version=self.version, **options)
        return self._runs.last

    def get_template(self, file_type: str = "input") -> Any:
        """Return the form of the features, or with `"output"` that of the results."""
        return self.output_format if file_type == "output" else self.features_format

    def get_detailed_template(self, file_type: str = "input") -> BinaryIO:
        """Return an example as a file; see `Client.get_template`."""
        return self._client.get_template(self.algorithm_id, file_type=file_type, version=self.version)

    def get_detailed_graph(self, file_type: str = "input") -> BinaryIO:
        """Return a picture as a file; see `Client.get_graph`."""
        return self._client.get_graph(self.algorithm_id, file_type=file_type, version=self.version)

    def get_response_time(self) -> Any:
        """Return whether results come at once or later, in words."""
        return self.results


class PlatformAlgorithm(Algorithm):
    """An algorithm with the members that the platform's SDK gives it."""

    _client: PlatformClient
    _runs: _Runs[PlatformTask]

    @classmethod
    def of(cls, client: PlatformClient, algorithm: Algorithm) -> PlatformAlgorithm:
        """Make one of what the client returns."""
        facts = {name: getattr(algorithm, name) for name in ("id", "name", "description", "evaluations")}
        versions = tuple(PlatformVersion.of(client, algorithm.id, version) for version in algorithm.versions)
        made = cls(client=client, versions=versions, **facts)
        object.__setattr__(made, "_runs", _Runs())
        return made

    def __str__(self) -> str:
        return self.name

    @property
    def version(self) -> str | None:
        """The name of the version that runs when none is named; None for an algorithm without versions."""
        return self.versions[0].version if self.versions else None

    @property
    def results(self) -> Any:
        """Whether results come at once or later, in words."""
        return self.versions[0].results if self.versions else None

    @property
    def last_results(self) -> PlatformTask | None:
        """The task of the last `run`; None before it."""
        return self._runs.last

    def run(self, features: Any, **options: Any) -> PlatformTask:
        """Submit a task; the options are those of `PlatformClient.run_algorithm`."""
        self._runs.last = self._client.run_algorithm(self.id, features, **options)
        return self._runs.last

    def get_versions(self) -> list[PlatformVersion]:
        """Return the versions, in the service's order."""
        return cast("list[PlatformVersion]", list(self.versions))

    def get_template(self, file_type: str = "input", version: str | None = None) -> Any:
        """Return the form of the features, or with `"output"` that of the results."""
        chosen = next((one for one in self.get_versions() if version in (None, one.version)), None)
        if chosen is None:
            raise InvalidRequestError(f"{self.id} has no version {version!r}.", hint="See algorithm.get_versions().")
        return chosen.get_template(file_type)

    def get_detailed_template(self, file_type: str = "input") -> BinaryIO:
        """Return an example as a file; see `Client.get_template`."""
        return self._client.get_template(self.id, file_type=file_type)

    def get_detailed_graph(self, file_type: str = "input") -> BinaryIO:
        """Return a picture as a file; see `Client.get_graph`."""
        return self._client.get_graph(self.id, file_type=file_type)

    def get_response_time(self) -> Any:
        """Return whether results come at once or later, in words."""
        return self.results


class PlatformTask(Task):
    """A task with the members that the platform's SDK gives it."""

    def get_current_status(self) -> str:
        """Return the status that the service last told; `update` brings a newer one."""
        return self.status


class PlatformClient(Client):
    """A client with the call forms of the platform's SDK; `get_instance` returns it.

    Args:
        config: All settings.
        token_refresh: Replaces the token when the service rejects it.
    """

    @hides_tracebacks
    def __init__(self, *, config: ClientConfig, token_refresh: Secret[str] | None = None) -> None:
        super().__init__(config=config)
        if token_refresh is not None:
            self._connection.use(RefreshableToken(token_refresh, config.token))

    @property
    def last_error(self) -> LastError | None:
        """Why this thread's last call returned False; None when it didn't."""
        error = self._failures.last
        return None if error is None else LastError(error)

    @public
    def generate_token(self, username: str, password: str | Secret[str]) -> bool:
        """Log in, and use the token from now on; True when the service gave one.

        Raises:
            AuthenticationError: The service rejects the name or the password.
        """
        self._connection.use(Login(username, hide(password)))
        del password
        self._connection.log_in()
        return True

    @public
    def generate_token_from_refresh_token(self, refresh_token: str | Secret[str] | None = None) -> bool:
        """Get a token by a refresh token, and use it from now on; True when the service gave one.

        Args:
            refresh_token: The refresh token; the client's own, from its login or `token_refresh`, when None.

        Raises:
            AuthenticationError: The service rejects the refresh token, or there is none.
        """
        refresh = hidden(refresh_token)
        del refresh_token
        if refresh is not None:
            self._connection.use(RefreshableToken(refresh))
            self._connection.log_in()
        elif not self._connection.renew():
            raise AuthenticationError(
                "The client has no refresh token.", hint="Give one, or log in with username= and password=."
            )
        return True

    @public
    def verify_token(self, token: str | Secret[str] | None = None) -> bool:
        """Ask the service whether a token is valid; the client's own when None. True when it is.

        Raises:
            AuthenticationError: It isn't.
        """
        secret = None if token is None else hide(token)
        del token
        self._connection.verify(secret)
        return True

    def verify_peer(self, option: bool | str = True) -> None:
        """Accept True, as certificates are always verified.

        Raises:
            ConfigurationError: They are not to be verified, or by other authorities.
        """
        if option is not True:
            raise ConfigurationError(
                f"verify_peer({option!r}) is not supported: whoever is on the way would get the token.",
                hint="Set REQUESTS_CA_BUNDLE to a bundle with the service's CA certificate.",
            )

    @public
    def run_algorithm(
        self,
        /,
        algorithm_id: str,
        features: Any,
        version: str | None = None,
        evaluate: bool | str | Mapping[str, Any] = True,
        callback_url: Any = None,
        callback_param: Any = None,
        parameters: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        compression: str | None = None,
        monitor: bool = True,
        **options: Any,
    ) -> PlatformTask:
        """Submit a task; see `Client.run_algorithm`. Options may be given by position, and `evaluate` as JSON text.

        Columns that are single values are repeated for every row, as `pandas.DataFrame` does.
        """
        targets = Secret({"callback_url": callback_url, "callback_param": callback_param})
        del callback_url, callback_param
        return cast(
            "PlatformTask",
            super().run_algorithm(
                algorithm_id,
                _broadcast(features),
                version=version,
                evaluate=_evaluation(evaluate),
                parameters=parameters,
                compression=compression,
                monitor=monitor,
                **targets.reveal(),
                **options,
            ),
        )

    @public
    def train_algorithm(  # type: ignore[override] # options by position, as there
        self,
        /,
        algorithm_id: str,
        features: Any,
        version: str | None = None,
        export_new_version: bool | None = None,
        parameters: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        compression: str | None = None,
        monitor: bool = True,
        **options: Any,
    ) -> PlatformTask:
        """Submit a training; see `Client.train_algorithm`. Options may be given by position."""
        return cast(
            "PlatformTask",
            super().train_algorithm(
                algorithm_id,
                _broadcast(features),
                version=version,
                export_new_version=export_new_version,
                parameters=parameters,
                compression=compression,
                monitor=monitor,
                **options,
            ),
        )

    def get_task_results(self, task_id: str | None = None, **named: str) -> PlatformTask:  # type: ignore[override]
        """Return a task as it stands now; the id may be named `task_id` or `job_id`."""
        return cast("PlatformTask", super().get_task_results(_id_of(task_id, named)))

    def cancel_task(self, task_id: str | None = None, **named: str) -> PlatformTask:  # type: ignore[override]
        """Cancel a task; the id may be named `task_id` or `job_id`."""
        return cast("PlatformTask", super().cancel_task(_id_of(task_id, named)))

    def get_algorithm_versions(self, algorithm_id: str) -> list[Version]:
        """Return every version of an algorithm; each can be run."""
        found = super().get_algorithm_versions(algorithm_id)
        # Whoever asked for False gets it.
        return found and [PlatformVersion.of(self, algorithm_id, version) for version in found]

    def get_algorithm_version(self, algorithm_id: str, version: str) -> Version:
        """Return one version of an algorithm, which can be run."""
        found = super().get_algorithm_version(algorithm_id, version)
        return found and PlatformVersion.of(self, algorithm_id, found)

    def _task(self, state: TaskSnapshot) -> PlatformTask:
        return PlatformTask(self._api, state)

    def _algorithm(self, data: Any) -> PlatformAlgorithm:
        return PlatformAlgorithm.of(self, super()._algorithm(data))


@hides_tracebacks
def get_instance(
    token: str | Secret[str] | None = None,
    url: str | None = None,
    callback_url: Any = None,
    *,
    username: str | None = None,
    password: str | Secret[str] | None = None,
    token_refresh: str | Secret[str] | None = None,
    validate: bool = False,
) -> PlatformClient:
    """Return the client that this process shares among all who ask with the same arguments and environment.

    Without arguments, return the one that was made first. `fail_on_error` counts for all of them. A client that was
    closed is replaced at the next call; one whose token was rejected with `validate` is not shared.

    Args:
        token: The bearer token; the environment's when None.
        url: Where the service's API is; the environment's when None.
        callback_url: Where results go when `run_algorithm` names no target; the environment's when None.
        username: Who logs in where no token is given; the environment's when None.
        password: Their password; the environment's when None.
        token_refresh: Replaces the token when the service rejects it.
        validate: Whether to ask the service at once if the token is valid.

    Raises:
        AuthenticationError: `validate` was given, and the token is not valid.
        ConfigurationError: There is no URL, nothing to log in with, or a setting can't be used.
    """
    for name, value in (("url", url), ("username", username)):
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name} is of type {type(value).__name__}.", hint="Give a string.")
    given = {
        "token": hidden(token),
        "url": url,
        "callback_url": hidden(callback_url),
        "username": username,
        "password": hidden(password),
    }
    refresh = hidden(token_refresh)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if (username is not None or password is not None) and token is None:
        # Who says a name doesn't mean the environment's token.
        changes["token"] = None
    del token, callback_url, password, token_refresh
    alone = not changes and refresh is None
    with _instances_lock:
        client = _first() if alone else None
    if client is None:
        client = _instance(attrs.evolve(cast("Any", environment_config()), **changes), refresh, validate=validate)
    elif validate:
        _validate(client)
    return client


def _first() -> PlatformClient | None:
    own = (client for (process, _), client in _instances.items() if process == os.getpid())
    return next((client for client in own if not client.closed), None)


def _instance(config: ClientConfig, refresh: Secret[str] | None, *, validate: bool) -> PlatformClient:
    # Sockets don't survive a fork as two, so a child process gets a client of its own.
    key = (os.getpid(), config)
    with _instances_lock:
        client = _shared(key) if refresh is None else None
    if client is not None:
        if validate:
            _validate(client)
        return client
    made = PlatformClient(config=config, token_refresh=refresh)
    if validate:
        try:
            made._connection.verify()
        except BaseException:
            made.close()
            raise
    with _instances_lock:
        # Another thread may have made one meanwhile.
        client = _shared(key) if refresh is None else None
        if client is None:
            client = _instances[key] = made
    if client is not made:
        made.close()
    return client


def _shared(key: tuple[int, ClientConfig]) -> PlatformClient | None:
    client = _instances.get(key)
    return None if client is None or client.closed else client


def _validate(client: PlatformClient) -> None:
    """Verify the token of a client that is shared already; a rejected one is shared no longer."""
    try:
        client._connection.verify()
    except AuthenticationError:
        with _instances_lock:
            for key in [key for key, one in _instances.items() if one is client]:
                del _instances[key]
        raise


def _id_of(task_id: str | None, named: Mapping[str, str]) -> str:
    chosen = [name for name in (task_id, *named.values()) if name is not None]
    if len(chosen) != 1 or not named.keys() <= {"job_id"}:
        raise TypeError("Give one id: task_id=, or job_id=.")
    return chosen[0]


def _evaluation(evaluate: bool | str | Mapping[str, Any]) -> bool | Mapping[str, Any]:
    """Read what the platform's SDK sends as it is: JSON text."""
    if not isinstance(evaluate, str):
        return evaluate
    try:
        read = json.loads(evaluate)
    except ValueError:
        read = None
    if not isinstance(read, (bool, dict)):
        raise InvalidRequestError("evaluate is not the JSON text of an object.", hint="Give a bool or a dict.")
    return read


def _broadcast(features: Any) -> Any:
    """Repeat single values among the columns of a dict for every row."""
    if not isinstance(features, Mapping):
        return features
    lengths = {len(column) for column in features.values() if _is_column(column)}
    if len(lengths) != 1 or all(map(_is_column, features.values())):
        return features
    (rows,) = lengths
    return {name: value if _is_column(value) else [value] * rows for name, value in features.items()}


def _is_column(value: Any) -> bool:
    return isinstance(value, Iterable) and hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping))
