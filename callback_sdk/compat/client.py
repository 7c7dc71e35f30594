"""The client with the call forms of the platform's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from callback_sdk.client import AuditRecord, Client, ListedDelivery, RedeliveryStep, TaskSummary, Version
from callback_sdk.client.login import Login, RefreshableToken, check_string, check_value
from callback_sdk.client.settings import wrap_optional
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.compat.failures import Failures, LastError, PlatformAPI, returns_false_on_error
from callback_sdk.compat.resources import PlatformAlgorithm, PlatformTask, PlatformVersion
from callback_sdk.errors import AuthenticationError, ConfigurationError, InvalidRequestError
from callback_sdk.models import DeliveryFilter
from callback_sdk.parsing import parse_bool
from callback_sdk.redaction import Secret, hides_tracebacks, wrap_secret
from callback_sdk.types import CallbackParams, CallbackURLs, FeaturesInput, Parameters, TaskFilter

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig


T = TypeVar("T")


@returns_false_on_error(
    "cancel_task",
    "find_deliveries",
    "generate_token",
    "generate_token_from_refresh_token",
    "get_algorithm",
    "get_algorithm_version",
    "get_algorithm_versions",
    "get_algorithms",
    "get_audit_log",
    "get_deliveries",
    "get_disabled_webhooks",
    "get_graph",
    "get_hosts",
    "get_logs",
    "get_paused_algorithms",
    "get_task",
    "get_tasks",
    "get_template",
    "get_workers",
    "limit_host",
    "pause_algorithm",
    "pause_host",
    "redeliver",
    "redeliver_all",
    "resume_algorithm",
    "resume_host",
    "run_algorithm",
    "run_algorithm_batch",
    "stream_logs",
    "train_algorithm",
    "verify_token",
    "wait_all",
)
class PlatformClient(Client):
    """A client with the call forms of the platform's SDK; `get_instance` returns it.

    Args:
        config: All settings.
        token_refresh: Replaces the token when the service rejects it.
    """

    @hides_tracebacks
    def __init__(self, *, config: ClientConfig, token_refresh: Secret[str] | None = None) -> None:
        super().__init__(config=config)
        self._failures = Failures(raises=config.fail_on_error)
        self._api: PlatformAPI = PlatformAPI(self._connection, self._failures)
        if token_refresh is not None:
            self._connection.use(RefreshableToken(check_value("token_refresh", token_refresh), config.token))

    def fail_on_error(self, option: bool | str = True) -> None:
        """Set whether a failed call raises, or returns False and sets `last_error`.

        It applies to the client's tasks and algorithms too.

        Args:
            option: True to raise. Texts such as `"false"` and `"on"` are accepted, as in environment variables.

        Raises:
            ConfigurationError: The option is not a boolean.
        """
        try:
            self._failures.raises = option if isinstance(option, bool) else parse_bool(str(option))
        except ValueError:
            raise ConfigurationError(f"fail_on_error doesn't accept {option!r}.", hint="Give True or False.") from None

    @property
    def last_error(self) -> LastError | None:
        """The error for which this thread's last call returned False; None if it succeeded."""
        error = self._failures.last
        return None if error is None else LastError(error)

    def generate_token(self, username: str, password: str | Secret[str]) -> bool:
        """Log in, use the new token for further requests, and return True.

        Raises:
            AuthenticationError: The service rejects the user name or the password.
        """
        secret = check_value("password", wrap_secret(password))
        del password
        check_string("username", username)
        self._connection.use(Login(username, secret))
        self._connection.log_in()
        return True

    def generate_token_from_refresh_token(self, refresh_token: str | Secret[str] | None = None) -> bool:
        """Exchange a refresh token for a token, use it for further requests, and return True.

        Args:
            refresh_token: The refresh token; if None, the client's own, from its login or `token_refresh`.

        Raises:
            AuthenticationError: The service rejects the refresh token, or the client has none.
        """
        refresh = wrap_optional(refresh_token)
        del refresh_token
        if refresh is not None:
            check_value("refresh_token", refresh)
        if refresh is not None:
            self._connection.use(RefreshableToken(refresh))
            self._connection.log_in()
        elif not self._connection.renew():
            raise AuthenticationError(
                "The client has no refresh token.", hint="Give refresh_token=, or log in with username= and password=."
            )
        return True

    def verify_token(self, token: str | Secret[str] | None = None) -> bool:
        """Verify a token, the client's own if None; return True if it is valid.

        Raises:
            AuthenticationError: The token is invalid.
        """
        secret = None if token is None else check_value("token", wrap_secret(token))
        del token
        self._connection.verify(secret)
        return True

    def verify_peer(self, option: bool | str = True) -> None:
        """Accept True, as certificates are always verified.

        Raises:
            ConfigurationError: The option is anything else.
        """
        if option is not True:
            raise ConfigurationError(
                f"verify_peer({option!r}) is not supported: an attacker on the network path would get the token.",
                hint="Set REQUESTS_CA_BUNDLE to a bundle with the service's CA certificate.",
            )

    def run_algorithm(  # type: ignore[override] # options by position, as there
        self,
        /,
        algorithm_id: str,
        features: FeaturesInput | None = None,
        version: str | None = None,
        evaluate: bool | str | Mapping[str, Any] = True,
        callback_url: CallbackURLs | None = None,
        callback_param: CallbackParams | None = None,
        parameters: Parameters | None = None,
        compression: str | None = None,
        monitor: bool = True,
        **options: Any,
    ) -> PlatformTask:
        """Submit a task; see `Client.run_algorithm`. Options may be given by position, and `evaluate` as JSON text.

        Columns that are single values are repeated for every row, as `pandas.DataFrame` does.
        """
        targets: Secret[dict[str, Any]] = Secret({"callback_url": callback_url, "callback_param": callback_param})
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

    def train_algorithm(  # type: ignore[override] # options by position, as there
        self,
        /,
        algorithm_id: str,
        features: FeaturesInput,
        version: str | None = None,
        export_new_version: bool | None = None,
        parameters: Parameters | None = None,
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

    def get_task_results(self, task_id: str | None = None, **named: str) -> PlatformTask:
        """Return a task in its current state; the id may be named `task_id` or `job_id`."""
        return cast("PlatformTask", self.get_task(_id_of(task_id, named)))

    def get_tasks(
        self,
        *,
        status: TaskFilter | None = None,
        algorithm_id: str | None = None,
        id_prefix: str | None = None,
        user: str | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskSummary]:
        """Iterate over the user's tasks; see `Client.get_tasks`.

        With `fail_on_error(False)` all pages are requested at once, and the call returns False if one fails: an
        iterator can't return False, and one that ends early would look complete.
        """
        return self._whole(
            super().get_tasks(status=status, algorithm_id=algorithm_id, id_prefix=id_prefix, user=user, limit=limit)
        )

    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int | None = None) -> Iterator[ListedDelivery]:
        """Iterate over deliveries; see `Client.find_deliveries`, and `get_tasks` for failures."""
        return self._whole(super().find_deliveries(wanted, limit=limit))

    def redeliver_all(
        self, wanted: DeliveryFilter, *, rate: float | None = None, dry_run: bool = False
    ) -> Iterator[RedeliveryStep]:
        """Redeliver the results that a filter selects; see `Client.redeliver_all`, and `get_tasks` for failures."""
        return self._whole(super().redeliver_all(wanted, rate=rate, dry_run=dry_run))

    def get_audit_log(self, **query: Any) -> Iterator[AuditRecord]:
        """Iterate over the audit log; see `Client.get_audit_log`, and `get_tasks` for failures."""
        return self._whole(super().get_audit_log(**query))

    def _whole(self, found: Iterator[T]) -> Iterator[T]:
        return found if self._failures.raises else iter(list(found))

    def cancel_task(self, task_id: str | None = None, **named: str) -> PlatformTask:  # type: ignore[override]
        """Cancel a task; the id may be named `task_id` or `job_id`."""
        return cast("PlatformTask", super().cancel_task(_id_of(task_id, named)))

    def get_algorithm_versions(self, algorithm_id: str) -> list[Version]:
        """Return every version of an algorithm; each can be run."""
        found = super().get_algorithm_versions(algorithm_id)
        return [PlatformVersion.of(self, algorithm_id, version) for version in found]

    def get_algorithm_version(self, algorithm_id: str, version: str) -> Version:
        """Return one version of an algorithm, which can be run."""
        found = super().get_algorithm_version(algorithm_id, version)
        return PlatformVersion.of(self, algorithm_id, found)

    def _task(self, state: TaskSnapshot) -> PlatformTask:
        return PlatformTask(self._api, state)

    def _algorithm(self, data: Any) -> PlatformAlgorithm:
        return PlatformAlgorithm.of(self, super()._algorithm(data))


def _id_of(task_id: str | None, named: Mapping[str, str]) -> str:
    chosen = [name for name in (task_id, *named.values()) if name is not None]
    if len(chosen) != 1 or not named.keys() <= {"job_id"}:
        raise InvalidRequestError("The call has no id, or several.", hint="Give one id: task_id=, or job_id=.")
    return chosen[0]


def _evaluation(evaluate: bool | str | Mapping[str, Any]) -> bool | Mapping[str, Any]:
    """Convert `evaluate`, which scripts for the platform's SDK may give as JSON text."""
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
