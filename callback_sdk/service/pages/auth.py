"""Sessions and CSRF checks of page requests."""

from __future__ import annotations

import hmac
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from callback_sdk.redaction import Secret
from callback_sdk.service.access.caller import Caller
from callback_sdk.service.api.access import AppState, address_of
from callback_sdk.service.pages.rendering import prefix_of
from callback_sdk.service.pages.sessions import COOKIE, Session, Sessions, is_from_here

_FIELDS = 100
"""Maximum number of fields of a form: a page of selected rows, and a filter."""


class LoginRequiredError(Exception):
    """The request has no session, or an expired one."""


def app_state(request: Request) -> AppState:
    """Return the objects that the routes work with."""
    state: AppState = request.app.state.app_state
    return state


def session(request: Request) -> Session:
    """Return the session of a request.

    Raises:
        LoginRequiredError: The request has no valid session.
    """
    sessions: Sessions = request.app.state.sessions
    cookie = session_cookie(request)
    found = sessions.of(Secret(cookie)) if cookie else None
    if found is None:
        raise LoginRequiredError
    request.state.session = found
    return found


def caller(request: Request) -> Caller:
    """Return the caller of a request.

    Raises:
        LoginRequiredError: The request has no valid session.
    """
    return _caller(request, session(request))


def _caller(request: Request, user_session: Session) -> Caller:
    return Caller(user=user_session.user, via="pages", address=address_of(request))


def session_cookie(request: Request) -> str | None:
    """Return the cookie of a session.

    `Request.cookies` of Starlette unquotes all cookies, in quadratic time before Python 3.12.6 (CVE-2024-7592). The
    session cookie has no quotes.
    """
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == COOKIE:
                return value.strip()
    return None


async def same_origin_form(request: Request) -> FormData:
    """Read a form that was sent from a page of this service.

    Raises:
        HTTPException: 403 if the form was sent from another site.
    """
    if not is_from_here(request.headers.get("origin"), request.headers.get("host")):
        raise HTTPException(
            403,
            "The form was sent from another site. Open the page here and submit it again. A reverse proxy in front of "
            "the service must pass the header Host on, with its port, or send X-Forwarded-Host.",
        )
    return await request.form(max_files=0, max_fields=_FIELDS)


async def csrf_session(request: Request) -> Session:
    """Return the session of a request with a form of this service.

    Raises:
        LoginRequiredError: The request has no valid session.
        HTTPException: 403 if the form's CSRF token is not the session's.
    """
    form = await same_origin_form(request)
    found = await run_in_threadpool(session, request)
    if not hmac.compare_digest(str(form.get("csrf", "")).encode(errors="replace"), found.csrf.encode()):
        raise HTTPException(403, "Your session has changed. Reload the page and try again.")
    return found


async def csrf_caller(request: Request) -> Caller:
    """Return the caller of a request with a form of this service; see `csrf_session`."""
    return _caller(request, await csrf_session(request))


async def log_in_first(request: Request, _: Exception) -> Response:
    """Redirect to the login page, which redirects back to the requested page."""
    prefix, query = prefix_of(request), f"?{request.url.query}" if request.url.query else ""
    wanted = f"{request.scope['path']}{query}" if request.method == "GET" else f"{prefix}/overview"
    place = f"{prefix}/login?next={quote(wanted)}"
    if "hx-request" in request.headers:
        # htmx would put the login page into the part of the page that it refreshes.
        return Response(status_code=204, headers={"HX-Redirect": place})
    return RedirectResponse(place, 303)
