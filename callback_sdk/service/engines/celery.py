"""The engine for several machines: Celery transports ids to workers over RabbitMQ, Redis or Valkey.

The store is the single source of truth, and workers claim a task before they run it, so a broker can neither lose nor
duplicate tasks. A queue holds only about as many ids as workers took recently. The other ids stay in the store, which
dispatches the highest priority first.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from attrs import define

from callback_sdk.errors import ConfigurationError, MissingExtraError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.service.engines.engine import Capacity
from callback_sdk.service.engines.errors import BrokerRefusedError, EngineError
from callback_sdk.service.engines.options import EngineOptions
from callback_sdk.service.engines.preparation import WorkerState
from callback_sdk.service.runtime import Runtime
from callback_sdk.service.store import StoreUnavailableError
from callback_sdk.service.store.worker_states import ReportedState

RUN = "callback_sdk.run"
DELIVER = "callback_sdk.deliver"
"""Names of the Celery tasks."""

DELIVERIES = "callback-sdk.deliveries"
"""The queue of delivery attempts, separate from the tasks, which may run for hours."""

_MIN_TASKS = 16
"""Minimum number of ids in a task queue while more are queued in the store, and no worker is known."""

_MIN_AHEAD = 2
"""The same with few workers: one runs the next task while the dispatcher sleeps."""

_WORKERS_INTERVAL = 5.0
"""Seconds for which the number of workers is kept."""

_MAX_TASKS = 4096

_MAX_DELIVERIES = 256

_TIMEOUT = 4.0
"""Timeout of a connection to the broker, in seconds."""

_AMQP = ("amqp", "amqps")

_RESPONSE_TIMEOUT = 15.0
"""Timeout of a response of the broker, in seconds."""


def queue_name(algorithm: str) -> str:
    """Return the queue of an algorithm's tasks, so that a worker can take only tasks that its hardware supports."""
    return f"callback-sdk.run.{algorithm}"


def make_app(broker: Secret[str]) -> Any:
    """Return a Celery application for a broker.

    Raises:
        MissingExtraError: Celery is not installed.
    """
    try:
        from celery import Celery
    except ModuleNotFoundError:
        raise MissingExtraError("Celery", extra="celery") from None
    app = Celery("callback_sdk", set_as_current=False)
    app.conf.update(
        broker_url=broker.reveal(),
        broker_connection_timeout=_TIMEOUT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A worker runs tasks in the thread that would send AMQP heartbeats, so the broker would close its connection.
        # Claims in the store have heartbeats of their own.
        broker_heartbeat=0,
        broker_transport_options=_transport_options(broker),
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=False,
        task_default_queue=DELIVERIES,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app


def _transport_options(broker: Secret[str]) -> dict[str, Any]:
    if _scheme(broker).startswith("redis"):
        return {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT}
    return {"confirm_publish": True}


def make_queue(name: str, broker: Secret[str]) -> Any:
    """Return a queue; on RabbitMQ a quorum queue, which survives the loss of a node."""
    from kombu import Exchange, Queue

    arguments = {"x-queue-type": "quorum"} if _scheme(broker) in _AMQP else None
    return Queue(name, Exchange(name, type="direct"), routing_key=name, durable=True, queue_arguments=arguments)


@contextmanager
def create_engine(runtime: Runtime, options: EngineOptions) -> Iterator[CeleryEngine]:
    """Create the engine.

    Raises:
        ConfigurationError: The broker is not configured.
        MissingExtraError: Celery is not installed.
    """
    broker = require_broker(options.broker)
    if options.child is not None:
        # Its workers run the tasks.
        options.child.close()
    store = runtime.store
    engine = CeleryEngine(
        make_app(broker), broker, list(runtime.registry), store.worker_states.current, store.workers.slots
    )
    yield engine


def require_broker(broker: Secret[str] | None) -> Secret[str]:
    """Return the broker's URL.

    Raises:
        ConfigurationError: The URL is missing or malformed.
    """
    if broker is None:
        raise ConfigurationError(
            "The engine celery needs a message broker.",
            hint="Name it with --broker or CALLBACK_SDK_BROKER: amqp://USER:PASSWORD@HOST// or redis://HOST:6379/0.",
        )
    if _scheme(broker) not in (*_AMQP, "redis", "rediss"):
        raise ConfigurationError(
            "The broker's URL is neither amqp:// nor redis://.", hint="RabbitMQ, Redis and Valkey are supported."
        )
    return broker


def _scheme(broker: Secret[str]) -> str:
    return SecretURL(broker.reveal()).scheme


@define
class _Window:
    """Limit of one queue: twice the number of ids that were consumed since the last check.

    Ids in a queue are taken in its order, so a later task of higher priority, or of another user, waits for all of
    them: where runs are long, there is one for each worker.
    """

    limit: int = _MIN_TASKS
    depth: int = 0
    sent: int = 0

    def update(self, depth: int, workers: int = 0) -> int:
        """Return the number of ids that may be sent now.

        Args:
            depth: Number of ids in the queue.
            workers: Number of workers that consume it; 0 if they are unknown.
        """
        taken = self.depth + self.sent - depth
        minimum = min(_MIN_TASKS, max(_MIN_AHEAD, workers)) if workers else _MIN_TASKS
        self.limit = min(_MAX_TASKS, max(minimum, 2 * taken))
        self.depth, self.sent = depth, 0
        return max(0, self.limit - depth)


def _errors_of(app: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions that are raised if the broker is unavailable."""
    from kombu.exceptions import KombuError

    connection = app.connection_for_read()
    return (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)


_AMQP_REFUSALS = (403, 406, 530)
"""AMQP reply codes of permanent errors: access-refused, precondition-failed for an existing queue with other
arguments, and not-allowed for a virtual host."""


def check_broker(app: Any, queues: Sequence[Any] = ()) -> None:
    """Connect to the broker once, and declare queues.

    Raises:
        BrokerRefusedError: The broker refuses the login, lacks the virtual host, or has queues with other arguments.
        EngineError: The broker can't be reached, or rejects writes.
    """
    with _translated_errors(_errors_of(app)), app.connection_for_read(heartbeat=0) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=_TIMEOUT)
        for queue in queues:
            _declare(queue, connection.default_channel)


def _declare(queue: Any, channel: Any) -> int:
    """Declare a queue with its exchange, and return the number of its ids."""
    bound = queue(channel)
    bound.exchange.declare()
    depth: int = bound.queue_declare()[1]
    bound.queue_bind()
    return depth


@contextmanager
def _translated_errors(connection_errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise errors of an unavailable broker as `EngineError`, without their frames, which may contain the URL."""
    failure: EngineError
    try:
        yield
    except connection_errors as error:
        reason = _reason(error)
        if _is_refusal(error):
            failure = BrokerRefusedError(
                f"The message broker refuses the connection: {reason}",
                hint="Check the user, the password and the virtual host in CALLBACK_SDK_BROKER, and delete queues "
                "that were declared with other arguments.",
            )
        else:
            failure = EngineError(
                f"The message broker can't be used: {reason}",
                hint="Check that it is running and accepts writes, and that CALLBACK_SDK_BROKER is correct. Accepted "
                "tasks stay queued in the database.",
            )
    else:
        return
    raise failure


def _reason(error: BaseException) -> str:
    """Return the message of the broker's or the network's error; kombu wraps some errors in one without a message."""
    found = next((inner for inner in _chain(error) if str(inner)), None)
    if found is None:
        timed_out = any(isinstance(inner, TimeoutError) for inner in _chain(error))
        return "it did not respond in time." if timed_out else f"{type(error).__name__}."
    return f"{type(found).__name__}: {str(found)[:200].rstrip('.')}."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    for _ in range(5):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _is_refusal(error: BaseException) -> bool:
    """Return whether the broker refused the login, by the error and the errors that kombu wrapped in it."""
    return any(
        type(inner).__name__ == "AuthenticationError" or getattr(inner, "reply_code", None) in _AMQP_REFUSALS
        for inner in _chain(error)
    )


class CeleryEngine:
    """Sends ids to the queues. Not thread-safe except `check`: only the dispatcher's thread uses it.

    Args:
        app: The Celery application.
        broker: The broker's URL.
        algorithms: Names of the algorithms; each has a queue.
        reported: Returns the states that workers have stored.
        slots: Returns the number of tasks of each algorithm that all workers run at the same time.
    """

    needs_polling = True

    def __init__(
        self,
        app: Any,
        broker: Secret[str],
        algorithms: Sequence[str],
        reported: Callable[[], Sequence[ReportedState]] | None = None,
        slots: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._reported = reported
        self._count_slots = slots
        self._slots: Mapping[str, int] = {}
        self._counted_at = -math.inf
        self._app = app
        self._queues = {name: make_queue(queue_name(name), broker) for name in algorithms}
        self._deliveries = make_queue(DELIVERIES, broker)
        self._windows = {name: _Window() for name in algorithms}
        timeouts = ("read_timeout", "write_timeout") if _scheme(broker) in _AMQP else ()
        self._response_timeouts = dict.fromkeys(timeouts, _RESPONSE_TIMEOUT)
        self._connection_errors = _errors_of(app)
        self._connection: Any = None
        self._channel: Any = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Do nothing: the dispatcher retries while the broker is unavailable."""

    def capacities(self) -> Sequence[Capacity]:
        """Return the free capacity of the task queues; see `Engine.capacities`."""
        if time.monotonic() - self._counted_at >= _WORKERS_INTERVAL:
            self._slots, self._counted_at = self._count_slots(), time.monotonic()
        found = []
        with self._errors():
            for name, window in self._windows.items():
                limit = window.update(self._depth(self._queues[name]), self._slots.get(name, 0))
                found.append(Capacity(algorithms=(name,), limit=limit))
        return found

    def send(self, capacity: Capacity, job_ids: Sequence[str]) -> None:
        """Send ids to the queues of their algorithms."""
        (name,) = capacity.algorithms or ()
        with self._errors():
            self._send(RUN, self._queues[name], [[job_id] for job_id in job_ids])
        self._windows[name].sent += len(job_ids)

    def delivery_capacity(self) -> tuple[int, Collection[str]]:
        """Return the free capacity of the delivery queue; see `Engine.delivery_capacity`."""
        with self._errors():
            return max(0, _MAX_DELIVERIES - self._depth(self._deliveries)), ()

    def send_deliveries(self, deliveries: Sequence[tuple[str, str]]) -> Sequence[str]:
        """Send ids and hosts to the delivery queue."""
        with self._errors():
            self._send(DELIVER, self._deliveries, [list(delivery) for delivery in deliveries])
        return ()

    def cancel(self, job_id: str) -> None:
        """Do nothing: the worker that has the claim checks it every second."""

    def workers(self) -> Sequence[WorkerState]:
        """Return the states of the processes of all workers, as far as the database is available."""
        try:
            found = self._reported() if self._reported is not None else ()
        except StoreUnavailableError:
            return ()
        return [WorkerState(name=one.name, status=one.status, problem=one.problem) for one in found]

    def check(self) -> None:
        """Connect to the broker once; see `Engine.check`."""
        check_broker(self._app)

    def close(self) -> None:
        """Close the connection."""
        self._drop_connection()
        self._app.close()

    def _send(self, task: str, queue: Any, arguments: Sequence[list[str]]) -> None:
        with self._app.amqp.Producer(self._open(), auto_declare=False) as producer:
            for args in arguments:
                self._app.send_task(task, args=args, queue=queue, producer=producer, ignore_result=True, retry=False)

    def _depth(self, queue: Any) -> int:
        return _declare(queue, self._open())

    def _open(self) -> Any:
        if self._channel is None:
            self._connection = self._app.connection_for_write(heartbeat=0)
            # A broker that accepts a request but never responds must not block the dispatcher forever.
            self._connection.transport_options.update(self._response_timeouts)
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=_TIMEOUT)
            self._channel = self._connection.channel()
        return self._channel

    def _drop_connection(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            # The connection is unusable anyway.
            with suppress(Exception):
                connection.release()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Close the connection after any error, so that the next call opens a new one."""
        try:
            with _translated_errors(self._connection_errors):
                yield
        except BaseException:
            self._drop_connection()
            raise
