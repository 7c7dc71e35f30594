"""Webhooks: the document as a JSON POST to any other URL.

The last of the kinds that are tried: so an unsigned URL of a known object store is rejected here, with
`MissingS3FieldsError`.
"""

from __future__ import annotations

import base64
from datetime import datetime

from attrs import define

from callback_sdk import webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, MissingS3FieldsError
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.hosts import is_loopback
from callback_sdk.targets.members import FIELDS, HEADERS, HTTP, PARTS
from callback_sdk.targets.provider_table import Provider
from callback_sdk.targets.target import JSON, Target, TargetSettings


@define(frozen=True, kw_only=True)
class Webhook(Target):
    """Any other URL: the document as a JSON POST with the headers of Standard Webhooks."""

    kind = "webhook"
    method = "POST"
    accepts = frozenset(range(200, 300))
    redirects = False
    max_bytes = None
    compressible = False
    traced = True
    takes_files = False

    keys: webhooks.SigningKeys

    def public_path_start(self, provider: Provider | None) -> int | None:
        """See `Target.public_path_start`."""
        return None

    def object_url(self, delivery_id: str) -> str | None:
        """See `Target.object_url`."""
        return None

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Webhook:
        """See `Target.recognize`; any URL outside of known object stores is a webhook's."""
        provider = settings.stores.provider(callback.url)
        if callback.webhook:
            _check_webhook(callback, provider)
        if provider is None:
            return cls(
                callback=callback,
                keys=_keys_of(callback, settings),
                max_inline_bytes=settings.max_webhook_bytes,
            )
        raise MissingS3FieldsError(
            f"{callback.url} is at {provider}, and has neither a signature nor s3_fields.",
            hint='For a presigned POST give its fields: callback_param={"s3_fields": fields}. For a PUT give the '
            "complete presigned URL, with its query.",
            url=str(callback.url),
        )

    def takes_events(self) -> bool:
        """See `Target.takes_events`; a webhook gets each document in a request of its own."""
        return True

    def of_event(self, sequence: int) -> Webhook:
        """See `Target.of_event`."""
        return self

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        url, options, found = self.callback.url, self.callback.webhook, Target.warnings(self, now)
        if url.scheme == "https" or is_loopback(url.host) or options is None or not options.headers.reveal():
            return found
        return (*found, f"The headers in webhook are sent to {url} unencrypted. Use https if they are credentials.")

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        options = self.callback.webhook
        given = {} if options is None else options.headers.reveal()
        own = {"content-type": JSON, "content-digest": content_digest(document)}
        signed = webhooks.sign(self.keys(), delivery_id, now, document)
        return SecretFields({**given, **own, **signed}), document


def _keys_of(callback: Callback, settings: TargetSettings) -> webhooks.SigningKeys:
    """Return the keys that sign a webhook: its own, or those of the sender."""
    if callback.webhook is None or not callback.webhook.secrets:
        return settings.webhook_keys
    return callback.webhook.keys


def _check_webhook(callback: Callback, provider: Provider | None) -> None:
    """Reject a callback that asks for a webhook and can't be one."""
    if provider is not None:
        raise CallbackParamError(
            f"callback_param of {callback.url} asks for a webhook, and its host is an object store, {provider}: a "
            "webhook's document would be lost there.",
            hint="Leave webhook out, and give the complete presigned URL, or a presigned POST with its s3_fields.",
            url=str(callback.url),
        )
    members = {FIELDS: callback.fields, HEADERS: callback.headers, HTTP: callback.http, PARTS: callback.parts}
    for name in [name for name, given in members.items() if given is not None]:
        raise CallbackParamError(
            f"callback_param of {callback.url} has both webhook and {name}: one of them is for another target.",
            hint=f"Give webhook for a webhook, and {name} for an upload.",
            url=str(callback.url),
        )


def content_digest(document: Body) -> str:
    """Return the header `Content-Digest` of a document (RFC 9530).

    The bytes under one `webhook-id` differ only if the task ran again, after its database was restored from a backup,
    with an algorithm that isn't deterministic. Receivers can tell by this header.
    """
    return f"sha-256=:{base64.b64encode(document.sha256).decode()}:"
