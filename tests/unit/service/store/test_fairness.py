"""callback_sdk.service.store.fairness"""

from __future__ import annotations

from callback_sdk.service.store.fairness import after, turns


def test_users_take_turns() -> None:
    """In the given order, until the limit or until nobody has a task."""
    waiting = {"anna": 9, "ben": 1, "cleo": 9}
    assert list(turns(6, waiting, {})) == ["anna", "ben", "cleo", "anna", "cleo", "anna"]
    assert list(turns(9, {"anna": 2}, {})) == ["anna", "anna"]
    assert list(turns(9, {}, {"anna": 1})) == []


def test_a_user_with_running_tasks_waits_for_the_others() -> None:
    """Until they have as many."""
    assert list(turns(4, {"anna": 9, "ben": 9}, {"anna": 2})) == ["ben", "ben", "anna", "ben"]


def test_the_round_robin_continues_after_the_last_user() -> None:
    """And starts again after the end."""
    assert after("ben", ["ben", "anna", "dora", "cleo"]) == ["cleo", "dora", "anna", "ben"]
    assert after("", ["ben", "anna"]) == ["anna", "ben"]
