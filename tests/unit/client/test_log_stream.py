"""callback_sdk.client.log_stream"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.client import Client
from callback_sdk.errors import ConfigurationError, NotFoundError, TaskTimeoutError

PATH = "/algorithms/tasks/42/logs/new"
SOON = timedelta(milliseconds=10)


@pytest.fixture
def client(service: Any, clean_environment: pytest.MonkeyPatch) -> Iterator[Client]:
    """Make a client of the scripted service that never asks twice by itself."""
    with Client(service.url, token="a-token", retries=0, timeout=timedelta(minutes=1)) as made:
        yield made


def part(text: str, cursor: str, *, ended: bool = False) -> dict[str, Any]:
    return {"text": text, "cursor": cursor, "ended": ended}


def test_output_is_followed_to_its_end(client: Client, service: Any) -> None:
    """Each request has the cursor of the last response; empty pieces are left out."""
    later = [part("", "1.4"), part("two\n", "1.8", ended=True)]
    service.on("GET", PATH, service.Say(data=part("one\n", "1.4")))
    service.on("GET", f"{PATH}?cursor=1.4", *(service.Say(data=answer) for answer in later))
    assert list(client.stream_logs("42", poll_interval=SOON)) == ["one\n", "two\n"]


def test_an_outage_is_waited_for(client: Client, service: Any) -> None:
    """What comes after it follows what came before."""
    done = service.Say(data=part("two\n", "1.8", ended=True))
    service.on("GET", PATH, service.Say(503, {}), service.Say(data=part("one\n", "1.4")))
    service.on("GET", f"{PATH}?cursor=1.4", service.Say(503, {}), service.Say(drop=True), done)
    assert list(client.stream_logs("42", poll_interval=SOON)) == ["one\n", "two\n"]


def test_an_unknown_task_is_an_error(client: Client, service: Any) -> None:
    """At the first request."""
    service.on("GET", PATH, service.Say(404, {"error": "Task '42' not found."}))
    with pytest.raises(NotFoundError):
        list(client.stream_logs("42", poll_interval=SOON))


def test_a_task_that_does_not_end_is_an_error(client: Client, service: Any) -> None:
    """After the timeout; its output until then was returned."""
    service.on("GET", PATH, service.Say(data=part("one\n", "1.4")))
    service.on("GET", f"{PATH}?cursor=1.4", service.Say(data=part("", "1.4")))
    pieces = client.stream_logs("42", timeout=1.0, poll_interval=SOON)
    assert next(pieces) == "one\n"
    with pytest.raises(TaskTimeoutError, match="42 has not ended"):
        list(pieces)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"poll_interval": "1s"}])
def test_wrong_durations_are_errors_at_once(client: Client, options: dict[str, Any]) -> None:
    """Before the first piece is requested."""
    with pytest.raises(ConfigurationError):
        client.stream_logs("42", **options)
