"""callback_sdk.aistore.redirects"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.aistore.redirects import check_unknown, next_url
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


def follow(*trail: str, to: str | None, most: int = 3) -> str:
    return next_url([SecretURL(url) for url in trail], to, max_redirects=most).reveal()


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


@pytest.mark.parametrize(
    ("trail", "target", "right"),
    [
        ([PROXY], "http://10.0.0.5:51081/s3/b/k?ais_pid=1", True),
        ([PROXY], "http://100.64.0.5:51081/s3/b/k", True),
        ([PROXY], "http://[fd00::5]:51081/s3/b/k", True),
        ([PROXY], "http://93.184.216.34/s3/b/k", True),
        ([PROXY], "http://node-2.storage:51081/s3/b/k", True),
        ([PROXY, NODE], "http://10.0.0.5:51081/s3/b/k", True),
        (["http://127.0.0.1:8080/s3/b/k"], "http://127.0.0.2:8081/s3/b/k", True),
        (["http://localhost:8080/s3/b/k"], "http://[::1]:8081/s3/b/k", True),
        ([PROXY], "http://127.0.0.1:8081/s3/b/k", False),
        ([PROXY], "http://0x7f000001/s3/b/k", False),
        ([PROXY], "http://localhost/s3/b/k", False),
        ([PROXY], "http://[::ffff:127.0.0.1]/s3/b/k", False),
        ([PROXY], "http://169.254.169.254/s3/b/k", False),
        ([PROXY], "http://[fe80::1]/s3/b/k", False),
        ([PROXY], "http://168.63.129.16/s3/b/k", False),
        ([PROXY], "http://0.0.0.0/s3/b/k", False),
        ([PROXY], "http://10.0.0.5:51081/s3/b/other", False),
        ([PROXY], "http://10.0.0.5:51081/", False),
        ([PROXY], "http://10.0.0.5:51081/s3/b/../../k", False),
    ],
)
def test_unknown_hosts_get_the_callers_request_only(trail: list[str], target: str, right: bool) -> None:
    """The same path, and not at an address where only this machine, or its cloud's metadata service, is."""
    urls = [SecretURL(url) for url in trail]
    if right:
        check_unknown(urls, SecretURL(target))
        return
    with pytest.raises(RedirectHostError, match="nothing was sent there") as caught:
        check_unknown(urls, SecretURL(target))
    assert "allow_hosts" in caught.value.hint


@given(st.text() | st.from_regex(r"(https?:)?//[a-z@:/?\[\]0-9.]{0,20}", fullmatch=True))
def test_any_location_is_a_url_or_an_error_of_ours(location: str) -> None:
    """An error of this package, or an absolute URL."""
    try:
        url = follow(PROXY, to=location)
    except CallbackSDKError:
        return
    assert urlsplit(url).scheme in ("http", "https")
    assert urlsplit(url).hostname
