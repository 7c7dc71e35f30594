"""Workers and paused algorithms of a service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from attrs import define

from callback_sdk.client.connection import JSON, ServiceConnection
from callback_sdk.client.form import encode_value
from callback_sdk.client.responses import parse_response, unexpected_response
from callback_sdk.client.states import parse_moment, wire_form
from callback_sdk.documents.body import Body
from callback_sdk.documents.decoding import has_lone_surrogate
from callback_sdk.errors import InvalidRequestError
from callback_sdk.redaction import Secret
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLRepr


@define(frozen=True, kw_only=True)
class Worker(HTMLRepr):
    """A process that runs tasks.

    Attributes:
        name: Its unique name.
        status: `"starting"`, `"idle"`, `"busy"` if it runs as many tasks as it can, or `"lost"` without a heartbeat.
        host: Name of its machine.
        pid: Its process.
        package_version: Its version of callback_sdk.
        algorithms: Names of the algorithms that it takes tasks of.
        slots: Number of tasks that it runs at the same time.
        running: Number of its running tasks.
        started_at: Time of its start, in UTC.
        heartbeat_at: Time of its last heartbeat, in UTC.
    """

    name: str
    status: str
    host: str = ""
    pid: int = 0
    package_version: str = ""
    algorithms: tuple[str, ...] = ()
    slots: int = 0
    running: int = 0
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None

    def _html_fields(self) -> dict[str, Any]:
        return {name.replace("_", " "): getattr(self, name) for name in Worker.__annotations__}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Worker:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data[name] for name in cls.__annotations__ if name in data}
        times = {name: parse_moment(data.get(name)) for name in ("started_at", "heartbeat_at")}
        return cls(**members | times | {"algorithms": tuple(data.get("algorithms", ()))})


@define(frozen=True, kw_only=True)
class AlgorithmPause(HTMLRepr):
    """A paused algorithm: its queued tasks are not started.

    Attributes:
        algorithm: Its name.
        accept: Whether new tasks are accepted, and queued.
        reason: The reason; empty if none was given.
        paused_by: Name of the operator that paused it.
        paused_at: Time when it was paused, in UTC.
    """

    algorithm: str
    accept: bool = True
    reason: str = ""
    paused_by: str = ""
    paused_at: datetime | None = None

    def _html_fields(self) -> dict[str, Any]:
        return {name.replace("_", " "): getattr(self, name) for name in AlgorithmPause.__annotations__}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AlgorithmPause:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data[name] for name in cls.__annotations__ if name in data}
        return cls(**members | {"paused_at": parse_moment(data.get("paused_at"))})


class WorkersAPI:
    """The calls about workers and paused algorithms.

    Args:
        connection: Connection to the service.
    """

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    def workers(self) -> list[Worker]:
        """Return all workers."""
        return [parse_response("a worker", Worker.from_dict, one) for one in self._list("/workers")]

    def pauses(self) -> list[AlgorithmPause]:
        """Return the paused algorithms."""
        return [parse_response("a pause", AlgorithmPause.from_dict, one) for one in self._list("/pauses")]

    def pause(self, algorithm_id: str, *, accept: bool, reason: str) -> AlgorithmPause:
        """Pause an algorithm."""
        body = Body(encode_value("pause", Secret({"accept": accept, "reason": reason})).reveal())
        data = self._connection.request(
            "PUT", _path(algorithm_id), repeatable=True, body=body, content_type=JSON
        ).data  # fmt: skip
        return parse_response("a pause", AlgorithmPause.from_dict, data)

    def resume(self, algorithm_id: str) -> None:
        """Resume a paused algorithm."""
        self._connection.request("DELETE", _path(algorithm_id), repeatable=True)

    def _list(self, path: str) -> list[Any]:
        data = self._connection.request("GET", path).data
        if not isinstance(data, list):
            raise unexpected_response("a list")
        return data


def _path(algorithm_id: str) -> str:
    if not isinstance(algorithm_id, str) or not algorithm_id or has_lone_surrogate(algorithm_id):
        raise InvalidRequestError(f"algorithm_id is {short_repr(algorithm_id)}.", hint="Give the id of an algorithm.")
    return f"/algorithms/{quote(algorithm_id, safe='')}/pause"
