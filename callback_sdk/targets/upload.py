"""Upload: the HTTP request of one target, and the transport's input."""

from __future__ import annotations

import base64
from datetime import datetime

from attrs import define, field

from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretFields, SecretURL, replaced

_PUBLIC = frozenset(
    {
        *("acl", "bucket", "cache-control", "content-disposition", "content-encoding", "content-md5", "content-type"),
        *("if-match", "if-none-match", "key", "success_action_redirect", "success_action_status", "webhook-id"),
        *("webhook-timestamp", "x-amz-acl", "x-amz-algorithm", "x-amz-date", "x-ms-blob-type"),
    }
)
"""Headers and fields without credentials, which stay readable in a server's message."""


@define(frozen=True, kw_only=True)
class Upload:
    """The HTTP request that uploads a document: everything that the transport knows of a target.

    Attributes:
        kind: Kind of the target, for receipts and messages.
        method: `"PUT"` or `"POST"`.
        url: URL of the request.
        headers: All headers but those of the connection. Some are credentials.
        url_headers: Headers that are sent to `url` only, and never where a redirect leads to.
        body: Request body; for a form the whole form.
        document: The stored bytes: `body`, or the form's file.
        expires_at: When the signature expires; None if it doesn't.
        accepts: HTTP statuses of success.
        redirects: Whether 307 and 308 may be followed.
        fields: Form fields, which are part of `body`.
        assumptions: What is assumed of the signature, for the error if the signature is rejected.
    """

    kind: str
    method: str
    url: SecretURL
    headers: Secret[dict[str, str]]
    body: Body
    document: Body
    expires_at: datetime | None
    accepts: frozenset[int]
    redirects: bool
    fields: SecretFields | None = None
    url_headers: Secret[dict[str, str]] = field(factory=lambda: Secret({}))
    assumptions: tuple[str, ...] = ()

    def scrub(self, text: str) -> str:
        """Remove the credentials of this request from a server's text, which may quote them."""
        headers = Secret({**self.headers.reveal(), **self.url_headers.reveal()})
        values = {**headers.reveal(), **(self.fields.reveal() if self.fields is not None else {})}
        secrets = [part for name, value in values.items() if name.lower() not in _PUBLIC for part in _parts(value)]
        return replaced(self.url.scrub(text), secrets)


def _parts(value: str) -> list[str]:
    """Return a value with its credentials alone: those of `Bearer TOKEN`, `NAME=VALUE` and `Basic BASE64`."""
    words = [word.rpartition("=")[2] or word for word in value.replace(";", " ").split()]
    return [value, *words, *_login(value)]


def _login(value: str) -> list[str]:
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        return base64.b64decode(encoded).decode().split(":", 1)
    except ValueError:
        return []
