"""Explain error responses: the store's code and message, whether a retry may help, and what to do next."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import define

from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import HIDDEN, without_credentials
from callback_sdk.targets.upload import Upload
from callback_sdk.text.descriptions import sentence
from callback_sdk.text.escaping import escape
from callback_sdk.text.limits import MAX_MESSAGE
from callback_sdk.transport.causes import EXPIRY, SIGNATURE
from callback_sdk.transport.hints import Circumstances, find_hint
from callback_sdk.transport.response import Response
from callback_sdk.transport.retry import is_retryable, parse_retry_after
from callback_sdk.transport.status_hints import SESSION, status_hint
from callback_sdk.transport.store_hints import BY_MESSAGE, HINTS

_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.]+)\s*</Code>")
_STORE_ERROR = re.compile(rb"<Error(?:\s[^<>]{0,200})?>\s*<Code>\s*[A-Z][A-Za-z]+\s*</Code>")
"""The error document of an object store. Other XML has codes too, such as Twilio's numbers."""
_CODE_WORD = re.compile("[A-Za-z0-9_.]+")
_MESSAGE = re.compile(rb"<Message>([^<]+)")

_DETAILS = (
    # Google and Azure: the message proper is general.
    ("", re.compile(rb"<Details>([^<]+)")),
    ("", re.compile(rb"<AuthenticationErrorDetail>([^<]+)")),
    # Amazon: what the message is about.
    ("HeadersNotSigned", re.compile(rb"<HeadersNotSigned>([^<]+)")),
    ("Header", re.compile(rb"<Header>([^<]+)")),
    ("Condition", re.compile(rb"<Condition>([^<]+)")),
    ("Endpoint", re.compile(rb"<Endpoint>([^<]+)")),
)
"""Elements of an error document that say more than its message, with the label that they are shown with."""


_QUERY = re.compile(r"[?&]\S+")

_QUERY_IN_BODY = re.compile(r"[?&][^\s=?&]{1,200}=\S+")
"""A query in a whole document, which may have question marks and entities of HTML too."""

_SIGNATURE_HINTS = frozenset(hint.text for hint in SIGNATURE)

_EXPIRY_HINTS = frozenset({*(hint.text for hint in EXPIRY), SESSION})

_ANSWERS_ITSELF = frozenset({"http-put", "refresh", "webhook"})
"""Kinds whose servers have no error codes of object stores."""

MAX_SHOWN_BODY = 2000
"""Characters of a response's body that an error has."""

_MAX_SEARCHED = 16 * 1024
"""Bytes of a response's body that are searched for credentials."""

_MAX_CODE = 80
_MAX_MESSAGE = 400

_MAX_LINE = 200
"""Bytes of a body without markup that is shown as a message."""

_NEEDS_FIELDS = (
    "This is an object store, which was sent a webhook: give the complete presigned URL for a PUT, or "
    "callback_param={'s3_fields': fields} for a presigned POST."
)

_INVALID_DOCUMENT = frozenset({400, 422})
"""Statuses with which receivers of webhooks respond to a document that they don't take. The body says why."""


@define(frozen=True)
class _ErrorDocument:
    """What a store says in an error response.

    Attributes:
        code: Its error code; None if it has none.
        message: Its message; empty if it has none.
        detail: What its message is about; may be empty.
    """

    code: str | None = None
    message: str = ""
    detail: str = ""


def delivery_error(upload: Upload, response: Response) -> DeliveryError:
    """Return the error for a response.

    Args:
        upload: The request.
        response: The response, with a status that the upload doesn't accept.
    """
    document = _read(upload, response)
    code = document.code
    if code is not None and response.scrub(code, upload) != code:
        code = None
    retry_after = parse_retry_after(response.headers.get("retry-after"))
    status_text = f"{response.status} {code}" if code else str(response.status)
    message, hint = _message(upload, response, document), _hint(upload, response, code, document)
    return DeliveryError(
        sentence(f"{response.url} answered {status_text} to the {upload.method}{message and f': {message}'}"),
        hint=hint,
        url=str(response.url),
        status=response.status,
        code=code,
        retryable=is_retryable(response.status, code),
        expired=hint in _EXPIRY_HINTS,
        retry_after=None if retry_after is None else retry_after.total_seconds(),
        response_body=_body_excerpt(upload, response),
    )


def _read(upload: Upload, response: Response) -> _ErrorDocument:
    """Read an error document: XML, and of a store also JSON or a line of text.

    A webhook's text is its own: its words are not a store's.
    """
    body, header_code = response.decoded_body(), response.headers.get("x-ms-error-code")
    if upload.kind == "webhook":
        if header_code or _STORE_ERROR.search(body):
            return _read_xml(body, header_code)
        return _read_text(body) if response.status in _INVALID_DOCUMENT else _ErrorDocument()
    if body.lstrip()[:1] == b"{":
        return _read_json(body)
    if len(body) <= _MAX_LINE and b"<" not in body and body:
        # As OpenStack Swift and many servers of plain HTTP respond.
        return _ErrorDocument(message=" ".join(body.decode("utf-8", "replace").split()))
    return _read_xml(body, header_code)


def _read_text(body: bytes) -> _ErrorDocument:
    """Return the text of a receiver of webhooks as it is, and of a long one the messages: it may quote the document."""
    if body.lstrip()[:1] == b"<":
        # A page for browsers.
        return _ErrorDocument()
    if len(body) <= MAX_MESSAGE:
        return _ErrorDocument(message=" ".join(body.decode("utf-8", "replace").split()))
    members = _json_object(body)
    details = members.get("detail")
    # Pydantic's errors, which FastAPI responds with, quote the document.
    several = (
        [_plain(item.get("msg")) for item in details if isinstance(item, dict)] if isinstance(details, list) else []
    )
    text = next(filter(None, map(_plain, map(members.get, ("message", "error", "detail")))), "")
    return _ErrorDocument(message=text or "; ".join(filter(None, several)))


def _read_xml(body: bytes, header_code: str | None) -> _ErrorDocument:
    """Search an XML document, which is not parsed.

    A parser would expand entities of an untrusted document (billion laughs).

    Args:
        body: The document.
        header_code: The code in Azure's header, which comes without a document too.
    """
    if header_code:
        code = header_code[:_MAX_CODE] if header_code.isascii() and header_code.isalnum() else None
    else:
        match = _CODE.search(body)
        code = match[1].decode("ascii") if match and len(match[1]) <= _MAX_CODE else None
    return _ErrorDocument(code, _text(_MESSAGE.search(body)), _detail(body))


def _detail(body: bytes) -> str:
    for label, pattern in _DETAILS:
        if text := _text(pattern.search(body)):
            return f"({label}: {text})" if label else text
    return ""


def _text(match: re.Match[bytes] | None) -> str:
    # A long text isn't cut: scrub() wouldn't find the rest of a credential at the cut.
    if match is None or len(match[1]) > MAX_MESSAGE:
        return ""
    return " ".join(html.unescape(match[1].decode("utf-8", "replace")).split())


def _read_json(body: bytes) -> _ErrorDocument:
    """Read `{"code": ..., "message": ...}` of Backblaze, Oracle, Supabase and others.

    Google has it in `{"error": {...}}`, and Artifactory in `{"errors": [{...}]}`.
    """
    members = _members(_json_object(body))
    code = next((value for value in map(members.get, ("code", "error", "status")) if _is_code(value)), None)
    return _ErrorDocument(code, _plain(members.get("message")))


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        # Not JSON, cut off at the limit, an integer of thousands of digits, or nested deeply.
        return {}
    return found if isinstance(found, dict) else {}


def _members(found: Mapping[str, Any]) -> Mapping[str, Any]:
    several = found.get("errors")
    inner = several[0] if isinstance(several, list) and several else found.get("error")
    return inner if isinstance(inner, dict) else found


def _is_code(value: object) -> bool:
    # Google's "code" is the HTTP status, and Supabase's "error" may be a sentence.
    return (
        isinstance(value, str) and len(value) <= _MAX_CODE and bool(_CODE_WORD.fullmatch(value)) and not value.isdigit()
    )


def _plain(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) and len(value) <= MAX_MESSAGE else ""


def _message(upload: Upload, response: Response, document: _ErrorDocument) -> str:
    """Return the store's words without credentials: stores quote the request."""
    # Azure puts ids and the time at the end of its message.
    general, _, ids = document.message.partition(" RequestId:")
    text = " ".join(part for part in (general, document.detail, ids and f"RequestId:{ids}") if part)
    # Anything else that looks like a query is removed too.
    return escape(_QUERY.sub("?" + HIDDEN, response.scrub(text, upload))[:_MAX_MESSAGE])


def _body_excerpt(upload: Upload, response: Response) -> str:
    """Return the beginning of a response's body for people, without credentials.

    More than is shown is searched for credentials: one that the cut divided would not be found.
    """
    text = response.decoded_body()[:_MAX_SEARCHED].decode("utf-8", "replace").replace("\r\n", "\n").strip()
    found = without_credentials(response.scrub(text, upload), show_plain_queries=True)
    return escape(_QUERY_IN_BODY.sub("?" + HIDDEN, found)[:MAX_SHOWN_BODY], lines=True)[:MAX_SHOWN_BODY]


def _hint(upload: Upload, response: Response, code: str | None, document: _ErrorDocument) -> str:
    if upload.kind == "webhook" and code is not None:
        return _NEEDS_FIELDS
    if upload.kind in _ANSWERS_ITSELF:
        return status_hint(upload.kind, response.status)
    circumstances = Circumstances(
        kind=upload.kind,
        message=f"{document.message} {document.detail}".lower(),
        headers=frozenset(name.lower() for name in upload.headers.reveal()),
        host=response.url.host.lower(),
    )
    otherwise = "See the store's documentation of this code." if code else status_hint(upload.kind, response.status)
    hint = find_hint((*HINTS.get(code or "", ()), *BY_MESSAGE), circumstances) or otherwise
    assumed = upload.assumptions if hint in _SIGNATURE_HINTS else ()
    text = " ".join((*assumed, hint))
    # The document is read only for a hint that has its digest: it may be large.
    return text.replace("{md5}", upload.document.md5.hex()) if "{md5}" in text else text
