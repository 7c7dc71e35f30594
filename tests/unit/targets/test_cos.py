"""Signed URLs of Tencent COS."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError, SignedHeaderError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.upload import Upload
from tests.signedurls import cos

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


BODY = Body(b'{"job_id":"42"}')

URL = "https://results-1250000000.cos.ap-guangzhou.myqcloud.com/k"
TIMES = "1767268800%3B1767276000"


def upload(url: str, param: Any = None) -> Upload:
    return target(url, param).upload(BODY, delivery_id="msg_1", now=NOW)


def test_cos_header_that_the_url_names_needs_its_value() -> None:
    """Content-Type has its usual value; others don't."""
    url = f"{URL}?{cos()}".replace("=host", "=content-type%3Bhost%3Bx-cos-meta-run")
    with pytest.raises(SignedHeaderError, match="x-cos-meta-run"):
        target(url).check(now=NOW)
    sent = upload(url, {"s3_headers": {"x-cos-meta-run": "1", "x-cos-acl": "private"}}).headers.reveal()
    assert sent.items() >= {"content-type": "application/json", "x-cos-meta-run": "1", "x-cos-acl": "private"}.items()


def test_cos_parameter_that_was_signed_has_to_be_there() -> None:
    """Its SDK leaves it to the caller to append what it signed."""
    with pytest.raises(InvalidTargetError, match="parameter 'run' is missing"):
        target(f"{URL}?{cos()}".replace("q-url-param-list=", "q-url-param-list=run"))
    target(f"{URL}?{cos()}&run=42".replace("q-url-param-list=", "q-url-param-list=run"))


@pytest.mark.parametrize(("sign_time", "key_time"), [(1767272400, 1767270000), (1767270000, 1767272400)])
def test_cos_signature_ends_with_the_earlier_of_its_times(sign_time: int, key_time: int) -> None:
    """That of the signature, or that of the key."""
    url = f"{URL}?{cos()}".replace(f"q-sign-time={TIMES}", f"q-sign-time=1767268800%3B{sign_time}")
    url = url.replace(f"q-key-time={TIMES}", f"q-key-time=1767268800%3B{key_time}")
    assert target(url).expires_at == datetime(2026, 1, 1, 12, 20, tzinfo=timezone.utc)


def test_signature_may_be_the_value_of_one_parameter() -> None:
    """As older SDKs sign, and many URLs still are; cut anywhere it is incomplete."""
    whole = quote(unquote(cos()), safe="")
    found = target(f"{URL}?sign={whole}")
    assert (found.kind, found.expires_at) == ("cos-put", datetime(2026, 1, 1, 14, tzinfo=timezone.utc))
    for end in range(len("q-sign-algorithm%3D"), len(whole)):
        with pytest.raises(InvalidTargetError, match="is incomplete"):
            target(f"https://files.example.org/k?sign={whole[:end]}")
    with pytest.raises(InvalidTargetError, match="parameter 'run' is missing"):
        target(f"{URL}?sign={whole.replace('param-list%3D', 'param-list%3Drun')}")


def test_sign_of_another_kind_is_a_webhooks_own() -> None:
    """Many webhooks have a parameter with this name."""
    assert target("https://files.example.org/k?sign=abc").kind == "webhook"
