"""Sends messages about alerts: webhooks signed by Standard Webhooks, as those with results are."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from callback_sdk import webhooks
from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.service.alerts.books import Message
from callback_sdk.targets.hosts import check_url
from callback_sdk.targets.upload import Upload
from callback_sdk.targets.webhook import content_digest
from callback_sdk.transport.connect import resolve
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.proxies import environment_proxy
from callback_sdk.transport.sockets import Route
from callback_sdk.writer.clock import utc_now

_ACCEPTS = frozenset(range(200, 300))


class AlertSender:
    """Sends messages to the receiver of alerts. Its host may be private: the operator has chosen it.

    Args:
        url: The receiver.
        keys: Keys that sign the messages, newest first.

    Raises:
        InvalidTargetError: It is not a URL that requests can be sent to.
    """

    def __init__(self, url: SecretURL, keys: Sequence[webhooks.SigningKey]) -> None:
        check_url(url)
        self._url = url
        self._keys = keys
        self._sender = HTTPSender(route=Route(resolve=resolve, proxy=environment_proxy))

    def send(self, message: Message) -> None:
        """Make one attempt to send a message.

        Raises:
            DeliveryError: The receiver doesn't have it.
        """
        body = Body(orjson.dumps(message.document))
        signed = webhooks.sign(self._keys, message.message_id, utc_now(), body)
        headers = {"content-type": "application/json", "content-digest": content_digest(body), **signed}
        upload = Upload(
            kind="webhook",
            method="POST",
            url=self._url,
            headers=Secret(headers),
            body=body,
            document=body,
            expires_at=None,
            accepts=_ACCEPTS,
            redirects=False,
        )
        try:
            response = self._sender.send(upload)
        finally:
            # The next message is minutes or days away.
            self._sender.close()
        if response.status not in _ACCEPTS:
            raise delivery_error(upload, response)
