"""Rendering of pages from templates, and template filters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from callback_sdk._version import __version__
from callback_sdk.models import outcome
from callback_sdk.service.supervision.memory import format_size

PREFIX = "/ui"
"""Path of the pages in the service."""

_MAX_LENGTH = 2000
"""Maximum displayed characters of a text from users."""


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


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _cut(text: Any) -> str:
    shown = str(text)
    return shown if len(shown) <= _MAX_LENGTH else f"{shown[: _MAX_LENGTH - 1]}…"


def _outcome(task: Mapping[str, Any]) -> Markup:
    """Return the badge of a task."""
    return _badge(outcome(task["status"], task["success"], task["error_code"]) or task["status"])


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
_environment.filters.update(when=_when, duration=_duration, cut=_cut, badge=_badge, outcome=_outcome, size=format_size)
_environment.globals.update(product_version=__version__, escape=escape)
