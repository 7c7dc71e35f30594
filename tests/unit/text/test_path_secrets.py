"""callback_sdk.text.path_secrets"""

from __future__ import annotations

import base64
import random
import uuid

import pytest

from callback_sdk.redaction import SecretURL
from callback_sdk.text.path_secrets import is_random

TOKEN = "Ab3dE5fG7hI9jK1lM3nO5pQ7"
UUID = "0b1f7c1e-6f0a-4c4e-9d55-2f6f7a0f4f11"
HEXADECIMAL = "9f86d081884c7d659a2feaa0c55ad015"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://hooks.slack.com/services/T01ABCDEF/B02GHIJKL/{TOKEN}", "/services/T01ABCDEF/B02GHIJKL/***"),
        ("https://hooks.slack.com/services/T1/B1/short", "/services/T1/B1/***"),
        (f"https://hooks.slack.com/workflows/T1/A1/123456/{TOKEN}", "/workflows/T1/A1/***/***"),
        (f"https://discord.com/api/webhooks/123456789012345678/{TOKEN}{TOKEN}", "/api/webhooks/123456789012345678/***"),
        ("https://discordapp.com/api/v10/webhooks/1234/x/slack", "/api/v10/webhooks/1234/***/slack"),
        (f"https://ptb.discord.com/api/webhooks/1/{TOKEN}?wait=true", "/api/webhooks/1/***?***"),
        (f"https://acme.webhook.office.com/webhookb2/{UUID}@{UUID}/IncomingWebhook/{HEXADECIMAL}/{UUID}",
         "/webhookb2/***/***/***/***"),
        (f"https://outlook.office.com/webhook/{UUID}/IncomingWebhook/abc/def", "/webhook/***/***/***/***"),
        ("https://api.telegram.org/bot123456:AAE-xyz/sendDocument", "/bot***/sendDocument"),
        ("https://bots.example.org/bot123456:AAE-xyz/sendDocument", "/bot123456:***/sendDocument"),
        ("https://hooks.zapier.com/hooks/catch/12345/bq7x2a/", "/hooks/catch/12345/***/"),
        ("https://maker.ifttt.com/trigger/done/json/with/key/bq7x2a", "/trigger/done/json/with/key/***"),
        (f"https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/{TOKEN}/n/ns/b/bucket/o/runs/{UUID}.json",
         f"/p/***/n/ns/b/bucket/o/runs/{UUID}.json"),
        (f"https://example.org/hooks/{UUID}", "/hooks/***"),
        (f"https://example.org/hooks/{TOKEN}/done", "/hooks/***/done"),
        (f"https://example.org/a%20b/{HEXADECIMAL}", "/a%20b/***"),
        ("https://example.org/token/abc/done", "/token/***/done"),
        ("https://x.ryver.com/application/webhook/T0kEn15chArs2b", "/application/webhook/***"),
        ("https://api.pagertree.com/integration/int_8Jp3ZtQ1v", "/integration/***"),
        ("https://hooks.slack.com./services/T1/B1/short", "/services/T1/B1/***"),
        (f"https://api.vercel.com/v1/integrations/deploy/prj_{TOKEN}/hk1", "/v1/integrations/deploy/***/***"),
        ("https://api.netlify.com/build_hooks/short", "/build_hooks/***"),
        ("https://hooks.airtable.com/workflows/v1/genericWebhook/app1/wfl1/wtr1",
         "/workflows/v1/genericWebhook/***/***/***"),
        ("https://my.kuma/api/push/TU6UYXKALJ", "/api/push/***"),
        ("https://hook.us1.make.celonis.com/short", "/***"),
        ("https://kuma.example.org/api/push/short1?status=up", "/api/push/***?***"),
        ("https://kuma.example.org/status/api/push/short1", "/status/api/push/***"),
        ("https://chat.example.org/api/webhooks/12/short", "/api/webhooks/12/***"),
        ("https://example.org/access_token/abc/x", "/access_token/***/x"),
        ("https://example.org/accessToken/abc", "/accessToken/***"),
        ("https://example.org/pass/abc/api-keys/def", "/pass/***/api-keys/***"),
        ("https://example.org/token=abc/x", "/token=***/x"),
        ("https://example.org/token%3Dabc/x", "/token%3D***/x"),
        ("https://example.org/x;token=abc;y=1", "/x;token=***;y=1"),
        ("https://example.org/x;v=1,api-key=abc", "/x;v=1,api-key=***"),
        (f"https://example.org/secret/{UUID}/token/abc", "/secret/***/token/***"),
        (f"https://example.org/hooks/catch/12345/{TOKEN[:8]}", "/hooks/catch/12345/***"),
        (f"https://example.org/done/{TOKEN}?sig=abcdef", "/done/***?***"),
        (f"https://example.org/done/{TOKEN}?signature=abcdef", "/done/***?***"),
    ],
)  # fmt: skip
def test_credentials_in_a_path_are_not_shown(url: str, shown: str) -> None:
    """In URLs of popular webhook services, and random segments anywhere else."""
    assert str(SecretURL(url)).endswith(shown)
    assert str(SecretURL(url)).split("/")[2] == url.split("/")[2]
    assert SecretURL(url).has_secret_path
    assert SecretURL(url).reveal() == url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/hooks/thermal-fatigue-prediction-results/done",
        "https://example.org/webhooks/results-2025/thermal2/step1",
        "https://example.org/runs/2026-11-29T12:00:00.123456Z/job-17-try-2-of-3-on-node-4",
        "https://example.org/12345678901234567890/build4-rc1-py311-linux-x86-64",
        "http://127.0.0.1:9000/done",
        "https://example.org",
    ],
)
def test_words_are_shown(url: str) -> None:
    """Names, numbers, times and versions are no credentials."""
    assert str(SecretURL(url)) == url
    assert not SecretURL(url).has_secret_path


@pytest.mark.parametrize("query", ["", "?X-Amz-Signature=abcdef", "?sig=abcdef&se=1", "?signature=abcdef"])
def test_names_of_objects_are_shown_where_a_path_is_known_to_be_one(query: str) -> None:
    """Only a target tells. The query doesn't: webhooks have signatures too."""
    url = SecretURL(f"https://bucket.example.org/{UUID}/{HEXADECIMAL}.json{query}")
    assert str(url.with_public_path()) == f"https://bucket.example.org/{UUID}/{HEXADECIMAL}.json{query and '?***'}"
    assert not url.with_public_path().has_secret_path
    assert str(url) == f"https://bucket.example.org/***/***{query and '?***'}"
    assert url.with_public_path().reveal() == url.reveal()


def test_path_before_the_name_of_an_object_is_hidden() -> None:
    """A gateway may have its own credential in front of a bucket."""
    path = f"/token/abc/{HEXADECIMAL}"
    url = SecretURL(f"https://example.org{path}").with_public_path(len("/token/abc/"))
    assert str(url) == f"https://example.org/token/***/{HEXADECIMAL}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https:/u:pw@h/x", "***"),
        ("https:u:pw@h", "***"),
        ("user:pw@h/x", "***"),
        ("https:///u:pw@h/x", "***"),
        ("https://proxy.example.org/u:pw@h/x", "https://proxy.example.org/***@h/x"),
    ],
)
def test_mistyped_urls_show_no_password(url: str, shown: str) -> None:
    """A password may be anywhere then."""
    assert str(SecretURL(url)) == shown
    assert "pw" not in str(SecretURL(url))


def test_random_texts_are_distinguished_from_words() -> None:
    """Nearly all of 200 samples of each form are detected."""
    chance = random.Random(7)
    kinds = {
        "UUID": lambda: str(uuid.UUID(int=chance.getrandbits(128))),
        "hexadecimal": lambda: chance.randbytes(16).hex(),
        "base64": lambda: base64.urlsafe_b64encode(chance.randbytes(24)).decode(),
        "base32": lambda: base64.b32encode(chance.randbytes(20)).decode().lower(),
    }
    for kind, make in kinds.items():
        assert sum(is_random(make()) for _ in range(200)) > 185, kind


def test_secrets_of_paths_in_responses_are_hidden() -> None:
    """Even if the server quotes them decoded or encoded."""
    url = SecretURL(f"https://hooks.slack.com/services/T1/B1/{TOKEN}%2F")
    assert TOKEN not in url.scrub(f"No hook {TOKEN}/ and no {TOKEN}%2F.")
