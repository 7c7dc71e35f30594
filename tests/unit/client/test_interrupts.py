"""Interrupted submissions: how to submit again without a second task."""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import Any

import pytest

from callback_sdk.client import Client, connection
from callback_sdk.errors import ServiceConnectionError, ServiceError
from tests.forks import Child
from tests.unit.client.jobs import ACCEPTED, DATA, PREDICT, TOKEN, shown


class Timeout(BaseException):
    """The timeout that gevent and eventlet raise in any call."""


class TimeLimitError(Exception):
    """The exception that Celery raises at a task's soft time limit."""


def submit(client: Client) -> Any:
    return client.run_algorithm("an-algorithm", DATA)


def train(client: Client) -> Any:
    return client.train_algorithm("an-algorithm", DATA)


def submit_batch(client: Client) -> Any:
    return client.run_algorithm_batch("an-algorithm", [DATA])


@pytest.mark.parametrize("call", [submit, train, submit_batch])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(KeyboardInterrupt, ()), (SystemExit, (143,)), (Timeout, (30,)), (TimeLimitError, ("soft",))],
)
def test_an_interrupt_names_the_key(
    call: Any,
    kind: type[BaseException],
    arguments: tuple[Any, ...],
    client: Client,
    accepting: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ctrl-C and exceptions of signal handlers have the key of the request."""
    error = kind(*arguments)

    def interrupted(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(connection._BodyFile, "read", interrupted)
    with pytest.raises(type(error)) as caught:
        call(client)
    assert caught.value is error
    key = error.idempotency_key  # type: ignore[attr-defined]
    if isinstance(error, KeyboardInterrupt):
        said = str(error)
    else:
        assert error.args == arguments
        (said,) = error.__notes__
        assert said in caplog.text
    assert f'idempotency_key="{key}"' in said
    assert TOKEN not in shown(error)


def test_a_real_interrupt_names_the_key_that_was_sent(client: Client, service: Any) -> None:
    """Ctrl-C while the service computes its answer: the same call with that key makes no second task."""
    hold = threading.Event()
    service.on("POST", PREDICT, service.Say(202, ACCEPTED, hold=hold))

    def interrupted() -> str:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            submit(client)
        except KeyboardInterrupt as error:
            return str(error)
        return "not interrupted"

    child = Child(interrupted)
    while not service.requests:
        hold.wait(0.01)
    os.kill(child.pid, signal.SIGINT)
    said = child.result()
    hold.set()
    assert re.search(r'idempotency_key="(.+)"', said)[1] == service.requests[0].headers["idempotency-key"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("first", "names_key"),
    [({"status": 500}, True), ({"drop": True}, True), ({"status": 422}, False), ({"status": 404}, False)],
)
def test_an_error_has_the_key_where_the_task_may_be_accepted(
    client: Client, service: Any, first: dict[str, Any], names_key: bool
) -> None:
    """`idempotency_key` is a field of the error, set only where a second submission could make a second task."""
    service.on("POST", PREDICT, service.Say(**first))
    with pytest.raises(ServiceError) as caught:
        submit(client)
    key = caught.value.idempotency_key
    assert (key is not None) is names_key
    assert key is None or (key == service.requests[0].headers["idempotency-key"] and key in caught.value.hint)


def test_an_interrupted_batch_has_its_key(client: Client, service: Any) -> None:
    """Each request of a batch has a derived key, but the error has the key of the call."""
    service.on("POST", f"{PREDICT}/batch", service.Say(drop=True))
    with Client(client.url, token=TOKEN, retries=0) as impatient, pytest.raises(ServiceConnectionError) as caught:
        impatient.run_algorithm_batch("an-algorithm", [DATA], idempotency_key="nightly")
    assert caught.value.idempotency_key == "nightly"
    assert 'idempotency_key="nightly"' in caught.value.hint
    assert service.requests[0].headers["idempotency-key"] == "nightly/0"
