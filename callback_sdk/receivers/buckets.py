"""BucketReceiver: results that were uploaded to a bucket, by the notifications of the bucket."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from callback_sdk import webhooks
from callback_sdk.errors import CallbackSDKError, DocumentError, WebhookVerificationError
from callback_sdk.parsing import positive_int
from callback_sdk.receivers.authentication import Authentication
from callback_sdk.receivers.documents import ReceivedEvent, read_document
from callback_sdk.receivers.downloads import download
from callback_sdk.receivers.handover import (
    EventHandler,
    Handler,
    Handover,
    HandoverOutcome,
    IsHandled,
    Steps,
    event_steps,
    run,
)
from callback_sdk.receivers.ids import DeliveryIds
from callback_sdk.receivers.notifications import QueueMessage, created_objects, queue_messages
from callback_sdk.receivers.objects import BucketObject
from callback_sdk.receivers.reply import Reply, busy, rejection
from callback_sdk.redaction import clearing_locals
from callback_sdk.text.escaping import escape

logger = logging.getLogger(__name__)

MAX_OBJECT_BYTES = 64 * 1024 * 1024
"""Default limit of an object."""

_MAX_NOTIFICATION = 1024 * 1024
"""Bytes of a notification. Those of SQS, SNS and EventBridge have at most 256 KiB."""

_WAIT_SECONDS, _MESSAGES = 20, 10
"""Maximum wait and maximum messages of one request to SQS ("ReceiveMessage", Amazon SQS API Reference)."""


def is_json(key: str) -> bool:
    """Return whether a key ends with `.json`.

    Args:
        key: The key of an object.
    """
    return key.endswith(".json")


class BucketReceiver:
    """Hands over result documents that were uploaded to a bucket, each once.

    It takes notifications of Amazon S3, MinIO and SeaweedFS: from SQS (`poll`), by a Lambda function (`handle_event`),
    or as webhooks, which the modules for frameworks serve. A bucket sends them at least once and in any order.

    Args:
        handler: Called with each `ReceivedResult`, whose `bucket_object` names the object. A notification is repeated
            when it raises.
        client: A boto3 client for S3, with which objects are downloaded.
        ids: See `Receiver`.
        on_event: Called with each `ReceivedEvent`, the objects of events below a prefix. None to ignore them.
        matches: Returns whether a key is that of a result document, and not of an output file.
        headers: Headers that each webhook must have, such as `{"Authorization": "Bearer ..."}`, the `auth_token` of
            MinIO and the `bearer_token` of SeaweedFS. None if there are no webhooks.
        max_object_bytes: Maximum bytes of an object, also after decompression; no more are read.

    Raises:
        ConfigurationError: An argument is invalid.
    """

    max_bytes = _MAX_NOTIFICATION

    @clearing_locals
    def __init__(
        self,
        handler: Handler,
        client: Any,
        *,
        ids: DeliveryIds | IsHandled | None = None,
        on_event: EventHandler | None = None,
        matches: Callable[[str], bool] = is_json,
        headers: Mapping[str, str] | None = None,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        self._handover = Handover(handler, ids)
        self._on_event = on_event
        self._client = client
        self._matches = matches
        self._authentication = None if headers is None else Authentication(None, headers, webhooks.TOLERANCE)
        self._max_object_bytes = positive_int("max_object_bytes", max_object_bytes)

    def handle_event(self, event: Any, context: Any = None) -> dict[str, Any] | None:
        """Handle an event of a Lambda function: of S3, SQS, SNS or EventBridge. It is a Lambda function itself.

        Args:
            event: The event.
            context: Not used.

        Returns:
            For SQS the messages that failed, as `ReportBatchItemFailures` of the event source mapping requires;
            otherwise None.

        Raises:
            DocumentError: It is not an event of a bucket, or one of its objects is not a result document.
            CallbackSDKError: An object could not be handled. Lambda repeats the event.
        """
        messages = queue_messages(event)
        if messages is None:
            self.handle(event)
            return None
        failed = self._failed_messages(messages)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def handle(self, notification: Any) -> None:
        """Handle one notification. All of its objects are handled, also after one that failed.

        Args:
            notification: The notification: the text of its JSON, or what was parsed from it.

        Raises:
            DocumentError: It is not a notification of a bucket, or one of its objects is not a result document.
            CallbackSDKError: An object could not be handled; hand the notification over again later.
        """
        run(self._steps_of(created_objects(notification)))

    def poll(self, client: Any, queue_url: str, *, stop: threading.Event | None = None) -> None:
        """Handle the messages of a queue until `stop` is set, or an interrupt. Several processes may do this.

        A message is deleted when all of its objects have been handled. Another one is received again after the queue's
        visibility timeout, which has to be longer than the handler takes for ten messages.

        Args:
            client: A boto3 client for SQS.
            queue_url: URL of the queue.
            stop: Ends the loop, after at most 20 s.

        Raises:
            botocore.exceptions.ClientError: The queue can't be used.
        """
        stop = stop or threading.Event()
        while not stop.is_set():
            self.receive_messages(client, queue_url)

    def receive_messages(self, client: Any, queue_url: str, *, wait: int = _WAIT_SECONDS) -> int:
        """Handle up to ten messages of a queue.

        Args:
            client: A boto3 client for SQS.
            queue_url: URL of the queue.
            wait: Maximum seconds to wait for the first one, at most 20.

        Returns:
            Number of messages that were received.

        Raises:
            botocore.exceptions.ClientError: The queue can't be used.
        """
        response = client.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=_MESSAGES, WaitTimeSeconds=wait)
        found = response.get("Messages", [])
        is_ordered = queue_url.endswith(".fifo")
        messages = [QueueMessage(message["MessageId"], message["Body"], is_ordered) for message in found]
        failed = set(self._failed_messages(messages))
        for message in found:
            if message["MessageId"] not in failed:
                client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return len(found)

    def steps(self, headers: Mapping[str, str], body: bytes) -> Steps[Reply]:
        """See `Endpoint.steps`."""
        try:
            if self._authentication is None:
                raise WebhookVerificationError("This receiver takes no webhooks.", hint="Give it headers=.")
            self._authentication.verify(headers, body)
            objects = created_objects(body)
        except (WebhookVerificationError, DocumentError) as error:
            logger.warning("A notification was rejected: %s", error.message)
            return rejection(error)
        try:
            yield from self._steps_of(objects)
        except DocumentError as error:
            # There is no dead-letter queue: MinIO would repeat this notification forever, and send none after it.
            logger.error("A notification is acknowledged, because a retry won't help: %s", error)
        except CallbackSDKError as error:
            return busy(error.message)
        return Reply(200)

    def _failed_messages(self, messages: Iterable[QueueMessage]) -> list[str]:
        failed: list[str] = []
        for message in messages:
            if failed and message.is_ordered:
                # The messages of a FIFO queue after one that failed must not overtake it.
                failed.append(message.message_id)
                continue
            try:
                self.handle(message.body)
            except CallbackSDKError as error:
                logger.warning("Message %s was not handled: %s", escape(message.message_id), error)
                failed.append(message.message_id)
        return failed

    def _steps_of(self, objects: Iterable[BucketObject]) -> Steps[None]:
        failures: list[CallbackSDKError] = []
        for stored in objects:
            if not self._matches(stored.key):
                continue
            try:
                yield from self._object_steps(stored)
            except CallbackSDKError as error:
                failures.append(error)
        if failures:
            # One that is worth a retry goes first.
            raise min(failures, key=lambda failure: isinstance(failure, DocumentError))

    def _object_steps(self, stored: BucketObject) -> Steps[None]:
        try:
            downloaded = yield partial(download, self._client, stored, self._max_object_bytes)
        except DocumentError:
            raise
        except Exception as error:
            logger.warning("%s could not be downloaded: %s", escape(stored.place), escape(str(error)))
            raise CallbackSDKError(
                f"{stored.place} could not be downloaded: {error}.",
                hint="Check the client's permissions: s3:GetObject, and s3:ListBucket, without which a deleted object "
                "is AccessDenied.",
            ) from error
        if downloaded is None:
            logger.info("%s was deleted before its notification was handled", escape(stored.place))
            return
        found, document = downloaded
        version = found.version_id or found.etag or ""
        try:
            received = read_document(document, delivery_id=f"{found.place}@{version}", bucket_object=found)
        except DocumentError as error:
            raise DocumentError(f"{found.place}: {error.message}", hint=error.hint) from None
        if isinstance(received, ReceivedEvent):
            outcome = yield from event_steps(self._on_event, received)
        else:
            outcome = yield from self._handover.steps(received)
        if outcome not in (HandoverOutcome.HANDLED, HandoverOutcome.DUPLICATE):
            raise CallbackSDKError(f"{stored.place} was not handled: {outcome.value}.", hint="See the log.")
