"""Signed URLs that were damaged on their way, and webhooks that look like them."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest

from callback_sdk.errors import InvalidTargetError, TargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets import check_target
from callback_sdk.targets.identifiers import Identifiers, check_unsigned, is_signed, merge
from callback_sdk.text.limits import MAX_URL
from tests.growth import assert_linear

# At hosts that no provider has: an own server, or an own domain of a provider's bucket.
BASE = "https://files.example.org/results/42.json?"
V4 = (
    f"{BASE}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20991129%2Fus-east-1%2Fs3%2Faws4_request"
    f"&X-Amz-Date=20991129T210504Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature={'5f' * 32}"
)
V2 = f"{BASE}AWSAccessKeyId=AKIDEXAMPLE&Signature=UmFuZG9tIHR3ZW50eSBieSE0MjE%3D&Expires=4095989824"
GOOGLE_V4 = (
    f"{BASE}X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=s%40p.iam.gserviceaccount.com%2F20991129%2Fauto"
    "%2Fstorage%2Fgoog4_request&X-Goog-Date=20991129T210504Z&X-Goog-Expires=3600&X-Goog-SignedHeaders=host"
    f"&X-Goog-Signature={'5f' * 256}"
)
GOOGLE_V2 = f"{BASE}GoogleAccessId=s%40p.iam.gserviceaccount.com&Expires=4095989824&Signature={'a' * 342}%3D%3D"
SAS = f"{BASE}se=2099-01-01T00%3A00%3A00Z&sp=cw&sv=2023-01-03&sr=b&sig={quote('A' * 43 + '=', safe='')}"
OSS = f"{BASE}OSSAccessKeyId=AKIDEXAMPLE&Expires=4095989824&Signature=UmFuZG9tIHR3ZW50eSBieSE0MjE%3D"
COS = (
    f"{BASE}q-sign-algorithm=sha1&q-ak=AKIDEXAMPLE&q-sign-time=1700000000%3B4095989824&q-key-time=1700000000%3B4095989824"
    f"&q-header-list=host&q-url-param-list=&q-signature={'5f' * 20}"
)
OBS = f"{BASE}AccessKeyId=AKIDEXAMPLE&Expires=4095989824&Signature=UmFuZG9tIHR3ZW50eSBieSE0MjE%3D"
TOS = (
    f"{BASE}X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AKIDEXAMPLE%2F20991129%2Fcn-beijing%2Ftos%2Frequest"
    f"&X-Tos-Date=20991129T210504Z&X-Tos-Expires=3600&X-Tos-SignedHeaders=host&X-Tos-Signature={'5f' * 32}"
)
KS3_V4 = TOS.replace("X-Tos-", "X-Kss-").replace("TOS4", "KSS4").replace("%2Ftos%2Frequest", "%2Fks3%2Fkss4_request")
KS3_V2 = V2.replace("AWSAccessKeyId", "KSSAccessKeyId")
BOS = f"{BASE}authorization=bce-auth-v1%2FAKIDEXAMPLE%2F2099-11-29T21%3A05%3A04Z%2F3600%2Fhost%2F{'5f' * 32}"
UFILE = V2.replace("AWSAccessKeyId", "UCloudPublicKey")
SIGNED = {
    "s3-put": V4,
    "s3-put-v2": V2,
    "gcs-put": GOOGLE_V4,
    "gcs-put-v2": GOOGLE_V2,
    "azure-blob": SAS,
    "oss-put-v1": OSS,
    "cos-put": COS,
    "obs-put": OBS,
    "tos-put": TOS,
    "ks3-put": KS3_V4,
    "ks3-put-v2": KS3_V2,
    "bos-put": BOS,
    "ufile-put": UFILE,
}

WEBHOOKS = {
    "Logic Apps": "https://prod-07.westeurope.logic.azure.com/workflows/0123/triggers/manual/paths/invoke?"
    "api-version=2016-10-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=kHVl2cvnKr0T1nXhBmVv2nkGJ_pRr6Oq-0123456789",
    "Power Automate": "https://default0123.45.environment.api.powerplatform.com:443/powerautomate/automations/direct/"
    "workflows/0123/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=kHVl2cvnKr0T1n",
    "Azure Functions": "https://results.azurewebsites.net/api/done?code=kHVl2cvnKr0T1nXhBmVv2nkGJpRr6Oq0123456789A%3D%3D",
    "a token": "https://example.org/hook?token=s3cr3t&run=42",
    "a signed route of Laravel": f"https://example.org/hook?expires=4095989824&signature={'5f' * 32}",
    "a route signed with HMAC-SHA1": "https://example.org/h?expires=4095989824&signature=UmFuZG9tIHR3ZW50eSBieSE0MjE%3D",
    "a signature of its own": "https://example.org/hook?sig=abc&ts=1700000000&Signature=abc",
    "CloudFront": f"https://d111.cloudfront.net/h?Expires=4095989824&Signature={'a' * 342}__&Key-Pair-Id=APKAEXAMPLE",
    "start and end": "https://example.org/hook?st=2024-04-01&se=2024-05-01&job=42",
    "common names": "https://example.org/hook?sr=b&sp=rw&spr=https",
    "a version": "https://example.org/hook?sv=2024-01-01&v=2",
    "Feishu": "https://open.feishu.cn/open-apis/bot/v2/hook/0d7c564a-3e2b-4a86-9aac-1f4c9e0e8b8a",
    "DingTalk": "https://oapi.dingtalk.com/robot/send?access_token=0d7c&timestamp=1700000000000&sign=kHVl2cvnKr0%3D",
    "Telegram": "https://api.telegram.org/bot123456:abcdef/sendMessage?chat_id=42",
    "Zapier": "https://hooks.zapier.com/hooks/catch/123456/abcdef/?run=42",
    "n8n": "https://n8n.example.org/webhook/0d7c564a-3e2b-4a86-9aac-1f4c9e0e8b8a?run=42",
    "Slack": "https://hooks.slack.com/services/T000/B000/XXXXXXXXXXXXXXXX",
    "Discord": "https://discord.com/api/webhooks/123456/abcdef?wait=true&thread_id=1",
    "Google Chat": "https://chat.googleapis.com/v1/spaces/AAAA/messages?key=AIza0123&token=abc%3D",
    "Microsoft Teams": "https://example.webhook.office.com/webhookb2/0123@4567/IncomingWebhook/89ab/cdef",
    "Service Bus": "https://example.servicebus.windows.net/q/messages?sr=https%3A%2F%2Fexample.servicebus.windows.net%2Fq"
    f"&sig={quote('A' * 43 + '=', safe='')}&se=4095989824&skn=send",
    "a signed URL as a parameter": f"https://example.org/hook?url={quote(V4, safe='')}&run=42",
    "a signed URL in the path": f"https://example.org/forward/{quote(V4, safe='')}",
    "a list of headers": "https://example.org/hook?headers=host;x-amz-date;sig",
    "an authorization of its own": "https://example.org/hook?authorization=Bearer%20abc%2Fdef",
    "an escaped equation": "https://example.org/hook?filter=run%3D42;st%3D1",
    "an escaped query as a parameter": "https://example.org/hook?next=%2Fruns%3Fid%3D1%26page%3D2",
}


@pytest.mark.parametrize("url", WEBHOOKS.values(), ids=WEBHOOKS)
def test_webhook_with_parameters_of_its_own_stays_a_webhook(url: str) -> None:
    """Names and values that signed URLs have too aren't enough."""
    assert check_target(url).kind == "webhook"


@pytest.mark.parametrize(("kind", "url"), SIGNED.items(), ids=SIGNED)
def test_complete_signed_url_is_recognized_at_any_host(kind: str, url: str) -> None:
    """The damaged URLs below are these."""
    assert check_target(url).kind == kind


DAMAGES = {
    "its end cut off": lambda url: url[: -len(url) // 3],
    "its end cut off in a shell": lambda url: "&".join(url.split("&")[:2]),
    "copied from HTML": lambda url: url.replace("&", "&amp;"),
    "copied from HTML that was escaped twice": lambda url: url.replace("&", "&amp;amp;"),
    "copied from HTML with numbers": lambda url: url.replace("&", "&#38;"),
    "copied from JSON": lambda url: url.replace("&", "\\u0026"),
    "its query escaped": lambda url: BASE + quote(url.removeprefix(BASE), safe=""),
    "its query escaped twice": lambda url: BASE + quote(quote(url.removeprefix(BASE), safe=""), safe=""),
    "its path and query escaped": lambda url: "https://files.example.org/" + quote(url.partition(".org/")[2]),
    "only its separators escaped": lambda url: url.replace("&", "%26"),
    "its query in the fragment": lambda url: url.replace("42.json", "%2342.json").replace("%23", "#"),
    "each = escaped": lambda url: url.replace("=", "%3D"),
    "each = escaped twice": lambda url: url.replace("=", "%253D"),
    "semicolons as separators": lambda url: url.replace("&", ";"),
    "semicolons as separators, and each = escaped": lambda url: url.replace("&", ";").replace("=", "%3D"),
    "semicolons as separators, escaped": lambda url: BASE + quote(url.removeprefix(BASE).replace("&", ";"), safe=""),
    "escaped for a shell": lambda url: re.sub(r"([?&=])", r"\\\1", url),
}


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_signed_url_is_rejected(kind: str, damage: Callable[[str], str]) -> None:
    """It is neither used nor taken for a webhook; one with a single parameter has no separator to be damaged."""
    if damage(SIGNED[kind]) == SIGNED[kind]:
        assert kind == "bos-put"
    else:
        with pytest.raises(InvalidTargetError):
            check_target(damage(SIGNED[kind]))


@pytest.mark.parametrize("name", ["s3-put", "s3-put-v2", "gcs-put", "gcs-put-v2", "tos-put", "ks3-put", "ks3-put-v2"])
def test_signed_url_with_names_in_another_case_is_rejected(name: str) -> None:
    """Stores compare the names of these parameters case-sensitively."""
    url = re.sub(r"[?&][^=]*", lambda match: match[0].lower(), SIGNED[name])
    with pytest.raises(InvalidTargetError, match="is incomplete"):
        check_target(url)


@pytest.mark.parametrize(("text", "language"), [("&amp;", "HTML"), ("\\u0026", "JSON")])
@pytest.mark.parametrize("url", ["https://example.org/hook?a=1&token=2", V4, V2, SAS])
def test_escaped_ampersand_is_named(url: str, text: str, language: str) -> None:
    """The hint says how to repair the URL; also that of a webhook."""
    with pytest.raises(InvalidTargetError, match=rf"in place of &: it was escaped for {language}") as caught:
        check_target(url.replace("&", text))
    assert f"replace each {text} by &." in caught.value.hint


def test_ampersand_in_the_path_is_a_key() -> None:
    """An object may be called anything."""
    assert check_target(V4.replace("42.json", "a&amp;b.json")).kind == "s3-put"


def test_identifiers_match_by_name_prefix_and_value() -> None:
    """One sufficient name, or two common names with values of their form."""
    values = {"sig": re.compile("[0-9]{4}"), "end": re.compile("[0-9]{8}")}
    identifiers = Identifiers("key-id x-own-*", values, {"for": re.compile("[rw]"), "by": re.compile("[ab]")})

    def rejected(query: str) -> bool:
        try:
            check_unsigned(SecretURL(f"https://example.org/?{query}"), [identifiers])
        except TargetError:
            return True
        return False

    assert rejected("Key-ID=")
    assert rejected("a=1&X-OWN-Thing=1")
    assert rejected("sig=1234&end=12345678")
    assert rejected("sig=1234&for=r")
    assert not rejected("for=r&by=a")
    assert not rejected("sig=1234&end=1234")
    assert not rejected("sig=1234&sig=5678")
    assert not rejected("own-thing=1&end=12345678")


@pytest.mark.parametrize(
    ("query", "signed"),
    [
        *(("key-id=", True), ("X-Own-Thing=1", True), ("sig=1234&end=5678", True), ("code=t-1", True)),
        *(("sig=1234", False), ("key=1&code=t", False), ("sig=1234&code=5", False)),
    ],
)
def test_merged_identifiers_match_what_each_of_them_matches(query: str, signed: bool) -> None:
    """No parameters of one kind count for another."""
    kinds = [
        Identifiers("key-id"),
        Identifiers("x-own-*", {"sig": re.compile("[0-9]{4}"), "end": re.compile("[0-9]{4}")}),
        Identifiers(tokens={"code": re.compile("t-[0-9]")}),
        Identifiers(values={"sig": re.compile("[0-9]{4}"), "code": re.compile("[a-z]")}),
    ]
    url = SecretURL(f"https://example.org/?{query}")
    assert is_signed(url, kinds) is is_signed(url, merge(kinds)) is signed


@pytest.mark.parametrize("text", ["%26x=1", "&amp;", "&", "?", "%25", "\\u0026", "a", "%3F%26"])
def test_search_for_identifiers_takes_linear_time(text: str) -> None:
    """A URL comes from outside, and may have the maximum length."""
    small, large = (
        SecretURL("https://example.org/p?" + text * (size // len(text))) for size in (MAX_URL // 32, MAX_URL - 100)
    )
    identifiers = [Identifiers("x-amz-*", {"sig": re.compile("[0-9]{4}")})]

    def search(url: SecretURL) -> None:
        try:
            check_unsigned(url, identifiers)
        except TargetError:
            return

    assert_linear(search, small, large, ratio=32)


@pytest.mark.parametrize(("kind", "url"), SIGNED.items(), ids=SIGNED)
def test_repeated_parameter_of_a_signature_is_rejected(kind: str, url: str) -> None:
    """Stores reject such a URL, or read another of the two values."""
    for pair in url.partition("?")[2].split("&"):
        with pytest.raises(InvalidTargetError, match="twice: it was signed twice"):
            check_target(f"{url}&{pair}")
    assert check_target(f"{url}&run=42&run=42").kind == kind
