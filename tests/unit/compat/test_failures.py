"""Failed calls of a platform client: they raise, or return False and keep the error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.client import Client, Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.compat import LastError, PlatformClient, PlatformTask
from callback_sdk.errors import (
    AuthenticationError,
    ConfigurationError,
    FeaturesError,
    NotFoundError,
    TaskTimeoutError,
)
from callback_sdk.models import DeliveryFilter
from tests.unit.client.jobs import ACCEPTED, DATA
from tests.unit.client.test_api import listed, page


def last(client: PlatformClient) -> Exception:
    """Return the error of this thread's last call."""
    error = client.last_error
    assert isinstance(error, LastError)
    return error.error


def test_calls_can_return_false(client: PlatformClient, service: Any) -> None:
    """With `fail_on_error(False)` a failed call returns False and `last_error` says why."""
    client.fail_on_error(option=False)
    assert client.get_algorithm("x") is False
    assert isinstance(last(client), NotFoundError)
    assert client.run_algorithm("x", 42) is False
    assert isinstance(last(client), FeaturesError)
    service.on("GET", "/algorithms", service.Say(data=[]))
    assert client.get_algorithms() == []
    assert client.last_error is None
    service.on("GET", "/algorithms/tasks/42", service.Say(data=ACCEPTED), service.Say(404))
    task = client.get_task("42")
    assert task.refresh() is False
    assert isinstance(last(client), NotFoundError)
    client.fail_on_error()
    with pytest.raises(NotFoundError):
        task.refresh()


def test_waiting_for_several_tasks_can_return_false(client: PlatformClient, service: Any) -> None:
    """For a timeout, an unknown task, a rejected token, and a failed submission among the tasks."""
    client.fail_on_error(False)
    task = PlatformTask(client._api, TaskSnapshot(job_id="42"))
    url = "/algorithms/tasks/42"
    for answer, error in [
        (service.Say(data={**ACCEPTED, "status": "In Progress"}), TaskTimeoutError),
        (service.Say(404), NotFoundError),
        (service.Say(401), AuthenticationError),
    ]:
        service.on("GET", url, answer)
        assert client.wait_all([task, task], timedelta(seconds=0.2), progress=False) is False
        assert isinstance(last(client), error)
        assert task.wait(timedelta(seconds=0.2), progress=False) is False
        assert isinstance(last(client), error)


@pytest.mark.parametrize(
    ("option", "raises"), [("False", False), ("0", False), ("True", True), ("on", True), (0, False)]
)
def test_the_option_may_be_a_string(client: PlatformClient, option: Any, raises: bool) -> None:
    """Scripts may read it from the environment."""
    client.fail_on_error(option=option)
    assert client._failures.raises is raises


def test_an_unknown_option_is_an_error(client: PlatformClient) -> None:
    """A typo is neither true nor false."""
    with pytest.raises(ConfigurationError, match="fail_on_error doesn't accept 'sometimes'"):
        client.fail_on_error("sometimes")


def test_each_thread_has_its_last_error(client: PlatformClient) -> None:
    """Threads that share a client don't see each other's errors."""
    client.fail_on_error(False)
    assert client.get_algorithms() is False
    others: list[Any] = []
    thread = threading.Thread(target=lambda: others.append(client.last_error))
    thread.start()
    thread.join()
    assert others == [None]
    assert client.last_error is not None


def test_a_list_never_ends_early(client: PlatformClient, service: Any) -> None:
    """All pages are requested at once, and the call returns False if one fails."""
    client.fail_on_error(False)
    service.on("GET", listed(), page(service, "a", "c1"))
    assert client.get_tasks() is False
    assert isinstance(last(client), NotFoundError)


def test_a_list_without_errors_is_whole(client: PlatformClient, service: Any) -> None:
    """Where failed calls return False, a list that is returned has every page."""
    client.fail_on_error(False)
    service.on("GET", listed(), page(service, "a", "c1"))
    service.on("GET", listed("limit=200&cursor=c1"), page(service, "b"))
    assert [task.job_id for task in client.get_tasks()] == ["a", "b"]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.train_algorithm("a", DATA),
        lambda client: client.run_algorithm_batch("a", [DATA]),
        lambda client: client.get_tasks(),
        lambda client: client.get_deliveries("42"),
        lambda client: client.redeliver("42", "d"),
        lambda client: client.find_deliveries(DeliveryFilter()),
        lambda client: client.redeliver_all(DeliveryFilter(status="dead")),
        lambda client: client.get_audit_log(),
        lambda client: client.get_template("a"),
        lambda client: client.get_graph("a"),
    ],
)
def test_no_call_raises_where_that_is_not_wanted(client: PlatformClient, call: Callable[[PlatformClient], Any]) -> None:
    """`fail_on_error(False)` applies to every call."""
    client.fail_on_error(False)
    assert call(client) is False
    assert isinstance(last(client), NotFoundError)


@pytest.mark.parametrize(("base", "kind"), [(Client, PlatformClient), (Task, PlatformTask)])
def test_every_call_can_return_false(base: type, kind: type) -> None:
    """No method of a client or a task that makes a request, or may fail, is left out."""
    never = {"close", "fail_on_error", "to_dict", "update", "get_current_status", "get_task_results", "verify_peer"}
    for name in set(dir(kind)) - never:
        method = getattr(kind, name)
        if not name.startswith("_") and callable(method):
            assert method.__code__.co_filename.endswith("failures.py"), name
