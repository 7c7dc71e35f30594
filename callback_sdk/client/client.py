"""The client: submits tasks to a service that speaks the AI Core v2 REST API, and queries them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from callback_sdk.client.algorithms import Algorithm, Version
from callback_sdk.client.audit import AuditRecord, find_records
from callback_sdk.client.bulk_redelivery import BulkRedeliveryAPI, ListedDelivery, RedeliveryStep
from callback_sdk.client.callbacks import CallbackResolver
from callback_sdk.client.hosts import DisabledWebhook, Host, HostsAPI
from callback_sdk.client.log_stream import stream_logs
from callback_sdk.client.responses import parse_response
from callback_sdk.client.settings import configuration, open_connection, wrap_optional
from callback_sdk.client.signing_secrets import SigningSecrets
from callback_sdk.client.states import Delivery, TaskSummary
from callback_sdk.client.submitter import TaskSubmitter
from callback_sdk.client.tasks import Task
from callback_sdk.client.wait_all import wait_for_all
from callback_sdk.client.workers import AlgorithmPause, Worker, WorkersAPI
from callback_sdk.models import DeliveryFilter
from callback_sdk.parsing import Duration
from callback_sdk.redaction import Secret, hides_tracebacks, wrap_secret
from callback_sdk.targets import TargetSettings
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.text.html import HTMLList
from callback_sdk.types import CallbackTarget, CallbackURLs, TaskFilter

if TYPE_CHECKING:
    from callback_sdk.config.client import ClientConfig

C = TypeVar("C", bound="Client")


class Client(TaskSubmitter):
    """Client for the service's REST API: submits tasks and queries them.

    Arguments that are not given are read from the environment (see `ClientConfig`). A client is thread-safe, and may be
    used after a fork: each process opens its own connections.

    Calls are retried after a failed connection and after a status in `retry.RETRYABLE_STATUSES`, with exponential
    backoff; `Retry-After` is honoured. `run_algorithm` and `train_algorithm` are retried only when that can't create
    a duplicate task: always if the caller gives an `idempotency_key`; otherwise if no connection was made, or the
    service responded with 429, or 503 with `Retry-After`. Redirects are errors, so that no other host gets the token.

    Calls raise a `ServiceError` if the service can't be reached or responds with an error; other errors are listed
    with each method.

    Without a token, the client logs in with user name and password at the first request, and again when the service
    rejects the token.

    Args:
        url: URL of the service's API, such as `http://127.0.0.1:8000/api/v2`.
        token: Bearer token.
        username: User name, to log in without a token.
        password: Password.
        callback_url: Targets of tasks that name none; the same forms as in `run_algorithm`.
        timeout: Read timeout, a `timedelta` or seconds, as for all durations.
        connect_timeout: Timeout of a connection attempt.
        retries: Attempts after the first one.
        storage_endpoints: Self-hosted object stores, so that a URL there without a signature is rejected.
        config: Settings to use instead of the environment.

    Attributes:
        signing_secrets: The secrets that sign webhooks of the user's tasks.

    Raises:
        ConfigurationError: The URL is missing, or both the token and the user name with a password are missing, or a
            setting is invalid.
    """

    @hides_tracebacks
    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | Secret[str] | None = None,
        username: str | None = None,
        password: str | Secret[str] | None = None,
        callback_url: CallbackURLs | None = None,
        timeout: Duration | None = None,
        connect_timeout: Duration | None = None,
        retries: int | None = None,
        storage_endpoints: Iterable[str] | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        config = configuration(config)
        endpoints = config.storage_endpoints if storage_endpoints is None else storage_endpoints
        callbacks = CallbackResolver(
            wrap_secret(config.callback_url if callback_url is None else callback_url),
            TargetSettings(stores=StorageProviders.of(endpoints)),
        )
        connection = open_connection(
            config,
            url,
            token=wrap_optional(token),
            username=username,
            password=wrap_optional(password),
            timeout=timeout,
            connect_timeout=connect_timeout,
            retries=retries,
        )
        super().__init__(connection, callbacks)
        self._bulk_redelivery = BulkRedeliveryAPI(connection)
        self._hosts = HostsAPI(connection)
        self._workers = WorkersAPI(connection)
        self.signing_secrets = SigningSecrets(connection)
        self.closed = False

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def url(self) -> str:
        """URL of the service's API."""
        return self._connection.url

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

    @hides_tracebacks
    def get_task(self, job_id: str) -> Task:
        """Return a task in its current state.

        Raises:
            NotFoundError: The task doesn't exist.
        """
        return self._task(self._api.task(job_id))

    @hides_tracebacks
    def get_tasks(
        self,
        *,
        status: TaskFilter | None = None,
        algorithm_id: str | None = None,
        id_prefix: str | None = None,
        user: str | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskSummary]:
        """Iterate over the user's tasks, newest first; an operator's are those of all users.

        The first page is requested at once, others as needed.

        Args:
            status: Only tasks that are `"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`; `"succeeded"`,
                `"failed"` and `"expired"` select finished tasks by their outcome. Expired tasks are failed ones too.
            algorithm_id: Only tasks of this algorithm.
            id_prefix: Only tasks whose id begins with this text.
            user: Only tasks of the user with this name.
            limit: Maximum number of tasks; None for all.

        Raises:
            InvalidRequestError: The status doesn't exist, or the limit is not a positive number.
        """
        return self._api.tasks(status, algorithm_id, limit, id_prefix=id_prefix, user=user)

    @hides_tracebacks
    def wait_all(
        self,
        tasks: Iterable[Task],
        timeout: Duration = timedelta(hours=1),
        *,
        delivery_timeout: Duration = timedelta(seconds=10),
        progress: bool = True,
    ) -> list[Task]:
        """Wait until all tasks have ended, and return them in the same order; see `Task.success` for each outcome.

        Args:
            tasks: Tasks, such as those from `run_algorithm_batch`.
            timeout: Maximum wait for all of them.
            delivery_timeout: Maximum wait for deliveries after the last task's end; see `Task.wait`.
            progress: Whether to show a progress bar in a terminal and in a notebook, if tqdm is installed.

        Raises:
            TaskTimeoutError: Some tasks have not ended in time. They continue.
            ServiceError: The service doesn't know a task, or rejects the request.
        """
        return wait_for_all(tasks, timeout, delivery_timeout=delivery_timeout, progress=progress)

    @hides_tracebacks
    def cancel_task(self, job_id: str) -> Task:
        """Cancel a task, even while it runs, and return it.

        Raises:
            NotFoundError: The task doesn't exist.
            ConflictError: The task has already ended.
        """
        return self._task(self._api.cancel(job_id))

    @hides_tracebacks
    def get_logs(self, job_id: str) -> str:
        """Return the output of a task's last run: the last 64 KiB that the algorithm printed and logged.

        The service stores the output about every second while the task runs. It is kept after a crash, a timeout and
        a kill at the memory limit. Credentials in URLs are replaced by asterisks. A line in brackets tells what was
        dropped.

        Raises:
            NotFoundError: The task doesn't exist.
        """
        return self._api.logs(job_id)

    @hides_tracebacks
    def stream_logs(
        self,
        job_id: str,
        *,
        timeout: Duration = timedelta(days=1),
        poll_interval: Duration = timedelta(seconds=1),
    ) -> Iterator[str]:
        """Iterate over the output of a task while it runs, until it has ended; see `get_logs`.

        The first piece has all that is stored. A piece may end in the middle of a line. The iteration continues while
        the service is unavailable.

        Args:
            job_id: The task's id.
            timeout: Maximum wait for the task's end.
            poll_interval: Time between two requests.

        Raises:
            NotFoundError: The task doesn't exist.
            TaskTimeoutError: The task has not ended in time. It continues.
        """
        return stream_logs(self._api, job_id, timeout, poll_interval)

    @hides_tracebacks
    def get_deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a task with all their attempts, in the order of the targets.

        Raises:
            NotFoundError: The task doesn't exist.
        """
        return self._api.deliveries(job_id)

    @hides_tracebacks
    def redeliver(self, job_id: str, delivery_id: str, *, target: CallbackTarget | None = None) -> Delivery:
        """Redeliver a result to one target at once, also if it is delivered or dead.

        Args:
            job_id: The task's id.
            delivery_id: The delivery's id, from `get_deliveries`.
            target: A new target, such as one whose signature has not expired: a URL, a `PresignedPut` or
                `PresignedPost`, or a `(url, param)` pair. It replaces the old one, also if the task has not ended, and
                gets the same document. A running attempt may still deliver to the old one.

        Returns:
            The delivery in its new state.

        Raises:
            NotFoundError: The task or the delivery doesn't exist.
            ConflictError: The task has not ended, and no target is given; or the delivery is skipped.
            TargetError: The result can't be delivered to the new target; nothing was sent.
            InvalidRequestError: The service rejects the new target.
        """
        given = Secret(target)
        del target
        new = None if given.reveal() is None else self._callbacks.resolve_one(given)
        return self._api.redeliver(job_id, delivery_id, new)

    @hides_tracebacks
    def find_deliveries(self, wanted: DeliveryFilter, *, limit: int | None = None) -> Iterator[ListedDelivery]:
        """Iterate over deliveries of ended tasks, those of the latest tasks first; of all users for an operator.

        Args:
            wanted: Selects deliveries.
            limit: Maximum number of deliveries; None for all.

        Raises:
            InvalidRequestError: The limit is not a positive number, or the service doesn't know the user.
            AuthenticationError: The filter names another user, and this one is not an operator.
        """
        return self._bulk_redelivery.find(wanted, limit)

    @hides_tracebacks
    def redeliver_all(
        self, wanted: DeliveryFilter, *, rate: float | None = None, dry_run: bool = False
    ) -> Iterator[RedeliveryStep]:
        """Redeliver the results that a filter selects, those of the earliest tasks first; of all users for an operator.

        Each step of the iteration is one request. What has been redelivered stays so if the iteration ends early, and
        another one continues with the others. Deliveries whose target has expired are skipped, and named in the step.

        Args:
            wanted: Selects deliveries; its status is `"dead"`, `"failing"`, `"late"` or `"undelivered"`.
            rate: Maximum deliveries per second; None for no limit.
            dry_run: Whether to change nothing.

        Raises:
            InvalidRequestError: The rate is not a positive number, or the service rejects the filter.
            AuthenticationError: The filter names another user, and this one is not an operator.
        """
        return self._bulk_redelivery.redeliver(wanted, rate=rate, dry_run=dry_run)

    @hides_tracebacks
    def get_workers(self) -> list[Worker]:
        """Return the workers of the service, also those that were lost within the last day. For operators.

        Raises:
            AuthenticationError: The user is not an operator.
        """
        return self._workers.workers()

    @hides_tracebacks
    def get_paused_algorithms(self) -> list[AlgorithmPause]:
        """Return the paused algorithms."""
        return self._workers.pauses()

    @hides_tracebacks
    def pause_algorithm(self, algorithm_id: str, *, accept: bool = True, reason: str = "") -> AlgorithmPause:
        """Pause an algorithm, or change how it is paused: its queued tasks are not started. For operators.

        Args:
            algorithm_id: The algorithm's id.
            accept: Whether new tasks are accepted, and queued.
            reason: The reason, for users; at most 300 characters.

        Raises:
            NotFoundError: The algorithm doesn't exist.
            AuthenticationError: The user is not an operator.
        """
        return self._workers.pause(algorithm_id, accept=accept, reason=reason)

    @hides_tracebacks
    def resume_algorithm(self, algorithm_id: str) -> None:
        """Start the queued tasks of a paused algorithm again. For operators.

        Raises:
            AuthenticationError: The user is not an operator.
        """
        self._workers.resume(algorithm_id)

    @hides_tracebacks
    def get_hosts(self) -> list[Host]:
        """Return the hosts that fail, are paused or limited, or have held deliveries. For operators.

        All other hosts work.

        Raises:
            AuthenticationError: The user is not an operator.
        """
        return self._hosts.all()[0]

    @hides_tracebacks
    def get_disabled_webhooks(self) -> list[DisabledWebhook]:
        """Return the webhooks that responded with 410 Gone, to which nothing is sent. For operators.

        Raises:
            AuthenticationError: The user is not an operator.
        """
        return self._hosts.all()[1]

    @hides_tracebacks
    def pause_host(self, host: str) -> list[Host]:
        """Send nothing to a host until it is resumed; its deliveries are held. For operators.

        Args:
            host: Its name, with or without a port, or a URL of it. A name stands for all known hosts with this name.

        Returns:
            The hosts that are paused.

        Raises:
            InvalidRequestError: It is not a host.
            AuthenticationError: The user is not an operator.
        """
        return self._hosts.change("pause", host)

    @hides_tracebacks
    def resume_host(self, host: str) -> list[Host]:
        """Send to a host again; if it has failed, one delivery tests it now. See `pause_host`.

        The URL of a webhook that responded with 410 Gone enables the webhook again; no host is resumed then.
        """
        return self._hosts.change("resume", host)

    @hides_tracebacks
    def limit_host(self, host: str, *, max_concurrency: int | None = None, max_rate: float | None = None) -> list[Host]:
        """Limit the deliveries to a host, over all services and workers. See `pause_host`.

        Args:
            host: The host.
            max_concurrency: Deliveries at a time; None for the limit of the service.
            max_rate: Deliveries per second; None for the limit of the service.
        """
        return self._hosts.change("limit", host, max_concurrency=max_concurrency, max_rate=max_rate)

    @hides_tracebacks
    def get_audit_log(
        self,
        *,
        action: str | None = None,
        actor: str | None = None,
        owner: str | None = None,
        job_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[AuditRecord]:
        """Iterate over the audit log, the newest entries first. For operators.

        Args:
            action: Only entries of this action.
            actor: Only entries of what this user did.
            owner: Only entries about tasks or the account of this user.
            job_id: Only entries about this task.
            since: Only entries at or after this time, which has a time zone.
            until: Only entries before this time.
            limit: Maximum number of entries; None for all.

        Raises:
            AuthenticationError: The user is not an operator.
        """
        times = DeliveryFilter(since=since, until=until).to_dict()
        texts = {"action": action, "actor": actor, "owner": owner, "job_id": job_id}
        return find_records(self._connection, {**texts, **times}, limit)

    @hides_tracebacks
    def get_algorithms(self) -> list[Algorithm]:
        """Return all algorithms of the service."""
        return HTMLList(self._algorithm(item) for item in self._api.algorithms())

    @hides_tracebacks
    def get_algorithm(self, algorithm_id: str) -> Algorithm:
        """Return one algorithm.

        Raises:
            NotFoundError: The algorithm doesn't exist; the hint has similar names.
        """
        return self._algorithm(self._api.algorithm(algorithm_id))

    @hides_tracebacks
    def get_algorithm_versions(self, algorithm_id: str) -> list[Version]:
        """Return all versions of an algorithm.

        Raises:
            NotFoundError: The algorithm doesn't exist.
        """
        return HTMLList(
            parse_response("a version", Version.from_dict, item) for item in self._api.versions(algorithm_id)
        )

    @hides_tracebacks
    def get_algorithm_version(self, algorithm_id: str, version: str) -> Version:
        """Return one version of an algorithm.

        Raises:
            NotFoundError: The algorithm or the version doesn't exist.
        """
        return parse_response("a version", Version.from_dict, self._api.version(algorithm_id, version))

    @hides_tracebacks
    def get_template(self, algorithm_id: str, file_type: str = "input", version: str | None = None) -> BinaryIO:
        """Return an example of an algorithm's input or output: a JSON file in memory, for `json.load`.

        Args:
            algorithm_id: The algorithm's id.
            file_type: `"input"`, `"output"` or `"parameters"`.
            version: The algorithm's version; the newest when None.

        Raises:
            NotFoundError: The algorithm or the version doesn't exist, or has no template of this type.
        """
        # A BytesIO, which scripts may close like the temporary file that the platform's SDK returns.
        return io.BytesIO(self._api.template(algorithm_id, file_type, version))

    @hides_tracebacks
    def get_graph(self, algorithm_id: str, file_type: str | None = None, version: str | None = None) -> BinaryIO:
        """Return an image of an algorithm's input or output: a PNG file in memory.

        Args:
            algorithm_id: The algorithm's id.
            file_type: Kind of image, such as `"input"`; the algorithm's first one when None.
            version: The algorithm's version; the newest when None.

        Raises:
            NotFoundError: The algorithm or the version doesn't exist, or has no image of this type.
        """
        return io.BytesIO(self._api.graph(algorithm_id, file_type, version))

    def _algorithm(self, data: Any) -> Algorithm:
        return parse_response("an algorithm", Algorithm.from_dict, self, data)
