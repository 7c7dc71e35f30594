"""The members of `callback_param` that say how to deliver.

These are `s3_fields`, `s3_headers`, `s3_parts`, `http`, `webhook` and `refresh`. They hold credentials, and are not
part of the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from callback_sdk.errors import CallbackParamError, InvalidS3FieldsError, MissingS3FieldsError, TargetError
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.named_values import by_name, join_values, not_text
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.limits import MAX_FIELDS, MAX_FORM, MAX_HEADERS, MAX_HEADERS_SIZE

FIELDS = "s3_fields"
"""Member with the form fields of a presigned POST."""

HEADERS = "s3_headers"
"""Member with the headers that a presigned PUT signed."""

PARTS = "s3_parts"
"""Member with the URLs of a multipart upload."""

HTTP = "http"
"""Member that asks for a PUT to any HTTP server, with the headers of the request."""

WEBHOOK = "webhook"
"""Member that asks for a webhook, with secrets and headers of its own; `webhook_options` reads it."""

REFRESH = "refresh"
"""Member with the issuer that is asked for a new target when this one has expired; `issuer` reads it."""

S3_PREFIX = "s3_prefix"
"""Member that says that a form takes output files, and how the document is named among them."""

AZURE_PREFIX = "azure_prefix"
"""The same for a shared access signature of a container or a directory."""

EVENTS = "events"
"""Member with the events that a target subscribes to; `events` reads it."""

MEMBERS = frozenset({FIELDS, HEADERS, PARTS, HTTP, WEBHOOK, REFRESH, S3_PREFIX, AZURE_PREFIX, EVENTS})
"""All of them."""

MEMBERS_BEFORE_EVENTS = MEMBERS - {EVENTS}
"""Those of versions without events: in targets that they have stored, `events` is a part of the document."""

STARTED = "started"
"""Event: a run of the job has started."""

PROGRESS = "progress"
"""Event: the job has reported progress."""

COMPLETED = "completed"
"""Event: the job has ended. Its document is the result document."""

SUCCEEDED = "succeeded"
"""The same, if the job has results."""

FAILED = "failed"
"""The same, if the job has failed or was canceled."""

EVENT_NAMES = (STARTED, PROGRESS, COMPLETED, SUCCEEDED, FAILED)
"""All events."""

EARLY_EVENTS = frozenset({STARTED, PROGRESS})
"""Events before the end."""

DEFAULT_EVENTS = frozenset({COMPLETED})
"""Events of a target without the member."""

WEBHOOK_HINT = f'If it is the URL of a webhook, add "{WEBHOOK}": true to its callback_param.'
"""Advice on a URL that looks like a signed one."""

SIGNATURE_FIELDS = frozenset(
    {
        *("signature", "x-amz-signature", "x-goog-signature", "x-oss-signature", "q-signature", "x-tos-signature"),
        "x-kss-signature",
    }
)
"""Form fields with a signature of the policy, in lower case."""


def read_fields(url: SecretURL, param: Secret[Any]) -> SecretFields:
    """Return `s3_fields`.

    Raises:
        MissingS3FieldsError: It has no fields, or is empty.
        InvalidS3FieldsError: It can't be the fields of a form.
    """
    given = Secret(param.reveal()[FIELDS])
    fields = by_name(given)
    if fields is None or not fields.reveal():
        found = "empty" if _is_empty(given.reveal()) else type_with_article(given)
        raise MissingS3FieldsError(
            f"s3_fields of {url} is {found}.",
            hint='Give the dict that generate_presigned_post returned as "fields". For a presigned PUT URL leave '
            "s3_fields out.",
            url=str(url),
        )
    if "fields" in fields.reveal() and isinstance(fields.reveal()["fields"], Mapping):
        raise InvalidS3FieldsError(
            f"s3_fields of {url} is the whole return value of generate_presigned_post.",
            hint='Give its "fields" only: {"s3_fields": response["fields"]}.',
            url=str(url),
        )
    return named_strings(url, _FORM, fields)


def _is_empty(given: Any) -> bool:
    return given is None or (isinstance(given, (Mapping, list, str)) and not given)


def read_headers(url: SecretURL, param: Secret[Any]) -> SecretFields:
    """Return `s3_headers`, by their names in lower case.

    Raises:
        CallbackParamError: It is not a dict of headers.
    """
    given = Secret(param.reveal()[HEADERS])
    headers = by_name(given)
    if headers is None:
        raise CallbackParamError(
            f"s3_headers of {url} is {type_with_article(given)}, not a dict.",
            hint="Give a dict from the names of the signed headers to their values.",
            url=str(url),
        )
    return by_lower_name(named_strings(url, _PUT, join_values(headers)))


def read_http(url: SecretURL, param: Secret[Any]) -> SecretFields:
    """Return the headers of `http`, by their names in lower case.

    Raises:
        CallbackParamError: It doesn't describe a PUT.
    """
    request = Secret(param.reveal()[HTTP])
    if (problem := _http_problem(request)) is not None:
        raise CallbackParamError(
            f"http of {url} {problem}.",
            hint='Give {"http": {"method": "PUT", "headers": {...}}}, with a string for each header. For a webhook, '
            "which is a POST, leave http out.",
            url=str(url),
        )
    return by_lower_name(named_strings(url, _HTTP, Secret(request.reveal().get("headers") or {})))


def _http_problem(request: Secret[Any]) -> str | None:
    """Return why `http` doesn't describe a PUT, as it completes a sentence; None if it does."""
    if not isinstance(request.reveal(), Mapping):
        return f"is {type_with_article(request)}, not a dict"
    if unknown := [name for name in request.reveal() if name not in ("method", "headers")]:
        return f"has a member {short_repr(unknown[0])}; it takes method and headers"
    if "method" not in request.reveal():
        return "has no method"
    if request.reveal()["method"] != "PUT":
        return f"has the method {short_repr(request.reveal()['method'])}, not 'PUT'"
    headers = Secret(request.reveal().get("headers"))
    if headers.reveal() is not None and not isinstance(headers.reveal(), Mapping):
        return f"has headers that are {type_with_article(headers)}, not a dict"
    return None


@define(frozen=True, kw_only=True, eq=False, repr=False)
class Member:
    """A member of `callback_param` with names and values.

    Attributes:
        name: The member.
        max_count: Maximum number of values.
        max_characters: Maximum characters of names and values together.
        error: Class of the error for an invalid one.
    """

    name: str
    max_count: int
    max_characters: int
    error: type[TargetError]


_FORM = Member(name=FIELDS, max_count=MAX_FIELDS, max_characters=MAX_FORM, error=InvalidS3FieldsError)
_PUT = Member(name=HEADERS, max_count=MAX_HEADERS, max_characters=MAX_HEADERS_SIZE, error=CallbackParamError)
_HTTP = Member(name=HTTP, max_count=MAX_HEADERS, max_characters=MAX_HEADERS_SIZE, error=CallbackParamError)


def named_strings(url: SecretURL, member: Member, values: Secret[Any]) -> SecretFields:
    """Return the values of a member as strings.

    Raises:
        TargetError: There are too many, or one is neither a string nor a number; of the class `member.error`.
    """
    if len(values.reveal()) > member.max_count:
        raise _too_large(url, member, f"{len(values.reveal())} members; {member.max_count} are allowed")
    for name in not_text(values):
        raise member.error(
            f"{member.name} of {url} has a member {short_repr(name)} that is neither a string nor a number.",
            hint="Pass the values unchanged, as the signer returned them.",
            url=str(url),
        )
    strings = SecretFields({name: str(value) for name, value in values.reveal().items()})
    size = sum(len(name) + len(value) for name, value in strings.reveal().items())
    if size > member.max_characters:
        raise _too_large(url, member, f"{size} characters; {member.max_characters} are allowed")
    return strings


def by_lower_name(headers: SecretFields) -> SecretFields:
    """Return headers by their names in lower case."""
    return SecretFields({name.lower(): value for name, value in headers.reveal().items()})


def _too_large(url: SecretURL, member: Member, problem: str) -> TargetError:
    return member.error(
        f"{member.name} of {url} has {problem}.",
        hint="Pass the values that the signer returned, and nothing else; results belong into the document.",
        url=str(url),
    )


def type_with_article(value: Secret[Any]) -> str:
    """Return the name of a value's type, with its article."""
    name = type(value.reveal()).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
