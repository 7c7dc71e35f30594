"""Submitted tasks: the requests about one task, and waiting for its end."""

from __future__ import annotations

import contextlib
import logging
import time
from copy import deepcopy
from datetime import timedelta
from typing import Any, cast

import orjson
from attrs import evolve

from callback_sdk.client.api import ServiceAPI
from callback_sdk.client.callbacks import CallbackResolver
from callback_sdk.client.detached import DetachedClient
from callback_sdk.client.interrupts import interruption
from callback_sdk.client.outputs import TaskOutputs
from callback_sdk.client.responses import parse_response
from callback_sdk.client.server_events import ServerEvent
from callback_sdk.client.states import Delivery, TaskChange, TaskSnapshot
from callback_sdk.client.task_state import TaskState
from callback_sdk.client.wait_plan import LONGEST_POLL, LONGEST_POLL_WITH_PROGRESS, Poll, ReadEvents, Streams
from callback_sdk.client.waiting import Show, TaskWait
from callback_sdk.errors import InvalidRequestError, ServiceError, TaskTimeoutError
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.progress import ProgressBar
from callback_sdk.redaction import Secret, hides_tracebacks
from callback_sdk.targets import TargetSettings
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.escaping import escape
from callback_sdk.text.html import HTMLList, nested_table
from callback_sdk.types import CallbackTarget

logger = logging.getLogger(__name__)


class Task(TaskState):
    """One submitted task.

    The attributes have the state of the last response; `refresh` and `wait` request a newer one. Tasks are returned by
    `Client.run_algorithm` and `Client.get_task`.
    """

    def __init__(self, api: ServiceAPI, state: TaskSnapshot) -> None:
        super().__init__(state)
        self._api = api

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

    def _repr_html_(self) -> str:
        outputs = nested_table(self.outputs.values())
        return "".join(filter(None, [super()._repr_html_(), nested_table(self.deliveries), outputs]))

    @property
    def outputs(self) -> TaskOutputs:
        """The output files by their names; empty until the task has ended. Those of a failed task are kept too."""
        return TaskOutputs(self._api, self.job_id, self._state.outputs)

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
                    TaskWait(
                        end=end,
                        max_interval=pause,
                        longest=LONGEST_POLL_WITH_PROGRESS if bar.is_shown else LONGEST_POLL,
                        streams=Streams.AT_ONCE if bar.is_shown else Streams.LATER,
                        show=show,
                    )
                )
                end = min(end, time.monotonic() + for_deliveries)
                if self.delivering and time.monotonic() < end:
                    self._wait_for_deliveries(TaskWait(end=end, max_interval=pause, show=show))
            self._warn_of_dead_deliveries()
            return self
        except KeyboardInterrupt:
            pass
        raise interruption(*(f"The task continues. {hint}" for hint in self._resume_hints()))

    def _wait_for_end(self, waiting: TaskWait) -> None:
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

    def _wait_for_deliveries(self, waiting: TaskWait) -> None:
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


def _change(event: ServerEvent) -> TaskChange | None:
    if event.name not in ("status", "end"):
        return None
    return parse_response("an event of a task", lambda text: TaskChange.from_dict(orjson.loads(text)), event.data)


def _detached_task(kind: type[Task], state: TaskSnapshot) -> Task:
    api = DetachedClient(
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
