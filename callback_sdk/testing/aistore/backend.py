"""Presigned requests that the fake AIStore passes to the store behind it, as AIStore does to Amazon S3."""

from __future__ import annotations

import contextlib
import http.client
from urllib.parse import parse_qsl, urlsplit

from callback_sdk.testing.aistore.responses import xml_error
from callback_sdk.testing.faults import FaultResponse
from callback_sdk.testing.received import ReceivedRequest

_STYLE = "ais-s3-signed-request-style"
_UPSTREAM_SECONDS = 60
_TO_THE_NEXT_HOP = frozenset({"connection", "expect", "keep-alive", "te", "transfer-encoding", "upgrade"})
_NOT_UPSTREAM = _TO_THE_NEXT_HOP | {"authorization", "content-length", "host"}
_OUR_OWN = _TO_THE_NEXT_HOP | {"date", "server"}


def is_presigned(query: str) -> bool:
    """Tell whether a query has a signature of AWS, version 4."""
    return "X-Amz-Signature=" in query


def pass_on(request: ReceivedRequest, path: str, query: str, endpoint_url: str) -> FaultResponse:
    """Send a presigned request to the store as it was signed for Amazon S3, and return the response.

    Args:
        request: The request.
        path: Its path without `/s3`.
        query: Its query without AIStore's own parameters.
        endpoint_url: URL of the store.
    """
    host, path = _rebuild_signed(path, query, request.headers.get(_STYLE, "virtual-hosted"))
    behind = urlsplit(endpoint_url)
    connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=_UPSTREAM_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.putrequest(request.method, f"{path}?{query}", skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name not in _NOT_UPSTREAM:
                    connection.putheader(name, value)
            connection.putheader("Host", host)
            connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return xml_error(502, "BadGateway", f"The store did not respond: {type(error).__name__}.")
    kept = {name: value for name, value in response.getheaders() if name.lower() not in _OUR_OWN}
    return FaultResponse(status=response.status, headers=kept, body=body)


def _rebuild_signed(path: str, query: str, style: str) -> tuple[str, str]:
    """Return host and path of Amazon S3 that AIStore rebuilds for a presigned request."""
    region = dict(parse_qsl(query))["X-Amz-Credential"].split("/")[2]
    if style == "path":
        return f"s3.{region}.amazonaws.com", path
    bucket, _, key = path.removeprefix("/").partition("/")
    return f"{bucket}.s3.{region}.amazonaws.com", f"/{key}"
