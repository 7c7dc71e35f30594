"""Authentication of page requests."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from callback_sdk.service.pages.auth import session_cookie
from callback_sdk.service.pages.sessions import COOKIE
from tests.growth import assert_linear


def request(*cookies: str) -> Request:
    headers = [(b"cookie", cookie.encode("latin-1")) for cookie in cookies]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ((), None),
        ((f"{COOKIE}=a.b-c_d",), "a.b-c_d"),
        ((f"other=1; {COOKIE}=a; another=2",), "a"),
        (("other=1", f"{COOKIE}=a"), "a"),
        ((f"{COOKIE}",), ""),
        ((f"x{COOKIE}=a; {COOKIE}x=b",), None),
    ],
)
def test_cookie_of_the_session_is_found(cookies: tuple[str, ...], found: str | None) -> None:
    """Among those of other applications on the same host."""
    assert session_cookie(request(*cookies)) == found


@pytest.mark.parametrize("piece", ["\\", '"', ";", "=", "a=b;"])
def test_time_grows_with_the_cookies_and_not_faster(piece: str) -> None:
    """Python's parser of quoted cookies took 24 s for 64 KiB of backslashes."""
    assert_linear(session_cookie, request('a="' + piece * 1000), request('a="' + piece * 16_000), ratio=16)
