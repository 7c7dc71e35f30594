"""Waiting until all tasks of a list have ended."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from callback_sdk.client.tasks import Task
from callback_sdk.client.wait_plan import Streams
from callback_sdk.client.waiting import TaskWait
from callback_sdk.errors import InvalidRequestError, TaskTimeoutError
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.progress import ProgressBar
from callback_sdk.text.descriptions import type_name
from callback_sdk.text.html import HTMLList


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
                    task._wait_for_deliveries(TaskWait(end=end))
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
            task._wait_for_end(TaskWait(end=end, streams=Streams.LATER))
        except TaskTimeoutError as error:
            error.replace_hint(f"{ended} of {len(tasks)} tasks have ended. The others continue: wait for them again.")
            raise
