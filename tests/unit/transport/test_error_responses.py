"""What a response without success means."""

from __future__ import annotations

import gzip
import json

import pytest
from attrs import evolve

from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import Secret
from callback_sdk.text.limits import MAX_MESSAGE
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.response import Response
from callback_sdk.transport.status_hints import status_hint
from tests.unit.transport.test_http import upload

ERROR = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_code_of_a_store_is_found_in_a_compressed_body(encoding: str | None) -> None:
    """Nobody asked for compression, and some proxies compress all the same."""
    body, headers = (ERROR, {}) if encoding is None else (gzip.compress(ERROR), {"content-encoding": encoding})
    sent = upload("https://bucket.s3.amazonaws.com/k?X-Amz-Signature=s")
    error = delivery_error(sent, Response(status=403, headers=headers, body=body, url=sent.url))
    assert (error.code, error.retryable) == ("SlowDown", True)
    assert "Please reduce your request rate" in str(error)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("2.5", 2.5), ("0", 0.0), ("-1", None), ("soon", None), ("1e9", None), ("86400", 3600.0), (None, None)],
)
def test_pause_that_a_server_asks_for_is_bounded(retry_after: str | None, seconds: float | None) -> None:
    """A value that can't be read is none, and no server makes anybody wait for more than an hour."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    sent = upload("https://example.org/hook")
    assert delivery_error(sent, Response(status=503, headers=headers, body=b"", url=sent.url)).retry_after == seconds


@pytest.mark.parametrize(("status", "retryable"), [(520, True), (522, True), (501, True), (404, False), (303, False)])
def test_every_5xx_may_pass(status: int, retryable: bool) -> None:
    """Content delivery networks have their own."""
    sent = upload("https://example.org/hook")
    error = delivery_error(sent, Response(status=status, headers={}, body=b"", url=sent.url))
    assert (error.retryable, error.transient) == (retryable, retryable)


@pytest.mark.parametrize("status", [401, 403])
def test_a_receiver_that_checks_signatures_wants_the_secret(status: int) -> None:
    """The hint names where secrets are set, in a program and in the service."""
    sent = evolve(upload("https://example.org/hook"), kind="webhook")
    error = delivery_error(sent, Response(status=status, headers={}, body=b"", url=sent.url))
    assert "webhook_secrets of ResultsWriter, or a secret of the user at a service" in error.hint


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"message":"401 Unauthorized"}', None, "401 Unauthorized"),
        (b'{"code":"NotAuthenticated","message":"The required information is missing"}', "NotAuthenticated", "missing"),
        (b'{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}', "Duplicate", "exists"),
        (b'{"errors" : [ {"status" : 401, "message" : "Bad credentials"} ]}', None, "Bad credentials"),
        (b'{"message": "a \\" quote"}', None, 'a " quote'),
    ],
)
def test_json_of_a_store_has_its_code_and_message(body: bytes, code: str | None, message: str) -> None:
    """As GitLab, Oracle, Supabase and Artifactory respond; a webhook's JSON can be anything."""
    sent = evolve(upload("https://example.org/file"), kind="http-put")
    response = Response(status=401, headers={}, body=body, url=sent.url)
    error = delivery_error(sent, response)
    assert error.code == code
    assert message in str(error)
    assert delivery_error(evolve(sent, kind="webhook"), response).code is None
    assert "already exists" not in str(delivery_error(evolve(sent, kind="webhook"), response))


def refused(
    body: bytes, *, status: int = 403, kind: str = "s3-put", headers: dict[str, str] | None = None, **given: str
) -> DeliveryError:
    """Return the error for a response to an upload with a token as its signature and `given` headers."""
    sent = upload("https://bucket.example.org/k?X-Amz-Signature=5ec2e7&X-Amz-Security-Token=T0KEN%2B%3D")
    sent = evolve(sent, kind=kind, headers=Secret({"content-type": "application/json", **given}))
    return delivery_error(sent, Response(status=status, headers=headers or {}, body=body, url=sent.url))


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        ("<Details>x lacks storage.objects.create</Details>", "Denied. x lacks storage.objects.create"),
        ("<AuthenticationErrorDetail>sr is mandatory</AuthenticationErrorDetail>", "Denied. sr is mandatory"),
        ("<HeadersNotSigned>x-amz-acl</HeadersNotSigned>", "Denied. (HeadersNotSigned: x-amz-acl)"),
        ("<Header>If-Match</Header>", "Denied. (Header: If-Match)"),
        ("<Condition>If-None-Match</Condition>", "Denied. (Condition: If-None-Match)"),
        ("<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint>", "Denied. (Endpoint: b.s3.eu-west-1.amazonaws.com)"),
        ("", "Denied."),
    ],
)
def test_what_the_message_is_about_is_shown(element: str, shown: str) -> None:
    """ "Access denied." alone helps nobody."""
    error = refused(f"<Error><Code>AccessDenied</Code><Message>Denied.</Message>{element}</Error>".encode())
    assert error.message.endswith(f"to the PUT: {shown if shown.endswith('.') else shown + '.'}")


def test_ids_of_a_request_follow_what_happened() -> None:
    """Azure puts them into its message, before the detail."""
    body = (
        b"<Error><Code>AuthenticationFailed</Code><Message>Failed.\nRequestId:17\nTime:2026</Message>"
        b"<AuthenticationErrorDetail>sr is mandatory</AuthenticationErrorDetail></Error>"
    )
    assert refused(body).message.endswith("Failed. sr is mandatory RequestId:17 Time:2026.")


def test_entities_of_a_message_are_replaced() -> None:
    """Cloudflare R2 escapes apostrophes."""
    error = refused(
        b"<Error><Code>NotImplemented</Code><Message>Header &apos;x-amz-acl&apos; &lt;1&gt;</Message></Error>"
    )
    assert "Header 'x-amz-acl' <1>" in error.message


@pytest.mark.parametrize(
    "quoted", ["T0KEN+=", "T0KEN%2B%3D", "5ec2e7", "secret&quot;1", "GET /k?X-Amz-Signature=5ec2e7&amp;a=b HTTP/1.1"]
)
@pytest.mark.parametrize(
    "form",
    [
        "<Error><Code>AccessDenied</Code><Message>got {}</Message></Error>",
        "<Error><Code>AccessDenied</Code><Message>m</Message><Details>got {}</Details></Error>",
        "<Error><Code>AccessDenied</Code><Message>m</Message><HeadersNotSigned>{}</HeadersNotSigned></Error>",
    ],
)
def test_credentials_are_removed_from_every_part(form: str, quoted: str) -> None:
    """Stores quote the request, escaped or not."""
    error = refused(form.format(quoted).encode(), **{"x-amz-meta-key": 'secret"1'})
    assert not [word for word in ("T0KEN", "5ec2e7", 'secret"1') if word in f"{error!r} {error} {error.hint}"]


@pytest.mark.parametrize(
    ("body", "code", "shown"),
    [
        ({"code": "bad_auth_token", "message": "Invalid token", "status": 401}, "bad_auth_token", "Invalid token"),
        ({"statusCode": "409", "error": "Duplicate", "message": "It exists"}, "Duplicate", "It exists"),
        (
            {"error": {"code": 403, "message": "x lacks it", "status": "PERMISSION_DENIED"}},
            "PERMISSION_DENIED",
            "x lacks it",
        ),
        ({"code": "BucketNotFound", "message": 'Either "b" or "c"'}, "BucketNotFound", 'Either "b" or "c"'),
        ({"code": 1, "message": ["no"]}, None, ""),
        ({"code": "no code", "message": "x" * (MAX_MESSAGE + 1)}, None, ""),
        ({"code": "c" * 81}, None, ""),
        ({"message": "got T0KEN+="}, None, "got ***"),
        ([{"code": "InList"}], None, '[{"code": "InList"}]'),
    ],
)
def test_json_of_an_object_store_is_read(body: object, code: str | None, shown: str) -> None:
    """Backblaze, Oracle, Supabase and Google respond with it."""
    error = refused(json.dumps(body).encode(), kind="gcs-put")
    assert error.code == code
    assert error.message.endswith(f": {shown}." if shown else "to the PUT.")


@pytest.mark.parametrize(
    "body", [b"{", b'{"a":' * 10_000, b'{"code": ' + b"9" * 5_000 + b"}", b"{\xff}", b"{}", b"{}{}"]
)
def test_json_that_cannot_be_read_is_no_error(body: bytes) -> None:
    """A hostile store can't break the delivery's own error."""
    error = refused(body, status=418)
    assert (error.status, error.code, error.hint) == (418, None, status_hint("s3-put", 418))


def test_json_of_a_webhook_is_its_own() -> None:
    """A receiver's words are not a store's: the hint is that of the status, and no code is taken from it."""
    error = refused(b'{"code": "AccessDenied", "message": "Request has expired"}', kind="webhook")
    assert error.code is None
    assert error.hint.startswith("See the receiver's log.")


def test_a_code_in_azures_header_is_sufficient() -> None:
    """It comes without a body too."""
    error = refused(b"", status=409, kind="azure-blob", headers={"x-ms-error-code": "BlobAlreadyExists"})
    assert error.code == "BlobAlreadyExists"
    assert "99914b932bd37a50b983c5e7c90ae93b" in error.hint


@pytest.mark.parametrize(
    ("status", "part"),
    [
        (403, "firewall, CDN or proxy"),
        (404, "host and path"),
        (413, "client_max_body_size"),
        (301, "redirect"),
        (502, "retried"),
    ],
)
def test_a_response_without_a_code_has_the_hint_of_its_status(status: int, part: str) -> None:
    """It may not be the store's at all."""
    assert part in refused(b"<html>", status=status).hint


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"401 Unauthorized: Temp URL invalid", "401 Unauthorized: Temp URL invalid"),
        (b"got T0KEN+=\n", "got ***"),
        (b"<html>", ""),
        (b"x" * 201, ""),
        (b"\x1b[31m", r"\x1b[31m"),
        (b"", ""),
    ],
)
def test_a_line_of_text_is_shown(body: bytes, shown: str) -> None:
    """As OpenStack Swift responds; a page isn't, and neither is a webhook's."""
    assert refused(body, status=401, kind="swift-put").message.endswith(f": {shown}." if shown else "to the PUT.")
    assert refused(body, status=401, kind="webhook").message.endswith("to the PUT.")


TWIML = (
    b"<?xml version='1.0' encoding='UTF-8'?>\n<TwilioResponse><RestException><Code>20404</Code>"
    b"<Message>The requested resource was not found</Message></RestException></TwilioResponse>"
)


@pytest.mark.parametrize(
    "body",
    [TWIML, b"<Response><Code>Invalid</Code></Response>", b"<Error><Code>E1001</Code></Error>", b"<Code>A</Code>"],
)
def test_xml_of_a_webhook_is_not_that_of_a_store(body: bytes) -> None:
    """Twilio's TwiML, for one, has codes too."""
    error = refused(body, status=404, kind="webhook")
    assert (error.code, error.hint) == (None, status_hint("webhook", 404))


@pytest.mark.parametrize("root", [b"<Error>", b'<Error xmlns="http://s3.example/">', b"\n<Error>\n "])
def test_store_that_was_sent_a_webhook_is_told_by_its_error_document(root: bytes) -> None:
    """At a host that isn't known as a store."""
    error = refused(root + b"<Code>AccessDenied</Code></Error>", kind="webhook")
    assert error.code == "AccessDenied"
    assert error.hint.startswith("This is an object store")


PYDANTIC = {
    "detail": [{"type": "missing", "loc": ["body", "event"], "msg": "Field required", "input": {"x": "y" * 9000}}]
}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"invalid_payload", "invalid_payload"),
        (b'{"error": "no such run"}', '{"error": "no such run"}'),
        (b"token T0KEN+= is unknown\r\n\x1b[31m", "token *** is unknown \\x1b[31m"),
        (json.dumps(PYDANTIC).encode(), "Field required"),
        (json.dumps({"message": "too old", "document": "y" * 9000}).encode(), "too old"),
        (b"<html><title>Bad Request</title></html>", ""),
        (b"y" * 9000, ""),
        (b"y" * 900, "y" * 400),
        (b"", ""),
    ],
)
def test_receiver_of_a_webhook_says_what_is_wrong_with_the_document(body: bytes, status: int, shown: str) -> None:
    """Bounded, escaped and without credentials; other statuses aren't about the document."""
    error = refused(body, status=status, kind="webhook")
    assert error.message.endswith(f"to the PUT: {shown}." if shown else "to the PUT.")
    assert "members job_id, status" in error.hint
    assert refused(body, status=409, kind="webhook").message.endswith("to the PUT.")


def test_value_that_was_assumed_is_the_first_cause_of_a_rejected_signature() -> None:
    """A URL names the headers it signed without their values."""
    sent = evolve(upload("https://bucket.s3.amazonaws.com/k?X-Amz-Signature=s"), assumptions=("It is assumed.",))
    for code, assumed in (("SignatureDoesNotMatch", True), ("SlowDown", False)):
        body = b"<Error><Code>%b</Code></Error>" % code.encode()
        error = delivery_error(sent, Response(status=403, headers={}, body=body, url=sent.url))
        assert error.hint.startswith("It is assumed. A header differs") is assumed


SIGNED = upload("https://bucket.s3.amazonaws.com/k?X-Amz-Signature=s")


@pytest.mark.parametrize(
    ("report", "kind", "status", "code", "text"),
    [
        # Each response as the report has it: what runs longer than its URL lasts, in job runners and uploads.
        ("travis-ci/travis-ci#4211", "s3-put", 403, "AccessDenied", "Request has expired"),
        ("dataverse-uploader#30", "s3-put", 403, "AccessDenied", "Request has expired"),
        ("boto/boto3#2392", "s3-put", 400, "ExpiredToken", "The provided token has expired."),
        ("taskcluster/taskcluster#7260", "s3-put", 400, "ExpiredToken", "Invalid argument."),
        ("taskcluster/taskcluster#7260, V4", "gcs-put", 400, "ExpiredToken", "The provided token has expired."),
        ("cloudback/issue-tracker#23", "azure-blob", 403, "AuthenticationFailed", "Server failed to authenticate."),
        ("a form", "s3-post", 403, "AccessDenied", "Invalid according to Policy: Policy expired."),
        ("OSS", "oss-put", 403, "AccessDenied", "Request has expired."),
        ("COS", "cos-put", 403, "AccessDenied", "Request has expired"),
        ("R2", "s3-put", 403, "ExpiredRequest", "Request has expired"),
    ],
)
def test_an_expired_target_is_told_from_a_rejected_one(
    report: str, kind: str, status: int, code: str, text: str
) -> None:
    """Only a new target helps: its issuer is asked for one. Anything else isn't mended by it."""
    detail = (
        "<AuthenticationErrorDetail>Signature not valid in the specified time frame</AuthenticationErrorDetail>"
        if kind == "azure-blob"
        else ""
    )
    body = f"<Error><Code>{code}</Code><Message>{text}</Message>{detail}</Error>".encode()
    sent = evolve(SIGNED, kind=kind)
    error = delivery_error(sent, Response(status=status, headers={}, body=body, url=sent.url))
    assert (error.expired, error.retryable) == (True, False), report


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("s3-put", 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
        ("s3-put", 403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>It has expired.</Message></Error>"),
        ("azure-blob", 403, b"<Error><Code>AuthorizationFailure</Code><Message>Not authorized.</Message></Error>"),
        ("webhook", 403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
        ("http-put", 401, b"token has expired"),
        ("s3-put", 503, b"<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>"),
    ],
)
def test_other_failures_ask_no_issuer(kind: str, status: int, body: bytes) -> None:
    """A wrong permission stays wrong, and a webhook's words aren't those of a store."""
    sent = evolve(SIGNED, kind=kind)
    assert not delivery_error(sent, Response(status=status, headers={}, body=body, url=sent.url)).expired


@pytest.mark.parametrize("status", [404, 410])
def test_an_ended_upload_session_has_expired(status: int) -> None:
    """Google's session URIs end after a week, without a time in the URL."""
    sent = evolve(SIGNED, kind="gcs-session")
    assert delivery_error(sent, Response(status=status, headers={}, body=b"", url=sent.url)).expired
