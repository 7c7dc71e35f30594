"""callback_sdk.aistore.redirects"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.aistore.redirects import next_url
from callback_sdk.errors import (
    CallbackSDKError,
    RedirectError,
    RedirectHostError,
    RedirectLoopError,
    TooManyRedirectsError,
)
from callback_sdk.redaction import SecretURL

PROXY = "http://proxy:8080/s3/b/k"
NODE = "http://node:8081/s3/b/k"


def follow(*trail: str, to: str | None, most: int = 3, hosts: tuple[str, ...] = ("proxy", "node")) -> str:
    urls = [SecretURL(url) for url in trail]
    return next_url(urls, to, max_redirects=most, allowed=lambda url: url.host in hosts).reveal()


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (f"{NODE}?list-type=2&ais_hmac=a%2Fb+c==", f"{NODE}?list-type=2&ais_hmac=a%2Fb+c=="),
        ("/s3/b/k?ais_pid=1", f"{PROXY}?ais_pid=1"),
        ("?ais_pid=1", f"{PROXY}?ais_pid=1"),
        ("//node:8081/s3/b/k", NODE),
        ("http://node:8081/s3/b/%C3%BC%2B", "http://node:8081/s3/b/%C3%BC%2B"),
    ],
)
def test_a_location_is_taken_word_by_word(location: str, url: str) -> None:
    """Whole or relative; nothing is encoded, decoded or sorted."""
    assert follow(PROXY, to=location) == url


@pytest.mark.parametrize(
    ("trail", "location", "kind"),
    [
        ([PROXY], None, RedirectError),
        ([PROXY], "", RedirectError),
        ([PROXY], "http://[::1/x", RedirectError),
        ([PROXY], "http://node:port/x", RedirectError),
        ([PROXY], "ftp://node/x", RedirectError),
        ([PROXY], "javascript:alert(1)", RedirectError),
        (["https://proxy/s3/b/k"], "http://proxy/s3/b/k", RedirectHostError),
        ([PROXY], "http://evil/x", RedirectHostError),
        ([PROXY], "http://proxy@evil/x", RedirectHostError),
        ([PROXY], "http://proxy.evil/x", RedirectHostError),
        ([PROXY], PROXY, RedirectLoopError),
        ([PROXY, NODE], f"{PROXY}?x=1", RedirectLoopError),
        ([PROXY, f"{PROXY}1", f"{PROXY}2", f"{PROXY}3"], NODE, TooManyRedirectsError),
    ],
)
def test_rejected_redirects_are_typed_errors(trail: list[str], location: str | None, kind: type[RedirectError]) -> None:
    """The error has the path of redirects so far, without queries."""
    with pytest.raises(RedirectError) as caught:
        follow(*(f"{url}?secret" if url != location else url for url in trail), to=location)
    assert type(caught.value) is kind
    assert caught.value.urls[0] == trail[0]
    assert "secret" not in str(caught.value)


@given(st.text() | st.from_regex(r"(https?:)?//[a-z@:/?\[\]0-9.]{0,20}", fullmatch=True))
def test_no_location_leads_out_of_the_cluster(location: str) -> None:
    """Any location results in an error of this package or a URL of the cluster."""
    try:
        url = follow(PROXY, to=location)
    except CallbackSDKError:
        return
    assert urlsplit(url).hostname in ("proxy", "node")
