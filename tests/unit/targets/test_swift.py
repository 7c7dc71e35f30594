"""Temporary URLs of OpenStack Swift and Ceph."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.errors import InvalidTargetError, WrongOperationError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import swift

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


HOST = "https://swift.example.org"
SWIFT_URL = f"{HOST}/v1/AUTH_project/bucket/runs/42.json?{swift()}"


@pytest.mark.parametrize(
    ("path", "names_object"),
    [
        ("/v1/AUTH_a/c/o", True),
        ("/v1/AUTH_a/c/o/", True),
        ("/v1/AUTH_a/c/", False),
        ("/v1/AUTH_a/c", False),
        ("/v1/AUTH_a", False),
        ("/swift/v1/c/o", True),
        ("/swift/v1/c", False),
        ("/swift/v1/AUTH_a/c/o", True),
        ("/swift/v1/AUTH_a/c", False),
        ("/own/path", True),
    ],
)
def test_swift_path_has_to_name_an_object(path: str, names_object: bool) -> None:
    """Ceph may have neither the account nor the root path."""
    url = SWIFT_URL.replace("/v1/AUTH_project/bucket/runs/42.json", path)
    if names_object:
        assert target(url).kind == "swift-put"
    else:
        with pytest.raises(WrongOperationError, match="has no object name"):
            target(url)


def test_swift_object_has_to_be_below_the_prefix() -> None:
    """Its signature covers nothing else."""
    with pytest.raises(InvalidTargetError, match="outside of its temp_url_prefix"):
        target(f"{SWIFT_URL}&temp_url_prefix=runs/".replace("bucket/runs", "bucket/others"))


@pytest.mark.parametrize("text", ["sha256:" + "A" * 43 + "%3D", "sha512:" + "A" * 86 + "==", "sha1:" + "_" * 27])
def test_swift_signature_may_be_base64(text: str) -> None:
    """With the algorithm before it."""
    before, _, after = SWIFT_URL.partition("temp_url_sig=")
    assert target(f"{before}temp_url_sig={text}&{after.partition('&')[2]}").kind == "swift-put"
