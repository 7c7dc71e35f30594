"""What a signed URL or form needs to be complete."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from callback_sdk.errors import InvalidS3FieldsError, InvalidTargetError, TargetError
from callback_sdk.targets import check_target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from tests.signedurls import (
    SHA1,
    SHA256,
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

FUTURE = "20991129T210504Z"
BASE = "https://files.example.org/results/42.json?"
V4 = BASE + v4(date=FUTURE)
NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
DELEGATION = {
    "skoid": "11111111-2222-3333-4444-555555555555",
    "sktid": "11111111-2222-3333-4444-555555555555",
    "skt": "2098-01-01T00:00:00Z",
    "ske": "2099-01-01T12:00:00Z",
    "sks": "b",
    "skv": "2024-11-04",
}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (v4(date=FUTURE, signature="5f" * 31), "X-Amz-Signature is not 64 hexadecimal digits"),
        (v4(date=FUTURE, signature="zz" * 32), "X-Amz-Signature is not 64 hexadecimal digits"),
        (v4(date=FUTURE).replace("AWS4-HMAC-SHA256", "AWS4-HMAC"), "X-Amz-Algorithm is not AWS4-HMAC-SHA256 or"),
        (v4(date=FUTURE).replace("%2F", "%252F"), "X-Amz-Credential is not KEY/DATE/REGION/SERVICE/aws4_request"),
        (v4(date=FUTURE, key=""), "X-Amz-Credential is not KEY/DATE"),
        (v4(date=FUTURE).replace("%2F20991129", "%2F20991128"), "another date than X-Amz-Date"),
        (v4(date="20991129"), "X-Amz-Date is not a time such as"),
        (v4(date="20991329T210504Z"), "is incomplete"),
        (v4(date=FUTURE).replace("7200", "-1"), "X-Amz-Expires is not a number of seconds"),
        # minio-js without an expiry.
        (v4(date=FUTURE).replace("7200", "undefined"), "X-Amz-Expires is not a number of seconds"),
        (v4(date=FUTURE, signed="content-type"), "X-Amz-SignedHeaders doesn't have host"),
        (v2(signature="abc="), r"Signature is not the base64 of 20 bytes \(a '\+' in a URL is escaped as %2B\)"),
        (v2(signature="ab c" * 6 + "abc="), "Signature is not the base64 of 20 bytes"),
        (v2().replace("1767276000", "soon"), "is incomplete"),
        (
            google_v4(date=FUTURE).replace("5f" * 256, "5f" * 250),
            "X-Goog-Signature is not the hexadecimal digits of an RSA",
        ),
        (google_v4(date=FUTURE).replace("goog4_request", "goog4"), "REGION/SERVICE/goog4_request"),
        (google_v2().replace("a" * 342, "a" * 341), "Signature is not the base64 of a signature"),
        (sas(sig=SHA256[1:]), "sig is not the base64 of 32 bytes"),
        # httpx and others escape a URL that is escaped already.
        (sas().replace("%3A", "%253A"), "is incomplete"),
        (sas(sp=None), "sp is missing"),
        (sas(sr=None), "sr is missing"),
        (sas(sr=None, ss="b"), "srt is missing"),
        (sas(sr="d"), "sdd is missing"),
        (sas(sr="d", sdd="deep"), "sdd is not the depth of a directory"),
        (sas(se="2099-13-01"), "is incomplete"),
        (sas(**{**DELEGATION, "ske": None}), "ske is missing"),
        (sas(st="soon"), "is incomplete"),
    ],
)
def test_incomplete_url_is_rejected_with_the_parameter(query: str, words: str) -> None:
    """The text names what is missing or malformed, and has no value of it."""
    with pytest.raises(InvalidTargetError, match=words) as caught:
        check_target(BASE + query)
    assert SIGNATURE not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"], ids=lambda name: f"no {name}"
)
@pytest.mark.parametrize(("query", "prefix"), [(v4(date=FUTURE), "X-Amz-"), (google_v4(date=FUTURE), "X-Goog-")])
def test_each_parameter_of_version_4_is_required(query: str, prefix: str, name: str) -> None:
    """Six of them; the store would reject the URL without one."""
    url = BASE + "&".join(pair for pair in query.split("&") if not pair.startswith(f"{prefix}{name}="))
    with pytest.raises(InvalidTargetError, match=f"{prefix}{name} is missing"):
        check_target(url)


@pytest.mark.parametrize(
    "query",
    [
        v4(date=FUTURE, key="key/with/slashes"),
        v4(date=FUTURE, region=""),
        v4(date=FUTURE, region="garage"),
        v4(date=FUTURE, service="s3express"),
        v4(date=FUTURE, signature=SIGNATURE.upper()),
        v4(date=FUTURE, expires=604800),
        google_v4(date=FUTURE).replace("GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256").replace("5f" * 256, SIGNATURE),
        google_v4(date=FUTURE).replace("auto", "europe-west3"),
        google_v2(expires=4095989824),
        google_v2(expires=4095989824).replace("a" * 342 + "%3D%3D", "a" * 27 + "%3D"),
        v2(expires=4095989824),
        sas(se="2099-01-01"),
        sas(se="2099-01-01T00:00Z"),
        sas(se="2099-01-01T00:00:00.0000000Z"),
        sas(se="2099-01-01T00:00:00+01:00"),
        sas(se="2099-01-01T00:00:00Z", sr="d", sdd="2"),
        sas(se="2099-01-01T00:00:00Z", st="2024-01-01", **DELEGATION),
    ],
)
def test_complete_url_is_accepted(query: str) -> None:
    """Key ids, regions and times have more forms than the common ones."""
    assert check_target(BASE + query).kind != "webhook"


MULTI_REGION = (
    "https://abc.mrap.accesspoint.s3-global.amazonaws.com/runs/42.json?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256"
    "&X-Amz-Credential=AKIDEXAMPLE%2F20991130%2Fs3%2Faws4_request&X-Amz-Date=20991130T090816Z"
    "&X-Amz-SignedHeaders=content-type%3Bhost&X-Amz-Expires=3600&X-Amz-Region-Set=%2A&X-Amz-Signature="
)
"""What botocore with the AWS Common Runtime presigns for a multi-region access point, without the signature."""


@pytest.mark.parametrize(
    "signature",
    [
        (
            "3045022100a093f9d9af3272f6afefa01a6b32fabfcbd33efbd1a5ec24ccddbc6def4fc43502203cb136c7e9cb09ef586b7356c114a625"
            "82515c8a4c982fb2fc49224d8476b398"
        ),
        (
            "30440220456c7759dc7c14240d2f58435921f84e2949d12d8e196d41341b8a16813e9c2a02206587910a66b79bb3166df491ff14d8cfda"
            "2ecc60c6b27f6d07564b479678aa10"
        ),
        (
            "3046022100b62acce1cc8612f86acaafc1a748b3f5f826ef8de19584ed7da1496b5aec79cb022100d6d663dc6414e58878cf673f30f790"
            "f5ca9c1f9cc5260f175f96be4fac882324"
        ),
    ],
    ids=["71", "70", "72"],
)
def test_version_4a_is_accepted_for_an_upload(signature: str) -> None:
    """Its signatures differ in length, so the length that they begin with tells whether they are complete."""
    target = check_target(MULTI_REGION + signature)
    assert (target.kind, target.expires_at) == ("s3-put", datetime(2099, 11, 30, 10, 8, 16, tzinfo=timezone.utc))
    for end in (1, 2, 4):
        with pytest.raises(InvalidTargetError, match="X-Amz-Signature is not the hexadecimal digits of an ECDSA"):
            check_target(MULTI_REGION + signature[:-end])
    with pytest.raises(InvalidTargetError, match="X-Amz-Region-Set is missing"):
        check_target((MULTI_REGION + signature).replace("&X-Amz-Region-Set=%2A", ""))
    with pytest.raises(InvalidTargetError, match="KEY/DATE/SERVICE/aws4_request"):
        check_target((MULTI_REGION + signature).replace("20991130%2Fs3", "s3"))


@pytest.mark.parametrize(
    ("host", "region", "word"),
    [
        # aws-sdk-js 3.470 for a multi-region access point.
        ("abc.mrap.accesspoint.s3-global.amazonaws.com", "undefined", "than those of Amazon"),
        # fog-aws with the region of its option for Transfer Acceleration.
        ("results.s3-accelerate.amazonaws.com", "accelerate", "than those of Amazon"),
        ("results.s3.amazonaws.com", "", "than those of Amazon"),
        ("results.s3.cn-north-1.amazonaws.com.cn", "us-east-1", "than its host's, cn-north-1"),
        ("bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com", "us-east-1", "than its host's, eu-west-1"),
        ("results.s3.amazonaws.com", "eu-central-1", None),
        ("results.s3-accelerate.dualstack.amazonaws.com", "ap-southeast-7", None),
        ("abc.mrap.accesspoint.s3-global.amazonaws.com", "us-east-1", None),
        ("minio.example.org", "undefined", None),
    ],
)
def test_scope_has_a_region_of_amazon_at_its_hosts(host: str, region: str, word: str | None) -> None:
    """The host's own region, or any if the host is a global one; other stores have regions of any name."""
    url = f"https://{host}/results/42.json?{v4(date=FUTURE, region=region)}"
    if word is None:
        assert check_target(url).kind == "s3-put"
        return
    with pytest.raises(InvalidTargetError, match=word):
        check_target(url)


def test_signature_with_a_session_ends_with_it() -> None:
    """The credentials that CreateSession gives for a directory bucket are valid for five minutes."""
    base = "https://results--euc1-az1--x-s3.s3express-euc1-az1.eu-central-1.amazonaws.com/runs/42.json?"
    url = base + v4(date=FUTURE, service="s3express", **{"X-Amz-S3session-Token": "token"})
    assert check_target(url).expires_at == datetime(2099, 11, 29, 21, 10, 4, tzinfo=timezone.utc)
    short = url.replace("X-Amz-Expires=7200", "X-Amz-Expires=60")
    assert check_target(short).expires_at == datetime(2099, 11, 29, 21, 6, 4, tzinfo=timezone.utc)
    # IAM can authorize the request without a session too.
    without = base + v4(date=FUTURE, service="s3express")
    assert check_target(without).expires_at == datetime(2099, 11, 29, 23, 5, 4, tzinfo=timezone.utc)


def test_a_user_delegation_ends_with_its_key() -> None:
    """The key may expire before the signature."""
    url = BASE + sas(se="2099-01-02T00:00:00Z", **DELEGATION)
    assert check_target(url).expires_at == datetime(2099, 1, 1, 12, tzinfo=timezone.utc)
    url = BASE + sas(se="2099-01-01T00:00:00+02:00", **DELEGATION)
    assert check_target(url).expires_at == datetime(2098, 12, 31, 22, tzinfo=timezone.utc)


def test_a_signature_that_ends_before_it_begins_is_rejected() -> None:
    """The store never accepts it."""
    with pytest.raises(InvalidTargetError, match="begins when it has ended"):
        check_target(BASE + sas(st="2099-01-02", se="2099-01-01"))


@pytest.mark.parametrize(
    ("host", "region", "accepted"),
    [
        ("b.s3.eu-central-1.amazonaws.com", "eu-central-1", True),
        ("b.s3.eu-central-1.amazonaws.com", "us-east-1", False),
        ("b.s3.dualstack.us-west-2.amazonaws.com", "us-east-1", False),
        ("b.s3.cn-north-1.amazonaws.com.cn", "cn-northwest-1", False),
        ("b.s3.amazonaws.com", "eu-central-1", True),
        ("b.s3-accelerate.amazonaws.com", "eu-central-1", True),
        ("b.minio.example.org", "eu-central-1", True),
    ],
)
def test_region_has_to_be_that_of_an_amazon_host(host: str, region: str, accepted: bool) -> None:
    """Amazon answers that the region is wrong; the global hosts serve all regions."""
    targets = [(f"https://{host}/k?{v4(date=FUTURE, region=region)}", None)]
    signed = signed_fields(**{"x-amz-credential": f"AK/20260101/{region}/s3/aws4_request"})
    targets.append((f"https://{host}/", form(expires="2099-01-01T00:00:00Z", signed=signed)))
    for url, param in targets:
        if accepted:
            assert check_target(url, param).kind in ("s3-put", "s3-post")
        else:
            with pytest.raises(InvalidTargetError, match="signed for another region than its host's"):
                check_target(url, param)


@pytest.mark.parametrize(
    ("query", "token"),
    [
        (v4(date=FUTURE, key="ASIAEXAMPLE"), "X-Amz-Security-Token"),
        (v4(date=FUTURE, key="ASIAEXAMPLE", service="s3express"), "X-Amz-S3session-Token"),
        (v2(expires=4095989824, key="ASIAEXAMPLE"), "x-amz-security-token"),
    ],
)
def test_temporary_credentials_of_amazon_need_their_token(query: str, token: str) -> None:
    """Amazon doesn't know the key without it; other stores have ids of their own."""
    url = f"https://b.s3.eu-central-1.amazonaws.com/k?{query}"
    with pytest.raises(InvalidTargetError, match="X-Amz-Security-Token is missing, and its access key is a temporary"):
        check_target(url)
    plan(*parse_callbacks(f"{url}&{token}=t"))
    plan(*parse_callbacks(BASE + query))


@pytest.mark.parametrize(
    "signed",
    [
        signed_fields(**{"x-amz-credential": "ASIAEXAMPLE/20260101/eu-central-1/s3/aws4_request"}),
        {"AWSAccessKeyId": "ASIAEXAMPLE", "signature": SHA1},
    ],
)
def test_temporary_credentials_of_a_form_need_their_token(signed: dict[str, str]) -> None:
    """In any letter case."""
    url = "https://b.s3.eu-central-1.amazonaws.com/"
    with pytest.raises(InvalidS3FieldsError, match="X-Amz-Security-Token is missing"):
        check_target(url, form(expires="2099-01-01T00:00:00Z", signed=signed))
    assert check_target(url, form(expires="2099-01-01T00:00:00Z", signed={**signed, "x-amz-security-token": "t"}))


@pytest.mark.parametrize("service", ["execute-api", "lambda", "sts"])
def test_another_service_than_object_storage_is_rejected(service: str) -> None:
    """A presigned URL of API Gateway takes another request than a PUT of an object."""
    with pytest.raises(InvalidTargetError, match="another service than object storage"):
        check_target(BASE + v4(date=FUTURE, service=service))


@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("b.s3.eu-central-1.amazonaws.com", v4(date=FUTURE, expires=604801)),
        ("0123456789abcdef.r2.cloudflarestorage.com/b", v4(date=FUTURE, expires=604801, region="auto")),
        ("storage.googleapis.com/b", google_v4(date=FUTURE, expires=604801)),
        ("files.example.org", google_v4(date=FUTURE, expires=604801)),
    ],
)
def test_more_than_seven_days_are_rejected_where_the_store_rejects_them(host: str, query: str) -> None:
    """SDKs sign any lifetime. An own domain of a bucket at Google is Google too."""
    with pytest.raises(InvalidTargetError, match=r"604801 seconds, and its store rejects more than 604800 \(7 days\)"):
        check_target(f"https://{host}/k?{query}")
    check_target(f"https://{host}/k?{query.replace('604801', '604800')}")


def test_more_than_seven_days_are_a_warning_elsewhere() -> None:
    """Some stores accept 30 days."""
    long, week = (check_target(BASE + v4(date=FUTURE, expires=days * 86400)) for days in (30, 7))
    assert long.warnings(NOW) == ("The URL is signed for 30 days. Most stores reject more than 7 days.",)
    assert week.warnings(NOW) == ()
    ibm = f"https://b.s3.eu-de.cloud-object-storage.appdomain.cloud/k?{v4(date=FUTURE, expires=30 * 86400)}"
    assert check_target(ibm).warnings(NOW) == ()


@pytest.mark.parametrize(
    ("signed", "missing"),
    [
        *((signed_fields(), name) for name in ("x-amz-algorithm", "x-amz-credential", "x-amz-date")),
        *((google_fields(), name) for name in ("x-goog-algorithm", "x-goog-credential", "x-goog-date")),
        ({"AWSAccessKeyId": "AK", "signature": "x"}, "AWSAccessKeyId"),
    ],
)
def test_each_field_of_a_signature_is_required(signed: dict[str, str], missing: str) -> None:
    """Stores compare the names of fields in any letter case."""
    param = form(signed={name: value for name, value in signed.items() if name != missing})
    with pytest.raises(InvalidS3FieldsError, match=f"(?i){missing} is missing"):
        check_target("https://files.example.org/", param)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x-amz-signature": "5f" * 31}, "X-Amz-Signature is not 64 hexadecimal digits"),
        ({"x-amz-credential": "AK/20260102/r/s3/aws4_request"}, "another date than X-Amz-Date"),
        ({"x-amz-credential": "AK"}, "X-Amz-Credential is not KEY/DATE"),
    ],
)
def test_incomplete_form_is_rejected(change: dict[str, str], words: str) -> None:
    """The same rules hold for fields as for the query of a URL."""
    with pytest.raises(InvalidS3FieldsError, match=words):
        check_target("https://files.example.org/", form(signed=signed_fields(**change)))


def test_credential_has_to_be_in_the_policy() -> None:
    """A policy without a condition for a field doesn't allow it."""
    param = form(expires="2099-01-01T00:00:00Z")
    other = form(
        expires="2099-01-01T00:00:00Z", signed=signed_fields(**{"x-amz-credential": "A/20260101/r/s3/aws4_request"})
    )
    param["s3_fields"]["policy"] = other["s3_fields"]["policy"]
    with pytest.raises(TargetError, match="x-amz-credential"):
        check_target("https://files.example.org/", param)
