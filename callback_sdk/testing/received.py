"""ReceivedRequest: one request as a server for tests got it."""

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
    """One request as it came in, and what became of it.

    Attributes:
        method: `"POST"` for one.
        path: Path and query; the query is not shown by repr, as it may be a credential.
        headers: Names in lower case, and their values.
        body: The bytes; empty when a fault came before them.
        port: Which port of the server it came to.
        status: HTTP status of the response; None when there was none.
        fault: What went wrong with it on purpose; None when nothing did.
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
        """Whether it was carried out; with `Fault.LOST_RESPONSE` the sender doesn't know."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def delivery_id(self) -> str | None:
        """The webhook's id, stable over the tries of one delivery; None when it is no webhook."""
        return self.headers.get("webhook-id")

    @property
    def document(self) -> Any:
        """The body, read as JSON."""
        return read_document(self.headers, self.body)


def read_document(headers: Mapping[str, str], body: bytes) -> Any:
    """Read JSON as it was sent, compressed or not.

    Args:
        headers: Names in lower case, and their values.
        body: The bytes.
    """
    return json.loads(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
