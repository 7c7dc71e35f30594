"""Rendering of pages from templates, and template filters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from callback_sdk._version import __version__
from callback_sdk.models import outcome
from callback_sdk.service.algorithms.versions import AlgorithmVersion
from callback_sdk.service.supervision.memory import format_size
from callback_sdk.text import escaping

PREFIX = "/ui"
"""Path of the pages in the service."""

_MAX_LENGTH = 2000
"""Maximum displayed characters of a text from users."""

_BRIEF = 200
"""Maximum displayed characters of such a text in a table."""


def prefix_of(request: Request) -> str:
    """Return the path of the pages as clients see it: below the path prefix of a reverse proxy, if there is one."""
    root: str = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return root + PREFIX


def render(request: Request, template: str, *, status: int = 200, **shown: Any) -> Response:
    """Render a page.

    Args:
        request: The request; `request.state.session` is its session, if it has one.
        template: File name of the template.
        status: HTTP status.
        **shown: Variables of the template.
    """
    session = getattr(request.state, "session", None)
    prefix = prefix_of(request)
    here = request.scope["path"].removeprefix(prefix).strip("/").split("/")[0]
    page = _environment.get_template(template).render(
        session=session, prefix=prefix, here=here, status=HTTPStatus(status), **shown
    )
    return HTMLResponse(page, status)


def _when(moment: float | str | None) -> Markup:
    """Format a time, given in seconds since 1970 or in ISO 8601, as an HTML `time` element."""
    if moment is None:
        return Markup("–")
    if isinstance(moment, str):
        at = datetime.fromisoformat(moment).astimezone(timezone.utc)
    else:
        at = datetime.fromtimestamp(moment, timezone.utc)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _minute(moment: datetime | float | None) -> str:
    """Format a time as the value of an input of the type `datetime-local`, in UTC."""
    if moment is None:
        return ""
    at = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, timezone.utc)
    return f"{at.astimezone(timezone.utc):%Y-%m-%dT%H:%M}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def _run_time(task: Mapping[str, Any]) -> str:
    """Format the duration of a task's last run; a running one has none yet."""
    return _between(task["started_at"], task["finished_at"])


def _wait_time(task: Mapping[str, Any]) -> str:
    """Format the time that a task spent in the queue before its last run."""
    return _between(task["created_at"], task["started_at"])


def _between(start: float | None, end: float | None) -> str:
    return _duration(None if start is None or end is None else end - start)


def _attempt_time(attempt: Mapping[str, Any]) -> str:
    """Format the duration of an attempt, whose times are in ISO 8601."""
    start, end = (
        None if attempt[name] is None else datetime.fromisoformat(attempt[name]).timestamp()
        for name in ("started_at", "finished_at")
    )
    return _between(start, end)


def _cut(text: Any, max_length: int = _MAX_LENGTH) -> str:
    """Return a text of others for people: bounded, and without control characters and bidirectional marks."""
    shown = escaping.escape(str(text)[: max_length + 1], lines=True)
    return shown if len(shown) <= max_length else f"{shown[: max_length - 1]}…"


def _plain(text: str) -> str:
    """Return a text of others, which is bounded already, without control characters and bidirectional marks."""
    return escaping.escape(text, lines=True)


def _brief(text: Any) -> str:
    """Return the beginning of a text, for a table."""
    return _cut(text, _BRIEF)


def _hostname(origin: str) -> str:
    """Return the host of an origin, without scheme and port."""
    return urlsplit(origin).hostname or origin


def _capitalize(word: str) -> str:
    """Return a word with its first letter in upper case, and the others as they are."""
    return word[:1].upper() + word[1:]


def _outcome(task: Mapping[str, Any]) -> Markup:
    """Return the badge of a task."""
    return _badge(outcome(task["status"], task["success"], task["error_code"]) or task["status"])


def _memory(algorithm: AlgorithmVersion) -> str:
    """Format the memory limit of an algorithm."""
    if algorithm.memory_limit is None:
        return "the service's default"
    return "none" if math.isinf(algorithm.memory_limit) else format_size(int(algorithm.memory_limit))


def _badge(word: str) -> Markup:
    css = "-".join(word.lower().split())
    return Markup('<span class="badge badge-{}">{}</span>').format(css, word)


_environment = Environment(
    loader=PackageLoader("callback_sdk.service.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    attempt_time=_attempt_time,
    badge=_badge,
    brief=_brief,
    capitalized=_capitalize,
    cut=_cut,
    duration=_duration,
    hostname=_hostname,
    memory=_memory,
    minute=_minute,
    outcome=_outcome,
    plain=_plain,
    run_time=_run_time,
    size=format_size,
    wait_time=_wait_time,
    when=_when,
)
_environment.globals.update(product_version=__version__, escape=escape)
