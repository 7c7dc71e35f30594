"""States of tasks as commands print them, and as their options take them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from callback_sdk.client import Task, TaskSummary
    from callback_sdk.types import TaskFilter

STATES: dict[str, TaskFilter] = {
    "pending": "Pending",
    "in-progress": "In Progress",
    "succeeded": "succeeded",
    "failed": "failed",
    "expired": "expired",
    "canceled": "Canceled",
    "finished": "Finished",
}
"""Filters of the service by state. `failed` includes expired tasks, and `finished` all that succeeded or failed."""

DELIVERY_STATES = ("pending", "delivered", "dead")


def state_of(task: Task | TaskSummary) -> str:
    """Return the state of a task: its outcome once it has ended."""
    return _normalize(task.outcome or task.status)


def task_filter(text: str) -> TaskFilter:
    """Return the filter for a state, in any spelling of the REST API or of the commands.

    Raises:
        typer.BadParameter: The state doesn't exist.
    """
    found = STATES.get(_normalize(text).replace("cancelled", "canceled"))
    if found is None:
        raise typer.BadParameter(f"Give {one_of(STATES)}.", param_hint="--status")
    return found


def one_of(words: Iterable[str]) -> str:
    """Join words: `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _normalize(text: str) -> str:
    return "-".join(text.lower().replace("_", " ").split())
