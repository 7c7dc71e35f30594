"""S3 multipart uploads: which URLs belong together, the requests that they call for, and what responses mean."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import define, field

from callback_sdk.documents.body import Body
from callback_sdk.errors import (
    CallbackParamError,
    DeliveryError,
    InvalidTargetError,
    ResultTooLargeError,
    SignedHeaderError,
    TargetError,
    TargetExpiredError,
    WrongOperationError,
)
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.multipart import MultipartTarget
from callback_sdk.targets.s3_multipart import MIN_PART_SIZE, S3Multipart
from tests.signedurls import v2, v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
BASE = "https://results.s3.eu-central-1.amazonaws.com/runs/42.json"
OTHER = "https://169.254.169.254/runs/42.json"


def url(base: str = BASE, *, number: int | str | None = None, upload: str | None = "u1", **more: Any) -> str:
    own = ([] if number is None else [f"partNumber={number}"]) + ([] if upload is None else [f"uploadId={upload}"])
    return f"{base}?{'&'.join([*own, v4(**more)])}"


def parts(count: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "part_size": MIN_PART_SIZE,
        "urls": [url(number=number, **more) for number in range(1, count + 1)],
        "abort": url(),
        "head": url(upload=None),
    }


def planned(param: dict[str, Any] | None = None, completion: str | None = None, **more: Any) -> S3Multipart:
    (callback,) = parse_callbacks(completion or url(), {"s3_parts": parts() if param is None else param, **more})
    target = plan(callback)
    assert isinstance(target, S3Multipart)
    return target


@define
class Answer:
    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""


def test_requests_are_those_of_the_upload() -> None:
    """Each has its own method and URL; only the completion has a body besides the parts."""
    target, document = planned(), Body(b"x" * (MIN_PART_SIZE + 1))
    first, second = target.ranges(document.size)
    sent = [target.part(part, document, now=NOW) for part in (first, second)]
    assert [(upload.method, upload.body.size, dict(upload.headers.reveal())) for upload in sent] == [
        ("PUT", MIN_PART_SIZE, {}),
        ("PUT", 1, {}),
    ]
    assert [upload.url.query("partNumber") for upload in sent] == ["1", "2"]
    completion = target.completion(document, ['"a"', '"b<&"'], now=NOW)
    assert (completion.method, completion.url.reveal(), completion.document) == ("POST", url(), document)
    assert completion.body.read() == (
        b'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b'<Part><PartNumber>1</PartNumber><ETag>"a"</ETag></Part>'
        b'<Part><PartNumber>2</PartNumber><ETag>"b&lt;&amp;"</ETag></Part></CompleteMultipartUpload>'
    )
    abort, head = target.abort(now=NOW), target.verification(now=NOW)
    assert abort is not None
    assert head is not None
    assert [(upload.method, upload.body.size) for upload in (abort, head)] == [("DELETE", 0), ("HEAD", 0)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, [0]),
        (1, [1]),
        (MIN_PART_SIZE, [MIN_PART_SIZE]),
        (MIN_PART_SIZE + 1, [MIN_PART_SIZE, 1]),
        (3 * MIN_PART_SIZE, [MIN_PART_SIZE] * 3),
    ],
)
def test_documents_take_only_the_parts_they_need(size: int, expected: list[int]) -> None:
    """All parts but the last have the same size, which R2 requires."""
    found = planned().ranges(size)
    assert [part.size for part in found] == expected
    assert [part.number for part in found] == list(range(1, len(expected) + 1))


def test_documents_larger_than_the_signed_parts_are_rejected_before_anything_is_sent() -> None:
    """The error has both sizes."""
    target = planned()
    target.check(now=NOW, size=3 * MIN_PART_SIZE)
    with pytest.raises(ResultTooLargeError, match=f"{3 * MIN_PART_SIZE + 1} bytes.*3 parts of {MIN_PART_SIZE} bytes"):
        target.check(now=NOW, size=3 * MIN_PART_SIZE + 1)


def test_the_first_url_to_expire_ends_the_target() -> None:
    """The abortion may outlive the others."""
    late = parts() | {"abort": url(expires=90_000)}
    late["urls"][1] = url(number=2, expires=3600)
    target = planned(late)
    assert target.expires_at == datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    with pytest.raises(TargetExpiredError):
        target.check(now=NOW)
    assert target.abort(now=NOW) is not None


def changed(**members: Any) -> dict[str, Any]:
    return parts() | members


INVALID: dict[str, Callable[[], Any]] = {
    "not a dict": lambda: "parts",
    "unknown member": lambda: changed(size=1),
    "no part_size": lambda: {"urls": parts()["urls"]},
    "part_size is text": lambda: changed(part_size="8MiB"),
    "part_size is a boolean": lambda: changed(part_size=True),
    "part_size is 0": lambda: changed(part_size=0),
    "small parts": lambda: changed(part_size=MIN_PART_SIZE - 1),
    "large parts": lambda: changed(part_size=5 * 1024**3 + 1),
    "no urls": lambda: changed(urls=[]),
    "urls are text": lambda: changed(urls=url(number=1)),
    "a URL is not text": lambda: changed(urls=[1]),
    "too many urls": lambda: changed(urls=[url(number=1)] * 10_001),
    "abort is not text": lambda: changed(abort=1),
    "a part is missing": lambda: changed(urls=[url(number=1), url(number=3)]),
    "a part number is 0": lambda: changed(urls=[url(number=0)]),
    "a part number has a zero": lambda: changed(urls=[url(number="01")]),
    "a part number is there twice": lambda: changed(urls=[url(number=1) + "&partNumber=2"]),
    "an upload id is there twice": lambda: changed(urls=[url(number=1) + "&uploadId=u2"]),
    "a part of another upload": lambda: changed(urls=[url(number=1, upload="u2")]),
    "a part without an upload": lambda: changed(urls=[url(number=1, upload=None)]),
    "a part at another host": lambda: changed(urls=[url(OTHER, number=1)]),
    "a part at another port": lambda: changed(urls=[url(BASE.replace(".com", ".com:8443"), number=1)]),
    "a part of another object": lambda: changed(urls=[url(BASE + "x", number=1)]),
    "a part with a user": lambda: changed(urls=[url(BASE.replace("https://", "https://a:b@"), number=1)]),
    "a part without encryption": lambda: changed(urls=[url(BASE.replace("https", "http"), number=1)]),
    "abort at another host": lambda: changed(abort=url(OTHER)),
    "abort of another upload": lambda: changed(abort=url(upload="u2")),
    "abort of a part": lambda: changed(abort=url(number=1)),
    "head at another host": lambda: changed(head=url(OTHER, upload=None)),
    "head of an upload": lambda: changed(head=url()),
    "a part for another operation": lambda: changed(urls=[url(number=1, **{"x-id": "UploadPartCopy"})]),
    "form fields too": lambda: (parts(), {"s3_fields": {"key": "a", "policy": "b", "x-amz-signature": "c"}}),
    "http too": lambda: (parts(), {"http": {"method": "PUT"}}),
    "a webhook too": lambda: (parts(), {"webhook": True}),
}


@pytest.mark.parametrize("name", INVALID)
def test_urls_that_are_not_of_one_upload_are_rejected_before_anything_is_sent(name: str) -> None:
    """A part's URL may come from anyone, and lead anywhere."""
    given = INVALID[name]()
    param, more = given if isinstance(given, tuple) else (given, {})
    with pytest.raises(CallbackParamError) as caught:
        planned(param, **more)
    assert "u1" not in str(caught.value)
    assert caught.value.hint


def test_urls_for_another_operation_are_rejected_by_name() -> None:
    """A copy of a part, or tags, answer 200 too."""
    with pytest.raises(WrongOperationError, match="copy"):
        planned(changed(urls=[url(number=1, signed="host;x-amz-copy-source")]))
    with pytest.raises(InvalidTargetError, match="no signature"):
        planned(changed(urls=[f"{BASE}?partNumber=1&uploadId=u1"]))


def test_a_completion_that_is_not_one_is_rejected() -> None:
    """Without an upload id, or with the number of a part."""
    for completion in (url(upload=None), url(number=1)):
        with pytest.raises(CallbackParamError, match="the completion"):
            planned(completion=completion)


def test_urls_of_an_upload_without_its_parts_say_how_they_are_given() -> None:
    """A part alone makes no object."""
    for given in (url(number=1), url()):
        with pytest.raises(WrongOperationError, match="s3_parts"):
            plan(parse_callbacks(given)[0])


def test_signature_version_2_sends_no_header_that_it_would_sign() -> None:
    """boto3 presigns with it in us-east-1; Content-Type is a part of its string to sign."""

    def signed(own: str) -> str:
        return f"https://results.s3.amazonaws.com/42?{own}{v2(expires=1798761600)}"

    param = {"part_size": MIN_PART_SIZE, "urls": [signed("partNumber=1&uploadId=u1&")]}
    target = planned(param, completion=signed("uploadId=u1&"))
    document = Body(b"{}")
    part = target.part(target.ranges(2)[0], document, now=NOW)
    completion = target.completion(document, ['"a"'], now=NOW)
    assert (dict(part.headers.reveal()), dict(completion.headers.reveal())) == ({}, {})


def test_given_headers_go_with_the_requests_that_sign_them() -> None:
    """`If-None-Match` belongs to the completion, the payer to all."""
    signed = "host;x-amz-request-payer"
    param = parts(signed=signed)
    headers = {"x-amz-request-payer": "requester", "if-none-match": "*"}
    target = planned(param, completion=url(signed=f"{signed};if-none-match"), s3_headers=headers)
    document = Body(b"{}")
    part = target.part(target.ranges(2)[0], document, now=NOW)
    completion = target.completion(document, ['"a"'], now=NOW)
    assert dict(part.headers.reveal()) == {"x-amz-request-payer": "requester"}
    assert dict(completion.headers.reveal()) == {"content-type": "application/xml", **headers}
    assert target.needs() == {"if-none-match"}
    with pytest.raises(SignedHeaderError, match="x-amz-acl"):
        planned(s3_headers={"x-amz-acl": "private"})
    with pytest.raises(SignedHeaderError, match="x-amz-storage-class"):
        planned(parts(signed="host;x-amz-storage-class")).check(now=NOW)


def test_checksums_of_an_empty_part_are_rejected() -> None:
    """aws-sdk-js since version 3.729 adds one to the URL of each part."""
    base = "https://minio.example.org/results/42"
    param = {"part_size": MIN_PART_SIZE, "urls": [url(base, number=1, **{"x-amz-checksum-crc32": "AAAAAA=="})]}
    with pytest.raises(SignedHeaderError, match="empty document"):
        planned(param, completion=url(base)).check(now=NOW)


def test_parts_without_an_etag_say_what_to_do() -> None:
    """A proxy may remove it; once it doesn't, a retry succeeds."""
    target = planned()
    part = target.ranges(1)[0]
    assert target.part_identity(part, Answer(headers={"etag": '"a"'})) == '"a"'
    with pytest.raises(DeliveryError, match=r"no ETag.*proxy") as caught:
        target.part_identity(part, Answer())
    assert (caught.value.retryable, caught.value.transient) == (True, False)


def test_only_a_result_confirms_the_completion() -> None:
    """S3 sends 200 and white space before it knows, and then an error or the result."""
    target = planned()
    result = (
        b'   \n<?xml version="1.0"?>\n<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    )
    done = Answer(body=result + b"<ETag>&quot;abc-2&quot;</ETag></CompleteMultipartUploadResult>")
    assert target.confirms(done)
    assert target.etag(done) == '"abc-2"'
    assert target.confirms(Answer(body=b"\xef\xbb\xbf<s3:CompleteMultipartUploadResult/>".replace(b"/", b" /")))
    quoted = b"<CompleteMultipartUploadResult> </CompleteMultipartUploadResult>"
    for body in (
        b"",
        b"   \n  ",
        b"<Error><Code>InternalError</Code></Error>",
        b"<html>",
        b'<?xml version="1.0"?> <Error><Code>AccessDenied</Code><Message><![CDATA[' + quoted + b"]]></Message></Error>",
        b"<!-- " + quoted + b" --><Error><Code>AccessDenied</Code></Error>",
        b"<Error><Code>AccessDenied</Code></Error>" + quoted,
    ):
        assert not target.confirms(Answer(body=body))


def test_objects_are_verified_by_size_and_etag() -> None:
    """The ETag is the MD5 of the MD5s of the parts; a store without them may have that of the whole."""
    target, document = planned(), Body(b"x" * MIN_PART_SIZE, b"y")
    own = [document.cut(part.start, part.size).md5.hex() for part in target.ranges(document.size)]
    import hashlib

    expected = hashlib.md5(b"".join(map(bytes.fromhex, own))).hexdigest() + "-2"

    def found(etag: str, size: int = document.size) -> Answer:
        return Answer(headers={"etag": etag, "content-length": str(size)})

    stored = [f'"{digest}"' for digest in own]
    assert target.is_stored(found(f'"{expected}"'), document, stored)
    assert target.is_stored(found(f'"{expected}"'), document, [])
    assert target.is_stored(found(f'"{document.md5.hex()}"'), document, [])
    for answer in (found(f'"{expected}"', 7), found('"0f-2"'), found(f'"{"0" * 32}-2"'), found(""), Answer()):
        assert not target.is_stored(answer, document, stored)
        assert not target.is_stored(answer, document, [])


def test_warnings_name_what_is_missing() -> None:
    """Both URLs are optional."""
    given = parts()
    assert planned(given).warnings(NOW) == ()
    found = planned({name: given[name] for name in ("part_size", "urls")}).warnings(NOW)
    assert ["head" in found[0], "abort" in found[1], len(found)] == [True, True, 2]


def test_documents_and_texts_have_none_of_the_urls() -> None:
    """`s3_parts` holds credentials, as `s3_fields` does."""
    signature = "ab" * 32
    (callback,) = parse_callbacks(url(), {"s3_parts": parts(signature=signature), "run": 42})
    assert callback.param == {"run": 42}
    assert signature not in f"{callback!r}{plan(callback)!r}"
    assert signature in callback.credentials().reveal()
    assert callback.plain() == {"url": url(), "param": {"run": 42, "s3_parts": parts(signature=signature)}}


def test_a_misspelled_member_is_no_part_of_the_document() -> None:
    """It would put every URL there."""
    for name in ("s3_part", "s3Parts", "S3-Parts"):
        with pytest.raises(CallbackParamError, match="s3_parts"):
            parse_callbacks(url(), {name: parts()})


def test_a_refused_upload_is_a_target_error() -> None:
    """Whatever is wrong, nothing was sent."""
    assert issubclass(CallbackParamError, TargetError)
    assert issubclass(S3Multipart, MultipartTarget)
    assert planned().expires_at == NOW + timedelta(hours=1)
