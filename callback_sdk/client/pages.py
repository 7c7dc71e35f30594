"""Long lists of the service, which are read page by page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from callback_sdk.client.connection import ServiceConnection
from callback_sdk.client.form import whole_number
from callback_sdk.client.responses import parse_response, unexpected_response
from callback_sdk.errors import InvalidRequestError
from callback_sdk.text.descriptions import short_repr

T = TypeVar("T")

_PAGE = 200
"""Maximum number of entries of a request."""


def list_entries(
    connection: ServiceConnection,
    path: str,
    member: str,
    query: Mapping[str, Any],
    *,
    limit: int | None,
    parse: Callable[[Any], T],
) -> Iterator[T]:
    """Iterate over the entries of a list; the first page is requested at once, so that errors are raised here.

    Args:
        connection: Connection to the service.
        path: Path of the list.
        member: Member of the response that has the entries.
        query: Parameters that select entries.
        limit: Maximum number of entries; None for all.
        parse: Parses an entry.

    Raises:
        InvalidRequestError: The limit is not a positive number.
    """
    number = None if limit is None else whole_number(limit)
    if limit is not None and (number is None or number < 1):
        raise InvalidRequestError(f"limit is {short_repr(limit)}.", hint="Give a whole number above 0, or None.")
    requested: dict[str, Any] = {**query, "limit": min(number or _PAGE, _PAGE)}

    def read(cursor: str | None) -> tuple[list[Any], str | None]:
        return _page(connection, path, member, requested if cursor is None else {**requested, "cursor": cursor})

    return _entries(read(None), read, number, parse)


def _entries(
    page: tuple[list[Any], str | None],
    read: Callable[[str], tuple[list[Any], str | None]],
    number: int | None,
    parse: Callable[[Any], T],
) -> Iterator[T]:
    left = math.inf if number is None else number
    while True:
        items, cursor = page
        for item in items:
            if left < 1:
                return
            left -= 1
            yield parse_response("an entry of a list", parse, item)
        if cursor is None or left < 1:
            return
        page = read(cursor)


def _page(
    connection: ServiceConnection, path: str, member: str, query: Mapping[str, Any]
) -> tuple[list[Any], str | None]:  # fmt: skip
    data = connection.request("GET", f"{path}?{urlencode(query)}").data
    if not isinstance(data, dict) or not isinstance(data.get(member), list):
        raise unexpected_response(f"a page of {member}")
    return data[member], data.get("next_cursor")
