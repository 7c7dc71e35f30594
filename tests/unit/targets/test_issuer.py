"""callback_sdk.targets.issuer"""

from __future__ import annotations

from typing import Any

import pytest

from callback_sdk import check_target
from callback_sdk.errors import CallbackParamError, SignedHeaderError, TargetError, TargetExpiredError
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import v4

MARKER = "MARKER9c2e"
URL = "https://example.org/done"
REFRESH = {"url": f"https://issuer.example/targets?t={MARKER}", "headers": {"Authorization": f"Bearer {MARKER}"}}


def test_the_issuer_is_no_part_of_the_document() -> None:
    """Its URL and headers are credentials, as those of the target are."""
    (callback,) = parse_callbacks(URL, {"run": 1, "refresh": REFRESH})
    assert callback.param == {"run": 1}
    assert MARKER not in repr(callback)
    assert callback.issuer is not None
    assert str(callback.issuer.url) == "https://issuer.example/targets?***"
    assert f"Bearer {MARKER}" in callback.credentials().reveal()
    assert MARKER in callback.credentials().reveal()


def test_an_issuer_survives_storage() -> None:
    """A stored target is read back with its issuer."""
    (callback,) = parse_callbacks(URL, {"refresh": REFRESH})
    (again,) = parse_callbacks([callback.plain()])
    assert again == callback


@pytest.mark.parametrize(
    ("refresh", "problem"),
    [
        ("https://issuer.example", "is a str"),
        ({}, "has no url"),
        ({"headers": {}}, "has no url"),
        ({"url": None}, "not a string"),
        ({"url": "issuer.example/x"}, "not a complete http or https URL"),
        ({"url": "ftp://issuer.example/x"}, "not a complete http or https URL"),
        ({"url": f"https://user:{MARKER}@issuer.example/x"}, "not a complete http or https URL"),
        ({"url": f"https://{MARKER}:x/"}, "not a complete http or https URL"),
        ({"url": "https://issuer.example", "method": "GET"}, "has a member 'method'"),
        ({"url": "https://issuer.example", "headers": [1]}, "has headers that are a list"),
        ({"url": "https://issuer.example", "headers": {"a": [MARKER]}}, "neither a string nor a number"),
        ({"url": "https://issuer.example", "headers": {"a": MARKER * 2000}}, "characters"),
    ],
)
def test_what_describes_no_request_is_rejected(refresh: Any, problem: str) -> None:
    """When the target is read, and without a credential in the text."""
    with pytest.raises(CallbackParamError, match=problem) as caught:
        check_target(URL, {"refresh": refresh})
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize("name", ["Host", "content-type", "Webhook-Signature", "transfer-encoding", "x y", "sec-fetch"])
def test_headers_that_the_request_computes_are_rejected(name: str) -> None:
    """A login may be given, a forged signature may not."""
    with pytest.raises(SignedHeaderError):
        check_target(URL, {"refresh": {**REFRESH, "headers": {name: "x"}}})


def test_an_expired_target_with_an_issuer_is_accepted() -> None:
    """It is replaced when the document is sent. Without an issuer it is an error."""
    url = f"https://bucket.s3.eu-central-1.amazonaws.com/k?{v4(expires=60)}"
    with pytest.raises(TargetExpiredError):
        check_target(url)
    target = check_target(url, {"refresh": REFRESH})
    with pytest.raises(TargetExpiredError):
        target.check_expiry(target.expires_at)


def test_another_place_gets_the_same_document() -> None:
    """A new target keeps `callback_param` and issuer of the old one."""
    (old,) = parse_callbacks(URL, {"run": 1, "refresh": REFRESH})
    (new,) = parse_callbacks("https://example.org/other", {"http": {"method": "PUT"}})
    replaced = old.replaced_by(new)
    assert (replaced.url, replaced.param, replaced.issuer) == (new.url, {"run": 1}, old.issuer)
    assert replaced.http is not None
    (same,) = parse_callbacks("https://example.org/other", {"run": 1})
    assert old.replaced_by(same).param == {"run": 1}
    (another,) = parse_callbacks("https://example.org/other", {"run": 2})
    with pytest.raises(TargetError, match="differs from the one in the document"):
        old.replaced_by(another)
