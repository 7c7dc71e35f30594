"""Upload: one HTTP request that hands a document over. It is the transport's input, whatever the target."""

from __future__ import annotations

from datetime import datetime

from attrs import define

from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretFields, SecretURL, replaced

_PUBLIC = frozenset(
    {
        *("acl", "bucket", "cache-control", "content-disposition", "content-encoding", "content-md5", "content-type"),
        *("if-match", "if-none-match", "key", "success_action_redirect", "success_action_status", "webhook-id"),
        *("webhook-timestamp", "x-amz-acl", "x-amz-algorithm", "x-amz-date", "x-ms-blob-type"),
    }
)
"""Headers and fields whose values say nothing that opens anything, and that people look for in a server's message."""


@define(frozen=True, kw_only=True)
class Upload:
    """One HTTP request that hands a document over: all that the sender sees of a target.

    Attributes:
        kind: What the target is, for receipts and messages.
        method: `"PUT"` or `"POST"`.
        url: Where to.
        headers: Names and values, exactly these and the connection's own. Some are credentials.
        body: What to send; for a form it is the whole form.
        document: What the target will keep: `body`, or the form's file.
        expires_at: When the signature's time is over; None when it has no end.
        accepts: HTTP statuses that mean: the target has it.
        redirects: Whether 307 and 308 may be followed.
        fields: Those of a form, which are part of `body`.
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

    def scrub(self, text: str) -> str:
        """Return a text of the server's without the credentials of this request, in case it quotes them."""
        values = {**self.headers.reveal(), **(self.fields.reveal() if self.fields is not None else {})}
        secrets = [value for name, value in values.items() if name.lower() not in _PUBLIC]
        return replaced(self.url.scrub(text), secrets)
