"""Read notifications of buckets, in the envelopes in which they arrive; pure.

Sources: "Event message structure" and "EventBridge event message structure", Amazon S3 User Guide; "Bucket
notifications" of MinIO's documentation; "Using AWS Lambda with Amazon SQS" and "with Amazon SNS".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from attrs import define

from callback_sdk.documents.decoding import decode
from callback_sdk.errors import DocumentError
from callback_sdk.receivers.filer_events import is_filer_event, stored_by_filer
from callback_sdk.receivers.objects import BucketObject

_MAX_ENVELOPES = 4
"""EventBridge to SNS to SQS to Lambda."""

_HINT = "It takes notifications of S3, MinIO and SeaweedFS, as SQS, SNS, EventBridge and Lambda hand them over."


@define(frozen=True)
class QueueMessage:
    """A message of a queue.

    Attributes:
        message_id: Its id; empty if it has none.
        body: Its text.
        is_ordered: Whether the queue is FIFO.
    """

    message_id: str
    body: str
    is_ordered: bool


def queue_messages(event: Any) -> list[QueueMessage] | None:
    """Return the messages of an event with which SQS calls a Lambda function; None for any other event.

    Args:
        event: The event.
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or not records or not all(_is_message(record) for record in records):
        return None
    return [
        QueueMessage(
            str(record.get("messageId") or ""),
            record["body"],
            str(record.get("eventSourceARN", "")).endswith(".fifo"),
        )
        for record in records
    ]


def created_objects(notification: Any) -> list[BucketObject]:
    """Return the objects that a notification says were created, those of each key in the order of their events.

    Removals, restores and other events are left out, and so are test events.

    Args:
        notification: The notification: the text of its JSON, or what was parsed from it.

    Raises:
        DocumentError: It is not a notification of a bucket.
    """
    return sorted(_objects(notification, _MAX_ENVELOPES), key=lambda found: found.order)


def _objects(notification: Any, envelopes: int) -> Iterator[BucketObject]:
    event = _parse(notification)
    if envelopes == 0:
        raise _foreign("has too many envelopes")
    if "Records" in event:
        for record in _list(event["Records"]):
            yield from _of_record(record, envelopes)
    elif event.get("Type") == "Notification" and "Message" in event:
        yield from _objects(event["Message"], envelopes - 1)
    elif event.get("source") == "aws.s3" and isinstance(event.get("detail"), dict):
        yield from _of_event_bridge(event)
    elif is_filer_event(event):
        yield from stored_by_filer(event)
    elif event.get("Event") != "s3:TestEvent":
        raise _foreign("has neither Records nor a detail of aws.s3")


def _of_record(record: Any, envelopes: int) -> Iterator[BucketObject]:
    if not isinstance(record, dict):
        raise _foreign("has a record that is not an object")
    if _is_message(record):
        yield from _objects(record["body"], envelopes - 1)
    elif isinstance(record.get("Sns"), dict):
        yield from _objects(record["Sns"].get("Message"), envelopes - 1)
    elif isinstance(record.get("s3"), dict):
        # S3 says ObjectCreated:Put, and MinIO s3:ObjectCreated:Put.
        if str(record.get("eventName", "")).removeprefix("s3:").startswith("ObjectCreated:"):
            yield _of_s3(record["s3"])
    else:
        raise _foreign("has a record of something other than a bucket")


def _of_s3(described: Mapping[str, Any]) -> BucketObject:
    found = _dict(described, "object")
    # Encoded as in a query: a space is a plus, and with MinIO a slash is %2F.
    try:
        key = unquote_plus(_text(found, "key"), errors="strict")
    except UnicodeDecodeError:
        raise _foreign("has a key that is not UTF-8") from None
    return _bucket_object(
        _dict(described, "bucket"), found, key, version=found.get("versionId"), etag=found.get("eTag")
    )


def _of_event_bridge(event: Mapping[str, Any]) -> Iterator[BucketObject]:
    if event.get("detail-type") != "Object Created":
        return
    found = _dict(event["detail"], "object")
    # Not encoded, unlike in the other notifications.
    key = _text(found, "key")
    bucket = _dict(event["detail"], "bucket")
    yield _bucket_object(bucket, found, key, version=found.get("version-id"), etag=found.get("etag"))


def _bucket_object(
    bucket: Mapping[str, Any], found: Mapping[str, Any], key: str, *, version: Any, etag: Any
) -> BucketObject:
    size, sequencer = found.get("size"), found.get("sequencer")
    return BucketObject(
        bucket=_text(bucket, "name"),
        key=key,
        # "null" is the version that was stored while versioning was off.
        version_id=version if isinstance(version, str) and version not in ("", "null") else None,
        etag=etag.strip('"') if isinstance(etag, str) and etag else None,
        size=size if isinstance(size, int) and not isinstance(size, bool) else None,
        sequencer=sequencer if isinstance(sequencer, str) and sequencer else None,
    )


def _is_message(record: Any) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == "aws:sqs" and isinstance(record.get("body"), str)


def _parse(notification: Any) -> Mapping[str, Any]:
    if isinstance(notification, (str, bytes)):
        try:
            notification = decode(notification.encode() if isinstance(notification, str) else notification)
        except ValueError:
            raise _foreign("is not valid JSON") from None
    if not isinstance(notification, dict):
        raise _foreign(f"is of type {type(notification).__name__}, not an object")
    return notification


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _foreign("has Records that are not a list")
    return value


def _dict(owner: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = owner.get(name)
    if not isinstance(value, dict):
        raise _foreign(f"has no {name}")
    return value


def _text(owner: Mapping[str, Any], name: str) -> str:
    value = owner.get(name)
    if not isinstance(value, str) or not value:
        raise _foreign(f"has no {name}")
    return value


def _foreign(problem: str) -> DocumentError:
    return DocumentError(f"The notification {problem}.", hint=_HINT)
