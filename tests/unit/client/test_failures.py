"""Failed calls: what they raise or return, and what they never show."""

from __future__ import annotations

import io
import logging
import threading
from datetime import timedelta
from typing import Any, cast

import pytest
from rich.console import Console

from callback_sdk.client import Client, Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.errors import (
    AuthenticationError,
    CallbackSDKError,
    ConfigurationError,
    FeaturesError,
    InvalidRequestError,
    NotFoundError,
    TaskTimeoutError,
)
from callback_sdk.redaction import Secret
from tests.unit.client.jobs import ACCEPTED, BUCKET, DATA, SIGNATURE, SIGNED, TOKEN, s3_fields, shown


def test_nothing_secret_is_logged(client: Client, accepting: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG, with the libraries' own loggers."""
    caplog.set_level(logging.DEBUG)
    client.run_algorithm("an-algorithm", DATA, callbacks=[SIGNED, (BUCKET, {"s3_fields": s3_fields()})])
    accepting.on("GET", "/algorithms/tasks/42", accepting.Say(503), accepting.Say(data=ACCEPTED))
    client.get_task_results("42")
    assert "/api/v2/algorithms/tasks/42" in caplog.text
    for secret in (TOKEN, SIGNATURE, s3_fields()["policy"]):
        assert secret not in caplog.text


def test_nothing_secret_is_in_a_repr(client: Client) -> None:
    """A client shows where it goes."""
    assert repr(client) == f"Client({client.url!r})"
    console = Console(file=io.StringIO(), width=400)
    console.print(client, vars(client), vars(client._connection), vars(client._connection._session))
    assert TOKEN not in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options", [{"callback_url": 7}, {"callback_url": SIGNED, "callback_param": 7}, {"callbacks": [(SIGNED, 7)]}]
)
def test_nothing_secret_is_in_the_traceback_of_bad_input(client: Client, options: dict[str, Any]) -> None:
    """An error at the first look at the arguments has none of them in its frames."""

    def call() -> None:
        secret = Secret(options)
        client.run_algorithm("an-algorithm", DATA, **secret.reveal())

    with pytest.raises(CallbackSDKError) as caught:
        call()
    assert "run_algorithm" in shown(caught.value)
    assert SIGNATURE not in shown(caught.value)


def test_an_interrupt_has_no_token_in_its_traceback(client: Client, accepting: Any) -> None:
    """Ctrl-C in the middle of a request is raised without the library's frames."""
    from callback_sdk.client import connection

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection._Upload, "read", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            client.run_algorithm("an-algorithm", DATA)
    assert TOKEN not in shown(caught.value)


def test_calls_can_return_false(client: Client, service: Any) -> None:
    """With `fail_on_error(False)` a failed call returns False and `last_error` says why."""
    client.fail_on_error(option=False)
    assert client.get_algorithm("x") is False
    assert isinstance(client.last_error, NotFoundError)
    assert client.run_algorithm("x", None) is False
    assert isinstance(client.last_error, FeaturesError)
    service.on("GET", "/algorithms", service.Say(data=[]))
    assert client.get_algorithms() == []
    assert client.last_error is None
    service.on("GET", "/algorithms/tasks/42", service.Say(data=ACCEPTED), service.Say(404))
    task = client.get_task_results("42")
    assert task.refresh() is False
    assert isinstance(client.last_error, NotFoundError)
    client.fail_on_error()
    with pytest.raises(NotFoundError):
        task.refresh()


def test_waiting_for_several_tasks_can_return_false(client: Client, service: Any) -> None:
    """Tasks that go on, that the service doesn't know, or whose token is refused, and a failed one of many."""
    client.fail_on_error(False)
    task = Task(client._api, TaskSnapshot(job_id="42"))
    url = "/algorithms/tasks/42"
    for answer, error in [
        (service.Say(data={**ACCEPTED, "status": "In Progress"}), TaskTimeoutError),
        (service.Say(404), NotFoundError),
        (service.Say(401), AuthenticationError),
    ]:
        service.on("GET", url, answer)
        assert client.wait_all([task, task], timedelta(seconds=0.2), progress=False) is False
        assert isinstance(client.last_error, error)
        assert task.wait(timedelta(seconds=0.2), progress=False) is False
        assert isinstance(client.last_error, error)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([False], r"tasks\[0\] is False, so the call that should have returned it has failed"),
        (["42"], r"tasks\[0\] is of type str.*get_task_results"),
        ("42", "tasks is of type str"),
        (None, "tasks is of type NoneType"),
        (Task(cast("Any", None), TaskSnapshot(job_id="42")), r"tasks is of type callback_sdk\..*\.Task"),
    ],
)
def test_what_is_not_a_task_is_named(client: Client, service: Any, tasks: Any, said: str) -> None:
    """A failed submission, an id or a single task among what is waited for is an error of ours, or False."""
    with pytest.raises(InvalidRequestError, match=said):
        client.wait_all(tasks)
    client.fail_on_error(False)
    assert client.wait_all(tasks) is False
    assert service.requests == []


@pytest.mark.parametrize("option", ["timeout", "grace", "poll"])
def test_a_duration_without_a_unit_is_an_error_of_ours(client: Client, service: Any, option: str) -> None:
    """A number, or a duration that isn't one, is named before anything is asked."""
    task = Task(client._api, TaskSnapshot(job_id="42"))
    for value in (10, "10", None, timedelta(-1)):
        with pytest.raises(ConfigurationError, match=option):
            task.wait(**{option: value})
        if option != "poll":
            with pytest.raises(ConfigurationError, match=option):
                client.wait_all([task], **{option: value})
    assert service.requests == []


@pytest.mark.parametrize(
    ("option", "raises"), [("False", False), ("0", False), ("True", True), ("on", True), (0, False)]
)
def test_the_option_may_be_a_word(client: Client, option: Any, raises: bool) -> None:
    """What a script reads from the environment is a string."""
    client.fail_on_error(option=option)
    assert client._failures.raises is raises


def test_an_option_that_is_no_word_is_an_error(client: Client) -> None:
    """A typo is not taken for either."""
    with pytest.raises(ConfigurationError, match="fail_on_error takes no 'sometimes'"):
        client.fail_on_error("sometimes")


def test_each_thread_has_its_last_error(client: Client) -> None:
    """Threads that share a client don't see each other's errors."""
    client.fail_on_error(False)
    assert client.get_algorithms() is False
    others: list[Any] = []
    thread = threading.Thread(target=lambda: others.append(client.last_error))
    thread.start()
    thread.join()
    assert others == [None]
    assert client.last_error is not None
