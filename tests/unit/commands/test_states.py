"""callback_sdk.commands.states"""

from __future__ import annotations

from typing import get_args

import pytest
import typer

from callback_sdk.client.states import TaskSummary
from callback_sdk.commands.states import STATES, one_of, state_of, task_filter
from callback_sdk.service.api.schemas import StatusFilter
from callback_sdk.types import TaskFilter


def test_there_is_one_vocabulary() -> None:
    """Commands, client and service know the same filters."""
    assert set(STATES.values()) == set(get_args(TaskFilter)) == set(get_args(StatusFilter))


@pytest.mark.parametrize(
    ("task", "state"),
    [
        (TaskSummary(job_id="1"), "pending"),
        (TaskSummary(job_id="1", status="In Progress"), "in-progress"),
        (TaskSummary(job_id="1", status="Finished", success=True), "succeeded"),
        (TaskSummary(job_id="1", status="Finished", success=False), "failed"),
        (TaskSummary(job_id="1", status="Finished", success=False, error_code="expired"), "expired"),
        (TaskSummary(job_id="1", status="Canceled", success=False), "canceled"),
    ],
)
def test_every_state_that_is_shown_can_be_selected(task: TaskSummary, state: str) -> None:
    """By the word that is shown, and by that of the REST API."""
    assert state_of(task) == state
    assert task_filter(state) == STATES[state]
    assert task_filter(task.outcome or task.status) == STATES[state]


@pytest.mark.parametrize("text", ["IN_PROGRESS", "in progress", " In-Progress"])
def test_spellings_of_a_state(text: str) -> None:
    """People type it in several ways."""
    assert task_filter(text) == "In Progress"
    assert task_filter("cancelled") == "Canceled"


def test_an_unknown_state_lists_all() -> None:
    """The error says what there is."""
    with pytest.raises(typer.BadParameter, match="pending, in-progress, succeeded, failed, expired, canceled or fin"):
        task_filter("done")
    assert (one_of(["a"]), one_of(["a", "b"])) == ("a", "a or b")
