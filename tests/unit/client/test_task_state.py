"""callback_sdk.client.task_state"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.client import Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.client.task_state import TaskState
from callback_sdk.errors import AuthenticationError, TaskExpiredError, TaskFailedError

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def state(members: dict[str, Any]) -> TaskState:
    """Return the state of a task, without a client."""
    return TaskState(TaskSnapshot.from_dict({"job_id": "42", **members}))


def test_a_task_is_its_state_with_requests() -> None:
    """What a task knows is in one class, and what it asks the service for in the other."""
    requests = {"cancel", "get_logs", "outputs", "redeliver", "refresh", "wait"}
    assert {name for name in vars(Task) if not name.startswith("_")} == requests
    assert issubclass(Task, TaskState)


def test_results_of_another_user_are_an_error() -> None:
    """Not None, which would be taken for an empty result."""
    task = state({"status": "Finished", "success": True, "owner": "ann", "results_hidden": True})
    with pytest.raises(AuthenticationError, match="The results of the task 42 belong to ann"):
        task.result()


def test_the_words_of_the_states_are_there() -> None:
    """Older scripts compare with them."""
    assert (
        TaskState.STATUS_PENDING,
        TaskState.STATUS_PROGRESS,
        TaskState.STATUS_FINISHED,
        TaskState.STATUS_CANCELED,
    ) == (
        "Pending",
        "In Progress",
        "Finished",
        "Canceled",
    )


def test_an_expired_task_has_its_own_error() -> None:
    """So that a program can submit it again."""
    expired = {"status": "Finished", "success": False, "error": "No worker was free.", "error_code": "expired"}
    task = state({**expired, "expires_at": NOW.isoformat()})
    assert (task.error_code, task.expires_at) == ("expired", NOW)
    with pytest.raises(TaskExpiredError, match=r"42 has expired: No worker was free\. Submit it again"):
        task.result()


@pytest.mark.parametrize(
    "reason",
    ["[Errno 2] No such file or directory: '../data'", "slice(0..9) is out of range...", "No rows.", "a/..", "?"],
)
def test_the_reason_of_a_failure_is_kept_word_by_word(reason: str) -> None:
    """The text has it unchanged, and so does a field; the task's id is another field."""
    task = state({"status": "Finished", "success": False, "error": reason})
    with pytest.raises(TaskFailedError) as caught:
        task.result()
    assert f"The task 42 failed: {reason}" in str(caught.value)
    assert (caught.value.reason, caught.value.job_id) == (reason, "42")
