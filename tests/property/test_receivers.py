"""Receivers, given any value: what they raise is documented, and what the writer sends arrives."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from callback_sdk import JobResult
from callback_sdk.documents.document import document, encode_results
from callback_sdk.errors import DocumentError
from callback_sdk.receivers import BucketReceiver, Receiver, created_objects, read_document, read_result
from tests.property.strategies import anything
from tests.unit.receivers.test_notifications import EVENT_BRIDGE, MINIO, S3, sns, sqs

few = settings(max_examples=150, deadline=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "Records s3 object bucket key name body eventSource eventName Sns Message Type detail detail-type source "
    "event_type message new_entry extended job_id status progress sequence success results callback_param "
    "error delivery_id output"
)
VALUES = "aws:sqs aws.s3 ObjectCreated:Put Notification create /buckets/b/k Finished"
members = st.sampled_from(MEMBERS.split())
values = st.sampled_from([*VALUES.split(), "Object Created", "In Progress", True, False, None, 7])
shaped = st.recursive(
    values | json_values,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(members, inner, max_size=4),
    max_leaves=12,
)


@few
@given(shaped | anything | st.binary(max_size=20))
def test_any_notification_is_read_or_rejected(value: Any) -> None:
    """With a `DocumentError`, also from within envelopes."""
    with suppress(DocumentError):
        created_objects(value)
    with suppress(RecursionError, TypeError, ValueError):
        text = json.dumps(value)
        for envelope in (sns(value), sqs(text), {"Records": [value]}):
            with suppress(DocumentError):
                created_objects(envelope)


def changed(event: Any, path: list[int], value: Any) -> Any:
    """Return an event with another value at a place that numbers select."""
    if not path or not isinstance(event, (dict, list)) or not event:
        return value
    key = list(event)[path[0] % len(event)] if isinstance(event, dict) else path[0] % len(event)
    copy = event.copy()
    copy[key] = changed(event[key], path[1:], value)
    return copy


@few
@given(st.sampled_from([S3, MINIO, EVENT_BRIDGE]), st.lists(st.integers(0, 20), max_size=6), shaped)
def test_a_changed_notification_is_read_or_rejected(event: Any, path: list[int], value: Any) -> None:
    """Any member may have any value."""
    with suppress(DocumentError):
        created_objects(changed(event, path, value))


@few
@given(shaped)
def test_any_document_is_read_or_rejected(value: Any) -> None:
    """With a `DocumentError`."""
    with suppress(DocumentError):
        read_document(json.dumps(value).encode())


@few
@given(anything, anything)
def test_any_request_gets_a_reply(headers: Any, body: Any) -> None:
    """Whatever a framework passes, 401."""
    receiver = Receiver(print, secrets="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert receiver.receive(headers, body).status == 401


@few
@given(anything)
def test_any_event_of_a_queue_is_answered(value: Any) -> None:
    """With the messages that failed, or with an error that is documented."""
    with suppress(DocumentError):
        BucketReceiver(print, None, matches=lambda key: False).handle_event(value)


@few
@given(json_values, st.dictionaries(st.text(max_size=8), json_values, max_size=3), st.text(min_size=1, max_size=8))
def test_results_survive_the_way(results: Any, param: Any, job_id: str) -> None:
    """From the writer's bytes to the handler's values."""
    result = JobResult(job_id=job_id, success=True, results=results)
    with ExitStack() as stack:
        encoded, _ = encode_results(result.results, stack)
        body = b"".join(document(result, param, encoded).chunks())
    read = read_result(body)
    assert (read.job_id, read.results, read.callback_param) == (job_id, results, param)
