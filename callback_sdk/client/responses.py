"""Responses of the service, and missing ones: JSON, or a typed error."""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Callable
from http.client import BadStatusLine
from typing import Any, TypeVar

import orjson
import requests
from attrs import define, field

from callback_sdk.documents.decoding import decode
from callback_sdk.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ResponseTooLargeError,
    ServiceConnectionError,
    ServiceError,
)
from callback_sdk.redaction import Secret, strip_traceback, without_credentials
from callback_sdk.text.descriptions import sentence
from callback_sdk.text.quoted_secrets import without_secrets
from callback_sdk.transport.connection_errors import NO_TLS
from callback_sdk.transport.response import TLS_RECORDS
from callback_sdk.transport.retry import parse_retry_after

T = TypeVar("T")

_MAX_MESSAGE = 1000

_NOTHING: Secret[tuple[str, ...]] = Secret(())

_API = "/api/v2"
_WRONG_PATH = frozenset({404, 405})
_WRONG_URL = "Check that the URL points to the service's API, such as http://127.0.0.1:8000/api/v2."

_ERRORS: dict[int, type[ServiceError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
}

_HINTS = {
    401: "Check the token: Client(token=...) or CALLBACK_SDK_TOKEN. The token of a local service is in the file "
    "`token` of the data directory of `callback-sdk serve`.",
    403: "The token has no permission for this request; ask the service's operator.",
    404: "Check the name or the id, and that the URL points to the right service.",
    413: "Send fewer rows, write them as Parquet, or have the operator raise the limit on the body's size.",
    422: "Fix the cause and try again; nothing was changed.",
    429: "Wait, or submit fewer tasks at a time.",
    502: "A proxy can't reach the service: check that `callback-sdk serve` is running.",
    503: "Try again later.",
    504: "Try again later, or ask the operator for a longer timeout of the proxy.",
}


@define(frozen=True)
class ServiceResponse:
    """The service's response to one request.

    Attributes:
        data: The decoded JSON, or the bytes of a file.
        request_id: Id of the request, given by the service.
    """

    data: Any = field(repr=False)
    request_id: str | None = None


def read(
    response: requests.Response,
    content: bytes,
    url: str,
    hidden: Secret[tuple[str, ...]],
    *,
    as_file: bool = False,
) -> ServiceResponse:
    """Read a response.

    Args:
        response: The response.
        content: Its content, decompressed.
        url: URL of the service, for errors.
        hidden: Strings to remove from errors, because the service might quote them.
        as_file: Whether to return the bytes without decoding them.

    Raises:
        ServiceError: The response is an error, or not JSON.
    """
    facts = _ResponseFacts(response, content, hidden)
    if 200 <= response.status_code < 300:
        return ServiceResponse(content if as_file else _json(content, url, facts), facts.request_id)
    raise _refusal(facts, url)


@define(frozen=True)
class _ResponseFacts:
    """The texts of a response for errors: printable, truncated, and without credentials.

    No other function reads headers or the reason phrase, because a server or a proxy may quote the token in them.
    """

    _response: requests.Response = field(repr=False)
    _content: bytes = field(repr=False)
    _hidden: Secret[tuple[str, ...]]

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def reason(self) -> str:
        """The error message of the service, or the text of a proxy's HTML page."""
        return _scrub(_message(self._content), self._hidden) or _scrub(_utf8(self._response.reason or ""), self._hidden)

    @property
    def nothing_accepted(self) -> bool:
        """Whether the service says that it accepted nothing of the request."""
        return _object(self._content).get("accepted") is False

    @property
    def request_id(self) -> str | None:
        return self._header("X-Request-ID")[:200] or None

    @property
    def content_type(self) -> str:
        return self._header("Content-Type")[:100]

    @property
    def retry_after(self) -> str | None:
        return self._header("Retry-After") or None

    def _header(self, name: str) -> str:
        return _scrub(_utf8(self._response.headers.get(name, "")), self._hidden)


def _utf8(text: str | bytes) -> str:
    """Decode a header as UTF-8 if possible; http.client decodes all headers as Latin-1."""
    data = text if isinstance(text, bytes) else text.encode("latin-1", "replace")
    return data.decode("utf-8", "replace")


def _scrub(text: str, hidden: Secret[tuple[str, ...]]) -> str:
    # Removed before the text is truncated, because a part of a token is a credential too.
    return without_credentials(_printable(without_secrets(text, hidden.reveal())))[:_MAX_MESSAGE]


def _json(content: bytes, url: str, facts: _ResponseFacts) -> Any:
    try:
        return decode(content)
    except ValueError as error:
        reason = _printable(str(error))
    kind = facts.content_type or "a body without a Content-Type"
    is_json = kind.partition(";")[0].strip().lower() == "application/json"
    raise ServiceError(
        f"{url} answered {facts.status} with {kind} that can't be read as JSON: {reason}.",
        hint="Read the result from its target." if is_json else _url_hint(url) or _WRONG_URL,
        status=facts.status,
        request_id=facts.request_id,
    )


def _object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a response; an empty dict for any other content."""
    try:
        data = orjson.loads(content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _message(content: bytes) -> str:
    data = _object(content)
    errors = data.get("error") or data.get("errors") or data.get("detail") or ""
    texts = errors if isinstance(errors, list) else [errors]
    return "; ".join(text if isinstance(text, str) else orjson.dumps(text).decode() for text in texts)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _url_hint(url: str) -> str:
    """Return how to correct the service's URL if it doesn't end like one; empty if it does."""
    root, api, _ = url.partition("/api")
    if url.endswith(_API):
        return ""
    return f"The URL of the API ends in {_API}: try {root if api else url}{_API}."


def _refusal(facts: _ResponseFacts, url: str) -> ServiceError:
    status = facts.status
    if status < 400:
        return ServiceError(
            f"The service answered {status}: a redirect, which is not followed, because it would disclose the token.",
            hint="Give the client the final URL of the API, with the right scheme (http or https).",
            status=status,
            request_id=facts.request_id,
        )
    kind = _ERRORS.get(status, InvalidRequestError if status < 500 else ServiceError)
    reason = sentence(facts.reason or "no reason given")
    delay = parse_retry_after(facts.retry_after)
    known = f" The request id is {facts.request_id}." if facts.request_id and status >= 500 else ""
    return kind(
        f"The service answered {status}: {reason}{known}",
        hint=(_url_hint(url) if status in _WRONG_PATH else "")
        or _HINTS.get(status, "Try again later, and inform the service's operator." if status >= 500 else ""),
        status=status,
        request_id=facts.request_id,
        retry_after=None if delay is None else delay.total_seconds(),
        nothing_accepted=facts.nothing_accepted,
    )


_HINTS_OF_EXCEPTIONS: tuple[tuple[type[requests.RequestException], str], ...] = (
    (
        requests.exceptions.ProxyError,
        "Check HTTP_PROXY and HTTPS_PROXY, or name the service's host in NO_PROXY.",
    ),
    (
        requests.exceptions.SSLError,
        "Check the certificate; REQUESTS_CA_BUNDLE names a bundle with your own CA certificates.",
    ),
    (
        requests.exceptions.ConnectTimeout,
        "Check the host and the network; connect_timeout= sets a longer timeout.",
    ),
    (
        requests.exceptions.InvalidSchema,
        "SOCKS proxies need PySocks: pip install 'requests[socks]'. Or use an HTTP proxy: HTTP_PROXY, HTTPS_PROXY.",
    ),
    (requests.exceptions.ReadTimeout, "The service may be busy; timeout= sets a longer read timeout."),
    (
        requests.exceptions.ConnectionError,
        "Check that the service is running and that the URL is correct. `callback-sdk serve` starts one.",
    ),
    (requests.exceptions.ChunkedEncodingError, "The response was truncated; try again."),
)


def unreachable(
    error: Exception,
    url: str,
    key: str | None = None,
    *,
    may_be_accepted: bool,
    hidden: Secret[tuple[str, ...]] = _NOTHING,
) -> ServiceConnectionError:
    """Return the error for a request without a response. Its cause has no frames, because their locals have the token.

    A cause that quotes a credential is omitted; a malformed status line or the URL of a proxy may contain one.

    Args:
        error: The error of requests or a library below it.
        url: URL of the service.
        key: The request's idempotency key.
        may_be_accepted: Whether the service may have accepted a task, because it may have received a POST.
        hidden: Strings to remove from the error.
    """
    root = _root(error)
    hint = next((hint for kind, hint in _HINTS_OF_EXCEPTIONS if isinstance(error, kind)), "Try again.")
    if _speaks_no_tls(root):
        hint = "Give a URL with http://, or the port for https: the server doesn't use TLS at this port."
    elif _speaks_tls(root):
        hint = "Give a URL with https://, or the port for http: the server uses TLS at this port."
    elif url.startswith("http://") and isinstance(root, ConnectionResetError):
        # Some TLS servers close a plaintext connection without an alert.
        hint = f"{hint} If this port speaks TLS, use https://."
    failure = ServiceConnectionError(f"No answer from {url}: {sentence(_describe(root, hidden))}")
    if may_be_accepted:
        failure.idempotency_key = key
        failure.add_hint(*acceptance_hints(key))
        failure.add_hint("If the features are large, they may exceed the service's limit.")
    failure.add_hint(hint)
    failure.__cause__ = None if _quotes_credential(root, hidden) else strip_traceback(root)
    return failure


def parse_response(what: str, read: Callable[..., T], *arguments: Any) -> T:
    """Parse a part of a response.

    Args:
        what: Expected content, for the error.
        read: Parser.
        *arguments: Arguments of the parser.

    Raises:
        ServiceError: The part has another form.
    """
    try:
        return read(*arguments)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unexpected_response(what) from None


def unexpected_response(what: str) -> ServiceError:
    """Return the error for a response with unexpected content."""
    return ServiceError(
        f"The service's response is not {what}.",
        hint="Check that the URL points to the API (…/api/v2) and that client and service versions match.",
    )


def may_be_accepted(error: ServiceError) -> bool:
    """Return whether the task may have been accepted: the service failed, or its 2xx response can't be read."""
    if error.nothing_accepted:
        return False
    status = error.status
    return isinstance(error, ResponseTooLargeError) or (status is not None and (status < 300 or status >= 500))


def acceptance_hints(key: str | None, what: str = "The task") -> tuple[str, str]:
    """Return the hints, in Python and on the command line, for a submission that may have been accepted.

    Args:
        key: The idempotency key that a repeated submission needs; None if the service doesn't know such keys.
        what: Subject of the sentence.
    """
    problem = f"{what} may have been accepted nevertheless"
    if key is None:
        hint = f"{problem}: look for its result before you submit it again."
        return hint, hint
    return (
        f'{problem}; the same call with idempotency_key="{key}" creates no duplicate.',
        f"{problem}; the same command with --idempotency-key {shlex.quote(key)} creates no duplicate.",
    )


def _root(error: BaseException) -> BaseException:
    """Return the innermost cause. The errors around it repeat its message, and refer to the request."""
    inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
    if not isinstance(inner, BaseException):
        inner = next((part for part in error.args if isinstance(part, BaseException)), None)
    if inner is None:
        return error
    return _root(inner)


def _speaks_no_tls(root: BaseException) -> bool:
    return isinstance(root, ssl.SSLError) and root.reason in NO_TLS


def _speaks_tls(root: BaseException) -> bool:
    return isinstance(root, BadStatusLine) and str(root.args[0])[:2].encode("latin-1", "replace") in TLS_RECORDS


def _describe(root: BaseException, hidden: Secret[tuple[str, ...]]) -> str:
    text = getattr(root, "strerror", None) or str(root) or type(root).__name__
    return _scrub(str(text), hidden)[:200]


def _quotes_credential(root: BaseException, hidden: Secret[tuple[str, ...]]) -> bool:
    # The attributes too: BadStatusLine has the line, and LocationParseError the location.
    text = _printable(f"{root!s} {root!r} {vars(root)}")
    return without_credentials(without_secrets(text, hidden.reveal())) != text
