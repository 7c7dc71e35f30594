"""Upload: the HTTP request of one target, and the transport's input."""

from __future__ import annotations

from datetime import datetime

from attrs import define, field

from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.text.quoted_secrets import without_secrets

_PUBLIC = frozenset(
    {
        *("acl", "bucket", "cache-control", "content-disposition", "content-encoding", "content-md5", "content-type"),
        *("if-match", "if-none-match", "key", "success_action_status", "webhook-id"),
        *(
            "accept",
            "content-digest",
            "traceparent",
            "webhook-timestamp",
            "x-amz-acl",
            "x-amz-algorithm",
            "x-amz-date",
            "x-ms-blob-type",
        ),
    }
)
"""Headers and fields without credentials, which stay readable in a server's message."""


@define(frozen=True, kw_only=True, eq=False, repr=False)
class Upload:
    """The HTTP request that uploads a document: everything that the transport knows of a target.

    Attributes:
        kind: Kind of the target, for receipts and messages.
        method: `"PUT"` or `"POST"`; also `"HEAD"` or `"DELETE"` for a document that takes several requests.
        url: URL of the request.
        headers: All headers but those of the connection. Some are credentials.
        url_headers: Headers that are sent to `url` only, and never where a redirect leads to.
        body: Request body; for a form the whole form.
        document: The stored bytes: `body`, or the form's file; or what a request without them completes.
        expires_at: When the signature expires; None if it doesn't.
        accepts: HTTP statuses of success.
        redirects: Whether 307 and 308 may be followed.
        fields: Form fields, which are part of `body`.
        assumptions: What is assumed of the signature, for the error if the signature is rejected.
        other_secrets: Credentials of other requests to the same target, which the server knows too.
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
    other_secrets: Secret[tuple[str, ...]] = field(factory=lambda: Secret(()))

    def has_expired(self, now: datetime) -> bool:
        """Return whether the signature has expired."""
        return self.expires_at is not None and now >= self.expires_at

    def secrets(self) -> Secret[tuple[str, ...]]:
        """Return the credentials of this request, which a server's text may quote."""
        named = (self.headers, self.url_headers, self.fields or SecretFields({}))
        values = (pair for fields in named for pair in fields.reveal().items())
        secrets = (value for name, value in values if name.lower() not in _PUBLIC)
        return Secret((*self.url.secrets().reveal(), *secrets, *self.other_secrets.reveal()))

    def scrub(self, text: str) -> str:
        """Remove the credentials of this request from a server's text, which may quote them."""
        return without_secrets(text, self.secrets().reveal()) if text else text
