"""Notifications of buckets, as S3, MinIO, SNS, SQS, EventBridge and Lambda hand them over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callback_sdk.errors import DocumentError
from callback_sdk.receivers import BucketObject, created_objects
from callback_sdk.receivers.notifications import QueueMessage, queue_messages

S3: dict[str, Any] = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-west-2",
            "eventTime": "1970-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
            "requestParameters": {"sourceIPAddress": "127.0.0.1"},
            "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQ"},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "testConfigRule",
                "bucket": {
                    "name": "amzn-s3-demo-bucket",
                    "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                    "arn": "arn:aws:s3:::amzn-s3-demo-bucket",
                },
                "object": {
                    "key": "HappyFace.jpg",
                    "size": 1024,
                    "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                    "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                    "sequencer": "0055AED6DCD90281E5",
                },
            },
        }
    ]
}
"""The example in the Amazon S3 User Guide, "Event message structure"."""

MINIO: dict[str, Any] = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "mybucket/5cdfb588cea4de1db3034a87/colors 1.xml",
    "Records": [
        {
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": "2019-05-18T07:34:32Z",
            "eventName": "s3:ObjectCreated:Put",
            "userIdentity": {"principalId": "minio"},
            "requestParameters": {"accessKey": "minio", "region": "", "sourceIPAddress": "172.18.0.1"},
            "responseElements": {
                "x-amz-request-id": "159FB6B233B08AF0",
                "x-minio-deployment-id": "cd7a0eb7-a1f9-48d9-b21a-56366d75cfdd",
                "x-minio-origin-endpoint": "http://172.18.0.6:9000",
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "Config",
                "bucket": {
                    "name": "mybucket",
                    "ownerIdentity": {"principalId": "minio"},
                    "arn": "arn:aws:s3:::mybucket",
                },
                "object": {
                    "key": "5cdfb588cea4de1db3034a87%2Fcolors+1.xml",
                    "size": 3054,
                    "eTag": "b7ce786cd89b182bfd5ae765557bbc37",
                    "contentType": "application/xml",
                    "userMetadata": {"content-type": "application/xml"},
                    "versionId": "1",
                    "sequencer": "159FB6B233B08AF0",
                },
            },
            "source": {"host": "172.18.0.1", "port": "", "userAgent": "MinIO (linux; amd64) minio-java/6.0.6"},
        }
    ],
}
"""The shape in which MinIO sends webhooks and messages to Kafka, as users of MinIO have reported it."""

EVENT_BRIDGE: dict[str, Any] = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "account": "111122223333",
    "time": "2021-11-12T00:00:00Z",
    "region": "ca-central-1",
    "resources": ["arn:aws:s3:::amzn-s3-demo-bucket1"],
    "detail": {
        "version": "0",
        "bucket": {"name": "amzn-s3-demo-bucket1"},
        "object": {
            "key": "example+key %41",
            "size": 5,
            "etag": "b1946ac92492d2347c6235b4d2611184",
            "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            "sequencer": "617f08299329d189",
        },
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012",
        "source-ip-address": "1.2.3.4",
        "reason": "PutObject",
    },
}
"""The example in the Amazon S3 User Guide, "EventBridge event message structure", with another key."""

TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2014-10-13T15:57:02.089Z",
    "Bucket": "amzn-s3-demo-bucket",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE",
}


def sns(message: Any) -> dict[str, Any]:
    """Return a notification in the envelope of SNS."""
    return {"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(message)}


def sqs(*messages: Any, queue: str = "arn:aws:sqs:us-east-1:123456789012:results") -> dict[str, Any]:
    """Return the event with which SQS calls a Lambda function."""
    records = [
        {
            "messageId": f"message-{number}",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": message if isinstance(message, str) else json.dumps(message),
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": queue,
        }
        for number, message in enumerate(messages)
    ]
    return {"Records": records}


def with_key(key: str, **changes: Any) -> dict[str, Any]:
    """Return a notification of S3 for another object."""
    record = S3["Records"][0]
    stored = {**record["s3"]["object"], "key": key, **changes}
    return {"Records": [{**record, "s3": {**record["s3"], "object": stored}}]}


HAPPY_FACE = BucketObject(
    bucket="amzn-s3-demo-bucket",
    key="HappyFace.jpg",
    version_id="096fKKXTRTtl3on89fVO.nfljtsv6qko",
    etag="d41d8cd98f00b204e9800998ecf8427e",
    size=1024,
    sequencer="0055AED6DCD90281E5",
)


@pytest.mark.parametrize(
    "notification",
    [
        S3,
        json.dumps(S3),
        json.dumps(S3).encode(),
        sns(S3),
        sqs(S3),
        sqs(sns(S3)),
        {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns(S3)}]},
    ],
    ids=["parsed", "text", "bytes", "SNS", "SQS", "SNS to SQS", "SNS to Lambda"],
)
def test_a_notification_of_s3_is_read_in_each_envelope(notification: Any) -> None:
    """Alone, and as SNS, SQS and Lambda hand it over."""
    assert created_objects(notification) == [HAPPY_FACE]


def test_a_notification_of_minio_is_read() -> None:
    """Its keys are encoded like those of S3, and slashes too."""
    (found,) = created_objects(MINIO)
    assert (found.bucket, found.key) == ("mybucket", "5cdfb588cea4de1db3034a87/colors 1.xml")


@pytest.mark.parametrize("notification", [EVENT_BRIDGE, sqs(EVENT_BRIDGE), sqs(sns(EVENT_BRIDGE))])
def test_an_event_of_eventbridge_is_read(notification: Any) -> None:
    """Its key is not encoded."""
    (found,) = created_objects(notification)
    assert found == BucketObject(
        bucket="amzn-s3-demo-bucket1",
        key="example+key %41",
        version_id="IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
        etag="b1946ac92492d2347c6235b4d2611184",
        size=5,
        sequencer="617f08299329d189",
    )


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("red+flower.json", "red flower.json"),
        ("this+im+%2B+age+blah.txt", "this im + age blah.txt"),
        ("runs/2018-05-04%3A1/a%2541.json", "runs/2018-05-04:1/a%41.json"),
        ("gr%C3%B6%C3%9Fe.json", "größe.json"),
        ("a%2Fb%2Fc", "a/b/c"),
    ],
)
def test_keys_are_decoded(encoded: str, key: str) -> None:
    """Once: a percent sign in a key is one."""
    assert [found.key for found in created_objects(with_key(encoded))] == [key]


@pytest.mark.parametrize("notification", [TEST_EVENT, sqs(TEST_EVENT), sns(TEST_EVENT), sqs(sns(TEST_EVENT))])
def test_the_test_event_has_no_objects(notification: Any) -> None:
    """S3 sends it when notifications are set up."""
    assert created_objects(notification) == []


@pytest.mark.parametrize("name", ["ObjectRemoved:Delete", "s3:ObjectAccessed:Get", "ObjectRestore:Post", ""])
def test_other_events_have_no_objects(name: str) -> None:
    """Nothing was created."""
    assert created_objects({"Records": [{**S3["Records"][0], "eventName": name}]}) == []
    assert created_objects({**EVENT_BRIDGE, "detail-type": "Object Deleted"}) == []


@pytest.mark.parametrize("name", ["Put", "Post", "Copy", "CompleteMultipartUpload"])
def test_every_way_to_create_an_object_counts(name: str) -> None:
    """Forms and multipart uploads are results too."""
    assert created_objects({"Records": [{**S3["Records"][0], "eventName": f"ObjectCreated:{name}"}]}) == [HAPPY_FACE]


@pytest.mark.parametrize("version", ["", "null", None, 7])
def test_objects_without_a_version_have_none(version: Any) -> None:
    """`null` is that of an object that was stored while versioning was off."""
    assert [found.version_id for found in created_objects(with_key("k", versionId=version))] == [None]


def test_several_records_come_in_the_order_of_their_events() -> None:
    """Those of one key; the order of arrival says nothing."""
    sequencers = ["0055AED6DCD90281E7", "0055AED6DCD90281E5", "0055AED6DCD90281E6F0"]
    records = [record for one in sequencers for record in with_key("k", sequencer=one)["Records"]]
    found = [one.sequencer for one in created_objects({"Records": records})]
    assert found == ["0055AED6DCD90281E5", "0055AED6DCD90281E6F0", "0055AED6DCD90281E7"]


@pytest.mark.parametrize(
    "notification",
    [
        "",
        "{",
        "[]",
        None,
        7,
        [],
        {},
        {"Records": {}},
        {"Records": [7]},
        {"Records": [{}]},
        {"Records": [{"eventSource": "aws:kinesis", "kinesis": {}}]},
        {"Records": [{"eventSource": "aws:sqs", "body": "hello"}]},
        {"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]},
        with_key(""),
        with_key("%FF"),
        with_key("k") | {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": "k"}}}]},
        {**EVENT_BRIDGE, "detail": {}},
        {**EVENT_BRIDGE, "source": "aws.ec2"},
        {"Type": "SubscriptionConfirmation", "Message": "{}"},
        sns(sns(sns(sns(S3)))),
        b"\xff",
    ],
)
def test_anything_else_is_rejected(notification: Any) -> None:
    """With a hint, and not with a KeyError."""
    with pytest.raises(DocumentError, match=r"^The notification ") as caught:
        created_objects(notification)
    assert caught.value.hint


def test_messages_of_a_queue_are_found() -> None:
    """With the ids that a partial failure names."""
    event = sqs(S3, TEST_EVENT)
    assert queue_messages(event) == [
        QueueMessage("message-0", json.dumps(S3), is_ordered=False),
        QueueMessage("message-1", json.dumps(TEST_EVENT), is_ordered=False),
    ]
    assert [one.is_ordered for one in queue_messages(sqs(S3, queue="arn:aws:sqs:x:1:results.fifo")) or ()] == [True]


@pytest.mark.parametrize("event", [S3, EVENT_BRIDGE, sns(S3), {"Records": []}, {}, None, "text", {"Records": 7}])
def test_other_events_are_no_messages(event: Any) -> None:
    """They are handled as a whole."""
    assert queue_messages(event) is None
