"""Results in buckets: notifications of moto's S3 through its SQS, and of SeaweedFS as webhooks."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer
from starlette.applications import Starlette
from starlette.routing import Route

from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.errors import BodyTooLargeError, CallbackSDKError, DocumentError, MissingExtraError
from callback_sdk.receivers import BucketReceiver, Inbox, MemoryIds, ReceivedEvent, ReceivedResult
from callback_sdk.receivers.handover import run
from callback_sdk.receivers.starlette import endpoint
from callback_sdk.testing import SeaweedFS
from tests.asgiserver import serving
from tests.conftest import missing_server
from tests.unit.receivers.test_notifications import MINIO, TEST_EVENT, sns, sqs

KEYS = {"aws_access_key_id": "AK", "aws_secret_access_key": "SK", "region_name": "us-east-1"}


def document(job_id: str = "42", results: Any = 7) -> bytes:
    members = {"job_id": job_id, "status": "Finished", "callback_param": {}, "success": True, "results": results}
    return json.dumps(members).encode()


def unused_url() -> str:
    """Return a URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class AWS:
    """A bucket of moto that notifies a queue."""

    def __init__(self, endpoint_url: str, name: str) -> None:
        self.s3 = boto3.client("s3", endpoint_url=endpoint_url, **KEYS)
        self.sqs = boto3.client("sqs", endpoint_url=endpoint_url, **KEYS)
        self.bucket = name
        self.s3.create_bucket(Bucket=name)
        self.queue = self.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        queue = {"QueueArn": answer["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration={"QueueConfigurations": [queue]}
        )

    def put(self, key: str, body: bytes, **options: Any) -> str | None:
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **options).get("VersionId")

    def waiting(self) -> int:
        name = "ApproximateNumberOfMessages"
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def messages(self) -> list[str]:
        """Take the bodies of all messages."""
        found: list[str] = []
        while received := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in received:
                found.append(message["Body"])
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def drain(self, receiver: BucketReceiver) -> None:
        while receiver.receive_messages(self.sqs, self.queue, wait=0):
            pass


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    """Run moto."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url: str, request: pytest.FixtureRequest) -> Iterator[AWS]:
    """Return a new bucket with its queue."""
    made = AWS(moto_url, f"bucket-{abs(hash(request.node.nodeid))}")
    made.messages()
    yield made
    made.s3.close()
    made.sqs.close()


def test_results_in_a_bucket_are_handed_over(aws: AWS) -> None:
    """Each once, from whatever key; the messages are deleted."""
    found: list[ReceivedResult] = []
    keys = ["runs/42.json", "red flower+1 %41 größe.json", "a/b/c=d:e.json"]
    for number, key in enumerate(keys):
        aws.put(key, document(str(number)))
    aws.drain(BucketReceiver(found.append, aws.s3))
    assert sorted((one.job_id, one.bucket_object.key) for one in found if one.bucket_object) == [
        (str(number), key) for number, key in enumerate(keys)
    ]
    assert aws.waiting() == 0


def test_the_writer_s_upload_is_handed_over(aws: AWS) -> None:
    """Compressed, as some write it."""
    put = S3Signer(aws.bucket, client=aws.s3).presign_put("runs/w.json")
    result = JobResult(job_id="w", success=True, results=[1.5] * 1000)
    with ResultsWriter(compress="gzip") as writer:
        writer.write(result, put.url, put.callback_param)
    assert aws.s3.get_object(Bucket=aws.bucket, Key="runs/w.json")["ContentEncoding"] == "gzip"
    found: list[ReceivedResult] = []
    aws.drain(BucketReceiver(found.append, aws.s3))
    assert [one.results for one in found] == [result.results]


def test_other_objects_are_left_out(aws: AWS) -> None:
    """Output files aren't documents; `matches` tells which are."""
    aws.put("runs/42/model.bin", b"model")
    aws.put("runs/42/result.json", document())
    aws.put("runs/42/other.json", b"{}")
    found: list[ReceivedResult] = []
    aws.drain(BucketReceiver(found.append, aws.s3, matches=lambda key: key.endswith("/result.json")))
    assert [one.job_id for one in found] == ["42"]
    assert aws.waiting() == 0


def test_a_message_whose_handler_failed_is_received_again(aws: AWS) -> None:
    """The others are deleted."""
    attempts: list[str] = []

    def handle(result: ReceivedResult) -> None:
        attempts.append(result.job_id)
        if result.job_id == "bad" and attempts.count("bad") == 1:
            raise RuntimeError("not yet")

    aws.put("bad.json", document("bad"))
    aws.put("good.json", document("good"))
    aws.drain(BucketReceiver(handle, aws.s3))
    assert sorted(attempts) == ["bad", "bad", "good"]
    assert aws.waiting() == 0


def test_duplicates_of_a_message_are_handled_once(aws: AWS) -> None:
    """SQS delivers at least once, and S3 notifies at least once."""
    aws.put("runs/42.json", document())
    (body,) = aws.messages()
    found: list[ReceivedResult] = []
    receiver = BucketReceiver(found.append, aws.s3)
    for _ in range(3):
        receiver.handle(body)
    assert len(found) == 1


def test_each_version_is_handed_over(aws: AWS) -> None:
    """That of the notification, also when it isn't the current one any more."""
    aws.s3.put_bucket_versioning(Bucket=aws.bucket, VersioningConfiguration={"Status": "Enabled"})
    versions = [aws.put("runs/42.json", document(results=number)) for number in (1, 2)]
    notifications = [json.loads(body) for body in aws.messages()]
    for notification, version in zip(notifications, versions, strict=True):
        # moto leaves it out.
        notification["Records"][0]["s3"]["object"]["versionId"] = version
    found: list[ReceivedResult] = []
    receiver = BucketReceiver(found.append, aws.s3)
    for notification in (*reversed(notifications), *notifications):
        receiver.handle(notification)
    assert sorted((one.bucket_object.version_id, one.results) for one in found if one.bucket_object) == sorted(
        zip(versions, (1, 2), strict=True)
    )


def test_an_overwritten_object_is_handed_over_once(aws: AWS) -> None:
    """Without versions only the newest content exists, and both notifications lead to it."""
    for number in (1, 2):
        aws.put("runs/42.json", document(results=number))
    found: list[ReceivedResult] = []
    aws.drain(BucketReceiver(found.append, aws.s3))
    assert [one.results for one in found] == [2]


@pytest.mark.parametrize("versioned", [False, True])
def test_a_deleted_object_is_left_out(aws: AWS, versioned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A retry can't bring it back; its message is deleted."""
    caplog.set_level(logging.INFO)
    version = None
    if versioned:
        aws.s3.put_bucket_versioning(Bucket=aws.bucket, VersioningConfiguration={"Status": "Enabled"})
    version = aws.put("runs/42.json", document())
    options = {"VersionId": version} if version else {}
    aws.s3.delete_object(Bucket=aws.bucket, Key="runs/42.json", **options)
    found: list[ReceivedResult] = []
    aws.drain(BucketReceiver(found.append, aws.s3))
    assert (found, aws.waiting()) == ([], 0)
    assert "was deleted before its notification was handled" in caplog.text


@pytest.mark.parametrize(
    ("body", "options", "error"),
    [
        (b"x" * 1001, {}, BodyTooLargeError),
        (gzip.compress(b"x" * 1_000_000), {"ContentEncoding": "gzip"}, BodyTooLargeError),
        (b"not gzip", {"ContentEncoding": "gzip"}, DocumentError),
        (b"{}", {}, DocumentError),
    ],
    ids=["large", "bomb", "not gzip", "foreign"],
)
def test_a_foreign_object_is_an_error(aws: AWS, body: bytes, options: Any, error: type[Exception]) -> None:
    """Its message stays, for the queue's dead-letter queue."""
    aws.put("runs/42.json", body, **options)
    receiver = BucketReceiver(lambda result: None, aws.s3, max_object_bytes=1000)
    (message,) = aws.messages()
    with pytest.raises(error):
        receiver.handle(message)
    response = receiver.handle_event(sqs(message, message))
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-0"}, {"itemIdentifier": "message-1"}]}


def test_only_failed_messages_of_a_batch_are_repeated(aws: AWS) -> None:
    """The response of a Lambda function for SQS names them; a test event is none, and something foreign is one."""
    aws.put("good.json", document("good"))
    (good,) = aws.messages()
    found: list[ReceivedResult] = []
    receiver = BucketReceiver(found.append, aws.s3)
    response = receiver.handle_event(sqs(TEST_EVENT, "hello", good, sns(json.loads(good)), '{"Records": [{}]}'), None)
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}, {"itemIdentifier": "message-4"}]}
    assert [one.job_id for one in found] == ["good"]


def test_a_fifo_queue_keeps_its_order(aws: AWS) -> None:
    """What follows a failed message fails too, and isn't handled before it."""
    bodies = []
    for name in ("1", "bad", "2"):
        aws.put(f"{name}.json", document(name))
        bodies += aws.messages()
    found: list[str] = []

    def handle(result: ReceivedResult) -> None:
        if result.job_id == "bad":
            raise RuntimeError("not yet")
        found.append(result.job_id)

    event = sqs(*bodies, queue="arn:aws:sqs:us-east-1:123456789012:results.fifo")
    response = BucketReceiver(handle, aws.s3).handle_event(event)
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}, {"itemIdentifier": "message-2"}]}
    assert found == ["1"]


def test_an_event_without_a_queue_fails_as_a_whole(aws: AWS) -> None:
    """Lambda repeats it, and what was handled isn't handled again."""
    records = []
    for name in ("1", "bad", "2"):
        aws.put(f"{name}.json", document(name))
        (body,) = aws.messages()
        records += json.loads(body)["Records"]
    found: list[str] = []

    def handle(result: ReceivedResult) -> None:
        found.append(result.job_id)
        if result.job_id == "bad" and found.count("bad") == 1:
            raise RuntimeError("not yet")

    receiver = BucketReceiver(handle, aws.s3)
    with pytest.raises(CallbackSDKError, match=r"bad\.json was not handled"):
        receiver.handle_event({"Records": records})
    assert receiver.handle_event({"Records": records}) is None
    assert sorted(found) == ["1", "2", "bad", "bad"]


def test_a_store_that_is_away_fails_the_message(aws: AWS) -> None:
    """It says which permissions are needed."""
    aws.put("runs/42.json", document())
    (message,) = aws.messages()
    client = boto3.client("s3", endpoint_url=unused_url(), **KEYS)
    with pytest.raises(CallbackSDKError, match="could not be downloaded") as caught:
        BucketReceiver(print, client).handle(message)
    assert "s3:ListBucket" in caught.value.hint
    client.close()


def test_the_loop_ends_when_it_is_told_to(aws: AWS) -> None:
    """After the current messages."""
    stop = threading.Event()
    aws.put("runs/42.json", document())
    BucketReceiver(lambda result: stop.set(), aws.s3).poll(aws.sqs, aws.queue, stop=stop)
    assert aws.waiting() == 0


def test_an_inbox_keeps_the_object(aws: AWS, tmp_path: Any) -> None:
    """Its handler learns where the result is."""
    aws.put("runs/42.json", document())
    inbox = Inbox(tmp_path / "inbox")
    aws.drain(BucketReceiver(inbox.put, aws.s3))
    found: list[ReceivedResult] = []
    assert inbox.handle_next(found.append)
    assert [one.bucket_object.place for one in found if one.bucket_object] == [f"s3://{aws.bucket}/runs/42.json"]


class NotifyingSeaweedFS(SeaweedFS):
    """A server that sends a webhook for each change of a file."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def _files(self) -> dict[str, str]:
        settings = {"enabled": "true", "endpoint": f'"{self._url}"', "bearer_token": '"t0ken"', "max_retries": "5"}
        settings |= {"timeout_seconds": "5", "backoff_seconds": "1", "max_backoff_seconds": "1", "workers": "2"}
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return {**super()._files(), "notification.toml": "\n".join(["[notification.webhook]", *lines, ""])}


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_seaweedfs_notifies_by_webhooks() -> None:
    """Its own server sends them, for objects and versions among directories and parts of uploads."""
    found: list[ReceivedResult] = []
    clients: list[Any] = []

    class LateClient:
        def get_object(self, **options: Any) -> Any:
            return clients[0].get_object(**options)

    receiver = BucketReceiver(found.append, LateClient(), headers={"Authorization": "Bearer t0ken"})
    with serving(Starlette(routes=[Route("/events", endpoint(receiver), methods=["POST"])])) as url:
        try:
            store = NotifyingSeaweedFS(f"{url}/events")
        except MissingExtraError as error:
            missing_server(str(error))
        with store:
            client = store.client()
            clients.append(client)
            bucket = store.create_bucket()
            client.put_object(Bucket=bucket, Key="runs/a b+c%41 é.json", Body=document("odd"))
            client.put_object(Bucket=bucket, Key="runs/model.bin", Body=b"model")
            put = S3Signer(bucket, client=client).presign_put("runs/w.json")
            with ResultsWriter(storage_endpoints=[store.endpoint_url]) as writer:
                writer.write(JobResult(job_id="written", success=True), put.url, put.callback_param)
            versioned = store.create_bucket()
            client.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
            options = {"Bucket": versioned, "Key": "runs/v.json"}
            versions = [client.put_object(**options, Body=document(f"v{n}"))["VersionId"] for n in (1, 2)]
            client.delete_object(**options)
            wait_until(lambda: len(found) >= 4)
            client.close()
    places = {one.job_id: one.bucket_object for one in found}
    assert sorted(places) == ["odd", "v1", "v2", "written"]
    assert places["odd"] is not None
    assert places["odd"].key == "runs/a b+c%41 é.json"
    assert [places[name].version_id for name in ("v1", "v2")] == versions  # type: ignore[union-attr]
    assert len(found) == 4


def test_minio_notifies_by_webhooks(seaweedfs: SeaweedFS, bucket: str) -> None:
    """With the headers and the body that MinIO sends; a wrong token and a foreign body are rejected.

    MinIO repeats a notification until it gets 200, and sends none after it: so that about a foreign object gets 200.
    """
    client = seaweedfs.client()
    key = "5cdfb588cea4de1db3034a87/colors 1.xml"
    client.put_object(Bucket=bucket, Key=key, Body=document())
    record = json.loads(json.dumps(MINIO["Records"][0]))
    record["s3"]["bucket"]["name"] = bucket
    del record["s3"]["object"]["versionId"]
    body = json.dumps({**MINIO, "Records": [record]}).encode()
    found: list[ReceivedResult] = []
    headers = {"Authorization": "Bearer t0ken"}
    options: Any = {"headers": headers, "matches": lambda key: True}
    receiver = BucketReceiver(found.append, client, **options)
    with serving(Starlette(routes=[Route("/events", endpoint(receiver), methods=["POST"])])) as url:
        statuses = [
            requests.post(f"{url}/events", body, headers=given, timeout=60).status_code
            for given in (headers, headers, {}, {"Authorization": "t0ken"})
        ]
        foreign = requests.post(f"{url}/events", b"{}", headers=headers, timeout=60).status_code
        client.put_object(Bucket=bucket, Key=key, Body=b"{}")
        lasting = requests.post(f"{url}/events", body, headers=headers, timeout=60).status_code
        store_is_away = BucketReceiver(found.append, boto3.client("s3", endpoint_url=unused_url(), **KEYS), **options)
    assert (statuses, foreign, lasting) == ([200, 200, 401, 401], 422, 200)
    assert run(store_is_away.steps(headers, body)).status == 503
    assert [one.job_id for one in found] == ["42"]
    client.close()


def test_without_headers_there_are_no_webhooks() -> None:
    """Anyone could make the receiver download objects."""
    receiver = BucketReceiver(print, None)
    steps = receiver.steps({}, json.dumps(MINIO).encode())
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value.status == 401


def test_ids_are_shared_with_webhooks(aws: AWS) -> None:
    """One storage may serve several receivers."""
    ids, found = MemoryIds(), []
    aws.put("runs/42.json", document())
    (message,) = aws.messages()
    for _ in range(2):
        BucketReceiver(found.append, aws.s3, ids=ids).handle(message)
    assert len(found) == 1


def test_events_below_a_prefix_are_handed_over_as_such(aws: AWS) -> None:
    """The writer stores each as an object of its own; the result is none of them."""
    prefix = S3Signer(aws.bucket, client=aws.s3).presign_prefix("runs/7/")
    param = {**prefix.callback_param, "events": ["started", "completed"]}
    with ResultsWriter() as writer:
        with writer.events("7", prefix.url, param) as events:
            events.started()
        writer.write(JobResult(job_id="7", success=True), prefix.url, param)
    found: list[ReceivedResult] = []
    seen: list[ReceivedEvent] = []
    aws.drain(BucketReceiver(found.append, aws.s3, on_event=seen.append))
    assert [one.job_id for one in found] == ["7"]
    assert [(one.job_id, one.progress.fraction) for one in seen] == [("7", None)]
    assert aws.waiting() == 0
