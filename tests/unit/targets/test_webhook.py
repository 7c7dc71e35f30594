"""Webhooks: which URLs are theirs, and the override for a URL that looks like a signed one."""

from __future__ import annotations

from typing import Any

import pytest

from callback_sdk.errors import CallbackParamError, InvalidTargetError, TargetError, WrongOperationError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.target import TargetSettings
from tests.signedurls import SHA1, form, sas, v4

WEBHOOK = {"webhook": True}

LOOKING_SIGNED = {
    "AWS IoT": "https://abc-ats.iot.eu-central-1.amazonaws.com/topics/done?x-amz-customauthorizer-name=runs"
    "&x-amz-customauthorizer-signature=abc&token=1",
    "API Gateway": f"https://abc.execute-api.eu-central-1.amazonaws.com/done?{v4(service='execute-api')}",
    "Cloud CDN": f"https://cdn.example.org/done?Expires=4095989824&KeyName=k&Signature={SHA1}",
    "HMAC-SHA1": f"https://example.org/done?Signature={SHA1}&Expires=4095989824",
    "start and end": "https://example.org/done?st=2099-01-01T00:00:00Z&se=2099-01-02T00:00:00Z",
    "version and permission": "https://example.org/done?sv=2024-01-01&sp=create",
    "a signature and a resource": f"https://example.org/done?sig={'A' * 43}%3D&sr=b",
    "an upload": "https://example.org/done?uploadType=media&upload_protocol=resumable",
    "an escaped ampersand": "https://example.org/done?title=a&amp;b",
    "a shared access signature": f"https://example.org/c/done?{sas()}",
    "a path of Supabase's": "https://example.org/storage/v1/object/upload/sign/done",
}


def target(url: str, param: Any = None, *endpoints: str) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback, TargetSettings(stores=StorageProviders.of(endpoints)))


@pytest.mark.parametrize("url", LOOKING_SIGNED.values(), ids=LOOKING_SIGNED)
def test_webhook_that_looks_signed_is_one_when_asked_for(url: str) -> None:
    """Only its owner knows what its parameters are for."""
    found = target(url, {**WEBHOOK, "run": 7})
    assert (found.kind, found.method, found.callback.param) == ("webhook", "POST", {"run": 7})


@pytest.mark.parametrize("name", sorted(LOOKING_SIGNED.keys() - {"a shared access signature", "a path of Supabase's"}))
def test_rejection_of_a_url_that_looks_signed_names_the_override(name: str) -> None:
    """The way on is in the error."""
    with pytest.raises(InvalidTargetError) as caught:
        target(LOOKING_SIGNED[name])
    assert 'add "webhook": true to its callback_param' in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://bucket.s3.eu-central-1.amazonaws.com/k?X-Amz-Signature=abc",
        "https://account.blob.core.windows.net/c/k?sv=2024-01-01&sp=cw",
        "https://storage.googleapis.com/b/k?a=1&amp;b=2",
    ],
)
def test_rejection_at_a_known_store_does_not_name_the_override(url: str) -> None:
    """No webhook is there."""
    with pytest.raises(InvalidTargetError) as caught:
        target(url)
    assert "webhook" not in caught.value.hint


def test_rejection_of_a_complete_signature_does_not_name_the_override() -> None:
    """It is a URL of an object store, which was signed for another operation."""
    with pytest.raises(WrongOperationError) as caught:
        target(f"https://files.example.org/bucket/k?uploads&{v4()}")
    assert "webhook" not in caught.value.hint


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        (f"https://bucket.s3.eu-central-1.amazonaws.com/k?{v4()}", ()),
        ("https://bucket.s3.eu-central-1.amazonaws.com/k", ()),
        ("https://storage.us-east1.rep.googleapis.com/b/k", ()),
        ("https://minio.example.org/b/k", ("https://minio.example.org",)),
    ],
)
def test_no_override_makes_a_store_a_webhook(url: str, endpoints: tuple[str, ...]) -> None:
    """The document would be lost there."""
    with pytest.raises(CallbackParamError, match="its host is an object store"):
        target(url, WEBHOOK, *endpoints)


@pytest.mark.parametrize(
    ("name", "value"),
    [("s3_fields", form()["s3_fields"]), ("s3_headers", {"x-amz-acl": "private"}), ("http", {"method": "PUT"})],
)
def test_override_excludes_the_members_of_uploads(name: str, value: Any) -> None:
    """One of the two was meant for another target."""
    with pytest.raises(CallbackParamError, match=f"has both webhook and {name}"):
        target("https://example.org/done", {**WEBHOOK, name: value})


@pytest.mark.parametrize("value", ["true", 1, [True]])
def test_override_is_a_boolean_or_options(value: Any) -> None:
    """Nothing else is guessed, and nothing else gets into the document."""
    with pytest.raises(CallbackParamError, match="neither a boolean nor a dict"):
        target("https://example.org/done", {"webhook": value})


@pytest.mark.parametrize("value", [False, None])
def test_override_that_is_off_changes_nothing(value: Any) -> None:
    """Neither the kind nor the document."""
    assert target("https://example.org/done", {"webhook": value}).callback.param == {}
    with pytest.raises(TargetError):
        target(LOOKING_SIGNED["HMAC-SHA1"], {"webhook": value})


def test_override_is_stored_with_the_target() -> None:
    """The outbox and the service plan a target again for each attempt."""
    (callback,) = parse_callbacks(LOOKING_SIGNED["HMAC-SHA1"], {**WEBHOOK, "run": 7})
    stored = callback.plain()
    assert stored["param"] == {"run": 7, "webhook": True}
    again: tuple[Callback, ...] = parse_callbacks(stored)
    assert again == (callback,)


@pytest.mark.parametrize("url", ["ftp://example.org/x", "https://user:pw@example.org/x", "https:///x"])
def test_override_does_not_excuse_a_url_that_none_can_have(url: str) -> None:
    """The scheme and the host have to be those of a web server."""
    with pytest.raises(InvalidTargetError):
        target(url, WEBHOOK)
