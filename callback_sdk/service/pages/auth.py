"""A request for a page: whose it is, and whether a form may be believed."""

from __future__ import annotations

import hmac
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from callback_sdk.redaction import Secret
from callback_sdk.service.pages.rendering import PREFIX
from callback_sdk.service.pages.sessions import COOKIE, Session, Sessions, is_from_here

_FIELDS = 10


class LoginRequiredError(Exception):
    """Nobody has logged in, or the session is over."""


def session(request: Request) -> Session:
    """Return who looks at the page.

    Raises:
        LoginRequiredError: Nobody does.
    """
    sessions: Sessions = request.app.state.sessions
    cookie = session_cookie(request)
    found = sessions.of(Secret(cookie)) if cookie else None
    if found is None:
        raise LoginRequiredError
    request.state.session = found
    return found


def session_cookie(request: Request) -> str | None:
    """Return the cookie of a session.

    Starlette's own `cookies` unquotes all of them, in quadratic time before Python 3.12.6 (CVE-2024-7592). Ours has
    no quotes.
    """
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == COOKIE:
                return value.strip()
    return None


async def same_origin_form(request: Request) -> FormData:
    """Read a form that one of our pages sent.

    Raises:
        HTTPException: Another site's page did.
    """
    if not is_from_here(request.headers.get("origin"), request.headers.get("host")):
        raise HTTPException(403, "The form comes from another site. Open the page here, and send it from there.")
    return await request.form(max_files=0, max_fields=_FIELDS)


async def csrf_session(request: Request) -> Session:
    """Return who sent a form of one of our pages.

    Raises:
        LoginRequiredError: Nobody who has logged in.
        HTTPException: It is no form of theirs.
    """
    form = await same_origin_form(request)
    found = await run_in_threadpool(session, request)
    if not hmac.compare_digest(str(form.get("csrf", "")).encode(errors="replace"), found.csrf.encode()):
        raise HTTPException(403, "The form is of an older session. Load the page again, and send it once more.")
    return found


async def log_in_first(request: Request, _: Exception) -> Response:
    """Send a browser to the log-in, and from there back to where it wanted to be."""
    wanted = request.url.path if request.method == "GET" else f"{PREFIX}/tasks"
    place = f"{PREFIX}/login?next={quote(wanted)}"
    if "hx-request" in request.headers:
        # A part of a page that is fetched anew must not become the log-in.
        return Response(status_code=204, headers={"HX-Redirect": place})
    return RedirectResponse(place, 303)
