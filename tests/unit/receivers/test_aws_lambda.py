"""Receivers as Lambda functions, with the events of API Gateway, function URLs and load balancers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from callback_sdk.receivers import ReceivedResult, Receiver
from callback_sdk.receivers.aws_lambda import endpoint
from tests.unit.receivers.test_receiver import BODY, SECRET, signed


def rest(headers: dict[str, str], body: str | None, *, encoded: bool = False) -> dict[str, Any]:
    """Return an event of API Gateway's REST API, with payload format 1.0: header names as the client sent them."""
    given = {name.title(): value for name, value in headers.items()}
    return {
        "version": "1.0",
        "resource": "/done",
        "path": "/done",
        "httpMethod": "POST",
        "headers": given or None,
        "multiValueHeaders": {name: [value] for name, value in given.items()} or None,
        "queryStringParameters": None,
        "requestContext": {"httpMethod": "POST", "stage": "prod"},
        "body": body,
        "isBase64Encoded": encoded,
    }


def http(headers: dict[str, str], body: str | None, *, encoded: bool = False) -> dict[str, Any]:
    """Return an event of an HTTP API or of a function URL, with payload format 2.0: no body is no member."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/done",
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {"http": {"method": "POST", "path": "/done"}, "stage": "$default"},
        **({} if body is None else {"body": body}),
        "isBase64Encoded": encoded,
    }


def balancer(headers: dict[str, str], body: str | None, *, encoded: bool = False) -> dict[str, Any]:
    """Return an event of an application load balancer with multi-value headers."""
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x"}},
        "httpMethod": "POST",
        "path": "/done",
        "multiValueHeaders": {name.lower(): ["", value] for name, value in headers.items()},
        "body": body or "",
        "isBase64Encoded": encoded,
    }


each_event = pytest.mark.parametrize("event", [rest, http, balancer])


@each_event
@pytest.mark.parametrize("encoded", [False, True])
def test_a_webhook_is_handled(event: Any, encoded: bool) -> None:
    """As text, and in base64; header names in any letter case."""
    found: list[ReceivedResult] = []
    text = base64.b64encode(BODY).decode() if encoded else BODY.decode()
    function = endpoint(Receiver(found.append, secrets=SECRET))
    assert function(event(signed(), text, encoded=encoded), None) == {
        "statusCode": 200,
        "headers": {},
        "body": "",
        "isBase64Encoded": False,
    }
    assert [one.document for one in found] == [BODY]


@each_event
def test_text_is_utf_8(event: Any) -> None:
    """The signature covers its bytes."""
    body = BODY.replace(b"7", '"größe 😀"'.encode())
    found: list[ReceivedResult] = []
    function = endpoint(Receiver(found.append, secrets=SECRET))
    assert function(event(signed(body), body.decode()), None)["statusCode"] == 200
    assert [one.results for one in found] == ["größe 😀"]


@each_event
def test_errors_are_responses(event: Any) -> None:
    """The caller gets the status, and the function doesn't fail."""
    function = endpoint(Receiver(lambda result: 1 / 0, secrets=SECRET, max_bytes=1000))
    assert function(event({}, BODY.decode()), None)["statusCode"] == 401
    response = function(event(signed(), BODY.decode()), None)
    assert (response["statusCode"], json.loads(response["body"])) == (500, {"error": "The handler failed."})
    assert response["headers"]["content-type"] == "application/json"
    assert function(event(signed(b""), None), None)["statusCode"] == 422
    assert function(event(signed(), "x" * 1001), None)["statusCode"] == 413
    assert function(event(signed(), base64.b64encode(b"x" * 1001).decode(), encoded=True), None)["statusCode"] == 413
    assert function(event(signed(), base64.b64encode(b"x" * 1000).decode(), encoded=True), None)["statusCode"] == 401
    assert function(event(signed(), "not base64", encoded=True), None)["statusCode"] == 400
    assert function(event(signed(), "\ud800"), None)["statusCode"] == 400
