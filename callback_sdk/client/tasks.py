"""What the client says and does about tasks that were submitted, and about their deliveries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from callback_sdk.client.base import ClientBase, queried, segment, understood, unexpected
from callback_sdk.client.failures import public
from callback_sdk.client.resources import Task
from callback_sdk.client.states import Delivery, TaskState, TaskSummary
from callback_sdk.errors import InvalidRequestError
from callback_sdk.models import CANCELED, FINISHED, IN_PROGRESS, PENDING

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

        With `fail_on_error(False)` the call may return False. The iterator raises all the same when a later page
        fails, as a list that ends early would look like a whole one.

        Args:
            status: Only those that are `"Pending"`, `"In Progress"`, `"Finished"` or `"Canceled"`.
            algorithm_id: Only those of this algorithm.
            limit: How many, at most; all of them when None.

        Raises:
            InvalidRequestError: There is no such status, or the limit is no positive number.
            ServiceError: The service didn't tell.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise InvalidRequestError(f"limit is {limit!r:.100}.", hint="Give a whole number above 0, or None.")
        if status is not None and status not in _STATUSES:
            raise InvalidRequestError(f"status is {status!r:.100}.", hint=f"Give one of {', '.join(_STATUSES)}.")
        wanted = {"status": status, "algorithm": algorithm_id, "limit": min(limit or _PAGE, _PAGE)}
        first = self._page(wanted)
        return itertools.islice(self._pages(wanted, first), limit)

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

    def _task_state(self, method: str, job_id: str, *, at_most: float | None = None) -> TaskState:
        answer = self._connection.request(method, f"/algorithms/tasks/{segment(job_id)}", at_most=at_most)
        return understood("a task", TaskState.from_dict, answer.data)

    def _deliveries(self, job_id: str) -> list[Delivery]:
        data = self._connection.request("GET", f"/algorithms/tasks/{segment(job_id)}/deliveries").data
        if not isinstance(data, list):
            raise unexpected("a list of deliveries")
        return [understood("a delivery", Delivery.from_dict, item) for item in data]

    def _redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        path = f"/algorithms/tasks/{segment(job_id)}/deliveries/{segment(delivery_id)}/redeliver"
        # The same twice is one: a delivery that is due is due.
        answer = self._connection.request("POST", path, repeatable=True)
        return understood("a delivery", Delivery.from_dict, answer.data)

    def _pages(self, wanted: dict[str, Any], page: tuple[list[TaskSummary], str | None]) -> Iterator[TaskSummary]:
        while True:
            tasks, cursor = page
            yield from tasks
            if cursor is None:
                return
            page = self._page({**wanted, "cursor": cursor})

    def _page(self, wanted: dict[str, Any]) -> tuple[list[TaskSummary], str | None]:
        data = self._connection.request("GET", queried("/algorithms/tasks", wanted)).data
        if not isinstance(data, dict) or not isinstance(data.get("tasks"), list):
            raise unexpected("a page of tasks")
        return [understood("a task", TaskSummary.from_dict, item) for item in data["tasks"]], data.get("next")
