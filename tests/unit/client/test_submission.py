"""Submitting: idempotency keys, priorities, and trainings."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.client import Client
from callback_sdk.errors import ConflictError, InvalidRequestError, NotFoundError, ServiceConnectionError, ServiceError
from tests.unit.client.jobs import ACCEPTED, DATA, HOOK, PREDICT

FIT = "/algorithms/an-algorithm/fit"


def test_each_task_has_a_key_of_its_own(client: Client, accepting: Any) -> None:
    """An idempotency key always goes along, so that a proxy's repeated request makes no second task."""
    for _ in range(2):
        client.run_algorithm("an-algorithm", DATA)
    one, two = (seen.headers["idempotency-key"] for seen in accepting.requests)
    assert uuid.UUID(one) != uuid.UUID(two)


@pytest.mark.parametrize("first", [{"drop": True}, {"status": 500}, {"status": 503}])
def test_with_a_key_a_task_is_submitted_again(client: Client, service: Any, first: dict[str, Any]) -> None:
    """A key of the caller's makes the POST as safe to repeat as a question."""
    service.on("POST", PREDICT, service.Say(**first), service.Say(202, ACCEPTED))
    assert client.run_algorithm("an-algorithm", DATA, idempotency_key="run 42").job_id == "42"
    assert [seen.headers["idempotency-key"] for seen in service.requests] == ["run 42", "run 42"]


@pytest.mark.parametrize("first", [{"drop": True}, {"status": 500}])
def test_without_a_key_the_error_names_it(client: Client, service: Any, first: dict[str, Any]) -> None:
    """A task that may be there isn't submitted again, and the hint says how to do so safely."""
    service.on("POST", PREDICT, service.Say(**first))
    with pytest.raises(ServiceError) as caught:
        client.run_algorithm("an-algorithm", DATA)
    (seen,) = service.requests
    assert f'idempotency_key="{seen.headers["idempotency-key"]}" creates no duplicate' in caught.value.hint


def test_a_service_that_was_never_reached_has_no_task(clean_environment: Any) -> None:
    """Nothing is said about a key where nothing was sent."""
    with (
        Client("http://127.0.0.1:9", token="a-token", retries=0) as client,
        pytest.raises(ServiceConnectionError) as caught,
    ):
        client.run_algorithm("an-algorithm", DATA)
    assert "idempotency_key" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "é", "a\nb", " a", "k" * 256, 7])
def test_an_invalid_key_is_not_sent(client: Client, accepting: Any, key: Any) -> None:
    """A key consists of 1 to 255 printable ASCII characters."""
    with pytest.raises(InvalidRequestError, match="idempotency_key"):
        client.run_algorithm("an-algorithm", DATA, idempotency_key=key)
    assert accepting.requests == []


def test_a_key_that_was_used_otherwise_is_an_error(client: Client, service: Any) -> None:
    """A 409 of the service is its own kind of error."""
    service.on("POST", PREDICT, service.Say(409, {"error": "Another task has this key."}))
    with pytest.raises(ConflictError, match="Another task has this key"):
        client.run_algorithm("an-algorithm", DATA, idempotency_key="k")


def test_a_priority_is_a_field(client: Client, accepting: Any) -> None:
    """Options that aren't given are omitted."""
    client.run_algorithm("an-algorithm", DATA, priority=9)
    client.run_algorithm("an-algorithm", DATA)
    assert [seen.form.get("priority") for seen in accepting.requests] == [b"9", None]


@pytest.mark.parametrize("priority", [-1, 10, 5.0, "5", True])
def test_an_invalid_priority_is_not_sent(client: Client, accepting: Any, priority: Any) -> None:
    """A priority is a whole number from 0 to 9."""
    with pytest.raises(InvalidRequestError, match="priority"):
        client.run_algorithm("an-algorithm", DATA, priority=priority)
    assert accepting.requests == []


@pytest.mark.parametrize(("expires", "field"), [(timedelta(minutes=1), b"60.000000"), (0.5, b"0.500000"), (None, None)])
def test_an_expiry_is_a_field(client: Client, accepting: Any, expires: Any, field: bytes | None) -> None:
    """In seconds from the acceptance of the task."""
    accepting.on("POST", FIT, accepting.Say(202, {**ACCEPTED, "kind": "fit"}))
    client.run_algorithm("an-algorithm", DATA, expires=expires)
    client.train_algorithm("an-algorithm", DATA, expires=expires)
    assert [seen.form.get("expires") for seen in accepting.requests] == [field, field]


@pytest.mark.parametrize("expires", [0, -1, "1h", True, float("inf"), timedelta(0)])
def test_an_invalid_expiry_is_not_sent(client: Client, accepting: Any, expires: Any) -> None:
    """It is a positive duration."""
    with pytest.raises(InvalidRequestError, match="expires is"):
        client.run_algorithm("an-algorithm", DATA, expires=expires)
    assert accepting.requests == []


def test_a_training_is_submitted(client: Client, service: Any) -> None:
    """Like any other task, with one more field."""
    service.on("POST", FIT, service.Say(202, {**ACCEPTED, "kind": "fit"}))
    task = client.train_algorithm(
        "an-algorithm",
        DATA,
        version="1.0.0",
        export_new_version=True,
        parameters={"n": 1},
        callback_url=HOOK,
        priority=0,
        idempotency_key="k",
    )
    (seen,) = service.requests
    form = seen.form
    assert (task.job_id, task.kind) == ("42", "fit")
    assert seen.headers["idempotency-key"] == "k"
    assert (json.loads(form.pop("features")), json.loads(form.pop("parameters"))) == (DATA, {"n": 1})
    assert form == {
        "version": b"1.0.0",
        "export_new_version": b"true",
        "callback_url": HOOK.encode(),
        "callback_param": b"{}",
        "priority": b"0",
    }


def test_a_training_sends_only_the_given_options(client: Client, service: Any) -> None:
    """Options that are None are left to the service's defaults."""
    service.on("POST", FIT, service.Say(202, ACCEPTED))
    client.train_algorithm("an-algorithm", DATA)
    client.train_algorithm("an-algorithm", DATA, export_new_version=False, monitor=True)
    assert list(service.requests[0].form) == ["features"]
    assert service.requests[1].form["export_new_version"] == b"false"
    assert service.requests[1].form["monitor"] == b"true"


def test_an_algorithm_trains_itself(client: Client, service: Any) -> None:
    """`Algorithm.train` has the same options."""
    service.on("GET", "/algorithms/an-algorithm", service.Say(data={"id": "an-algorithm"}))
    service.on("POST", FIT, service.Say(202, ACCEPTED))
    assert client.get_algorithm("an-algorithm").train(DATA, export_new_version=True).job_id == "42"


def test_an_unknown_algorithm_is_not_trained(client: Client, service: Any) -> None:
    """The hint has similar names."""
    service.on("GET", "/algorithms", service.Say(data=[{"id": "an-algorithm"}]))
    with pytest.raises(NotFoundError, match="Did you mean 'an-algorithm'"):
        client.train_algorithm("an-algorith", DATA)
