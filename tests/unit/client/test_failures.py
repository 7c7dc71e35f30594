"""Failed calls: types of errors, and redaction."""

from __future__ import annotations

import io
import logging
from datetime import timedelta
from typing import Any, cast

import pytest
from rich.console import Console

from callback_sdk.client import Client, Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    InvalidRequestError,
)
from callback_sdk.redaction import Secret
from tests.unit.client.jobs import ACCEPTED, BUCKET, DATA, SIGNATURE, SIGNED, TOKEN, s3_fields, shown


def test_nothing_secret_is_logged(client: Client, accepting: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG, with the libraries' own loggers."""
    caplog.set_level(logging.DEBUG)
    # Other tests in this process may have set up the service's logs, which are quieter.
    caplog.set_level(logging.DEBUG, logger="urllib3")
    client.run_algorithm("an-algorithm", DATA, callbacks=[SIGNED, (BUCKET, {"s3_fields": s3_fields()})])
    accepting.on("GET", "/algorithms/tasks/42", accepting.Say(503), accepting.Say(data=ACCEPTED))
    client.get_task("42")
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
        patch.setattr(connection._BodyFile, "read", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            client.run_algorithm("an-algorithm", DATA)
    assert TOKEN not in shown(caught.value)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([False], r"tasks\[0\] is False, the return value of a failed call"),
        (["42"], r"tasks\[0\] is of type str.*get_task"),
        ("42", "tasks is of type str"),
        (None, "tasks is of type NoneType"),
        (Task(cast("Any", None), TaskSnapshot(job_id="42")), r"tasks is of type callback_sdk\..*\.Task"),
    ],
)
def test_values_that_are_not_tasks_are_an_error(client: Client, service: Any, tasks: Any, said: str) -> None:
    """`wait_all` rejects a failed submission, an id, and a single task with an error of this package."""
    with pytest.raises(InvalidRequestError, match=said):
        client.wait_all(tasks)
    assert service.requests == []


@pytest.mark.parametrize("option", ["timeout", "delivery_timeout", "poll_interval"])
def test_a_duration_without_a_unit_is_an_error_of_ours(client: Client, service: Any, option: str) -> None:
    """Text, or a duration that isn't positive, is named before anything is requested."""
    task = Task(client._api, TaskSnapshot(job_id="42"))
    for value in ("10", None, True, float("nan"), -1, timedelta(-1)):
        with pytest.raises(ConfigurationError, match=option):
            task.wait(**{option: value})
        if option != "poll_interval":
            with pytest.raises(ConfigurationError, match=option):
                client.wait_all([task], **{option: value})
    assert service.requests == []
