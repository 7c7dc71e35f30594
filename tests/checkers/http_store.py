"""An HTTP server on loopback for stand-ins of object stores: it asks a store about each request, and keeps nothing."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote

from attrs import define, field


class Refusal(Exception):
    """What the store answers: a status and a code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


@define(frozen=True)
class Answer:
    """A response without a body.

    Attributes:
        status: HTTP status.
        headers: Names and values.
    """

    status: int
    headers: dict[str, str] = field(factory=dict)


@define(frozen=True)
class Request:
    """A request as it came in.

    Attributes:
        path: The path as it stood in the request line.
        query: The query as it stood there.
        headers: Names in lower case.
        body: The bytes.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def parameters(self) -> dict[str, str]:
        """Return the query's parameters, decoded. If a name is repeated, its first value counts."""
        return dict(reversed(parse_qsl(self.query, keep_blank_values=True)))

    def form(self) -> tuple[dict[str, str], bytes]:
        """Return the fields before the file, and the file; stores ignore what comes after it."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        fields: dict[str, str] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if name == "file":
                return fields, content
            fields[str(name)] = content.decode()
        raise Refusal(400, "InvalidArgument")


class Store(Protocol):
    """What the server needs of a store."""

    endpoint: str

    def take(self, request: Request) -> int | Answer:
        """Check a request, keep what it brings, and return the status, or the response."""


S = TypeVar("S", bound=Store)


def key(fields: Mapping[str, str]) -> str:
    """Return the key of a form, whose fields have names in any letter case."""
    return next(value for name, value in fields.items() if name.lower() == "key")


def whole_number(text: str) -> int:
    """Return a number of seconds, which has digits only and is one of this millennium."""
    if not re.fullmatch("[0-9]{1,12}", text):
        raise Refusal(400, "InvalidArgument")
    return int(text)


def compact_time(text: str) -> datetime:
    """Return a time such as 20300131T120000Z."""
    if text != text.upper():
        raise Refusal(400, "InvalidArgument")
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def policy_document(policy: str) -> dict[str, Any]:
    """Return the policy of a form."""
    document = json.loads(base64.b64decode("".join(policy.splitlines()), validate=True).decode())
    if not isinstance(document, dict) or not isinstance(document.get("conditions"), list):
        raise Refusal(400, "InvalidPolicyDocument")
    return document


def expiration(document: Mapping[str, Any]) -> datetime:
    """Return the expiration of a policy, which is a time of ISO 8601 with its time zone."""
    # Python 3.10 parses three or six digits of a fraction only, and no "Z".
    match = re.fullmatch(r"([0-9-]{10}T[0-9:]{8})(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", str(document["expiration"]))
    if match is None:
        raise Refusal(400, "InvalidPolicyDocument")
    return datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))


def rules(conditions: list[Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield operator, name and value of each condition; for a range, operator and its two numbers."""
    for condition in conditions:
        if isinstance(condition, dict):
            yield from (("eq", name.lower(), value) for name, value in condition.items())
            continue
        operator, first, second = condition
        if operator.lower() == "content-length-range":
            yield "content-length-range", str(int(first)), int(second)
        elif not first.startswith("$"):
            raise Refusal(400, "InvalidPolicyDocument")
        else:
            yield operator.lower(), first.removeprefix("$").lower(), second


class SignedStore:
    """A store that verifies the signatures of PUTs and of forms, and keeps what they bring.

    Attributes:
        objects: What was taken, by bucket and name.
        endpoint: URL of the store.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.endpoint = ""

    def take(self, request: Request) -> int:
        """Check a request, keep what it brings, and return the status."""
        now = datetime.now(timezone.utc)
        place = self.resource(request)
        if request.method == "PUT":
            self.check_put(request, now)
            self.objects[place.lstrip("/")] = request.body
            return 200
        bucket, (fields, file) = place.strip("/"), request.form()
        self.check_form(bucket, fields, len(file), now)
        self.objects[f"{bucket}/{key(fields)}"] = file
        return int(fields.get("success_action_status", 204))

    def resource(self, request: Request) -> str:
        """Return bucket and object, decoded."""
        return unquote(request.path)

    def check_put(self, request: Request, now: datetime) -> None:
        """Compare a PUT with the signature in its query.

        Raises:
            Refusal: It is not what was signed.
        """
        raise NotImplementedError

    def check_form(self, bucket: str, fields: Mapping[str, str], size: int, now: datetime) -> None:
        """Compare a form with its policy, and the policy with its signature.

        Raises:
            Refusal: It is not what was signed.
        """
        raise NotImplementedError


@contextmanager
def running(store: S) -> Iterator[S]:
    """Run a store in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        own: dict[str, str] = {}
        try:
            taken, answer = self.store.take(Request(self.command, path, query, headers, body)), b""
            status, own = (taken.status, taken.headers) if isinstance(taken, Answer) else (taken, {})
        except Refusal as refusal:
            status, answer = refusal.status, f"<Error><Code>{refusal.code}</Code></Error>".encode()
        except (AttributeError, LookupError, TypeError, ValueError):
            # A store's rule has found no parameter, or one that it can't parse.
            status, answer = 400, b"<Error><Code>InvalidArgument</Code></Error>"
        self.send_response(status)
        for name, value in own.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_DELETE = do_PUT

    def log_message(self, *args: object) -> None:
        """Keep quiet."""
