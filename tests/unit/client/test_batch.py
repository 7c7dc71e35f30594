"""Batches of tasks: requests, order, and the state after an error."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from callback_sdk.client import BatchItem, Client, batch
from callback_sdk.errors import (
    CallbackParamError,
    CallbackSDKError,
    EncodingError,
    FeaturesError,
    InvalidRequestError,
    InvalidTargetError,
    MissingS3FieldsError,
    NotFoundError,
    OutputError,
    ServiceConnectionError,
    ServiceError,
)
from tests.unit.client.jobs import BUCKET, HOOK, SIGNATURE, SIGNED, s3_fields, shown

BATCH = "/algorithms/an-algorithm/predict/batch"


def table(number: int) -> dict[str, list[int]]:
    return {"a": [number]}


def accept(service: Any, *counts: int) -> None:
    """Accept this many tasks per request, with consecutive ids."""
    ids = iter(map(str, range(sum(counts))))
    service.on("POST", BATCH, *(service.Say(202, {"job_ids": [next(ids) for _ in range(count)]}) for count in counts))


def tasks(seen: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(seen.form["tasks"])
    return found


def features(seen: Any) -> list[Any]:
    return [json.loads(content) for name, content in seen.parts if name == "features"]


def test_a_batch_is_submitted_at_once(client: Client, service: Any) -> None:
    """One request has all tasks and their features in order, and no task is asked after."""
    accept(service, 3)
    submitted = client.run_algorithm_batch("an-algorithm", [table(n) for n in range(3)], idempotency_key="k")
    (seen,) = service.requests
    assert [(task.job_id, task.status, task.algorithm) for task in submitted] == [
        (str(n), "Pending", "an-algorithm") for n in range(3)
    ]
    assert tasks(seen) == [{"features": n, "evaluate": True, "monitor": True} for n in range(3)]
    assert features(seen) == [table(n) for n in range(3)]
    assert seen.headers["idempotency-key"] == "k/0"


def test_its_tasks_are_like_all_others(client: Client, service: Any) -> None:
    """They can be asked after, waited for and canceled."""
    accept(service, 1)
    service.on("GET", "/algorithms/tasks/0", service.Say(data={"job_id": "0", "status": "Finished", "success": True}))
    (task,) = client.run_algorithm_batch("an-algorithm", [table(1)])
    assert task.wait().success is True


def test_items_override_options(client: Client, service: Any) -> None:
    """The call's options are defaults for the items."""
    accept(service, 3)
    client.run_algorithm_batch(
        "an-algorithm",
        [
            table(0),
            BatchItem(
                table(1),
                parameters={"m": 2},
                callbacks=[SIGNED, (BUCKET, {"s3_fields": s3_fields()})],
                version="2.0.0",
                evaluate={"metric": "rmse"},
                priority=0,
                expires=timedelta(minutes=1),
            ),
            BatchItem(table(2), callbacks=[]),
        ],
        parameters={"m": 1},
        callback_url=HOOK,
        callback_param={"n": 1},
        version="1.0.0",
        evaluate=False,
        monitor=False,
        priority=7,
        expires=90,
    )
    common = {
        "parameters": {"m": 1},
        "version": "1.0.0",
        "evaluate": False,
        "monitor": False,
        "priority": 7,
        "expires": 90,
    }
    assert tasks(service.requests[0]) == [
        {"features": 0, **common, "callbacks": [{"url": HOOK, "param": {"n": 1}}]},
        {
            "features": 1,
            "parameters": {"m": 2},
            "version": "2.0.0",
            "evaluate": {"metric": "rmse"},
            "monitor": False,
            "priority": 0,
            "expires": 60,
            "callbacks": [{"url": SIGNED, "param": {}}, {"url": BUCKET, "param": {"s3_fields": s3_fields()}}],
        },
        {"features": 2, **common},
    ]


def test_items_have_targets_of_output_files(client: Client, service: Any) -> None:
    """Each its own, besides the call's targets of the document."""
    accept(service, 3)
    items = [
        BatchItem(table(0), outputs={"model.bin": SIGNED}),
        BatchItem(table(1), callbacks=[], outputs={"plots/fit.png": (BUCKET, {"s3_fields": s3_fields()})}),
        BatchItem(table(2)),
    ]
    client.run_algorithm_batch("an-algorithm", items, callback_url=HOOK)
    hook = {"url": HOOK, "param": {}}
    assert [task.get("callbacks") for task in tasks(service.requests[0])] == [
        [hook, {"url": SIGNED, "param": {}, "output": "model.bin"}],
        [{"url": BUCKET, "param": {"s3_fields": s3_fields()}, "output": "plots/fit.png"}],
        [hook],
    ]


@pytest.mark.parametrize(
    ("outputs", "error", "problem"),
    [
        ({"model.bin": HOOK}, InvalidTargetError, "a webhook, which takes documents only"),
        ({"../model.bin": SIGNED}, OutputError, "segment"),
        ([SIGNED], OutputError, "of type list"),
        ({"model.bin": SIGNED, "copy.bin": SIGNED}, OutputError, "'copy.bin' has the same place"),
    ],
)
def test_invalid_targets_of_output_files_are_not_sent(
    client: Client, service: Any, outputs: Any, error: type[CallbackSDKError], problem: str
) -> None:
    """The error names the item, and no credential."""
    with pytest.raises(error, match=problem) as caught:
        client.run_algorithm_batch("an-algorithm", [table(0), BatchItem(table(1), outputs=outputs)])
    assert str(caught.value).startswith("items[1]: ")
    assert SIGNATURE not in shown(caught.value)
    assert service.requests == []


def test_credentials_of_output_files_are_removed_from_responses(client: Client, service: Any) -> None:
    """A service may quote what it was sent."""
    service.on("POST", BATCH, service.Say(422, {"detail": f"not accepted: {SIGNED}"}))
    with pytest.raises(InvalidRequestError) as caught:
        client.run_algorithm_batch("an-algorithm", [BatchItem(table(0), outputs={"model.bin": SIGNED})])
    assert SIGNATURE not in shown(caught.value)


def test_items_without_features_have_no_file(client: Client, service: Any) -> None:
    """An algorithm may take only parameters. A table that is missing is still an error."""
    accept(service, 3)
    items = [BatchItem(parameters={"n": 1}), table(7), BatchItem(parameters={"n": 2})]
    client.run_algorithm_batch("an-algorithm", items)
    (seen,) = service.requests
    assert [task["features"] for task in tasks(seen)] == [None, 0, None]
    assert features(seen) == [table(7)]
    missing: Any = [table(0), None]
    with pytest.raises(FeaturesError, match=r"items\[1\]: The item is None"):
        client.run_algorithm_batch("an-algorithm", missing)


def test_the_same_features_are_sent_once(client: Client, service: Any, tmp_path: Path) -> None:
    """Tasks that differ in their options only share a file."""
    path = tmp_path / "f.json"
    path.write_text('{"a": [5]}')
    accept(service, 4)
    client.run_algorithm_batch(
        "an-algorithm", [*(BatchItem(table(0), parameters={"n": n}) for n in range(2)), path, BatchItem(str(path))]
    )
    (seen,) = service.requests
    assert [task["features"] for task in tasks(seen)] == [0, 0, 1, 1]
    assert features(seen) == [table(0), {"a": [5]}]


def test_an_object_that_changes_is_read_when_its_turn_comes(client: Client, service: Any) -> None:
    """An iterator may fill the same dict again and again."""
    shared: dict[str, list[int]] = {}

    def refilled() -> Iterator[dict[str, list[int]]]:
        for number in range(3):
            shared["a"] = [number]
            yield shared

    accept(service, 3)
    client.run_algorithm_batch("an-algorithm", refilled())
    assert features(service.requests[0]) == [table(n) for n in range(3)]


def test_data_frames_go_as_parquet(client: Client, service: Any) -> None:
    """Tables have the same forms as in `run_algorithm`."""
    accept(service, 1)
    client.run_algorithm_batch("an-algorithm", [pd.DataFrame({"a": [1]})])
    assert service.requests[0].form["features"].startswith(b"PAR1")


def test_many_tasks_go_in_several_requests(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own key, and counts its own features; items are taken as they are needed."""
    monkeypatch.setattr(batch, "MAX_TASKS", 2)
    accept(service, 2, 2, 1)
    taken_before: list[int] = []

    def counted() -> Iterator[Any]:
        for number in range(5):
            taken_before.append(len(service.requests))
            yield table(number)

    submitted = client.run_algorithm_batch("an-algorithm", counted(), idempotency_key="k")
    assert [task.job_id for task in submitted] == ["0", "1", "2", "3", "4"]
    assert [features(seen) for seen in service.requests] == [
        [table(0), table(1)],
        [table(2), table(3)],
        [table(4)],
    ]
    assert [[task["features"] for task in tasks(seen)] for seen in service.requests] == [[0, 1], [0, 1], [0]]
    assert [seen.headers["idempotency-key"] for seen in service.requests] == ["k/0", "k/1", "k/2"]
    # A request is full when the first item of the next one is there.
    assert taken_before == [0, 0, 0, 1, 1]


def test_a_request_has_bounded_size(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that would exceed the limit start the next request."""
    monkeypatch.setattr(batch, "MAX_BYTES", 200)
    accept(service, 2, 1, 1)
    client.run_algorithm_batch("an-algorithm", [table(0), table(1), {"a": ["x" * 1000]}, table(3)])
    assert [len(tasks(seen)) for seen in service.requests] == [2, 1, 1]


def test_an_interrupt_does_not_cancel_accepted_tasks(
    client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C the message tells how to submit the others."""
    monkeypatch.setattr(batch, "MAX_TASKS", 2)
    accept(service, 2)

    def interrupted() -> Iterator[Any]:
        yield from (table(number) for number in range(3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r'2 tasks were accepted.*idempotency_key="k"') as caught:
        client.run_algorithm_batch("an-algorithm", interrupted(), idempotency_key="k")
    assert caught.value.accepted_job_ids == ("0", "1")


def test_an_empty_batch_returns_no_tasks(client: Client, service: Any) -> None:
    """An empty list isn't an error, and makes no request."""
    assert client.run_algorithm_batch("an-algorithm", []) == []
    assert service.requests == []


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (BatchItem(table(1), callbacks=["ftp://example.org"]), InvalidTargetError, "ftp"),
        (BatchItem(table(1), callbacks=[(BUCKET, {})]), MissingS3FieldsError, "s3_fields"),
        (BatchItem(table(1), callbacks=[(SIGNED, 5)]), CallbackParamError, "not a dict"),
    ],
)
def test_no_target_of_a_list_may_be_wrong(
    client: Client,
    service: Any,
    monkeypatch: pytest.MonkeyPatch,
    item: BatchItem,
    error: type[CallbackSDKError],
    message: str,
) -> None:
    """All are checked before the first request, and the error names the item."""
    monkeypatch.setattr(batch, "MAX_TASKS", 1)
    with pytest.raises(error, match=rf"items\[1\]: .*{message}") as caught:
        client.run_algorithm_batch("an-algorithm", [table(0), item])
    assert service.requests == []
    assert SIGNATURE not in shown(caught.value)


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        ({"a": []}, FeaturesError, "row"),
        (None, FeaturesError, "The item is None"),
        (BatchItem(table(1), callbacks=[BUCKET]), MissingS3FieldsError, "s3_fields"),
        (BatchItem(table(1), priority=10), InvalidRequestError, "priority"),
        (BatchItem(table(1), parameters={"x": object()}), EncodingError, "x"),
        (BatchItem(table(1), parameters="p.json"), InvalidRequestError, "parameters"),  # type: ignore[arg-type]
    ],
)
def test_an_error_has_the_ids_of_accepted_tasks(
    client: Client,
    service: Any,
    monkeypatch: pytest.MonkeyPatch,
    item: Any,
    error: type[CallbackSDKError],
    message: str,
) -> None:
    """The error also has the key with which the call can be repeated."""
    monkeypatch.setattr(batch, "MAX_TASKS", 1)
    accept(service, 1, 1)
    with pytest.raises(error, match=rf"items\[2\]: .*{message}") as caught:
        client.run_algorithm_batch("an-algorithm", iter([table(0), table(1), item, table(3)]), idempotency_key="k")
    # The last one before may still wait for more.
    count = len(service.requests)
    assert count in (1, 2)
    assert caught.value.accepted_job_ids == ("0", "1")[:count]  # type: ignore[attr-defined]
    assert "accepted before the error, see its `accepted_job_ids`" in caught.value.hint
    assert 'idempotency_key="k"' in caught.value.hint


def test_an_error_of_the_iterable_has_the_ids_too(
    client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any exception of the iterable has the ids of accepted tasks."""
    monkeypatch.setattr(batch, "MAX_TASKS", 1)
    accept(service, 1)

    def broken() -> Iterator[Any]:
        yield from (table(0), table(1))
        raise RuntimeError("The disk is gone.")

    with pytest.raises(RuntimeError, match="The disk is gone") as caught:
        client.run_algorithm_batch("an-algorithm", broken())
    assert caught.value.accepted_job_ids == ("0",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", [{"drop": True}, {"status": 500}])
def test_a_lost_request_is_repeated(client: Client, service: Any, first: dict[str, Any]) -> None:
    """The same key and content make no second tasks."""
    service.on("POST", BATCH, service.Say(**first), service.Say(202, {"job_ids": ["0"]}))
    (task,) = client.run_algorithm_batch("an-algorithm", [table(0)])
    one, two = service.requests
    assert task.job_id == "0"
    assert one.headers["idempotency-key"] == two.headers["idempotency-key"]
    assert one.body == two.body


@pytest.mark.parametrize("last", [{"drop": True}, {"status": 500}])
def test_the_hint_has_the_key_of_the_batch(
    service: Any, clean_environment: pytest.MonkeyPatch, last: dict[str, Any]
) -> None:
    """After the last attempt the call can be repeated with its key."""
    clean_environment.setattr(batch, "MAX_TASKS", 1)
    service.on("POST", BATCH, service.Say(202, {"job_ids": ["0"]}), service.Say(**last))
    with Client(service.url, token="a-token", retries=0) as client, pytest.raises(ServiceError) as caught:
        client.run_algorithm_batch("an-algorithm", [table(0), table(1)])
    sent = service.requests[1].headers["idempotency-key"]
    assert sent.endswith("/1")
    assert f'idempotency_key="{sent.removesuffix("/1")}"' in caught.value.hint
    assert f'"{sent}"' not in caught.value.hint
    assert caught.value.accepted_job_ids == ("0",)  # type: ignore[attr-defined]


def test_a_rejected_item_can_be_found(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's index is relative to the request, so the hint has the index of its first item."""
    monkeypatch.setattr(batch, "MAX_TASKS", 2)
    refusal = {"status": False, "errors": ["tasks[1]: There is no version '9'."]}
    service.on("POST", BATCH, service.Say(202, {"job_ids": ["0", "1"]}), service.Say(422, refusal))
    with pytest.raises(InvalidRequestError, match=r"tasks\[0\] of this request is items\[2\]"):
        client.run_algorithm_batch("an-algorithm", [table(n) for n in range(4)])


@pytest.mark.parametrize("data", [{}, [], {"job_ids": ["0"]}, {"job_ids": "ab"}, None])
def test_an_answer_without_an_id_for_each_is_an_error(client: Client, service: Any, data: Any) -> None:
    """No task is given another one's id."""
    service.on("POST", BATCH, service.Say(202, data))
    with pytest.raises(ServiceError, match="not a list of 2 ids"):
        client.run_algorithm_batch("an-algorithm", [table(0), table(1)])


@pytest.mark.parametrize("items", [table(0), pd.DataFrame({"a": [1]}), "f.json", Path("f.json"), b"x", 7, None])
def test_one_table_is_not_a_batch(client: Client, service: Any, items: Any) -> None:
    """A single table instead of a list of tables is an error."""
    with pytest.raises(FeaturesError, match="items of a batch"):
        client.run_algorithm_batch("an-algorithm", items)
    assert service.requests == []


class DistributedTable:
    """A table such as Dask's, which iterates over the names of its columns."""

    @property
    def columns(self) -> list[str]:
        """The names."""
        return ["a"]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def compute(self) -> pd.DataFrame:
        """Return the table in memory."""
        return pd.DataFrame({"a": [1]})


def test_a_distributed_table_is_not_a_batch(client: Client, service: Any) -> None:
    """Its columns are not read as paths of files, and the error names its library."""
    with pytest.raises(
        FeaturesError, match=r"items of a batch are of type .*test_batch\.DistributedTable\. Give a list"
    ):
        client.run_algorithm_batch("an-algorithm", DistributedTable())
    assert service.requests == []


def test_credentials_are_not_repeated(client: Client, service: Any) -> None:
    """A service that quotes a target shows it in no error."""
    service.on("POST", BATCH, service.Say(422, {"error": f"tasks[0]: {SIGNED} and {SIGNATURE} are no good."}))
    with pytest.raises(InvalidRequestError) as caught:
        client.run_algorithm_batch("an-algorithm", [BatchItem(table(0), callbacks=[SIGNED])])
    assert SIGNATURE not in shown(caught.value)
    assert SIGNATURE not in repr(BatchItem(table(0), callbacks=[SIGNED]))


def test_an_unknown_algorithm_has_a_suggestion(client: Client, service: Any) -> None:
    """As in `run_algorithm`."""
    service.on("GET", "/algorithms", service.Say(data=[{"id": "an-algorithm"}]))
    with pytest.raises(NotFoundError, match="Did you mean 'an-algorithm'"):
        client.run_algorithm_batch("an-algorith", [table(0)])


def test_a_key_must_leave_room_for_a_number(client: Client, service: Any) -> None:
    """Each request's key is the caller's with a number after it."""
    with pytest.raises(InvalidRequestError, match="1 to 245"):
        client.run_algorithm_batch("an-algorithm", [table(0)], idempotency_key="k" * 250)


def test_an_unreachable_service_has_nothing_accepted(clean_environment: Any) -> None:
    """`accepted_job_ids` is there, and empty."""
    with (
        Client("http://127.0.0.1:9", token="a-token", retries=0) as client,
        pytest.raises(ServiceConnectionError) as caught,
    ):
        client.run_algorithm_batch("an-algorithm", [table(0)])
    assert caught.value.accepted_job_ids == ()  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("wanted", [True, False])
def test_a_terminal_sees_how_far_it_is(
    client: Client, service: Any, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    """The bar has the share and the number of tasks that were accepted."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(batch, "MAX_TASKS", 1)
    accept(service, 1, 1)
    client.run_algorithm_batch("an-algorithm", [table(0), table(1)], progress=wanted)
    text = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert ("50%" in text) is wanted
    assert ("2 accepted" in text) is wanted


def test_last_request_of_a_batch_says_so(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All have the same id and target."""
    monkeypatch.setattr(batch, "MAX_TASKS", 1)
    accept(service, 1, 1, 1)
    client.run_algorithm_batch("an-algorithm", [table(n) for n in range(3)], done=HOOK, idempotency_key="nightly")
    found = [json.loads(seen.form["batch"]) for seen in service.requests]
    assert [one["is_last"] for one in found] == [False, False, True]
    assert [one["done"] for one in found] == [{"url": HOOK, "param": {}}] * 3
    assert len({one["id"] for one in found}) == 1


def test_batch_without_a_target_of_its_end_has_no_field(client: Client, service: Any) -> None:
    """Other implementations of the API don't know it."""
    accept(service, 1)
    client.run_algorithm_batch("an-algorithm", [table(0)])
    assert "batch" not in service.requests[0].form
