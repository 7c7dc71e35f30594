"""callback_sdk.targets.locations"""

from __future__ import annotations

from urllib.parse import quote, urlparse, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.locations import resolve_location
from callback_sdk.testing.aistore.locations import location

PROXY = "http://proxy:8080/s3/b/k"
NODE = "http://node:8081"


def follow(location: str, url: str = PROXY) -> str:
    return resolve_location(SecretURL(url), location).reveal()


@pytest.mark.parametrize(
    ("written", "url"),
    [
        # psf/requests#3078: UTF-8 bytes, decoded as Latin-1.
        (f"{NODE}/s3/b/\u00fc/1".encode().decode("latin-1") + "?a=1", f"{NODE}/s3/b/%C3%BC/1?a=1"),
        # psf/requests#3888: bytes of Latin-1 stay those bytes.
        (f"{NODE}/s3/b/\u00e9?a=1", f"{NODE}/s3/b/%E9?a=1"),
        (f"{NODE}/s3/b/a;1?a=1;2", f"{NODE}/s3/b/a%3B1?a=1;2"),
        (f"{NODE}/s3/b/a b+c?a=1", f"{NODE}/s3/b/a%20b+c?a=1"),
        (f"{NODE}/s3/b/50%25%2F?a=1", f"{NODE}/s3/b/50%25%2F?a=1"),
        (f"{NODE}/s3/b/../x/./y//z?a=1", f"{NODE}/s3/b/../x/./y//z?a=1"),
        ("/s3/b/../x?a=1", "http://proxy:8080/s3/b/../x?a=1"),
        ("//node:8081/s3/b/k", f"{NODE}/s3/b/k"),
        ("?a=1", f"{PROXY}?a=1"),
        ("other?a=1", "http://proxy:8080/s3/b/other?a=1"),
        ("http://[::1]:8081/s3/b/[k]", "http://[::1]:8081/s3/b/%5Bk%5D"),
        (f"{NODE}/s3/b/\x01\t\x7f?a=1", f"{NODE}/s3/b/%01%09%7F?a=1"),
        (f"{NODE}/s3/b/k#x", f"{NODE}/s3/b/k"),
        # urllib3/urllib3#952: text that is not Latin-1 at all.
        (f"{NODE}/\u05d3", f"{NODE}/%D7%93"),
    ],
)
def test_the_bytes_of_the_header_are_percent_encoded(written: str, url: str) -> None:
    """Absolute or relative, whatever a key contains; the query is not changed."""
    assert follow(written) == url


def test_a_line_break_in_a_key_is_restored() -> None:
    """AIStore writes it as a space, which is another key."""
    assert follow(f"{NODE}/s3/b/a  b?a=1", "http://proxy:8080/s3/b/a%0D%0Ab") == f"{NODE}/s3/b/a%0D%0Ab?a=1"
    assert follow(f"{NODE}/s3/b/a%0D:%3Fb", "http://proxy:8080/s3/b/a%0D%3A%3Fb") == f"{NODE}/s3/b/a%0D%3A%3Fb"
    assert follow(f"{NODE}/s3/b/a b?a=1", "http://proxy:8080/s3/b/a%20b") == f"{NODE}/s3/b/a%20b?a=1"


@pytest.mark.parametrize("written", ["http://[::1/x", "http://node:port/x", "http://a\\b@c/x"])
def test_what_is_not_a_url_is_an_error(written: str) -> None:
    """An error that shows nothing of it."""
    with pytest.raises(InvalidTargetError) as caught:
        follow(written)
    assert written not in str(caught.value)


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from(["", "a=1&b=%2B"]))
def test_a_redirect_of_aistore_leads_to_the_same_object(key: str, query: str) -> None:
    """To the same path, for every key, also as botocore's own parser splits the URL."""
    path = f"/s3/b/{key}".encode()
    url = follow(location(NODE, path, query), f"http://proxy:8080{quote(path)}")
    assert urlsplit(url).path == quote(path)
    assert (urlparse(url).params, urlsplit(url).query) == ("", query)
