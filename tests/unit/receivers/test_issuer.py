"""The endpoint that issues targets, without a framework."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk import S3Signer, webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import ConfigurationError
from callback_sdk.receivers import TargetIssuer, TargetRequest
from callback_sdk.testing.s3client import s3_client

SECRET = webhooks.generate_secret()
REQUEST = {"job_id": "42", "delivery_id": "msg_1", "output": None}
CLIENT = s3_client("https://s3.us-east-1.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE", "key")
PUT = S3Signer("bucket", client=CLIENT).presign_put("42.json")
URL = PUT.url
SIGNATURE = URL.partition("X-Amz-Signature=")[2]


def ask(issuer: TargetIssuer, request: Any = REQUEST, *, secret: str = SECRET) -> tuple[int, Any]:
    """Return status and JSON of the answer."""
    body = json.dumps(request).encode()
    headers = webhooks.sign([webhooks.decode_secret(secret)], "refresh_1", datetime.now(timezone.utc), Body(body))
    reply = issuer.receive(headers, body)
    return reply.status, json.loads(reply.body)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (PUT, {"url": URL, "param": PUT.callback_param}),
        (URL, {"url": URL, "param": {}}),
        ((URL, {"webhook": None}), {"url": URL, "param": {}}),
        ({"url": URL, "param": {"run": 7}}, {"url": URL, "param": {"run": 7}}),
    ],
)
def test_a_target_is_issued(target: Any, answer: Any) -> None:
    """In each form that callbacks have; the request has the ids and the file's name."""
    asked: list[TargetRequest] = []

    def issue(request: TargetRequest) -> Any:
        asked.append(request)
        return target

    issuer = TargetIssuer(issue, secrets=SECRET)
    assert ask(issuer) == (200, answer)
    assert ask(issuer, {**REQUEST, "output": "model.bin"}) == (200, answer)
    assert asked == [
        TargetRequest(job_id="42", delivery_id="msg_1", output=None),
        TargetRequest(job_id="42", delivery_id="msg_1", output="model.bin"),
    ]


def test_only_known_senders_get_a_target() -> None:
    """It is a credential."""
    issuer = TargetIssuer(lambda request: URL, secrets=SECRET)
    assert ask(issuer, secret=webhooks.generate_secret())[0] == 401
    assert issuer.receive({}, json.dumps(REQUEST).encode()).status == 401
    with pytest.raises(ConfigurationError):
        TargetIssuer(lambda request: URL, secrets=None)


def test_a_header_authenticates() -> None:
    """That of `refresh`, for senders without webhook secrets."""
    issuer = TargetIssuer(lambda request: URL, secrets=None, headers={"Authorization": "Bearer t"})
    body = json.dumps(REQUEST).encode()
    assert issuer.receive({"Authorization": "Bearer t"}, body).status == 200
    assert issuer.receive({"Authorization": "Bearer x"}, body).status == 401


def test_targets_are_not_cached() -> None:
    """By nothing in between."""
    body = json.dumps(REQUEST).encode()
    issuer = TargetIssuer(lambda request: URL, secrets=None, headers={"Authorization": "Bearer t"})
    assert issuer.receive({"Authorization": "Bearer t"}, body).headers["cache-control"] == "no-store"


def test_a_refused_job_is_404() -> None:
    """The delivery ends then."""
    assert ask(TargetIssuer(lambda request: None, secrets=SECRET))[0] == 404


@pytest.mark.parametrize("target", [7, {"url": "nonsense"}, (URL, {"s3_fields": 7}), [URL, URL]])
def test_an_unusable_target_is_an_error_of_the_issuer(target: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The sender tries again; the log has the reason, without the signature."""
    assert ask(TargetIssuer(lambda request: target, secrets=SECRET)) == (500, {"error": "No target could be issued."})
    assert "No target could be issued for job 42" in caplog.text
    assert SIGNATURE not in caplog.text


def test_a_failure_is_an_error_of_the_issuer(caplog: pytest.LogCaptureFixture) -> None:
    """Its text is in the log only."""
    assert ask(TargetIssuer(lambda request: 1 / 0, secrets=SECRET)) == (500, {"error": "No target could be issued."})
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "request_",
    [
        {},
        [],
        {**REQUEST, "job_id": None},
        {**REQUEST, "delivery_id": 7},
        {**REQUEST, "output": 7},
        {"job_id": "42", "delivery_id": "msg_1"},
        {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": 1},
    ],
)
def test_other_requests_are_rejected(request_: Any) -> None:
    """A result document among them, which the same secret signs."""
    assert ask(TargetIssuer(lambda request: URL, secrets=SECRET), request_)[0] == 422
