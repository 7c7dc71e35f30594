"""The values that travel through the package, frozen, and their wire form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import asdict, define, field

from callback_sdk.documents.body import Body
from callback_sdk.errors import EncodingError
from callback_sdk.redaction import Secret, SecretFields, SecretURL, replaced
from callback_sdk.text.html import HTMLRepr

PENDING = "Pending"
IN_PROGRESS = "In Progress"
FINISHED = "Finished"
CANCELED = "Canceled"


def _check_job_id(_: object, __: object, job_id: str) -> None:
    if not isinstance(job_id, str):
        raise EncodingError(
            f"job_id is of type {type(job_id).__name__}.", hint="Give a string: job_id=str(...).", path="job_id"
        )
    if not job_id:
        raise EncodingError("job_id is empty.", hint="Give the id of the job that the result is of.", path="job_id")


def _plain_bool(success: bool) -> bool:
    # What NumPy's comparisons return; its name was bool_ before NumPy 2. It may not be installed.
    kind = type(success)
    return bool(success) if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_") else success


def _check_success(_: object, __: object, success: bool) -> None:
    if not isinstance(success, bool):
        raise EncodingError(f"success is of type {type(success).__name__}.", hint="Give True or False.", path="success")


def _check_status(_: object, __: object, status: str) -> None:
    if status not in (FINISHED, CANCELED):
        raise EncodingError(f"status is {status!r}.", hint=f"Give {FINISHED!r} or {CANCELED!r}.", path="status")


@define(frozen=True, kw_only=True)
class JobResult:
    """What a job has to say when it has ended.

    Attributes:
        job_id: The task's id.
        success: Whether there are results.
        results: Anything that JSON can hold, NumPy, pandas and Arrow included, or a path
            (`pathlib.Path`) or a binary file object with a JSON document in it. A file is checked to be JSON, streamed,
            and must stay as it is until it is delivered.
        error: Why there are none; goes with `success=False`.
        status: `"Finished"`, or `"Canceled"` for a task that was cancelled.

    Raises:
        EncodingError: The id is empty, or one of these is of another type.
    """

    job_id: str = field(validator=_check_job_id)
    success: bool = field(converter=_plain_bool, validator=_check_success)
    results: Any = field(default=None, repr=False)
    error: str | None = None
    status: str = field(default=FINISHED, validator=_check_status)


@define(frozen=True, kw_only=True)
class Receipt(HTMLRepr):
    """Proof that one target has the result.

    Attributes:
        kind: What the target is, `"s3-put"` for one.
        url: Where it went, without its query.
        status: HTTP status of the answer that accepted it.
        attempts: Tries that it took, at least 1.
        etag: The store's own tag of the object, unquoted; None from a webhook.
        version_id: The object's version in a bucket that keeps versions, else None.
        size: Bytes of the body as the target keeps it, after compression.
        sha256: Hex digest of these bytes.
        nulls_written: NaN, infinite numbers and NaT that became null, as JSON has none.
        started_at: When the first try began, in UTC.
        finished_at: When the target had accepted it, in UTC.
    """

    kind: str
    url: str
    status: int
    attempts: int = 1
    etag: str | None = None
    version_id: str | None = None
    size: int
    sha256: str
    nulls_written: int = 0
    started_at: datetime
    finished_at: datetime

    def _facts(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "url": self.url,
            "status": self.status,
            "attempts": self.attempts,
            "bytes": self.size,
            "etag": self.etag,
            "version id": self.version_id,
            "sha256": self.sha256,
            "nulls_written": self.nulls_written or None,
            "finished at": self.finished_at,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: times as ISO 8601 strings."""
        return asdict(
            self,
            value_serializer=lambda _, __, value: value.isoformat() if isinstance(value, datetime) else value,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Receipt:
        """Read the wire form; members that this version doesn't know are left out."""
        known = {name: data[name] for name in cls.__annotations__ if name in data}
        for name in ("started_at", "finished_at"):
            known[name] = datetime.fromisoformat(known[name])
        return cls(**known)


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


# Not `frozen=True`, whose __init__ takes longer than a signature: properties without setters do the same here.
@define(kw_only=True, repr=False, unsafe_hash=True)
class PresignedPut:
    """A presigned PUT URL, with the headers that were signed into it."""

    _url: Secret[str]
    _headers: SecretFields
    _expires_at: datetime

    @property
    def url(self) -> str:
        """The plain URL. It is a credential: whoever has it can upload until it expires."""
        return self._url.reveal()

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the upload must carry, in lower case, `host` left out."""
        return dict(self._headers.reveal())

    @property
    def callback_param(self) -> dict[str, Any]:
        """What to submit as `callback_param`, so that the results writer knows the headers."""
        return {"s3_headers": self.headers} if self._headers.reveal() else {}

    @property
    def expires_at(self) -> datetime:
        """When the signature's time is over, in UTC."""
        return self._expires_at

    def __repr__(self) -> str:
        return f"PresignedPut({SecretURL(self.url)}, headers={self._headers}, expires_at={self.expires_at})"


@define(kw_only=True, repr=False, unsafe_hash=True)
class PresignedPost:
    """A presigned POST: a URL and the form's fields, as `generate_presigned_post` returns them."""

    _url: Secret[str]
    _fields: SecretFields
    _expires_at: datetime

    @property
    def url(self) -> str:
        """The plain URL of the bucket; no credential without the fields."""
        return self._url.reveal()

    @property
    def fields(self) -> dict[str, str]:
        """The plain fields, in the order in which the form holds them. They are a credential."""
        return dict(self._fields.reveal())

    @property
    def callback_param(self) -> dict[str, Any]:
        """What to submit as `callback_param`, so that the results writer knows the fields."""
        return {"s3_fields": self.fields}

    @property
    def expires_at(self) -> datetime:
        """When the policy's time is over, in UTC."""
        return self._expires_at

    def __repr__(self) -> str:
        return f"PresignedPost({SecretURL(self.url)}, fields={self._fields}, expires_at={self.expires_at})"
