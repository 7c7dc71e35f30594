"""A URL planned by the shape of others gets the same target, requests and errors as one that is planned alone."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets import TargetSettings, plan
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.hosts import check_url
from callback_sdk.targets.planner import plan_alone
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.url_shapes import plan_by_shape

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
HEX = "0123456789abcdef" * 4

ORIGINS = st.sampled_from(
    [
        *("https://results.s3.eu-central-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com"),
        *("https://b.s3-website-us-east-1.amazonaws.com", "https://account.r2.cloudflarestorage.com"),
        *("https://results.minio.example.org:9000", "https://storage.googleapis.com", "http://127.0.0.1:8333"),
        *("http://localhost:08333", "https://Minio.example.org", "https://hooks.slack.com", "http://[::1]:9000"),
        *("https://b\u00fccher.example", "https://user@example.org", "https://example.org.", "http://example.org:80"),
    ]
)
PATHS = st.sampled_from(
    [
        *("", "/", "/bucket", "/bucket/", "/bucket/runs/42.json", "/bucket/a//../b/", "/key", "/services/T0/B0/secret"),
        *("/bucket/a%20b", "/bucket/a b", "/bucket/\u00e9", "/bucket/a&amp;b", "/bucket/x;y=1", "/s3/bucket/../key"),
        "/bucket/" + "k" * 2000,
    ]
)
KEYS = st.sampled_from(["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "ASIA", "a", "", "a%2Fb", "a b", "a+b"])
DATES = st.sampled_from(["20260131", "20301231", "20260231", "00010101", "99991231", "2026013", "20010901"])
CLOCKS = st.sampled_from(["000000", "235959", "235960", "250000", "12"])
REGIONS = st.sampled_from(["us-east-1", "eu-central-1", "auto", "", "US", "undefined", "a/b"])
EXPIRES = st.sampled_from(
    ["1", "3600", "604800", "604801", "86400000", "999999999", "999999999999", "0", "", "-1", "6e2"]
)
SIGNED = st.sampled_from(
    [
        *("host", "content-type%3Bhost", "content-type;host", "content-length%3Bhost", "content-type", "HOST", ""),
        *("host%3Bif-none-match", "host%3Bx-amz-acl", "host%3Bx-amz-date", "host%3Bx-amz-security-token", "host%3b"),
        *(
            "connection%3Bhost",
            "host%3Bx-amz-content-sha256",
            "host%3Bx-amz-meta-a",
            "host%3Bx-amz-expires",
            "host%253B",
        ),
    ]
)
TOKENS = st.sampled_from([None, None, "IQoJb3JpZ2luX2Vj%2B%2F%3D", "", "a&x-id=GetObject", "a\\u0026b", "a&amp;b"])
SIGNATURES = st.sampled_from([HEX, HEX.upper(), HEX[1:], "", f"{HEX}&uploads", f"{HEX}#end", f"{HEX}&X-Amz-Date=1"])
PARAMS: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, {}, {"run": 1}, {"s3_headers": {"content-type": "text/plain"}}, {"webhook": {}}),
        *({"s3_fields": {}}, {"events": ["completed"]}, {"http": {"method": "PUT"}}),
    ]
)
STORES = st.sampled_from(
    [
        StorageProviders(),
        StorageProviders.of(["https://minio.example.org:9000", "http://127.0.0.1:8333"]),
        StorageProviders.of((), ["http://127.0.0.1:8333"]),
    ]
)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Return presigned URLs of which mostly few parts are unusual."""
    usual = {
        "origin": "https://results.s3.eu-central-1.amazonaws.com",
        "path": "/runs/42.json",
        "key": "AKIAIOSFODNN7EXAMPLE",
        "date": "20260131",
        "clock": "120000",
        "region": "eu-central-1",
        "expires": "3600",
        "signed": "content-type%3Bhost",
        "token": None,
        "signature": HEX,
    }
    others = {
        "origin": ORIGINS,
        "path": PATHS,
        "key": KEYS,
        "date": DATES,
        "clock": CLOCKS,
        "region": REGIONS,
        "expires": EXPIRES,
        "signed": SIGNED,
        "token": TOKENS,
        "signature": SIGNATURES,
    }
    for name in draw(st.sets(st.sampled_from(sorted(others)), max_size=3)):
        usual[name] = draw(others[name])
    token = "" if usual["token"] is None else f"&X-Amz-Security-Token={usual['token']}"
    return (
        f"{usual['origin']}{usual['path']}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={usual['key']}%2F{usual['date']}%2F{usual['region']}%2Fs3%2Faws4_request"
        f"&X-Amz-Date={usual['date']}T{usual['clock']}Z&X-Amz-Expires={usual['expires']}"
        f"&X-Amz-SignedHeaders={usual['signed']}{token}&X-Amz-Signature={usual['signature']}"
    )


def outcome(planning: Any, callback: Callback, settings: TargetSettings) -> Any:
    """Return everything that a target shows and sends, or its error."""
    try:
        target = planning(callback, settings)
        own = target.callback.url
        names = own.query_names(), own.repeated_names(), own.lower_query()
        shown = str(own), target.callback.plain(), target.warnings(NOW), target.object_url("id"), names
        upload = target.upload(Body(b"{}"), delivery_id="id", now=NOW)
    except CallbackSDKError as error:
        return type(error), str(error), error.hint
    sent = upload.method, upload.url, upload.headers, upload.body.read(), upload.accepts, upload.assumptions
    return type(target), target, shown, sent, upload.secrets().reveal()


def checked(callback: Callback, settings: TargetSettings) -> Any:
    check_url(callback.url)
    return plan_alone(callback, settings)


@given(urls(), PARAMS, STORES)
@example("http://127.0.0.1:8333/b/k?X-Amz-Signature=", None, StorageProviders())
def test_shapes(url: str, param: Any, stores: StorageProviders) -> None:
    """Whether the first one of its shape or not."""
    try:
        (callback,) = parse_callbacks(url, param)
    except CallbackSDKError:
        return
    settings = TargetSettings(stores=stores)
    wanted = outcome(checked, callback, settings)
    assert outcome(plan, callback, settings) == wanted
    assert outcome(plan, callback, settings) == wanted


def test_no_credential_is_kept() -> None:
    """The cache has neither the key id nor the signature of a URL, and one URL of a shape is planned."""
    usual = SecretURL(
        "https://b.s3.eu-central-1.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE"
        "%2F20260131%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Date=20260131T120000Z&X-Amz-Expires=3600"
        f"&X-Amz-SignedHeaders=host&X-Amz-Signature={HEX}"
    )
    kept: list[Callback] = []

    def planning(callback: Callback, settings: TargetSettings) -> Any:
        kept.append(callback)
        return plan_alone(callback, settings)

    for _ in range(2):
        assert plan_by_shape(Callback(usual), TargetSettings(), planning) is not None
    (callback,) = kept
    assert HEX not in callback.url.reveal()
    assert "AKIAEXAMPLE" not in callback.url.reveal()
