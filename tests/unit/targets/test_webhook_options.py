"""Secrets and headers of a single webhook."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk import JobResult, webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, SignedHeaderError, TargetError, WebhookVerificationError
from callback_sdk.redaction import Secret
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.target import TargetSettings
from callback_sdk.targets.upload import Upload
from callback_sdk.targets.webhook_options import MAX_WEBHOOK_HEADERS
from callback_sdk.text.limits import MAX_HEADERS_SIZE
from callback_sdk.writer.delivery import build_delivery, encoded_results
from tests.unit.test_redaction import everything_printed

URL = "https://example.org/done"
SECRET, NEWER, SENDERS = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
NOW = datetime.now(timezone.utc)
BODY = Body(b"{}")


def callback(options: Any, **param: Any) -> Callback:
    (found,) = parse_callbacks(URL, {**param, "webhook": options})
    return found


def sent(options: Any) -> Upload:
    keys = [webhooks.decode_secret(SENDERS)]
    target = plan(callback(options), TargetSettings(webhook_keys=lambda: keys))
    return target.upload(BODY, delivery_id="msg_1", now=NOW)


def verifies(secret: str, upload: Upload) -> bool:
    try:
        return webhooks.verify(secret, upload.headers.reveal(), b"{}", now=NOW) == "msg_1"
    except WebhookVerificationError:
        return False


def test_webhook_is_signed_with_its_own_secret_only() -> None:
    """The sender's would let this receiver forge webhooks to others."""
    upload = sent({"secret": SECRET})
    assert [verifies(secret, upload) for secret in (SECRET, SENDERS)] == [True, False]


def test_several_secrets_sign_while_they_rotate() -> None:
    """Newest first."""
    upload = sent({"secret": [NEWER, SECRET]})
    assert [verifies(secret, upload) for secret in (SECRET, NEWER, SENDERS)] == [True, True, False]


def test_secret_key_signs_for_a_public_key() -> None:
    """The receiver's copy can't sign."""
    secret = webhooks.generate_secret("v1a")
    assert verifies(webhooks.public_key(secret), sent({"secret": secret}))


def test_headers_are_sent_besides_the_senders_signature() -> None:
    """By their names in lower case."""
    upload = sent({"headers": {"Authorization": "Bearer abc", "X-Tenant": 7}})
    headers = upload.headers.reveal()
    assert (headers["authorization"], headers["x-tenant"]) == ("Bearer abc", "7")
    assert headers["content-type"] == "application/json"
    assert verifies(SENDERS, upload)
    assert not upload.redirects


def test_options_are_stored_and_never_shown() -> None:
    """The outbox and the service read them back; the document and every text are without them."""
    options = {"secret": [NEWER, SECRET], "headers": {"authorization": "Bearer topsecret7f3a"}}
    found = callback(options, run=7)
    assert found.plain()["param"] == {"run": 7, "webhook": options}
    assert parse_callbacks(found.plain()) == (found,)
    assert found.param == {"run": 7}
    assert {NEWER, SECRET, "Bearer topsecret7f3a"} <= set(found.credentials().reveal())
    shown = f"{found} {found!r} {found.webhook} {found.webhook!r} {plan(found)!r} {sent(options)!r}"
    assert not any(secret in shown for secret in (NEWER, SECRET, "topsecret7f3a"))
    with ExitStack() as stack:
        result = JobResult(job_id="42", success=True)
        results, _ = encoded_results(result, stack)
        delivery = build_delivery(plan(found), result, results, stack, compress=None, results_url=lambda: None)
        document = b"".join(delivery.body.chunks())
    assert b'"callback_param":{"run":7}' in document.replace(b" ", b"")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"secrets": SECRET},
        {"secret": ""},
        {"secret": "whsec_c2hvcnQ="},
        {"secret": 5},
        {"secret": []},
        {"secret": 5 * [SECRET]},
        {"secret": [SECRET, None]},
        {"secret": "whpk_" + base64.b64encode(b"p" * 32).decode()},
        {"headers": "Authorization: x"},
        {"headers": [["Authorization", "x"]]},
        {"headers": {"authorization": "a", "Authorization": "b"}},
        {"headers": {"x": None}},
        {"headers": {"x": ["a"]}},
        {"headers": {f"x-{n}": "a" for n in range(MAX_WEBHOOK_HEADERS + 1)}},
        {"headers": {"x": "a" * MAX_HEADERS_SIZE}},
    ],
)
def test_anything_else_is_an_error(options: Any) -> None:
    """Of the callback, before anything is sent."""
    with pytest.raises(CallbackParamError, match=r"webhook of https://example\.org/done"):
        callback(options)


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Content-Length", "Content-Type", "Content-Encoding", "Content-Digest", "User-Agent"),
        *("Connection", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Keep-Alive", "Expect", "Via"),
        *("Proxy-Authorization", "Proxy-Connection", "X-Forwarded-For", "Forwarded", "X-HTTP-Method-Override"),
        *("webhook-id", "Webhook-Signature", "webhook-timestamp", "webhook-anything", "traceparent"),
        *("a b", "a:b", "", "a\r\nb", "é"),
    ],
)
def test_header_of_the_request_itself_is_rejected(name: str) -> None:
    """It would change the request, its signature, or what a proxy does with it."""
    with pytest.raises(SignedHeaderError, match="which can't be sent"):
        callback({"headers": {name: "x"}})


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b", "a\x7f", "\u2028", "a\x0bb"])
def test_value_that_would_begin_another_header_is_rejected(value: str) -> None:
    """So would a character that HTTP can't send."""
    with pytest.raises(TargetError) as caught:
        parse_callbacks(URL, Secret({"webhook": {"headers": {"authorization": f"topsecret7f3a{value}"}}}))
    assert "topsecret7f3a" not in everything_printed(caught.value)


def test_invalid_secret_is_not_shown() -> None:
    """Neither in the error nor in its frames."""
    with pytest.raises(CallbackParamError) as caught:
        parse_callbacks(URL, Secret({"webhook": {"secret": "whsec_topsecret7f3a"}}))
    assert "topsecret7f3a" not in everything_printed(caught.value)


def test_common_secret_for_several_servers_is_rejected() -> None:
    """Each could forge webhooks to the other, and would get the other's headers."""
    urls = [URL, "https://other.example/done"]
    for options in ({"secret": SECRET}, {"headers": {"authorization": "x"}}):
        with pytest.raises(CallbackParamError, match="at 2 servers, and its webhook"):
            parse_callbacks(urls, {"webhook": options})
        assert len(parse_callbacks(urls, [{"webhook": options}, None])) == 2
        assert len(parse_callbacks([URL, f"{URL}/2"], {"webhook": options})) == 2
    assert len(parse_callbacks(urls, {"webhook": True})) == 2


@pytest.mark.parametrize(
    ("param", "path"),
    [
        ({"webhook_secret": SECRET}, "callback_param.webhook_secret"),
        ({"signing": {"key": f" {SECRET}"}}, "callback_param.signing.key"),
        ({"keys": ["whsk_abc"]}, "callback_param.keys"),
        ({"hooks": [{"secret": SECRET}]}, r"callback_param.hooks\[0\].secret"),
    ],
)
def test_secret_outside_of_its_member_is_rejected(param: dict[str, Any], path: str) -> None:
    """It would be sent in the document."""
    with pytest.raises(CallbackParamError, match=f"^{path} of .* is a webhook's secret") as caught:
        parse_callbacks(URL, Secret(param))
    assert SECRET not in everything_printed(caught.value)


def test_misspelled_member_is_rejected() -> None:
    """Its secret would be sent in the document."""
    with pytest.raises(CallbackParamError, match="If webhook is meant"):
        parse_callbacks(URL, {"webhooks": {"secret": "x"}})
    with pytest.raises(CallbackParamError, match=r'"webhook": \{"headers"'):
        parse_callbacks(URL, {"headers": {"Authorization": "x"}})


def test_unencrypted_headers_are_a_warning() -> None:
    """Anyone on the way reads them."""
    (found,) = parse_callbacks("http://example.org/done", {"webhook": {"headers": {"authorization": "x"}}})
    assert "unencrypted" in str(plan(found).warnings(NOW))
    assert not plan(callback({"headers": {"authorization": "x"}})).warnings(NOW)


def test_another_target_gets_neither_secret_nor_headers() -> None:
    """They were given for the host of the first one."""
    old = callback({"secret": SECRET, "headers": {"authorization": "Bearer topsecret7f3a"}}, run=7)
    (new,) = parse_callbacks("https://other.example/done")
    assert old.replaced_by(new).plain() == {"url": "https://other.example/done", "param": {"run": 7}}
