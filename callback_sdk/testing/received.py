"""ReceivedRequest: a request recorded by a local server for tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from callback_sdk.redaction import HIDDEN
from callback_sdk.testing.faults import Fault


def _without_query(path: str) -> str:
    place, question, _ = path.partition("?")
    return repr(place + (question + HIDDEN if question else ""))


@define(frozen=True, kw_only=True)
class ReceivedRequest:
    """A received request, and its response.

    Attributes:
        method: HTTP method, such as `"POST"`.
        path: Path and query. `repr` omits the query, because it may be a credential.
        headers: Values by name in lower case.
        body: Bytes of the body; empty if a fault was injected before they were read.
        port: Port of the server that received the request.
        status: HTTP status of the response; None if no response was sent.
        fault: The injected fault; None if there was none.
    """

    method: str
    path: str = field(repr=_without_query)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    port: int = 0
    status: int | None = None
    fault: Fault | None = None

    @property
    def accepted(self) -> bool:
        """Whether the request was carried out; with `Fault.LOST_RESPONSE` the sender doesn't know."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def delivery_id(self) -> str | None:
        """The `webhook-id`, the same for all attempts of a delivery; None for other requests."""
        return self.headers.get("webhook-id")

    @property
    def document(self) -> Any:
        """The body, parsed as JSON."""
        return read_document(self.headers, self.body)


def read_document(headers: Mapping[str, str], body: bytes) -> Any:
    """Parse a JSON body, and decompress it first if needed.

    Args:
        headers: Values by name in lower case.
        body: Bytes of the body.
    """
    return json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
