"""Result documents, read back."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest

from callback_sdk import JobResult
from callback_sdk.documents.document import document, encode_results, reference_document
from callback_sdk.errors import DocumentError
from callback_sdk.models import Progress
from callback_sdk.receivers import BucketObject, ReceivedEvent, ReceivedResult, read_document, read_result
from tests.growth import assert_linear

EVENT = {
    "job_id": "42",
    "status": "In Progress",
    "callback_param": {"run": 7},
    "success": None,
    "results": None,
    "progress": {"fraction": 0.5, "message": "half"},
    "sequence": 3,
}


def written(result: JobResult, param: Any = None) -> bytes:
    """Return the document that the writer sends."""
    with ExitStack() as stack:
        results, _ = encode_results(result.results, stack)
        return b"".join(document(result, {} if param is None else param, results).chunks())


@pytest.mark.parametrize(
    "result",
    [
        JobResult(job_id="42", success=True, results={"größe": [1, 2.5, None], "big": 2**70}),
        JobResult(job_id="42", success=True),
        JobResult(job_id="42", success=False, error="it failed"),
        JobResult(job_id="42", success=False),
        JobResult(job_id="42", success=False, status="Canceled", error="canceled"),
    ],
)
def test_what_the_writer_writes_is_read(result: JobResult) -> None:
    """All members arrive as they were given."""
    read = read_result(written(result, {"run": {"nested": [1]}}), delivery_id="msg_1")
    assert isinstance(read, JobResult)
    assert [getattr(read, name) for name in ("job_id", "success", "results", "error", "status")] == [
        getattr(result, name) for name in ("job_id", "success", "results", "error", "status")
    ]
    assert (read.callback_param, read.delivery_id, read.members) == ({"run": {"nested": [1]}}, "msg_1", {})


def test_references_to_large_results_are_read() -> None:
    """A document above the limit of its target has a URL instead of results."""
    result = JobResult(job_id="42", success=True, results="x" * 100)
    body = reference_document(result, {}, results_url="https://bucket.example.org/42.json")
    read = read_result(b"".join(body.chunks()))
    assert (read.results, read.results_url, read.task_url) == (None, "https://bucket.example.org/42.json", None)
    read = read_result(b"".join(reference_document(result, {}, task_url="/api/v2/algorithms/tasks/42").chunks()))
    assert (read.results_url, read.task_url) == (None, "/api/v2/algorithms/tasks/42")


def test_unknown_members_are_kept() -> None:
    """A newer sender may have more of them."""
    members = json.loads(written(JobResult(job_id="42", success=True)))
    assert read_result(json.dumps({**members, "new": [1], "other": None}).encode()).members == {
        "new": [1],
        "other": None,
    }


def test_the_bytes_of_the_document_are_kept() -> None:
    """To archive them, or to compare them with content-digest."""
    body = written(JobResult(job_id="42", success=True))
    assert read_result(body).document == body
    assert "document" not in repr(read_result(body))


GOOD = {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": 1}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"job_id": ""}, "job_id"),
        ({"job_id": 42}, "job_id"),
        ({"job_id": None}, "job_id"),
        ({"status": "Pending"}, "status"),
        ({"status": None}, "status"),
        ({"status": ["Finished"]}, "status"),
        ({"success": 1}, "success"),
        ({"success": None}, "success"),
        ({"callback_param": []}, "callback_param"),
        ({"callback_param": None}, "callback_param"),
        ({"error": 7}, "error"),
        ({"results_url": 7}, "results_url"),
        ({"task_url": {}}, "task_url"),
    ],
)
def test_a_foreign_document_names_its_member(change: dict[str, Any], named: str) -> None:
    """The error says what was found."""
    with pytest.raises(DocumentError, match=f"^{named} of the document is ") as caught:
        read_document(json.dumps({**GOOD, **change}).encode())
    assert caught.value.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"job_id": NaN}', "not valid JSON"),
        ("{}".encode("utf-16"), "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "of type list"),
        (b"7", "of type int"),
        (b"{}", "success of the document is missing"),
        (b'{"success": true}', "success and no results"),
        (json.dumps({**GOOD, "job_id": "\ud800"}).encode(), "lone surrogate"),
    ],
)
def test_other_bodies_are_rejected(body: bytes, message: str) -> None:
    """Whatever the sender has signed."""
    with pytest.raises(DocumentError, match=message):
        read_document(body)


def test_errors_do_not_quote_the_document() -> None:
    """A body that is not JSON may have anything in it."""
    with pytest.raises(DocumentError) as caught:
        read_document(b"token=secret")
    assert "secret" not in str(caught.value)


def test_reading_takes_linear_time() -> None:
    """Also for texts full of escapes."""
    small, large = (json.dumps({**GOOD, "results": "\ud83d\ude00" * size}).encode() for size in (1000, 32_000))
    assert_linear(read_document, small, large, ratio=32)


def test_an_event_is_read() -> None:
    """It has progress and a sequence number, and is no result."""
    event = read_document(json.dumps({**EVENT, "new": 1}).encode(), delivery_id="msg_1")
    assert event == ReceivedEvent(
        job_id="42",
        progress=Progress(0.5, "half"),
        sequence=3,
        callback_param={"run": 7},
        members={"new": 1},
        delivery_id="msg_1",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"progress": None},
        {"progress": [0.5]},
        {"progress": {"fraction": "half"}},
        {"progress": {"fraction": True}},
        {"progress": {"message": 7}},
        {"sequence": None},
        {"sequence": True},
        {"sequence": 1.5},
        {"job_id": ""},
    ],
)
def test_a_foreign_event_is_rejected(change: dict[str, Any]) -> None:
    """As a foreign result is."""
    with pytest.raises(DocumentError):
        read_document(json.dumps({**EVENT, **change}).encode())


def test_an_event_is_no_result() -> None:
    """`read_result` takes results only."""
    with pytest.raises(DocumentError, match="success"):
        read_result(json.dumps(EVENT).encode())


def test_only_copies_share_an_identity() -> None:
    """Neither another id nor another body has it, nor a part of one moved to the other."""
    given = [("msg_1", GOOD), ("msg_1", {**GOOD, "results": 2}), ("msg_2", GOOD), ("", GOOD)]
    found = {read_result(json.dumps(body).encode(), delivery_id=name).identity for name, body in given}
    assert len(found) == len(given)
    copy = read_result(json.dumps(GOOD).encode(), delivery_id="msg_1")
    assert copy.identity in found


def test_bucket_objects_are_ordered_by_their_sequencers() -> None:
    """As hexadecimal numbers that are padded on the right, and within one key only."""
    first = BucketObject(bucket="b", key="k", sequencer="0055AED6DCD90281E5")
    assert BucketObject(bucket="b", key="k", sequencer="0055AED6DCD90281E51").is_newer_than(first)
    assert BucketObject(bucket="b", key="k", sequencer="0055AED6DCD90281F").is_newer_than(first)
    assert not BucketObject(bucket="b", key="k", sequencer="0055AED6DCD90281E500").is_newer_than(first)
    assert not BucketObject(bucket="b", key="other", sequencer="1").is_newer_than(first)
    assert not BucketObject(bucket="b", key="k").is_newer_than(first)
    assert not first.is_newer_than(BucketObject(bucket="b", key="k"))


def test_a_result_keeps_the_object_that_it_was_read_from() -> None:
    """None for a webhook."""
    stored = BucketObject(bucket="b", key="runs/42.json", version_id="v1")
    read = read_document(json.dumps(GOOD).encode(), bucket_object=stored)
    assert isinstance(read, ReceivedResult)
    assert read.bucket_object == stored
    assert read_result(json.dumps(GOOD).encode()).bucket_object is None
