"""What the client says and does about tasks that were submitted, and about their deliveries."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from callback_sdk.client.base import ClientBase, parse_response, segment, unexpected, with_query
from callback_sdk.client.failures import public
from callback_sdk.client.progress import ProgressBar
from callback_sdk.client.resources import Task
from callback_sdk.client.states import Delivery, TaskSnapshot, TaskSummary
from callback_sdk.client.form import whole_number
from callback_sdk.client.waiting import Waiting
from callback_sdk.errors import InvalidRequestError, ServiceError, TaskTimeoutError, type_name
from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, PENDING
from callback_sdk.parsing import total_seconds
from callback_sdk.text.html import HTMLList

_STATUSES = (PENDING, IN_PROGRESS, FINISHED, CANCELED)

_PAGE = 200
"""Tasks of a page, at most."""


class Tasks(ClientBase):
    """The tasks of a user; see `Client`."""

    @public
    def get_task_results(self, job_id: str) -> Task:
        """Return a task as it stands now.

        Raises:
            NotFoundError: There is none of this id.
            ServiceError: The service didn't tell.
        """
        return self._task(self._task_state("GET", job_id))

    @public
    def get_tasks(
        self, *, status: str | None = None, algorithm_id: str | None = None, limit: int | None = None
    ) -> Iterator[TaskSummary]:
        """Go through one's tasks, the newest first. Pages are asked for as they are needed, the first one at once.

        With `fail_on_error(False)` all pages are asked for at once, and the call returns False when one fails: an
        iterator can't return False, and one that ends early would look like a whole one.

        Args:
            status: Only those that are `"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`.
            algorithm_id: Only those of this algorithm.
            limit: How many, at most; all of them when None.

        Raises:
            InvalidRequestError: There is no such status, or the limit is no positive number.
            ServiceError: The service didn't tell.
        """
        number = None if limit is None else whole_number(limit)
        if limit is not None and (number is None or number < 1):
            raise InvalidRequestError(f"limit is {limit!r:.100}.", hint="Give a whole number above 0, or None.")
        if status is not None and status not in _STATUSES:
            raise InvalidRequestError(f"status is {status!r:.100}.", hint=f"Give one of {', '.join(_STATUSES)}.")
        wanted = {"status": status, "algorithm": algorithm_id, "limit": min(number or _PAGE, _PAGE)}
        first = self._page(wanted)
        tasks = itertools.islice(self._pages(wanted, first), number)
        return tasks if self._failures.raises else iter(list(tasks))

    @public
    def wait_all(
        self,
        tasks: Iterable[Task],
        timeout: timedelta = timedelta(hours=1),
        *,
        grace: timedelta = timedelta(seconds=10),
        progress: bool = True,
    ) -> list[Task]:
        """Wait until all of some tasks have ended, and return them in their order; `success` tells how each has.

        Args:
            tasks: What `run_algorithm_batch` returned, for one.
            timeout: The longest wait for all of them.
            grace: The longest wait for deliveries after the last one's end; see `Task.wait`.
            progress: Whether to show a bar in a terminal and in a notebook, when tqdm is installed.

        Raises:
            TaskTimeoutError: Some have not ended in this time. They go on.
            ServiceError: The service doesn't know a task, or refuses to tell.
        """
        waited = _tasks(tasks)
        seconds, for_deliveries = total_seconds("timeout", timeout), total_seconds("grace", grace, zero=True)
        end = time.monotonic() + seconds
        try:
            with ProgressBar(f"{len(waited)} tasks", wanted=progress) as bar:
                _wait_for_ends(waited, end, bar)
                bar.show(1.0, "delivering")
                end = min(end, time.monotonic() + for_deliveries)
                for task in waited:
                    if task.delivering and time.monotonic() < end:
                        task._wait_for_deliveries(Waiting(end=end))
        except KeyboardInterrupt:
            pass
        else:
            return waited
        raise KeyboardInterrupt("The tasks go on. Wait for them again, or look at client.get_tasks().")

    @public
    def cancel_task(self, job_id: str) -> Task:
        """Stop a task, also while it runs, and return it.

        Raises:
            NotFoundError: There is none of this id.
            ConflictError: It has ended already.
            ServiceError: The service didn't accept that.
        """
        return self._task(self._task_state("DELETE", job_id))

    @public
    def get_logs(self, job_id: str) -> str:
        """Return what the algorithm printed and logged in a task's last run: the last 64 KiB of it.

        It is there when the run has ended, also by a crash, a time-out or too much memory.

        Raises:
            NotFoundError: There is no such task.
            ServiceError: The service didn't tell.
        """
        path = f"/algorithms/tasks/{segment(job_id)}/logs"
        data: bytes = self._connection.request("GET", path, accept="text/plain").data
        return data.decode(errors="replace")

    @public
    def get_deliveries(self, job_id: str) -> list[Delivery]:
        """Return the deliveries of a task with all their tries, in the order of the targets.

        Raises:
            NotFoundError: There is no such task.
            ServiceError: The service didn't tell.
        """
        return self._deliveries(job_id)

    @public
    def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        """Make a delivery anew, at once: a dead one, or one that was made already.

        Args:
            job_id: The task's id.
            delivery_id: The delivery's id; `get_deliveries` has it.

        Returns:
            The delivery as it then stands.

        Raises:
            NotFoundError: There is no such task or delivery.
            ConflictError: The task has not ended.
            ServiceError: The service didn't accept that.
        """
        return self._redeliver(job_id, delivery_id)

    def _task_state(self, method: str, job_id: str, *, deadline: float | None = None) -> TaskSnapshot:
        answer = self._connection.request(method, f"/algorithms/tasks/{segment(job_id)}", deadline=deadline)
        state = parse_response("a task", TaskSnapshot.from_dict, answer.data)
        _check_id("task", job_id, state.job_id)
        return state

    def _deliveries(self, job_id: str) -> list[Delivery]:
        data = self._connection.request("GET", f"/algorithms/tasks/{segment(job_id)}/deliveries").data
        if not isinstance(data, list):
            raise unexpected("a list of deliveries")
        return HTMLList(parse_response("a delivery", Delivery.from_dict, item) for item in data)

    def _redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        path = f"/algorithms/tasks/{segment(job_id)}/deliveries/{segment(delivery_id)}/redeliver"
        # The same twice is one: a delivery that is due is due.
        answer = self._connection.request("POST", path, repeatable=True)
        delivery = parse_response("a delivery", Delivery.from_dict, answer.data)
        _check_id("delivery", delivery_id, delivery.delivery_id)
        return delivery

    def _pages(self, wanted: dict[str, Any], page: tuple[list[TaskSummary], str | None]) -> Iterator[TaskSummary]:
        while True:
            tasks, cursor = page
            yield from tasks
            if cursor is None:
                return
            page = self._page({**wanted, "cursor": cursor})

    def _page(self, wanted: dict[str, Any]) -> tuple[list[TaskSummary], str | None]:
        data = self._connection.request("GET", with_query("/algorithms/tasks", wanted)).data
        if not isinstance(data, dict) or not isinstance(data.get("tasks"), list):
            raise unexpected("a page of tasks")
        return [parse_response("a task", TaskSummary.from_dict, item) for item in data["tasks"]], data.get("next")


def _tasks(given: Any) -> HTMLList[Task]:
    """Return what is waited for, if all of it can be."""
    if isinstance(given, (Task, str, bytes)) or not isinstance(given, Iterable):
        raise InvalidRequestError(f"tasks is of type {type_name(given)}.", hint="Give a list of tasks.")
    tasks = HTMLList(given)
    for number, task in enumerate(tasks):
        if task is False:
            raise InvalidRequestError(
                f"tasks[{number}] is False, so the call that should have returned it has failed.",
                hint="Leave it out, or submit it again.",
            )
        if not isinstance(task, Task):
            raise InvalidRequestError(
                f"tasks[{number}] is of type {type_name(task)}.",
                hint="Give tasks; client.get_task_results(job_id) returns the one of an id.",
            )
    return tasks


def _wait_for_ends(tasks: list[Task], end: float, bar: ProgressBar) -> None:
    for ended, task in enumerate(tasks):
        bar.show(ended / len(tasks), f"{ended} ended")
        if task.ended:
            continue
        try:
            task._wait_for_end(Waiting(end=end))
        except TaskTimeoutError as error:
            error.hint = f"{ended} of {len(tasks)} tasks have ended, and the others go on: wait for them again."
            raise


def _check_id(what: str, wanted: str, told: str) -> None:
    """Raise if the service speaks of something else than it was asked for."""
    if told != wanted:
        raise ServiceError(
            f"The service was asked about the {what} {wanted!r:.100} and told about {told!r:.100}.",
            hint="A proxy or a shared connection between client and service mixes up responses: use neither.",
        )
