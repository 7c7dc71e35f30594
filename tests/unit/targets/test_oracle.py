"""Pre-authenticated requests of Oracle, with their credential in the path."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError
from callback_sdk.targets import Target, TargetSettings, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.upload import Upload
from callback_sdk.text.limits import MAX_PATH
from tests.growth import assert_linear

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def target(url: str, param: Any = None, endpoints: tuple[str, ...] = ()) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback, TargetSettings(stores=StorageProviders.of(endpoints)))


BODY = Body(b'{"job_id":"42"}')
TOKEN = "j3DoSvgQHbUaw6ADzHkDlnaqMuXWef_lhTxCiS9ngCw"
ORACLE = f"https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/{TOKEN}/n/namespace/b/results/o/"


def upload(url: str, param: Any = None) -> Upload:
    return target(url, param).upload(BODY, delivery_id="msg_1", now=NOW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("/o/", "/u/"), "one part of a multipart upload"),
        (lambda url: url.removesuffix("42.json"), "it is for a whole bucket"),
        (lambda url: url.removesuffix("/o/42.json"), "is incomplete"),
        (lambda url: url.partition("/n/")[0], "is incomplete"),
    ],
)
def test_oracle_path_has_to_name_an_object(change: Any, words: str) -> None:
    """The URL of a bucket's request ends with /o/; the error shows neither token nor object."""
    with pytest.raises(InvalidTargetError, match=words) as caught:
        target(change(f"{ORACLE}42.json"))
    assert TOKEN not in str(caught.value)


def test_oracle_credential_is_in_the_path() -> None:
    """It is hidden wherever the URL is shown, and the object's own URL is without it."""
    url = f"{ORACLE}runs/42%20a.json"
    sent = upload(url)
    assert (sent.kind, sent.method, sent.url.reveal(), sent.expires_at) == ("oracle-par", "PUT", url, None)
    assert sent.headers.reveal() == {"content-type": "application/json"}
    assert sent.accepts == {200}
    assert TOKEN not in str(sent.url)
    assert sent.scrub(f"no such request {TOKEN}") == "no such request ***"
    assert target(url).object_url("x") == url.replace(f"/p/{TOKEN}", "")
    assert target(url.replace("oraclecloud.com", "oci.customer-oci.com")).kind == "oracle-par"


def test_oracle_path_at_another_host_is_a_webhook_unless_configured() -> None:
    """An endpoint of the configuration is a store."""
    url = f"https://files.example.org/p/{TOKEN}/n/namespace/b/results/o/42.json"
    assert target(url).kind == "webhook"
    assert target(url, endpoints=("https://files.example.org",)).kind == "oracle-par"


def test_time_grows_with_the_path_and_not_faster() -> None:
    """A path that is nearly one of Oracle's."""

    def find(size: int) -> str:
        return (f"{ORACLE}" + "/n/a/b/" * size)[: MAX_PATH - 100]

    small, large = find(16), find(1000)

    def search(url: str) -> None:
        target(url)

    assert_linear(search, small, large, ratio=len(large) // len(small) + 1)
