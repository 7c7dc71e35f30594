"""Deliveries of many tasks: finds them by a filter, and redelivers them in bulk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from time import monotonic, sleep
from typing import Any, cast

from attrs import define

from callback_sdk.client.connection import JSON, ServiceConnection
from callback_sdk.client.form import encode_value
from callback_sdk.client.pages import list_entries
from callback_sdk.client.responses import parse_response
from callback_sdk.client.states import parse_moment, wire_form
from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidRequestError
from callback_sdk.models import DeliveryFilter
from callback_sdk.redaction import Secret
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLRepr
from callback_sdk.types import DeliveryStatus

_BULK_PAGE = 500
"""Maximum deliveries that a request redelivers: for each page, the service goes through all that the filter selects."""


@define(frozen=True, kw_only=True)
class ListedDelivery(HTMLRepr):
    """A delivery in a list of deliveries of several tasks.

    Attributes:
        delivery_id: Id of the delivery.
        job_id: Its task.
        url: The target's URL without its query.
        host: The host of the URL.
        status: `"pending"`, `"delivered"`, or `"dead"` if no further attempts are made.
        algorithm: Name of the task's algorithm.
        owner: Name of the user who submitted the task.
        attempt_count: Number of attempts so far.
        error: Error of the last failed attempt; None if no attempt has failed.
        output: Name of the output file that is delivered; None for the document.
        next_attempt_at: Time of the next attempt, in UTC; None if no attempt is due.
        finished_at: End of the task, from when on the result was ready, in UTC.
    """

    delivery_id: str
    job_id: str
    url: str
    host: str = ""
    status: DeliveryStatus
    algorithm: str | None = None
    owner: str | None = None
    attempt_count: int = 0
    error: str | None = None
    output: str | None = None
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None

    def _html_fields(self) -> dict[str, Any]:
        return {name.replace("_", " "): getattr(self, name) for name in ListedDelivery.__annotations__}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 strings."""
        return wire_form(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ListedDelivery:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data[name] for name in cls.__annotations__ if name in data}
        return cls(**members | {name: parse_moment(data.get(name)) for name in ("next_attempt_at", "finished_at")})


@define(frozen=True, kw_only=True)
class SkippedDelivery:
    """A delivery that was not redelivered, as no attempt can complete it.

    Attributes:
        delivery: The delivery.
        reason: `"expired"` if the target's signature has expired; `"unreadable"` if the service lacks the key that
            encrypts the target; `"invalid"` if this version can't send to it.
        problem: The error, and what to do.
        object_url: URL of the expired target's object without a signature; None if it isn't one.
    """

    delivery: ListedDelivery
    reason: str
    problem: str
    object_url: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: that of the delivery, with the other attributes."""
        return {**self.delivery.to_dict(), **{name: getattr(self, name) for name in _OF_SKIPPED}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SkippedDelivery:
        """Parse the JSON form; unknown members are ignored."""
        members = {name: data.get(name) for name in _OF_SKIPPED}
        return cls(delivery=ListedDelivery.from_dict(data), **cast("dict[str, Any]", members))


_OF_SKIPPED = ("reason", "problem", "object_url")


@define(frozen=True, kw_only=True)
class RedeliveryStep:
    """A part of a bulk redelivery that is done.

    Attributes:
        total: Number of deliveries that the filter selects, of all steps.
        due: Number of deliveries of this step that are due now.
        held: Number of these that wait for a host that is paused or fails.
        hosts: These by the host of their target.
        skipped: Deliveries of this step that no attempt can complete.
    """

    total: int
    due: int
    hosts: Mapping[str, int]
    held: int = 0
    skipped: tuple[SkippedDelivery, ...] = ()


class BulkRedeliveryAPI:
    """The calls about deliveries of many tasks.

    Args:
        connection: Connection to the service.
    """

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    def find(self, wanted: DeliveryFilter, limit: int | None) -> Iterator[ListedDelivery]:
        """Iterate over deliveries, those of the latest tasks first.

        Raises:
            InvalidRequestError: An argument is of another type, or the limit is not a positive number.
        """
        _check_filter(wanted)
        return list_entries(
            self._connection, "/deliveries", "deliveries", wanted.to_dict(), limit=limit, parse=ListedDelivery.from_dict
        )

    def redeliver(self, wanted: DeliveryFilter, *, rate: float | None, dry_run: bool) -> Iterator[RedeliveryStep]:
        """Redeliver the deliveries that a filter selects, one page per request.

        Raises:
            InvalidRequestError: An argument is of another type, or the rate is not a positive number.
        """
        _check_filter(wanted)
        if not isinstance(dry_run, bool):
            raise InvalidRequestError(f"dry_run is {short_repr(dry_run)}.", hint="Give True or False.")
        if rate is not None and not (isinstance(rate, (int, float)) and 0 < rate < math.inf):
            raise InvalidRequestError(
                f"rate is {short_repr(rate)}.", hint="Give deliveries per second, above 0, or None."
            )
        size = _BULK_PAGE if rate is None else max(1, min(_BULK_PAGE, int(rate)))
        return self._steps({**wanted.to_dict(), "limit": size, "dry_run": dry_run}, None if dry_run else rate)

    def _steps(self, body: dict[str, Any], rate: float | None) -> Iterator[RedeliveryStep]:
        began, due, total = monotonic(), 0, None
        while True:
            # A repeated request finds what the first one redelivered no longer undelivered, or due anyway.
            sent = Body(encode_value("filter", Secret(body)).reveal())
            data = self._connection.request(
                "POST", "/deliveries/redeliver", repeatable=True, body=sent, content_type=JSON
            ).data
            step = parse_response("a step of a redelivery", partial(_step, total), data)
            yield step
            due, total = due + step.due, step.total
            if data.get("next_cursor") is None:
                return
            body["cursor"] = data["next_cursor"]
            if rate is not None:
                sleep(max(0.0, began + due / rate - monotonic()))


def _check_filter(wanted: DeliveryFilter) -> None:
    if not isinstance(wanted, DeliveryFilter):
        raise InvalidRequestError(
            f"wanted is {short_repr(wanted)}.", hint='Give a filter, such as DeliveryFilter(status="dead").'
        )


def _step(total: int | None, data: Mapping[str, Any]) -> RedeliveryStep:
    return RedeliveryStep(
        total=data["total"] if total is None else total,
        due=data["due"],
        hosts=data["hosts"],
        held=data.get("held", 0),
        skipped=tuple(SkippedDelivery.from_dict(one) for one in data["skipped"]),
    )
