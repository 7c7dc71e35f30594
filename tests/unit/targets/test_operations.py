"""URLs that were signed for something other than the upload of one complete object."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.loaders import Loader

from callback_sdk.errors import InvalidTargetError, WrongOperationError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets import Target, TargetSettings, plan
from callback_sdk.targets.amazon import amazon_region
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.cos import COS
from callback_sdk.targets.obs import OBS
from callback_sdk.targets.operations import AZURE, GCS, S3, Family
from callback_sdk.targets.oracle import PAR
from callback_sdk.targets.oss import OSS
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.swift import SWIFT
from tests.signedurls import cos, form, google_v2, google_v4, obs, oss_v1, oss_v2, oss_v4, sas, swift, v2, v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOST = "https://b.s3.eu-central-1.amazonaws.com"
V4 = v4()
V2 = v2()
GCS_V4 = google_v4()
GCS_V2 = google_v2()
SAS = sas()
GOOGLE = "https://storage.googleapis.com"
AZURE_HOST = "https://a.blob.core.windows.net"


def target(url: str, param: Any = None, endpoints: tuple[str, ...] = ()) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback, TargetSettings(stores=StorageProviders.of(endpoints)))


def every_name(family: Family) -> list[str]:
    return sorted({name for operation in family.operations for name in operation.names})


@pytest.mark.parametrize(
    ("base", "family"),
    [
        (f"{HOST}/k?{V4}", S3),
        (f"{HOST}/k?{V2}", S3),
        (f"{GOOGLE}/b/k?{GCS_V4}", GCS),
        (f"{GOOGLE}/b/k?{GCS_V2}", GCS),
        (f"{AZURE_HOST}/c/k?{SAS}", AZURE),
        *((f"https://b.oss-cn-hangzhou.aliyuncs.com/k?{query}", OSS) for query in (oss_v4(), oss_v2(), oss_v1())),
        (f"https://b-1250000000.cos.ap-guangzhou.myqcloud.com/k?{cos()}", COS),
        (f"https://b.obs.cn-north-4.myhuaweicloud.com/k?{obs()}", OBS),
        (f"https://swift.example.org/v1/AUTH_a/c/o?{swift()}", SWIFT),
    ],
    ids=["s3-put", "s3-put-v2", "gcs-put", "gcs-put-v2", "azure-blob", "oss", "oss-2", "oss-1", "cos", "obs", "swift"],
)
def test_every_declared_parameter_makes_a_url_unusable(base: str, family: Family) -> None:
    """In the query in any letter case, and as a header that comes with the URL."""
    for name in every_name(family):
        if f"&{name}=" in base:
            # Of a repeated parameter the first value counts; another test has the other values.
            continue
        for url, param in (
            (f"{base}&{name}=x", None),
            (f"{base}&{name.upper()}", None),
            (base, {"s3_headers": {name: "x"}}),
        ):
            with pytest.raises(WrongOperationError) as caught:
                target(url, param)
            assert caught.value.hint == family.hint
            assert caught.value.url == base.partition("?")[0] + "?***"


def other_operations() -> list[str]:
    """Return the query of each operation of Amazon S3 that has parameters by which it is known."""
    model = Loader().load_service_model("s3", "service-2")
    # Names that the configurations of one kind have each; it is sent with the parameter of the kind.
    common = {"id", "x-id"}
    queries = set()
    for operation in model["operations"].values():
        fixed = [pair.partition("=")[0] for pair in operation["http"]["requestUri"].partition("?")[2].split("&")]
        members = model["shapes"][operation["input"]["shape"]]["members"] if "input" in operation else {}
        chosen = [member["locationName"] for member in members.values() if member.get("location") == "querystring"]
        queries |= {name for name in (*fixed, *chosen) if name} - common
    return sorted(queries)


@pytest.mark.parametrize("name", other_operations())
def test_every_parameter_of_amazons_other_operations_is_declared(name: str) -> None:
    """PutObject has none in its query; botocore's model of the service has them all."""
    for query in (V4, V2, GCS_V4):
        with pytest.raises(WrongOperationError):
            target(f"https://files.example.org/b/k?{query}&{name}=1")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (f"{V4}&partNumber=1&uploadId=u", "one part of a multipart upload"),
        (f"{V4}&UploadId=u&PartId=1", "one part of a multipart upload"),
        (f"{V4}&x-id=UploadPart", r"another operation than PutObject \(x-id\)"),
        (f"{V4}&versionId=3", "reading an object"),
        (f"{V4}%3Bx-amz-copy-source", "a copy of another object"),
        (f"{V2}&tagging", "an attribute of an object"),
    ],
)
def test_error_says_what_was_signed_and_what_to_sign(query: str, words: str) -> None:
    """The part of a multipart upload is the one that people pass on."""
    with pytest.raises(WrongOperationError, match=words) as caught:
        target(f"{HOST}/k?{query}")
    assert isinstance(caught.value, InvalidTargetError)
    assert "put_object" in caught.value.hint
    assert "uploadId=u" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("b.s3-website-us-east-1.amazonaws.com", "website"),
        ("b.s3-website.cn-north-1.amazonaws.com.cn", "website"),
        ("111122223333.s3-control.eu-central-1.amazonaws.com", "settings"),
        ("control.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com", "settings"),
        ("s3express-control-fips.dualstack.us-east-1.amazonaws.com", "settings"),
    ],
)
def test_endpoints_of_amazon_without_objects_are_refused(host: str, words: str) -> None:
    """A signature doesn't tell the endpoint of a website from the one of the bucket."""
    url = f"https://{host}/b/k"
    for query in (v4(region=amazon_region(SecretURL(url)) or ""), V2):
        with pytest.raises(WrongOperationError, match=words):
            target(f"{url}?{query}")


def test_object_lambda_takes_a_put_and_no_form() -> None:
    """Its access points forward all requests but GET, HEAD and LIST to the bucket, and don't have POST Object."""
    host = "https://point-111122223333.s3-object-lambda.eu-central-1.amazonaws.com"
    assert target(f"{host}/k?{v4(service='s3-object-lambda')}").kind == "s3-put"
    with pytest.raises(WrongOperationError, match="POST forms"):
        target(host, form())


@pytest.mark.parametrize(
    "query",
    [f"{V4}&x-id=PutObject", f"{V4}&x-amz-acl=private&x-amz-checksum-crc32=x", f"{V4}&x-my-run=42", V2],
)
def test_upload_of_an_object_passes(query: str) -> None:
    """Values of headers in the query, parameters of one's own, and what Amazon's SDK for JavaScript adds."""
    assert target(f"{HOST}/k?{query}").kind.startswith("s3-put")


@pytest.mark.parametrize(
    ("url", "endpoints", "names_object"),
    [
        (f"{HOST}/k", (), True),
        (f"{HOST}//", (), True),
        (HOST, (), False),
        (f"{HOST}/", (), False),
        ("https://s3.eu-central-1.amazonaws.com/b/k", (), True),
        ("https://s3.eu-central-1.amazonaws.com/b/", (), False),
        ("https://s3.eu-central-1.amazonaws.com/b", (), False),
        ("https://b.s3-accelerate.amazonaws.com/k", (), True),
        ("https://a.r2.cloudflarestorage.com/b", (), False),
        ("https://b.a.r2.cloudflarestorage.com/k", (), True),
        ("http://127.0.0.1:9000/b", (), False),
        ("http://127.0.0.1:9000/b/k", (), True),
        ("http://[::1]:9000/b", (), False),
        ("http://minio:9000/b/", (), False),
        ("http://minio:9000/b/k", (), True),
        ("https://files.example.org/k", (), True),
        ("https://files.example.org/", (), False),
        ("https://s3.example.org/b", ("https://s3.example.org",), False),
        ("https://s3.example.org/b/k", ("https://s3.example.org",), True),
        ("https://b.s3.example.org/k", ("https://s3.example.org",), True),
    ],
)
def test_path_has_to_name_an_object(url: str, endpoints: tuple[str, ...], names_object: bool) -> None:
    """A PUT to a bucket creates it, and is answered with 200; where the bucket is follows from the host."""
    if names_object:
        assert target(f"{url}?{V4}", endpoints=endpoints).kind == "s3-put"
    else:
        with pytest.raises(WrongOperationError, match="has no object key"):
            target(f"{url}?{V4}", endpoints=endpoints)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"{AZURE_HOST}/c/k?{sas()}", None),
        (f"{AZURE_HOST}/c/a/k?{sas(sr='c')}", None),
        (f"{AZURE_HOST}/k?{sas()}", None),
        (f"{AZURE_HOST}/c/k?{sas(sr=None, ss='bf', srt='sco')}", None),
        (f"http://127.0.0.1:10000/account/c/k?{sas(sr='c')}", None),
        (f"{AZURE_HOST}/c?{sas(sr='c')}", "has no blob name"),
        (f"{AZURE_HOST}/c/?{sas(sr='c')}", "has no blob name"),
        (f"{AZURE_HOST}/?{sas(sr=None, ss='b', srt='o')}", "has no blob name"),
        (f"{AZURE_HOST}?{sas()}", "has no blob name"),
        (f"{AZURE_HOST}/c/?{sas()}", "has no blob name"),
        (f"{AZURE_HOST}//k?{sas()}", "has no blob name"),
        (f"http://127.0.0.1:10000/account/k?{sas()}", None),
        (f"http://127.0.0.1:10000/account/c/?{sas()}", "has no blob name"),
        (f"http://127.0.0.1:10000/account/c?{sas(sr='c')}", "has no blob name"),
        (f"http://127.0.0.1:10000/account?{sas()}", "has no blob name"),
        (f"{AZURE_HOST}/c/k?{sas(sr='bs')}", "snapshot"),
        (f"{AZURE_HOST}/c/k?{sas(sr=None, ss='f', srt='o')}", "ss lacks b"),
        (f"{AZURE_HOST}/c/k?{sas(sr=None, ss='b', srt='sc')}", "srt lacks o"),
    ],
)
def test_azure_signature_has_to_cover_one_blob(url: str, words: str | None) -> None:
    """The portal gives URLs of containers and of the account, to which a blob's name has to be added."""
    if words is None:
        assert target(url).kind == "azure-blob"
    else:
        with pytest.raises(WrongOperationError, match=words):
            target(url)


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("a.dfs.core.windows.net", "dfs"),
        ("a.file.core.windows.net", "file"),
        ("a.z12.dfs.storage.azure.net", "dfs"),
        ("a.dfs.core.usgovcloudapi.net", "dfs"),
        ("a.blob.core.windows.net", None),
        ("a.z12.blob.storage.azure.net", None),
        ("dfs.example.org", None),
    ],
)
def test_azure_url_has_to_be_at_the_blob_endpoint(host: str, service: str | None) -> None:
    """Data Lake Storage shows the URL of its own endpoint, which has no upload in one request."""
    if service is None:
        assert target(f"https://{host}/c/k?{SAS}").kind == "azure-blob"
    else:
        with pytest.raises(WrongOperationError, match=rf"\({service}, not blob\)"):
            target(f"https://{host}/c/k?{SAS}")


@pytest.mark.parametrize(("kind", "usable"), [("BlockBlob", True), ("AppendBlob", False), ("PageBlob", False)])
def test_azure_blob_is_written_in_one_request(kind: str, usable: bool) -> None:
    """Azure's other types of blobs are created empty."""
    url, param = f"{AZURE_HOST}/c/k?{SAS}", {"s3_headers": {"x-ms-blob-type": kind}}
    if usable:
        assert target(url, param).kind == "azure-blob"
    else:
        with pytest.raises(WrongOperationError, match="x-ms-blob-type"):
            target(url, param)


@pytest.mark.parametrize(
    "url",
    [
        f"https://b.oss-cn-hangzhou.aliyuncs.com/?{oss_v4()}",
        f"https://oss-cn-hangzhou.aliyuncs.com/b?{oss_v1()}",
        f"https://b-1250000000.cos.ap-guangzhou.myqcloud.com/?{cos()}",
        f"https://obs.cn-north-4.myhuaweicloud.com/b/?{obs()}",
    ],
)
def test_url_of_a_bucket_is_refused(url: str) -> None:
    """A PUT there would make a bucket."""
    with pytest.raises(WrongOperationError, match="has no object key"):
        target(url)


@pytest.mark.parametrize("name", every_name(PAR))
def test_oracle_request_for_another_operation_is_refused(name: str) -> None:
    """Its URL has no query of its own."""
    url = f"https://objectstorage.us-ashburn-1.oraclecloud.com/p/{'t' * 40}/n/ns/b/bucket/o/k"
    for given, param in ((f"{url}?{name}=x", None), (url, {"s3_headers": {name: "x"}})):
        with pytest.raises(WrongOperationError):
            target(given, param)


@pytest.mark.parametrize(
    ("place", "is_primary"),
    [
        ("https://a-secondary.blob.core.windows.net", False),
        ("https://a-secondary.z12.blob.storage.azure.net", False),
        ("https://A-Secondary.blob.core.chinacloudapi.cn.", False),
        ("http://127.0.0.1:10000/devstoreaccount1-secondary", False),
        ("http://127.0.0.1:10000/devstoreaccount1", True),
        ("https://files-secondary.example.org", True),
        ("https://a.blob.core.windows.net/c-secondary", True),
    ],
)
def test_azure_url_has_to_be_at_the_primary_endpoint(place: str, is_primary: bool) -> None:
    """The copy in the secondary region can be read only."""
    if is_primary:
        assert target(f"{place}/c/k?{SAS}").kind == "azure-blob"
    else:
        with pytest.raises(WrongOperationError, match=r"secondary endpoint.* leave -secondary out"):
            target(f"{place}/c/k?{SAS}")


@pytest.mark.parametrize("name", ["sv", "sig", "se"])
def test_shared_access_signature_that_was_added_twice_is_rejected(name: str) -> None:
    """Azure joins the values of a repeated parameter with commas, so that the signature is wrong."""
    again = next(pair for pair in SAS.split("&") if pair.startswith(f"{name}="))
    with pytest.raises(InvalidTargetError, match=f"has the parameter {name} .* twice"):
        target(f"{AZURE_HOST}/c/k?{SAS}&{again}")
    with pytest.raises(InvalidTargetError, match="twice"):
        target(f"{AZURE_HOST}/c/k?{SAS}&{SAS}")
    assert target(f"{AZURE_HOST}/c/k?{SAS}&timeout=30&timeout=30").kind == "azure-blob"


@pytest.mark.parametrize("host", ["https://minio.example.org/b", HOST])
@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("runs/", "ends with"),
        ("runs%2F", "ends with"),
        ("a/./k", "segment"),
        ("a/%2E%2E/k", "segment"),
        ("a/k.", None),
        ("a//k", None),
        (".k", None),
    ],
)
def test_key_that_not_every_store_takes_is_a_warning(host: str, key: str, word: str | None) -> None:
    """Amazon S3 takes it. SeaweedFS answers 200 to a key that ends with a slash, and keeps no document."""
    warned = [word] if word and "amazonaws" not in host else []
    for query in (V4, V2):
        found = target(f"{host}/{key}?{query}")
        assert [name for name in ("ends with", "segment") if name in "".join(found.warnings(NOW))] == warned
    found = target(host, form(key=unquote(key)))
    assert [name for name in ("ends with", "segment") if name in "".join(found.warnings(NOW))] == warned
