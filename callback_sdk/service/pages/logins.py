"""Routes of login and logout."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from callback_sdk.redaction import Secret
from callback_sdk.service.access.tokens import TokenError
from callback_sdk.service.api.access import address_of
from callback_sdk.service.pages.auth import app_state, csrf_session, same_origin_form
from callback_sdk.service.pages.rendering import prefix_of, render
from callback_sdk.service.pages.sessions import COOKIE, SESSION_LIFETIME, Sessions, safe_next


async def log_in_form(request: Request) -> Response:
    place = safe_next(request.query_params.get("next"), prefix_of(request))
    return render(request, "login.html", next=place, problem=None)


async def log_in(request: Request) -> Response:
    form = await same_origin_form(request)
    name, place = str(form.get("username", "")), safe_next(str(form.get("next", "")), prefix_of(request))
    password, token = (Secret(str(form.get(field, "")).strip()) for field in ("password", "token"))
    try:
        cookie = await (_by_token(request, token) if token.reveal() else _by_password(request, name, password))
    except TokenError as error:
        return render(request, "login.html", status=401, next=place, problem=error.message)
    except HTTPException as error:
        answer = render(request, "login.html", status=error.status_code, next=place, problem=error.detail)
        answer.headers.update(error.headers or {})
        return answer
    answer = RedirectResponse(place, 303)
    answer.set_cookie(
        COOKIE,
        cookie.reveal(),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path=prefix_of(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


async def _by_password(request: Request, name: str, password: Secret[str]) -> Secret[str]:
    sessions: Sessions = request.app.state.sessions
    return await app_state(request).logins.run(
        lambda: sessions.by_password(name, password),
        name=name,
        password=password,
        address=address_of(request),
        via="pages",
    )


async def _by_token(request: Request, token: Secret[str]) -> Secret[str]:
    sessions: Sessions = request.app.state.sessions
    log = app_state(request).audit
    try:
        user, cookie = await run_in_threadpool(sessions.by_token, token)
    except TokenError:
        log.record("login-failed", None, address=address_of(request), via="pages")
        raise
    await run_in_threadpool(log.record, "login", user.name, address=address_of(request), via="pages")
    return cookie


async def log_out(request: Request) -> Response:
    user_session = await csrf_session(request)
    sessions: Sessions = request.app.state.sessions
    await run_in_threadpool(sessions.close, user_session)
    log, address = app_state(request).audit, address_of(request)
    await run_in_threadpool(log.record, "logout", user_session.user.name, address=address, via="pages")
    answer = RedirectResponse(f"{prefix_of(request)}/login", 303)
    answer.delete_cookie(COOKIE, path=prefix_of(request))
    return answer
