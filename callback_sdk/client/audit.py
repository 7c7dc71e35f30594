"""The audit log of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import define, field

from callback_sdk.client.connection import ServiceConnection
from callback_sdk.client.pages import list_entries
from callback_sdk.client.states import parse_moment, wire_form
from callback_sdk.documents.decoding import has_lone_surrogate
from callback_sdk.errors import InvalidRequestError
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLRepr


@define(frozen=True, kw_only=True)
class AuditRecord(HTMLRepr):
    """An entry of the audit log.

    Attributes:
        at: Time of the action, in UTC.
        action: Name of the action.
        actor: Name of the user who acted; None for commands on the machine of the service.
        owner: Name of the user whose task or account it was; None for what belongs to nobody.
        job_id: The task; None without one.
        via: `"api"`, `"pages"`, `"command"` or `"serve"`.
        address: Address of the client; None if there is none.
        facts: Further facts.
    """

    at: datetime | None
    action: str
    actor: str | None = None
    owner: str | None = None
    job_id: str | None = None
    via: str | None = None
    address: str | None = None
    facts: Mapping[str, Any] = field(factory=dict)

    def _html_fields(self) -> dict[str, Any]:
        return {name.replace("_", " "): getattr(self, name) for name in AuditRecord.__annotations__}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AuditRecord:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data[name] for name in cls.__annotations__ if name in data}
        return cls(**members | {"at": parse_moment(data.get("at"))})


def find_records(
    connection: ServiceConnection, query: Mapping[str, str | None], limit: int | None
) -> Iterator[AuditRecord]:
    """Iterate over entries of the audit log, the newest first.

    Raises:
        InvalidRequestError: A text is of another type, or has a lone surrogate.
    """
    given = {name: text for name, text in query.items() if text is not None}
    for name, text in given.items():
        if not isinstance(text, str) or has_lone_surrogate(text):
            raise InvalidRequestError(f"{name} is {short_repr(text)}.", hint="Give a string, or None.")
    return list_entries(connection, "/audit", "entries", given, limit=limit, parse=AuditRecord.from_dict)
