"""What a provider doesn't support is rejected before sending, or is a warning."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from callback_sdk import S3Signer, check_target
from callback_sdk.errors import SigningError, UnsupportedFeatureError
from callback_sdk.targets.provider_table import PROVIDERS, Feature

R2 = "https://0123456789abcdef.r2.cloudflarestorage.com"
B2 = "https://s3.us-west-004.backblazeb2.com"
GOOGLE = "https://storage.googleapis.com"
WASABI = "https://s3.eu-central-1.wasabisys.com"
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
WRITER_PAGE = Path(__file__).parents[3] / "docs" / "writer.md"
WORDS: dict[Feature, str] = {
    "form": "POST forms",
    "signature-v2": "Signature Version 2",
    "if-none-match": "`If-None-Match`",
    "acl": "ACLs of objects",
}


def client(endpoint: str, version: str = "s3v4") -> Any:
    config = Config(signature_version=version, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "SECRET"}
    return boto3.client("s3", region_name="auto", endpoint_url=endpoint, config=config, **keys)


def put(endpoint: str, version: str = "s3v4", **params: str) -> str:
    params = {"Bucket": "results", "Key": "runs/1.json", **params}
    url: str = client(endpoint, version).generate_presigned_url("put_object", Params=params)
    return url


def form(endpoint: str) -> tuple[str, dict[str, Any]]:
    post = client(endpoint).generate_presigned_post("results", "runs/1.json")
    return post["url"], {"s3_fields": post["fields"]}


@pytest.mark.parametrize(("endpoint", "provider"), [(R2, "Cloudflare R2"), (B2, "Backblaze B2")])
def test_a_form_at_a_store_without_forms_is_rejected(endpoint: str, provider: str) -> None:
    """The error names the provider, and a PUT is the way."""
    with pytest.raises(UnsupportedFeatureError, match=f"{provider}, which doesn't support POST forms") as caught:
        check_target(*form(endpoint))
    assert caught.value.hint.startswith("Presign a PUT instead")
    assert caught.value.url == f"{endpoint}/results"


def test_a_form_elsewhere_is_accepted() -> None:
    """Nothing is known against it, so it's tried."""
    assert check_target(*form(WASABI)).kind == "s3-post"
    assert check_target(*form("https://minio.example.org")).provider is None


@pytest.mark.parametrize("endpoint", [R2, B2])
def test_signature_version_2_is_rejected_where_only_4_is_supported(endpoint: str) -> None:
    """These stores were built after Version 2 was superseded."""
    with pytest.raises(UnsupportedFeatureError, match="Signature Version 2") as caught:
        check_target(put(endpoint, "s3"))
    assert "s3v4" in caught.value.hint
    assert check_target(put(endpoint)).kind == "s3-put"
    assert check_target(put(WASABI, "s3")).kind == "s3-put-v2"


def test_a_write_once_put_is_rejected_where_the_store_rejects_it() -> None:
    """Backblaze B2 responds with 501; the header may be in the signature or come with the URL."""
    with pytest.raises(UnsupportedFeatureError, match="If-None-Match"):
        check_target(put(B2, IfNoneMatch="*"))
    with pytest.raises(UnsupportedFeatureError, match="If-None-Match"):
        check_target(put(B2), {"s3_headers": {"If-None-Match": "*"}})
    assert check_target(put(R2, IfNoneMatch="*")).warnings(NOW) == ()


def test_a_write_once_put_is_a_warning_where_the_store_ignores_it() -> None:
    """Google's own header does what If-None-Match doesn't."""
    (warning,) = check_target(put(GOOGLE, IfNoneMatch="*")).warnings(NOW)
    assert "an existing object may be overwritten" in warning
    assert "x-goog-if-generation-match: 0" in warning
    assert check_target(put(GOOGLE)).warnings(NOW) == ()


@pytest.mark.parametrize("endpoint", [R2, B2])
def test_an_acl_is_a_warning_where_objects_have_none(endpoint: str) -> None:
    """The access is the bucket's."""
    (warning,) = check_target(put(endpoint, ACL="private"), {"s3_headers": {"x-amz-acl": "private"}}).warnings(NOW)
    assert "no ACLs of single objects" in warning
    assert check_target(put(WASABI, ACL="private"), {"s3_headers": {"x-amz-acl": "private"}}).warnings(NOW) == ()


def test_an_acl_in_the_query_counts_too() -> None:
    """Amazon's SDK for JavaScript signs it there."""
    warning = check_target(f"{put(R2)}&x-amz-acl=private").warnings(NOW)[0]
    assert "no ACLs of single objects" in warning


def test_the_signer_rejects_what_its_store_would_reject() -> None:
    """Nobody submits a job with it then."""
    for endpoint in (R2, B2):
        with pytest.raises(SigningError, match="doesn't support POST forms"):
            S3Signer("results", client=client(endpoint)).presign_post("runs/1.json")
    signer = S3Signer("results", client=client(B2))
    with pytest.raises(SigningError, match="If-None-Match"):
        signer.presign_put("runs/1.json", if_none_match=True)
    assert check_target(signer.presign_put("runs/1.json")).kind == "s3-put"


def test_providers_and_the_documentation_agree() -> None:
    """The page lists each provider, and each limitation."""
    section = WRITER_PAGE.read_text(encoding="utf-8").partition("\n## Providers\n")[2].partition("\n## ")[0]
    lines = (line.split("|") for line in section.splitlines())
    rows = {cells[1].strip(): (cells[2], cells[3]) for cells in lines if len(cells) == 5}
    assert len(rows) > 2
    known = " ".join(section.partition("Known providers: ")[2].partition(".\n")[0].split())
    assert sorted(known.split(", ")) == sorted(provider.name for provider in PROVIDERS)
    for provider in PROVIDERS:
        assert (provider.name in rows) is bool(provider.rejects | provider.ignores)
        rejected, warned = rows.get(provider.name, ("", ""))
        assert {feature for feature in WORDS if WORDS[feature] in rejected} == provider.rejects
        assert {feature for feature in WORDS if WORDS[feature] in warned} == provider.ignores


def test_each_provider_has_a_source() -> None:
    """Facts are from documentation, and each host belongs to one provider."""
    assert all(provider.source.startswith("https://") for provider in PROVIDERS)
    endpoints = [endpoint for provider in PROVIDERS for endpoint in provider.endpoints]
    assert len(endpoints) == len(set(endpoints))
    assert not any(endpoint.split(".")[-1].endswith("*") for endpoint in endpoints)
