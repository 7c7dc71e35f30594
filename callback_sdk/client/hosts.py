"""Hosts that a service delivers to: their circuits, pauses and limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from attrs import define

from callback_sdk.client.connection import JSON, ServiceConnection
from callback_sdk.client.form import encode_value
from callback_sdk.client.responses import parse_response
from callback_sdk.client.states import parse_moment, wire_form
from callback_sdk.documents.body import Body
from callback_sdk.redaction import Secret
from callback_sdk.text.html import HTMLList, HTMLRepr

_TIMES = ("since", "retry_at", "held_since")


@define(frozen=True, kw_only=True)
class Host(HTMLRepr):
    """A host that deliveries go to.

    Attributes:
        host: Scheme, host and port, such as `https://example.org`.
        state: `"closed"` if the host works; `"open"` while its deliveries are held because it failed, `"half-open"`
            while one of them tests it; `"paused"` while an operator has paused it.
        failures: Transient failures in a row.
        since: Since when it is open or paused, in UTC; None if it is neither.
        retry_at: When a delivery tests the host, in UTC; None if its circuit isn't open.
        paused_by: Name of the operator who paused it.
        last_error: The last transient failure; None without one.
        max_concurrency: Maximum number of deliveries at a time; None for that of the service.
        max_rate: Maximum number of deliveries per second; None for that of the service.
        held: Number of deliveries that wait for it.
        held_since: Since when the oldest of them waits, in UTC; None without any.
        running: Number of running deliveries.
    """

    host: str
    state: str = "closed"
    failures: int = 0
    since: datetime | None = None
    retry_at: datetime | None = None
    paused_by: str | None = None
    last_error: str | None = None
    max_concurrency: int | None = None
    max_rate: float | None = None
    held: int = 0
    held_since: datetime | None = None
    running: int = 0

    def _html_fields(self) -> dict[str, Any]:
        return {name.replace("_", " "): getattr(self, name) for name in Host.__annotations__}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Host:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data[name] for name in cls.__annotations__ if name in data}
        return cls(**members | {name: parse_moment(data.get(name)) for name in _TIMES})


@define(frozen=True, kw_only=True)
class DisabledWebhook(HTMLRepr):
    """A webhook that responded with 410 Gone, so that nothing is sent to it.

    Attributes:
        url: Its URL without credentials.
        host: Scheme, host and port.
        since: Time of that response, in UTC.
    """

    url: str
    host: str
    since: datetime | None = None

    def _html_fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in DisabledWebhook.__annotations__}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DisabledWebhook:
        """Parse the JSON form; unknown members are ignored."""
        return cls(url=data["url"], host=data["host"], since=parse_moment(data.get("since")))


class HostsAPI:
    """The calls about hosts.

    Args:
        connection: Connection to the service.
    """

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    def all(self) -> tuple[list[Host], list[DisabledWebhook]]:
        """Return the hosts that fail, are paused or limited, or have held deliveries, and the disabled webhooks."""
        data = self._connection.request("GET", "/hosts").data
        return parse_response("hosts", _parse_list, data)

    def change(self, action: str, host: str, **values: Any) -> list[Host]:
        """Pause, resume or limit hosts, and return them.

        Args:
            action: `"pause"`, `"resume"` or `"limit"`.
            host: A URL of the host, or its name.
            **values: Further members of the request.
        """
        body = Body(encode_value("host", Secret({"host": host, **values})).reveal())
        data = self._connection.request(
            "POST", f"/hosts/{action}", repeatable=True, body=body, content_type=JSON
        ).data  # fmt: skip
        return parse_response("hosts", partial(_parse_hosts), data)


def _parse_list(data: Mapping[str, Any]) -> tuple[list[Host], list[DisabledWebhook]]:
    return _parse_hosts(data), HTMLList(DisabledWebhook.from_dict(one) for one in data["disabled_webhooks"])


def _parse_hosts(data: Mapping[str, Any]) -> list[Host]:
    return HTMLList(Host.from_dict(one) for one in data["hosts"])
