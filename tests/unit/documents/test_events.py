"""The document of an event."""

from __future__ import annotations

import json

import pytest

from callback_sdk import Progress
from callback_sdk.documents.events import MAX_MESSAGE, event_document
from callback_sdk.errors import EncodingError


def test_document_has_the_members_of_a_result_then_its_own() -> None:
    """A reader of results finds each member where it expects it, and no result."""
    body = event_document("42", {"run": 7}, sequence=3, progress=Progress(0.5, "counting"))
    assert body.read() == (
        b'{"job_id":"42","status":"In Progress","callback_param":{"run":7},"success":null,"results":null,'
        b'"progress":{"fraction":0.5,"message":"counting"},"sequence":3}'
    )


def test_job_that_has_just_started_has_no_progress() -> None:
    """Its fraction isn't known."""
    body = event_document("42", {}, sequence=1, progress=Progress())
    assert json.loads(body.read())["progress"] == {"fraction": None, "message": ""}


def test_message_is_bounded_and_encodable() -> None:
    """A message of any length, with half a surrogate pair, doesn't prevent the event."""
    body = event_document("42", {}, sequence=1, progress=Progress(None, "\ud800" + "x" * 10_000))
    message = json.loads(body.read())["progress"]["message"]
    assert message == "?" + "x" * (MAX_MESSAGE - 1)


def test_parameter_that_is_not_json_is_an_error() -> None:
    """As in the result document."""
    with pytest.raises(EncodingError, match="callback_param"):
        event_document("42", {"run": object()}, sequence=1, progress=Progress())
