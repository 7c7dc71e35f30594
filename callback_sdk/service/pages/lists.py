"""Lists with filters: times in queries, links to pages, and notices about what was done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from callback_sdk.service.pages.rendering import prefix_of
from callback_sdk.service.pages.sessions import safe_next

PAGE = 25
"""Number of rows per page."""

MAX_TEXT = 300
"""Maximum characters of a filter."""

_NOTICES = {
    "canceled": "Canceled tasks: {}.",
    "redelivered": "Deliveries that are sent again now: {}.",
    "skipped": "Skipped, as their targets can't be used any more, so that they need new ones: {}.",
    "left": "More of them match. Repeat it for the next ones.",
    "nothing": "Nothing was selected. Select at least one row.",
}
"""Sentences about a bulk action, by the word in the query."""


def text_of(query: Mapping[str, str], name: str) -> str | None:
    """Return the text of a filter; None if it is empty.

    Raises:
        HTTPException: 422 if it is too long, or contains NUL, which PostgreSQL rejects.
    """
    text = query.get(name, "").strip()
    if len(text) > MAX_TEXT or "\0" in text:
        raise HTTPException(422, f"The filter {name!r} is too long or contains NUL.")
    return text or None


def time_of(query: Mapping[str, str], name: str) -> datetime | None:
    """Return the time of a filter, in UTC without a zone, as inputs of the type `datetime-local` send it.

    Raises:
        HTTPException: 422 if it is not a time.
    """
    text = text_of(query, name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise HTTPException(422, f"Not a time: {text!r:.100}. Give one such as 2030-01-31T23:00, in UTC.") from None
    return time.replace(tzinfo=time.tzinfo or timezone.utc)


def link(request: Request, path: str, chosen: Mapping[str, str | None], **more: str | None) -> str:
    """Return the URL of a list with a filter, without empty values."""
    query = urlencode({name: value for name, value in {**chosen, **more}.items() if value})
    return f"{prefix_of(request)}{path}{'?' if query else ''}{query}"


def back_to(request: Request, place: str, default: str, **notice: int) -> str:
    """Return the URL of a page with a notice, after an action.

    Args:
        request: The request with the form.
        place: Path and query of the page, from a form.
        default: The page below the path of the pages, if that is not one of them.
        **notice: Words of the notice with their numbers; a number 0 is left out.
    """
    prefix = prefix_of(request)
    parts = urlsplit(place if safe_next(place, prefix) == place else f"{prefix}{default}")
    words = " ".join(f"{word}-{number}" for word, number in notice.items() if number)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "notice"]
    if words:
        query.append(("notice", words))
    return f"{parts.path}{'?' if query else ''}{urlencode(query)}"


def notice_of(query: Mapping[str, str]) -> str:
    """Return the sentences of a notice; empty without one. A link can't make it say anything else."""
    found = re.findall(r"\b([a-z]{1,20})-([0-9]{1,9})\b", query.get("notice", "")[:200])
    return " ".join(_NOTICES[word].format(number) for word, number in found if word in _NOTICES)
