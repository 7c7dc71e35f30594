"""Submitted tasks: their state, results and deliveries, and waiting for their end."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

import orjson
from attrs import evolve

from callback_sdk.client.api import ServiceAPI
from callback_sdk.client.callbacks import CallbackResolver
from callback_sdk.client.detached import Detached
from callback_sdk.client.interrupts import interruption
from callback_sdk.client.outputs import TaskOutputs
from callback_sdk.client.responses import parse_response
from callback_sdk.client.server_events import ServerEvent
from callback_sdk.client.states import Delivery, DeliverySnapshot, Result, TaskChange, TaskSnapshot, html_fields
from callback_sdk.client.wait_plan import LONGEST_POLL, LONGEST_POLL_WITH_PROGRESS, Poll, ReadEvents, Streams
from callback_sdk.client.waiting import Show, Waiting
from callback_sdk.errors import (
    AuthenticationError,
    InvalidRequestError,
    ServiceError,
    TaskExpiredError,
    TaskFailedError,
    TaskTimeoutError,
)
from callback_sdk.models import CANCELED, EXPIRED, FINISHED, IN_PROGRESS, PENDING, Progress
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.progress import ProgressBar
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, hides_tracebacks
from callback_sdk.targets import TargetSettings
from callback_sdk.text.descriptions import sentence, short_repr, type_name
from callback_sdk.text.escaping import escape
from callback_sdk.text.html import HTMLList, HTMLRepr, nested_table
from callback_sdk.types import CallbackTarget, ErrorCode, TaskKind, TaskOutcome, TaskStatus

logger = logging.getLogger(__name__)


class Task(HTMLRepr):
    """One submitted task.

    The attributes have the state of the last response; `refresh` and `wait` request a newer one. Tasks are returned by
    `Client.run_algorithm` and `Client.get_task`.
    """

    STATUS_PENDING: ClassVar[str] = PENDING
    STATUS_PROGRESS: ClassVar[str] = IN_PROGRESS
    STATUS_FINISHED: ClassVar[str] = FINISHED
    STATUS_CANCELED: ClassVar[str] = CANCELED

    def __init__(self, api: ServiceAPI, state: TaskSnapshot) -> None:
        self._api = api
        self._state = state

    def __repr__(self) -> str:
        outcome = "" if self.success is None else f", success={self.success}"
        return f"Task({self.job_id!r}, status={self.status!r}{outcome})"

    def __reduce__(self) -> tuple[object, ...]:
        # Without the connection, which contains a credential.
        return _detached_task, (type(self), self._state)

    def __copy__(self) -> Task:
        return type(self)(self._api, self._state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        return type(self)(self._api, deepcopy(self._state, memo))

    def _html_fields(self) -> dict[str, Any]:
        return html_fields(self._state)

    def _repr_html_(self) -> str:
        outputs = nested_table(self.outputs.values())
        return "".join(filter(None, [super()._repr_html_(), nested_table(self.deliveries), outputs]))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the results."""
        return self._state.to_dict()

    @property
    def job_id(self) -> str:
        """The task's id."""
        return self._state.job_id

    @property
    def status(self) -> TaskStatus:
        """`"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`."""
        return self._state.status

    @property
    def ended(self) -> bool:
        """Whether the task is finished or canceled."""
        return self._state.ended

    @property
    def delivering(self) -> bool:
        """Whether a delivery is pending."""
        return self._state.delivering

    @property
    def success(self) -> bool | None:
        """Whether the task succeeded; None until it has ended."""
        return self._state.success

    @property
    def error(self) -> str | None:
        """Error message of a failed or canceled task; None otherwise."""
        return self._state.error

    @property
    def error_code(self) -> ErrorCode | None:
        """Kind of the error: `"expired"` if the task was not started in time; None otherwise."""
        return self._state.error_code

    @property
    def outcome(self) -> TaskOutcome | None:
        """How the task ended: `"Succeeded"`, `"Failed"`, `"Expired"` or `"Canceled"`; None until then."""
        return self._state.outcome

    @property
    def predictions(self) -> Any:
        """The algorithm's predictions; None until it has succeeded."""
        return self._state.result.predictions

    @property
    def evaluations(self) -> Any:
        """Evaluations of the predictions; None if none were requested."""
        return self._state.result.evaluations

    @property
    def monitors(self) -> Any:
        """Results of the monitors; may be None."""
        return self._state.result.monitors

    @property
    def callback_param(self) -> Any:
        """Parameters of the targets, without credentials."""
        return self._state.callback_param

    @property
    def progress(self) -> Progress:
        """Progress of the algorithm."""
        return self._state.progress

    @property
    def receipts(self) -> list[Receipt]:
        """Receipts of the completed deliveries."""
        return HTMLList(self._state.receipts)

    @property
    def deliveries(self) -> list[DeliverySnapshot]:
        """Status of each delivery, in the order of the targets."""
        return HTMLList(self._state.deliveries)

    @property
    def outputs(self) -> TaskOutputs:
        """The output files by their names; empty until the task has ended. Those of a failed task are kept too."""
        return TaskOutputs(self._api, self.job_id, self._state.outputs)

    @property
    def algorithm(self) -> str | None:
        """Name of the algorithm."""
        return self._state.algorithm

    @property
    def version(self) -> str | None:
        """The algorithm's version; None until it is known."""
        return self._state.version

    @property
    def new_version(self) -> str | None:
        """The version that a training has created, for `run_algorithm(version=...)`; None if there is none."""
        return self._state.new_version

    @property
    def kind(self) -> TaskKind | None:
        """`"predict"` or `"fit"`."""
        return self._state.kind

    @property
    def priority(self) -> int | None:
        """0 to 9; higher runs first."""
        return self._state.priority

    @property
    def owner(self) -> str | None:
        """Name of the user who submitted the task."""
        return self._state.owner

    @property
    def created_at(self) -> datetime | None:
        """Time at which the service accepted the task, in UTC."""
        return self._state.created_at

    @property
    def started_at(self) -> datetime | None:
        """Time at which a worker started the task, in UTC; None before that."""
        return self._state.started_at

    @property
    def finished_at(self) -> datetime | None:
        """Time at which the task ended, in UTC; None before that."""
        return self._state.finished_at

    @property
    def expires_at(self) -> datetime | None:
        """Time from which a queued task is not started any more, in UTC; None for never.

        It is the end of `expires`, or the expiry of the last target.
        """
        return self._state.expires_at

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may go wrong with the task's targets, as of its submission: they may expire before it has ended."""
        return self._state.warnings

    @hides_tracebacks
    def refresh(self) -> Task:
        """Request the task's current state, and return the task.

        Raises:
            ServiceError: The service can't be reached, or responds with an error.
        """
        self._state = self._api.task(self.job_id)
        return self

    @hides_tracebacks
    def cancel(self) -> Task:
        """Cancel the task, even while it runs, and return it.

        Raises:
            ServiceError: The service can't be reached, or responds with an error.
        """
        self._state = self._api.cancel(self.job_id)
        return self

    @hides_tracebacks
    def get_logs(self) -> str:
        """Return the output of the task's last run, even while it runs; see `Client.get_logs`.

        Raises:
            ServiceError: The service can't be reached, or responds with an error.
        """
        return self._api.logs(self.job_id)

    @hides_tracebacks
    def redeliver(self, delivery_id: str | None = None, *, target: CallbackTarget | None = None) -> list[Delivery]:
        """Redeliver one delivery, or every dead one, and return these deliveries.

        Args:
            delivery_id: The delivery, from `Client.get_deliveries`; every dead one if None.
            target: A new target for it; see `Client.redeliver`. Without an id the task must have a single delivery.

        Raises:
            ConflictError: The task has not ended, and no target is given.
            InvalidRequestError: A target is given, and the task has several deliveries.
            TargetError: The result can't be delivered to the new target; nothing was sent.
            ServiceError: The service can't be reached, or responds with an error.
        """
        given = Secret(target)
        del target
        new = None if given.reveal() is None else CallbackResolver(Secret(None), TargetSettings()).resolve_one(given)
        if delivery_id is None:
            found = self._api.deliveries(self.job_id)
            if new is not None and len(found) != 1:
                raise InvalidRequestError(
                    f"The task {self.job_id} has {len(found)} deliveries, and target= is for one of them.",
                    hint="Give the delivery_id of one of client.get_deliveries(job_id) too: "
                    "task.redeliver(delivery_id, target=...).",
                )
            ids = [one.delivery_id for one in found if one.status == "dead" or new is not None]
        else:
            ids = [delivery_id]
        return HTMLList(self._api.redeliver(self.job_id, each, new) for each in ids)

    @hides_tracebacks
    def result(self) -> Result:
        """Return the results.

        Raises:
            TaskExpiredError: The task was not started in time.
            TaskFailedError: The task failed for another reason or was canceled, or has not ended yet.
            AuthenticationError: It is another user's task, whose results an operator may not read.
        """
        if self.success and self._state.results_hidden:
            raise AuthenticationError(
                f"The results of the task {self.job_id} belong to {self.owner}, and this user may not read them.",
                hint="An operator with access to the service's machine can change that: callback-sdk users set-role "
                "NAME operator --may-read.",
                job_id=self.job_id,
            )
        if self.success:
            return self._state.result
        kind = TaskFailedError
        if not self._state.ended:
            message, hint = "has not ended yet.", "Wait for its end: task.wait()."
        elif self.status == CANCELED:
            message, hint = "was canceled.", "Submit the task again if you need its results."
        elif self.outcome == EXPIRED:
            kind, message = TaskExpiredError, f"has expired: {sentence(self.error or 'no reason given')}"
            hint = "Submit it again, with a longer `expires` and targets that are valid for longer, or at another time."
        else:
            message = f"failed: {sentence(self.error or 'no reason given')}"
            hint = "Fix the cause and submit the task again."
        raise kind(f"The task {self.job_id} {message}", hint=hint, job_id=self.job_id, reason=self.error)

    @hides_tracebacks
    def wait(
        self,
        timeout: Duration = timedelta(minutes=30),
        *,
        poll_interval: Duration = timedelta(seconds=2),
        delivery_timeout: Duration = timedelta(seconds=10),
        progress: bool = True,
    ) -> Task:
        """Wait until the task has ended, and return it; see `success` for its outcome.

        Deliveries start once the result is available. So that `receipts` are usually complete, the call then waits
        until no delivery is pending, for at most `delivery_timeout`: deliveries to a target that is down are retried
        for hours.

        The service tells when the task has ended, so that a wait takes at most two requests a minute. A service that
        can't is polled. The wait continues while the service is unavailable or a proxy returns errors. Ctrl-C ends the
        wait, not the task.

        Args:
            timeout: Maximum wait for the task's end, a `timedelta` or seconds.
            poll_interval: Maximum polling interval of a service that has to be polled; polling starts faster and backs
                off.
            delivery_timeout: Maximum wait for deliveries after the task's end.
            progress: Whether to show a progress bar in a terminal and in a notebook, if tqdm is installed.

        Raises:
            TaskTimeoutError: The task has not ended in time. It continues.
            ServiceError: The service doesn't know the task, or rejects the request.
        """
        seconds, pause, for_deliveries = (
            total_seconds("timeout", timeout),
            total_seconds("poll_interval", poll_interval),
            total_seconds("delivery_timeout", delivery_timeout, zero=True),
        )
        end = time.monotonic() + seconds
        try:
            with ProgressBar(f"Task {self.job_id}", wanted=progress) as bar:

                def show(state: TaskSnapshot, poll_error: ServiceError | None) -> None:
                    bar.show(state.progress.fraction, _progress_text(state, poll_error))

                self._wait_for_end(
                    Waiting(
                        end=end,
                        max_interval=pause,
                        longest=LONGEST_POLL_WITH_PROGRESS if bar.is_shown else LONGEST_POLL,
                        streams=Streams.AT_ONCE if bar.is_shown else Streams.LATER,
                        show=show,
                    )
                )
                end = min(end, time.monotonic() + for_deliveries)
                if self.delivering and time.monotonic() < end:
                    self._wait_for_deliveries(Waiting(end=end, max_interval=pause, show=show))
            self._warn_of_dead_deliveries()
            return self
        except KeyboardInterrupt:
            pass
        raise interruption(*(f"The task continues. {hint}" for hint in self._resume_hints()))

    def _wait_for_end(self, waiting: Waiting) -> None:
        _, poll_error = waiting.until(
            lambda state: state.ended, self._poll, self._state, lambda watch: self._follow(watch, waiting.show)
        )
        if not self.ended:
            error = TaskTimeoutError(
                f"The task {self.job_id} has not ended in time; it is {self.status} and continues.",
                job_id=self.job_id,
            )
            error.add_hint(*self._resume_hints())
            raise error from poll_error

    def _wait_for_deliveries(self, waiting: Waiting) -> None:
        waiting.until(lambda state: not state.delivering, self._poll, self._state)

    def _warn_of_dead_deliveries(self) -> None:
        """Log the deliveries that were given up: a task succeeds without them."""
        for delivery in self.deliveries:
            if delivery.status == "dead":
                what = "The result" if delivery.output is None else f"The output file {short_repr(delivery.output)}"
                text = f"{what} of task {self.job_id} was not delivered to {delivery.url}: {delivery.error}"
                logger.warning("%s", escape(text))

    def _poll(self, poll: Poll) -> TaskSnapshot:
        self._state = self._api.task(self.job_id, deadline=poll.deadline, wait=poll.wait)
        return self._state

    def _follow(self, watch: ReadEvents, show: Show) -> tuple[bool, bool]:
        heard = False
        # After any error the task itself is requested, which raises those that don't pass.
        with (
            contextlib.suppress(ServiceError),
            contextlib.closing(self._api.events(self.job_id, None, output=False, deadline=watch.deadline)) as events,
        ):
            for event in events:
                heard = True
                change = _change(event)
                if change is not None and change.has_ended:
                    return True, True
                if change is not None:
                    self._state = evolve(self._state, status=change.status, progress=change.progress)
                    show(self._state, None)
        return heard, False

    def _resume_hints(self) -> tuple[str, str]:
        return (
            f'Wait for the task again: client.get_task("{self.job_id}").wait().',
            f"Show the task later: `callback-sdk tasks {self.job_id}`.",
        )


def wait_for_all(given: Iterable[Task], timeout: Duration, *, delivery_timeout: Duration, progress: bool) -> list[Task]:
    """Wait until all tasks have ended; see `Client.wait_all`."""
    tasks = _checked_tasks(given)
    for_deliveries = total_seconds("delivery_timeout", delivery_timeout, zero=True)
    end = time.monotonic() + total_seconds("timeout", timeout)
    try:
        with ProgressBar(f"{len(tasks)} tasks", wanted=progress) as bar:
            _wait_for_ends(tasks, end, bar)
            bar.show(1.0, "delivering")
            end = min(end, time.monotonic() + for_deliveries)
            for task in tasks:
                if task.delivering and time.monotonic() < end:
                    task._wait_for_deliveries(Waiting(end=end))
                task._warn_of_dead_deliveries()
    except KeyboardInterrupt:
        pass
    else:
        return tasks
    raise KeyboardInterrupt("The tasks continue. Wait for them again, or list them with client.get_tasks().")


def _checked_tasks(given: Any) -> HTMLList[Task]:
    if isinstance(given, (Task, str, bytes)) or not isinstance(given, Iterable):
        raise InvalidRequestError(f"tasks is of type {type_name(given)}.", hint="Give a list of tasks.")
    tasks = HTMLList(given)
    for number, task in enumerate(tasks):
        if task is False:
            raise InvalidRequestError(
                f"tasks[{number}] is False, the return value of a failed call.",
                hint="Remove it from the list, or submit the task again.",
            )
        if not isinstance(task, Task):
            raise InvalidRequestError(
                f"tasks[{number}] is of type {type_name(task)}.",
                hint="Give tasks; client.get_task(job_id) returns the task of an id.",
            )
    return tasks


def _wait_for_ends(tasks: list[Task], end: float, bar: ProgressBar) -> None:
    for ended, task in enumerate(tasks):
        bar.show(ended / len(tasks), f"{ended} ended")
        if task.ended:
            continue
        try:
            task._wait_for_end(Waiting(end=end, streams=Streams.LATER))
        except TaskTimeoutError as error:
            error.replace_hint(f"{ended} of {len(tasks)} tasks have ended. The others continue: wait for them again.")
            raise


def _change(event: ServerEvent) -> TaskChange | None:
    if event.name not in ("status", "end"):
        return None
    return parse_response("an event of a task", lambda text: TaskChange.from_dict(orjson.loads(text)), event.data)


def _detached_task(kind: type[Task], state: TaskSnapshot) -> Task:
    api = Detached(
        f"The task {state.job_id} was pickled without its client, which contains a credential.",
        f'Get the task from a client of this process: client.get_task("{state.job_id}").',
    )
    return kind(cast("ServiceAPI", api), state)


def _progress_text(state: TaskSnapshot, poll_error: ServiceError | None) -> str:
    if poll_error is not None:
        return "the service doesn't respond"
    if state.ended:
        return "delivering" if state.delivering else state.outcome or state.status
    return state.progress.message or state.status
