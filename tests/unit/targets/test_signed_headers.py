"""What a PUT's signature says besides its headers' names."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, InvalidTargetError, ResultTooLargeError, SignedHeaderError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.amazon import DOMAINS
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import google_v4, sas, v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PUT = f"k?{v4(region='eu-west-1')}&"
GCS = f"https://storage.googleapis.com/b/k?{google_v4(signed='host;x-goog-content-length-range')}"
AZURE = f"https://a.blob.core.windows.net/c/k?{sas()}"
STORED = f"https://a.blob.core.windows.net/c/k?{sas(se=None, sp=None, si='results')}"


def target(url: str, param: object = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


@pytest.mark.parametrize(
    "query",
    ["x-amz-checksum-crc32=AAAAAA%3D%3D", "X-Amz-Checksum-Crc32c=AAAAAA==", "x-amz-checksum-crc64nvme=AAAAAAAAAAA="],
)
def test_url_signed_for_an_empty_document_is_refused(query: str) -> None:
    """Amazon's SDK for JavaScript signs the checksum of nothing; other stores than Amazon's hold the body to it."""
    url = f"https://minio.example.org/b/{PUT}{query}&x-amz-sdk-checksum-algorithm=CRC32&x-id=PutObject"
    with pytest.raises(SignedHeaderError, match="WHEN_REQUIRED"):
        target(url).check(now=NOW)
    target(url.replace("minio.example.org/b", "b.s3.eu-west-1.amazonaws.com")).check(now=NOW)
    target(url.replace("AAAAAA", "HYZs4w")).check(now=NOW)


@pytest.mark.parametrize(
    "host",
    [
        *(f"b.s3.eu-west-1.{domain}" for domain in DOMAINS),
        "S3.EU-WEST-1.AMAZONAWS.COM.",
        "b.s3-accelerate.dualstack.amazonaws.com",
        "point-111122223333.s3-accesspoint-fips.eu-west-1.amazonaws.com",
        "a1.mrap.accesspoint.s3-global.amazonaws.com",
        "bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com",
        "results--euw1-az4--x-s3.s3express-euw1-az4.eu-west-1.amazonaws.com",
    ],
)
def test_amazon_gets_no_header_that_is_not_signed(host: str) -> None:
    """It rejects an unsigned Content-MD5 in all partitions: "headers present in the request which were not signed"."""
    put = target(f"https://{host}/b/{PUT}")
    assert dict(put.upload(Body(b"{}"), delivery_id="msg_1", now=NOW).headers.reveal()) == {
        "content-type": "application/json"
    }
    with pytest.raises(SignedHeaderError, match="content-md5"):
        target(f"https://{host}/b/{PUT}", {"s3_headers": {"Content-MD5": "mZFLkyvTelC5g8XnyQrpOw=="}}).check(now=NOW)


def test_names_of_operations_in_the_query_change_nothing() -> None:
    """x-id=PutObject is only there for logs."""
    target(f"https://minio.example.org/b/{PUT}x-id=PutObject").check(now=NOW)


@pytest.mark.parametrize(("size", "fits"), [(None, True), (9, False), (10, True), (20, True), (21, False)])
def test_document_is_held_against_the_signed_length_range(size: int | None, fits: bool) -> None:
    """Google's header for it names both ends, and both count."""
    put = target(GCS, {"s3_headers": {"x-goog-content-length-range": "10,20"}})
    if fits:
        put.check(now=NOW, size=size)
    else:
        with pytest.raises(ResultTooLargeError, match="10 to 20"):
            put.check(now=NOW, size=size)


def test_azure_signature_with_a_stored_policy_has_no_end_in_the_url() -> None:
    """The policy's times are kept at the store; the URL has its identifier instead."""
    stored = target(STORED)
    assert (stored.kind, stored.expires_at) == ("azure-blob", None)
    assert target(f"{STORED}&se=2026-01-01T13%3A00%3A00Z").expires_at == datetime(2026, 1, 1, 13, tzinfo=timezone.utc)


def test_azure_signature_for_https_is_refused_over_http() -> None:
    """The URL says which protocol it is for."""
    url = f"{AZURE}&spr=https"
    target(url)
    target(url.replace("https://", "http://").replace("spr=https", "spr=https,http"))
    with pytest.raises(InvalidTargetError, match="https only"):
        target(url.replace("https://", "http://"))


@pytest.mark.parametrize(
    "name",
    [
        *("Cookie", "Set-Cookie", "Authorization", "Proxy-Authorization", "Proxy-Connection"),
        *("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Via", "Expect"),
        *("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"),
        *("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"),
    ],
)
def test_header_that_makes_another_request_of_it_is_refused(name: str) -> None:
    """A login, another method, place or sender, or what belongs to the connection: for each kind of PUT."""
    for url in (f"https://b.s3.eu-west-1.amazonaws.com/{PUT}", GCS, AZURE):
        with pytest.raises(SignedHeaderError, match=name.lower()):
            target(url, {"s3_headers": {name: "DELETE"}}).check(now=NOW)


def test_host_is_never_taken_from_the_headers() -> None:
    """Signers return it among the signed headers; the connection's own is sent."""
    headers = {"Host": "internal", "Content-Length": "0"}
    put = target(f"https://b.s3.eu-west-1.amazonaws.com/{PUT}", {"s3_headers": headers})
    upload = put.upload(Body(b"{}"), delivery_id="msg_1", now=NOW)
    assert {"host", "content-length"}.isdisjoint(name.lower() for name in upload.headers.reveal())


def test_document_has_the_size_that_was_signed() -> None:
    """A signed Content-Length fits one size only; of an unsigned one nothing depends."""
    url = f"https://b.s3.eu-west-1.amazonaws.com/{PUT}"
    exact = target(url.replace("=host", "=host%3Bcontent-length"), {"s3_headers": {"Content-Length": ["2"]}})
    exact.check(now=NOW, size=2)
    exact.check(now=NOW)
    with pytest.raises(SignedHeaderError, match="signed with the Content-Length 2, and the document has 3"):
        exact.check(now=NOW, size=3)
    target(url, {"s3_headers": {"Content-Length": "0"}}).check(now=NOW, size=3)


def test_signed_size_is_known_and_a_warning() -> None:
    """Nobody knows the document's size when the URL is signed; without the value no document fits but by chance."""
    url = f"https://b.s3.eu-west-1.amazonaws.com/{PUT}".replace("=host", "=host%3Bcontent-length")
    with pytest.raises(SignedHeaderError, match="signed a Content-Length, and its value is not known") as caught:
        target(url).check(now=NOW)
    assert "presign_post" in caught.value.hint
    exact = target(f"{url}&Content-Length=100")
    assert exact.warnings(NOW) == ("The URL is signed for a document of exactly 100 bytes, and rejects any other.",)
    with pytest.raises(SignedHeaderError, match="Content-Length 100, and the document has 5000"):
        exact.check(now=NOW, size=5000)
    with pytest.raises(SignedHeaderError, match="Content-Length 100, and the document has 2"):
        exact.upload(Body(b"{}"), delivery_id="msg_1", now=NOW)


@pytest.mark.parametrize("param", [None, {"s3_headers": {"Expect": ["100-continue"]}}])
@pytest.mark.parametrize("name", ["expect", "transfer-encoding", "x-amz-trailer", "x-forwarded-for", "authorization"])
def test_signed_header_that_is_never_sent_has_one_answer(name: str, param: object) -> None:
    """Whether its value is known or not; aws-sdk-go-v2 signs Expect for multi-region access points."""
    url = f"https://b.s3.eu-west-1.amazonaws.com/{PUT}".replace("=host", f"=host%3B{name}")
    with pytest.raises(SignedHeaderError, match=f"signed the header {name}, which can't be sent") as caught:
        target(url, param)
    assert caught.value.hint.startswith("Presign without it")


def test_document_has_the_checksum_that_was_signed() -> None:
    """A checksum of nothing is rejected at once, another one when the document is known."""
    url = f"https://b.s3.eu-west-1.amazonaws.com/{PUT.replace('=host', '=host%3Bx-amz-checksum-sha256')}"
    digest = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="
    put = target(url, {"s3_headers": {"x-amz-checksum-sha256": digest}})
    assert put.upload(Body(b"{}"), delivery_id="msg_1", now=NOW).headers.reveal()["x-amz-checksum-sha256"] == digest
    with pytest.raises(SignedHeaderError, match="SHA-256 of another document"):
        put.upload(Body(b"[]"), delivery_id="msg_1", now=NOW)
    empty = target(url, {"s3_headers": {"x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}})
    with pytest.raises(SignedHeaderError, match="checksum of an empty document"):
        empty.check(now=NOW)


PLACE = "https://b.s3.eu-central-1.amazonaws.com/k?"


def test_content_type_without_its_value_is_assumed() -> None:
    """That is usually right, so it isn't a warning in logs."""
    put = target(PLACE + v4(signed="host;content-type"))
    assert [text.partition(",")[0] for text in put.assumptions()] == ["The URL is signed with a Content-Type"]
    assert put.warnings(NOW) == ()
    assert put.upload(Body(b"{}"), delivery_id="msg_1", now=NOW).assumptions == put.assumptions()
    given = target(PLACE + v4(signed="host;content-type"), {"s3_headers": {"Content-Type": "text/csv"}})
    assert given.assumptions() == ()
    assert target(PLACE + v4()).assumptions() == ()


def test_several_values_of_a_header_are_joined() -> None:
    """SDKs for Go and Java return lists; an empty one, or one of something else, is an error."""
    url = f"https://b.s3.eu-west-1.amazonaws.com/{PUT.replace('=host', '=host%3Bcache-control')}"
    put = target(url, {"s3_headers": {"Cache-Control": ["no-store", "private"], "Host": ["b"]}})
    assert put.upload(Body(b"{}"), delivery_id="msg_1", now=NOW).headers.reveal()["cache-control"] == "no-store,private"
    for wrong in ([], [1], {"a": "b"}, [["a"]]):
        with pytest.raises(CallbackParamError, match="neither a string nor a number"):
            target(url, {"s3_headers": {"Cache-Control": wrong}})


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": ["no-store", "private"], "Host": ["b"]},
        [{"name": "Cache-Control", "value": "no-store"}, {"name": "Cache-Control", "value": "private"}],
        [["Cache-Control", "no-store"], ["Cache-Control", "private"], ("Host", "b")],
        [("Cache-Control", ["no-store", "private"])],
    ],
)
def test_headers_may_have_the_form_of_any_sdk(headers: object) -> None:
    """A dict of lists as in Go, PHP and Java, objects with name and value, or pairs."""
    url = f"https://b.s3.eu-west-1.amazonaws.com/{PUT.replace('=host', '=host%3Bcache-control')}"
    sent = target(url, {"s3_headers": headers}).upload(Body(b"{}"), delivery_id="msg_1", now=NOW).headers.reveal()
    assert sent == {"content-type": "application/json", "cache-control": "no-store,private"}


@pytest.mark.parametrize("headers", [["a"], [{"name": "a"}], [{"name": 1, "value": "b"}], [["a", "b", "c"]], "a: b", 5])
def test_headers_in_no_known_form_are_an_error(headers: object) -> None:
    """Not a guess."""
    with pytest.raises(CallbackParamError, match="not a dict"):
        target(f"https://b.s3.eu-west-1.amazonaws.com/{PUT}", {"s3_headers": headers})
