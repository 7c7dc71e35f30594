"""What kind of target a callback is, what it is sent, and what is refused before anything is."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    PolicyError,
    ResultTooLargeError,
    SignedHeaderError,
    TargetExpiredError,
)
from callback_sdk.targets import Target, TargetSettings, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.upload import Upload
from tests.signedurls import (
    EMAIL,
    KEY,
    RSA,
    SHA1,
    SIGNATURE,
    form,
    google_fields,
    google_v2,
    google_v4,
    sas,
    signed_fields,
    v2,
    v4,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
V4 = f"https://b.s3.eu-central-1.amazonaws.com/k?{v4(signed='')}"
V2 = f"https://b.s3.amazonaws.com/k?{v2()}"
AZURE = f"https://a.blob.core.windows.net/c/k?{sas()}"
GCS_V4 = f"https://storage.googleapis.com/b/k?{google_v4()}"
GCS_V2 = f"https://storage.googleapis.com/b/k?{google_v2()}"
BUCKET = "https://b.s3.eu-central-1.amazonaws.com/"
BODY = Body(b'{"job_id":"1"}')


def target(url: str, param: Any = None, endpoints: tuple[str, ...] = ()) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback, TargetSettings(stores=StorageProviders.of(endpoints)))


def upload(url: str, param: Any = None, body: Body = BODY) -> Upload:
    return target(url, param).upload(body, delivery_id="msg_1", now=NOW)


def headers(url: str, param: Any = None) -> dict[str, str]:
    return upload(url, param).headers.reveal()


@pytest.mark.parametrize(
    ("url", "param", "kind", "method"),
    [
        (V4 + "host", None, "s3-put", "PUT"),
        (V2, None, "s3-put-v2", "PUT"),
        (BUCKET, form(), "s3-post", "POST"),
        (AZURE, None, "azure-blob", "PUT"),
        (GCS_V4, None, "gcs-put", "PUT"),
        (GCS_V2, None, "gcs-put-v2", "PUT"),
        ("https://storage.googleapis.com/b/", form(signed=google_fields()), "gcs-post", "POST"),
        (
            "https://storage.googleapis.com/b/",
            form(signed={"GoogleAccessId": EMAIL, "signature": RSA}),
            "gcs-post",
            "POST",
        ),
        (BUCKET, form(signed={"AWSAccessKeyId": KEY, "signature": SHA1}), "s3-post", "POST"),
        ("https://example.org/done?token=x", {"run": 1}, "webhook", "POST"),
        (
            f"http://127.0.0.1:9000/b/k?{v4()}",
            None,
            "s3-put",
            "PUT",
        ),
        ("https://abc.execute-api.eu-central-1.amazonaws.com/hook", None, "webhook", "POST"),
    ],
)
def test_kind_and_method_follow_from_the_callback(url: str, param: Any, kind: str, method: str) -> None:
    """The URL's query or the fields tell what a target is, whatever its host."""
    sent = upload(url, param)
    assert (sent.kind, sent.method) == (kind, method)
    assert sent.url.reveal() == url


def test_put_carries_exactly_the_signed_headers() -> None:
    """Known values for what is signed, and the usual ones for a bare URL."""
    assert headers(V4 + "host") == {"content-type": "application/json"}
    assert headers(V4 + "content-type%3Bhost%3Bif-none-match") == {
        "content-type": "application/json",
        "if-none-match": "*",
    }
    given = {"s3_headers": {"X-Amz-Meta-Run": "42", "content-type": "text/json"}}
    assert headers(V4 + "content-type%3Bhost%3Bx-amz-meta-run", given) == {
        "content-type": "text/json",
        "x-amz-meta-run": "42",
    }


def test_put_has_a_digest_where_the_store_takes_one() -> None:
    """Amazon refuses a Content-MD5 that isn't signed; the others check it all the same."""
    digest = {"content-md5": BODY.content_md5}
    assert headers(V4 + "content-md5%3Bhost", {"s3_headers": digest}).items() >= digest.items()
    assert headers(V4.replace("amazonaws.com", "example.org") + "host").items() >= digest.items()
    with pytest.raises(SignedHeaderError, match="is not signed in"):
        headers(V4 + "host", {"s3_headers": digest})


def test_v2_put_has_no_header_that_was_not_told() -> None:
    """Version 2 signs Content-Type and Content-MD5 without naming them."""
    assert headers(V2) == {}
    assert headers(V2, {"s3_headers": {"Content-Type": "text/plain"}}) == {"content-type": "text/plain"}


def test_azure_put_says_what_blob_it_is() -> None:
    """Azure refuses a PUT without x-ms-blob-type."""
    assert headers(AZURE)["x-ms-blob-type"] == "BlockBlob"


def test_post_has_the_fields_in_their_order_and_the_file_last() -> None:
    """Stores ignore what comes after the file."""
    param = form(**{"acl": "private", "Content-Type": "application/x-json"})
    text = upload(BUCKET, param).body.read().decode()
    names = [line.split('"')[1] for line in text.splitlines() if line.startswith("Content-Disposition")]
    signed = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "policy", "x-amz-signature"]
    assert names == ["key", "acl", "Content-Type", *signed, "file"]
    assert text.endswith("\r\n")
    assert "Content-Type: application/x-json\r\n\r\n" + BODY.read().decode() in text


def test_webhook_carries_the_digest_of_its_document() -> None:
    """Two documents under one webhook-id differ in it: the format and the value are those of RFC 9530, section 2."""
    (callback,) = parse_callbacks("https://example.org/done")
    first, second = (
        plan(callback, TargetSettings()).upload(Body(document), delivery_id="msg_1", now=NOW).headers.reveal()
        for document in (b'{"hello": "world"}\n', b"{}")
    )
    assert first["content-digest"] == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert second["content-digest"] != first["content-digest"]
    assert first["webhook-id"] == second["webhook-id"]


def test_webhook_is_signed_with_every_secret() -> None:
    """Two secrets give two signatures, and the id is the delivery's."""
    from callback_sdk import webhooks

    keys = tuple(webhooks.decode_secret("whsec_" + base64.b64encode(bytes([n]) * 32).decode()) for n in (1, 2))
    (callback,) = parse_callbacks("https://example.org/done")
    sent = plan(callback, TargetSettings(webhook_keys=lambda: keys)).upload(BODY, delivery_id="msg_1", now=NOW)
    found = sent.headers.reveal()
    assert found["webhook-id"] == "msg_1"
    assert found["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert len(found["webhook-signature"].split()) == 2
    assert not sent.redirects


@pytest.mark.parametrize(
    "host",
    [
        "b.s3.amazonaws.com",
        "b.s3.eu-central-1.amazonaws.com",
        "s3.cn-north-1.amazonaws.com.cn",
        "b.s3-accelerate.amazonaws.com",
        "b.s3.dualstack.us-east-1.amazonaws.com",
        "ap-1.s3-accesspoint.eu-west-1.amazonaws.com",
        "acc.r2.cloudflarestorage.com",
        "s3.eu-central-1.wasabisys.com",
        "b.s3.us-west-004.backblazeb2.com",
        "b.fra1.digitaloceanspaces.com",
        "storage.googleapis.com",
        "b.storage.googleapis.com",
        "a.blob.core.windows.net",
        "S3.EU-CENTRAL-1.AMAZONAWS.COM.",
        "minio.example.org",
        "b.minio.example.org",
    ],
)
def test_bare_url_of_an_object_store_lacks_its_fields(host: str) -> None:
    """Known stores, and the ones of the configuration, with buckets in the host or in the path."""
    with pytest.raises(MissingS3FieldsError, match="s3_fields"):
        target(f"https://{host}/b/k", {"run": 1}, ("https://minio.example.org",))


def test_other_port_of_an_endpoint_is_another_server() -> None:
    """An endpoint is a host with its port."""
    assert target("https://minio.example.org:9001/x", None, ("https://minio.example.org",)).kind == "webhook"


@pytest.mark.parametrize(
    "fields", [{"acl": "private"}, {"policy": "p"}, {"x-amz-signature": "s"}, {"key": "k", "ACL": "a"}]
)
def test_fields_that_were_given_and_not_returned_are_refused(fields: dict[str, str]) -> None:
    """Without policy or signature these are the fields given to generate_presigned_post."""
    with pytest.raises(InvalidS3FieldsError, match="it returned"):
        target(BUCKET, {"s3_fields": fields})


@pytest.mark.parametrize("url", [V4 + "host", V2, AZURE, GCS_V4, GCS_V2])
def test_signed_url_with_fields_is_refused(url: str) -> None:
    """One of the two is for another target, and nobody guesses which."""
    with pytest.raises(InvalidS3FieldsError, match="is a signed URL"):
        target(url, form())


@pytest.mark.parametrize(
    "policy",
    [
        "%%%",
        "bm90IGpzb24=",
        "e30=",
        base64.b64encode(b'{"expiration":1,"conditions":[]}').decode(),
        base64.b64encode(b'{"expiration":"2026-01-01T00:00:00Z","conditions":[["eq","$a"]]}').decode(),
    ],
)
def test_policy_that_is_none_is_refused(policy: str) -> None:
    """Neither base64 nor JSON nor a policy."""
    with pytest.raises(InvalidS3FieldsError, match="can't be read"):
        target(BUCKET, {"s3_fields": {"policy": policy, **signed_fields()}})


@pytest.mark.parametrize(
    ("url", "param"),
    [
        (V4.replace("7200", "3600") + "host", None),
        (V2.replace("1767276000", "1767268800"), None),
        (AZURE.replace("T13", "T12"), None),
        (GCS_V4.replace("7200", "3600"), None),
        (GCS_V2.replace("1767276000", "1767268800"), None),
        (BUCKET, form(expires="2026-01-01T12:00:00.000Z")),
    ],
)
def test_target_whose_time_is_over_is_refused(url: str, param: Any) -> None:
    """Exactly at its end it is over; a second earlier it is not."""
    with pytest.raises(TargetExpiredError, match="2026-01-01 12:00:00"):
        upload(url, param)
    target(url, param).check(now=NOW - timedelta(seconds=1))


@pytest.mark.parametrize(
    "url",
    [
        V4.replace("X-Amz-Expires=7200&", ""),
        V4.replace("20260101T110000Z", "yesterday"),
        V4.replace(f"X-Amz-Signature={SIGNATURE}&", ""),
        V4.replace("7200", "9" * 12) + "host",
        AZURE.replace("2026-01-01T13%3A00%3A00Z", "soon"),
        GCS_V4.replace("X-Goog-Signature", "x"),
        V4.removesuffix("&X-Amz-SignedHeaders="),
    ],
)
def test_signature_that_is_not_whole_is_refused(url: str) -> None:
    """A URL that a shell cut at its first '&' says so."""
    with pytest.raises(InvalidTargetError, match="is incomplete"):
        target(url)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://example.org/x", "scheme ftp"),
        ("s3://bucket/key", "scheme s3"),
        ("file:///etc/passwd", "scheme file"),
        ("example.org/x", "The callback URL has no scheme. Give the complete URL"),
        ("", "The callback URL is empty. Give the complete URL"),
        ("https:///x", "no host"),
        ("https:/user:pass@example.org", r"The callback URL has no host\. Give the complete URL"),
        ("user:pass@example.org/x", r"The callback URL has no scheme\. Give the complete URL"),
        ("example.org:8080/x", "has no scheme"),
        (f"https://{'a.' * 130}example.org/x", "more than 253"),
        ("https://user:pass@example.org/x", "user or a password"),
        ("https://example.org/a b", "character"),
        ("https://example.org/a\r\nHost: x", "character"),
        ("https://example.org:0/", "port"),
    ],
)
def test_url_that_no_result_can_go_to_is_refused(url: str, word: str) -> None:
    """Another scheme, no host, a login, or a character that ends the request line."""
    with pytest.raises((InvalidTargetError, MissingS3FieldsError), match=word):
        target(url)


def test_digest_of_another_document_is_refused() -> None:
    """Who signed it can't have known the document."""
    with pytest.raises(SignedHeaderError, match="another document"):
        upload(V4 + "content-md5%3Bhost", {"s3_headers": {"content-md5": "AAAA"}})


def test_signed_header_without_a_value_is_named() -> None:
    """The URL names it, and nobody knows its value."""
    with pytest.raises(SignedHeaderError, match="x-amz-acl"):
        upload(V4 + "host%3Bx-amz-acl")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"x-amz-meta-a": "b"}, "is not signed in"),
        ({"content-md5": "AAAA"}, "is not signed in"),
        ({"x": "a\r\nb: c"}, "can't be sent"),
        ({"a b": "c"}, "can't be sent"),
        ({"transfer-encoding": "chunked"}, "can't be sent"),
        ({"Authorization": "Bearer x"}, "can't be sent"),
        ({"x": "日"}, "can't be sent"),
    ],
)
def test_header_that_would_break_the_upload_is_refused(given: dict[str, str], word: str) -> None:
    """Unsigned vendor headers, smuggled headers, and those of the connection."""
    with pytest.raises(SignedHeaderError, match=word):
        upload(V4 + "host", {"s3_headers": given})


@pytest.mark.parametrize(
    ("param", "word"),
    [
        (form({"acl": "private"}), "'acl'"),
        (form(["starts-with", "$x-amz-meta-run", "4"], **{"x-amz-meta-other": "1"}), "x-amz-meta-run"),
        (form(["content-length-range", 0, 5]), "0 to 5"),
        (form(["content-length-range", 1000, 2000]), "1000 to 2000"),
        ({"s3_fields": {**form()["s3_fields"], "tagging": "x"}}, "doesn't allow"),
        ({"s3_fields": {**form()["s3_fields"], "key": "other"}}, "'key'"),
    ],
)
def test_form_that_its_policy_refuses_is_refused(param: Any, word: str) -> None:
    """Missing, changed and extra fields, and a body of the wrong length."""
    with pytest.raises(PolicyError, match=word):
        upload(BUCKET, param)


def test_form_that_its_policy_takes_passes() -> None:
    """Prefixes, ranges, fields in another case, and fields that need no condition."""
    fields = form(["starts-with", "$Content-Type", "application/"], ["content-length-range", 0, 1000], {"bucket": "b"})
    fields["s3_fields"] |= {"content-type": "application/json", "x-ignore-me": "1"}
    upload(BUCKET, fields)


def test_azure_signature_that_may_only_read_is_refused() -> None:
    """The permission stands in the URL."""
    with pytest.raises(InvalidTargetError, match="permission"):
        target(AZURE.replace("sp=cw", "sp=r"))


def test_document_that_is_too_large_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """One PUT takes 5 GiB. A signature that permits blocks takes more, see `test_azure_blocks`."""
    body = Body(b"x")
    monkeypatch.setattr(body, "size", 5 * 1024**3 + 1)
    for url, param in [(V4 + "host", None), (BUCKET, form()), (AZURE.replace("sp=cw", "sp=c"), None)]:
        with pytest.raises(ResultTooLargeError, match="at most"):
            upload(url, param, body)


@pytest.mark.parametrize("digits", range(1, 10))
def test_expiry_that_has_lost_digits_is_incomplete(digits: int) -> None:
    """A time of 1970 was never signed: the URL was cut within `Expires`."""
    url = f"https://b.s3.eu-central-1.amazonaws.com/k?{v2(expires=1767276000)}"
    assert target(url).kind == "s3-put-v2"
    with pytest.raises(InvalidTargetError, match=r"is incomplete(: its expiry has lost digits)?\. Copy"):
        target(url[: digits - 10])


RANDOM = "9f86d081884c7d659a2feaa0c55ad015"

PATHS: dict[str, tuple[str, Any, str, str | None]] = {
    "put": (
        f"https://b.s3.eu-central-1.amazonaws.com/{RANDOM}/token/k?{v4()}",
        None,
        f"https://b.s3.eu-central-1.amazonaws.com/{RANDOM}/token/k?***",
        f"https://b.s3.eu-central-1.amazonaws.com/{RANDOM}/token/k",
    ),
    "webhook": (f"https://example.org/done/{RANDOM}", None, "https://example.org/done/***", None),
    "webhook with a signature": (
        f"https://example.org/done/{RANDOM}?sig=abc&signature=d",
        None,
        "https://example.org/done/***?***",
        None,
    ),
    "http": (
        f"https://example.org/{RANDOM}/f?sig=a",
        {"http": {"method": "PUT"}},
        "https://example.org/***/f?***",
        None,
    ),
    "form at a bucket that its policy names": (
        f"https://minio.example.org/{RANDOM}",
        form({"bucket": RANDOM}),
        f"https://minio.example.org/{RANDOM}",
        f"https://minio.example.org/{RANDOM}/k",
    ),
    "form behind a token": (
        f"https://gateway.example.org/token/abc/{RANDOM}",
        form({"bucket": RANDOM}),
        f"https://gateway.example.org/token/***/{RANDOM}",
        None,
    ),
    "form at a token": ("https://gateway.example.org/token/abc", form(), "https://gateway.example.org/token/***", None),
    "form at a random path": (f"https://example.org/{RANDOM}", form(), "https://example.org/***", None),
    "form at a host that is a bucket": (
        "https://b.example.org/",
        form(),
        "https://b.example.org/",
        "https://b.example.org/k",
    ),
    "form at a provider": (
        f"https://s3.eu-central-1.amazonaws.com/{RANDOM}",
        form(),
        f"https://s3.eu-central-1.amazonaws.com/{RANDOM}",
        f"https://s3.eu-central-1.amazonaws.com/{RANDOM}/k",
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_path_is_shown_where_it_is_the_name_of_an_object(name: str) -> None:
    """The kind of the target tells, not the query; a URL with a token in its path isn't given to other targets."""
    url, param, shown, object_url = PATHS[name]
    found = target(url, param)
    assert (str(found.callback.url), found.object_url("msg_1")) == (shown, object_url)
    assert found.callback.url.reveal() == url
