"""What a host of Amazon S3 names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader

from callback_sdk.redaction import SecretURL
from callback_sdk.targets.amazon import DOMAINS, AmazonHost, amazon_bucket, amazon_host, amazon_region, is_amazon
from callback_sdk.targets.provider_table import AMAZON
from callback_sdk.targets.providers import StorageProviders
from tests.growth import assert_linear


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("s3", AmazonHost("s3", None, "")),
        ("b.s3", AmazonHost("s3", None, "b")),
        ("B.with.Dots.s3.eu-central-1", AmazonHost("s3", "eu-central-1", "b.with.dots")),
        ("s3-eu-west-1", AmazonHost("s3-eu-west-1", "eu-west-1", "")),
        ("b.s3-eu-west-1", AmazonHost("s3-eu-west-1", "eu-west-1", "b")),
        ("s3.s3-eu-west-1", AmazonHost("s3-eu-west-1", "eu-west-1", "s3")),
        ("b.s3-external-1", AmazonHost("s3-external-1", "us-east-1", "b")),
        ("b.s3-fips-us-gov-west-1", AmazonHost("s3-fips-us-gov-west-1", "us-gov-west-1", "b")),
        ("b.s3-website-us-east-1", AmazonHost("s3-website-us-east-1", "us-east-1", "b")),
        ("b.s3-website.eu-central-1", AmazonHost("s3-website", "eu-central-1", "b")),
        ("b.s3.dualstack.eu-west-1", AmazonHost("s3", "eu-west-1", "b")),
        ("b.s3-fips.dualstack.us-gov-west-1", AmazonHost("s3-fips", "us-gov-west-1", "b")),
        ("b.s3-accelerate", AmazonHost("s3-accelerate", None, "b")),
        ("b.s3-accelerate.dualstack", AmazonHost("s3-accelerate", None, "b")),
        ("p-123456789012.s3-accesspoint.eu-west-1", AmazonHost("s3-accesspoint", "eu-west-1", "p-123456789012")),
        ("a1.mrap.accesspoint.s3-global", AmazonHost("s3-global", None, "a1.mrap")),
        (
            "b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2",
            AmazonHost("s3express-usw2-az1", "us-west-2", "b--usw2-az1--x-s3"),
        ),
        ("bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce", AmazonHost("s3", "us-east-1", "")),
        ("bucket.vpce-1a2b-3c4d-us-east-1a.s3.us-east-1.vpce", AmazonHost("s3", "us-east-1", "")),
        ("b.bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce", AmazonHost("s3", "us-east-1", "b")),
        ("control.vpce-1a2b-3c4d.s3.us-east-1.vpce", AmazonHost("s3-control", "us-east-1", "")),
        ("a1.mrap.accesspoint.s3-global.vpce", AmazonHost("s3-global", None, "a1.mrap")),
        (
            "p-123456789012.accesspoint.vpce-1a2b.s3.us-east-1.vpce",
            AmazonHost("s3-accesspoint", "us-east-1", "p-123456789012"),
        ),
    ],
)
def test_host_names_service_region_and_bucket(host: str, expected: AmazonHost, domain: str) -> None:
    """In every partition, and whether the host is absolute or not."""
    for end in ("", "."):
        url = SecretURL(f"https://{host}.{domain.upper()}{end}/k")
        assert amazon_host(url) == expected
        assert (amazon_bucket(url), amazon_region(url)) == (expected.bucket, expected.region)
        assert StorageProviders().provider(url) is AMAZON
        assert is_amazon(url.host)


@cache
def partitions() -> dict[str, Any]:
    loaded: list[dict[str, Any]] = Loader().load_data("partitions")["partitions"]
    return {partition["id"]: partition for partition in loaded}


@cache
def endpoints() -> EndpointProvider:
    loader = Loader()
    return EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))


def resolved(region: str, **parameters: Any) -> Iterator[tuple[SecretURL, str | None]]:
    """Yield the URL of each kind of endpoint, and the region that botocore signs requests there for."""
    for fips in (False, True):
        for dual in (False, True):
            try:
                endpoint = endpoints().resolve_endpoint(
                    Region=region, UseFIPS=fips, UseDualStack=dual, Key="k", **parameters
                )
            except EndpointProviderError:
                continue
            yield SecretURL(f"{endpoint.url}/k"), endpoint.properties["authSchemes"][-1].get("signingRegion")


def regions(partition: str) -> list[str]:
    """Return the regions of a partition without botocore's placeholder, such as aws-global."""
    return [name for name in partitions()[partition]["regions"] if not name.endswith("-global")]


def test_domains_are_botocores() -> None:
    """Those of its list of partitions; a newer botocore that has further ones fails this test."""
    outputs = [partition["outputs"] for partition in partitions().values()]
    assert {output[name] for output in outputs for name in ("dnsSuffix", "dualStackDnsSuffix")} <= set(DOMAINS)


@pytest.mark.parametrize("partition", partitions())
def test_every_region_of_botocore_is_recognized(partition: str) -> None:
    """With its bucket in the host and in the path, in every region of every partition."""
    for region in regions(partition):
        virtual = list(resolved(region, Bucket="results"))
        path = list(resolved(region, Bucket="results", ForcePathStyle=True))
        # botocore has neither FIPS endpoints in China, nor in its older versions dual-stack ones in isolated regions.
        assert len(virtual) == len(path)
        assert len(virtual) == 4 if partition in ("aws", "aws-us-gov") else len(virtual) >= 2
        for url, signed_for in virtual + path:
            assert amazon_bucket(url) == ("results" if url.path == "/k" else "")
            assert amazon_region(url) == signed_for == region


@pytest.mark.parametrize("partition", partitions())
@pytest.mark.parametrize(
    ("bucket", "named"),
    [
        ("arn:{}:s3:{}:111122223333:accesspoint/point", "point-111122223333"),
        ("arn:{}:s3-object-lambda:{}:111122223333:accesspoint/point", "point-111122223333"),
        ("arn:{}:s3-outposts:{}:111122223333:outpost/op-01/accesspoint/point", "point-111122223333.op-01"),
        ("results--use1-az4--x-s3", "results--use1-az4--x-s3"),
        ("point--usw2-lax1-az1--xa-s3", "point--usw2-lax1-az1--xa-s3"),
        ("point-abcdefghijklmnopqrstuvwxyz-s3alias", "point-abcdefghijklmnopqrstuvwxyz-s3alias"),
    ],
)
def test_every_regional_endpoint_of_botocore_is_recognized(partition: str, bucket: str, named: str) -> None:
    """Access points, Object Lambda, Outposts and directory buckets, with dual-stack and FIPS if botocore has them."""
    region = regions(partition)[0]
    found = list(resolved(region, Bucket=bucket.format(partition, region)))
    assert found
    for url, signed_for in found:
        assert (amazon_bucket(url), amazon_region(url)) == (named, region)
        assert signed_for in (region, None)


@pytest.mark.parametrize("partition", partitions())
def test_every_global_endpoint_of_botocore_is_recognized(partition: str) -> None:
    """Multi-region access points and Transfer Acceleration: they name a bucket and no region."""
    region = regions(partition)[0]
    multi = list(resolved(region, Bucket=f"arn:{partition}:s3::111122223333:accesspoint/a1.mrap"))
    fast = list(resolved(region, Bucket="results", Accelerate=True))
    assert len(multi) == 1
    assert len(fast) == 2 if partition == "aws" else len(fast) <= 2
    for bucket, (url, _) in [("a1.mrap", multi[0]), *(("results", pair) for pair in fast)]:
        assert (amazon_bucket(url), amazon_region(url)) == (bucket, None)


@pytest.mark.parametrize(
    "host",
    [
        "b.minio.example.org",
        "abc.execute-api.eu-central-1.amazonaws.com",
        "s3-uploads.execute-api.eu-central-1.amazonaws.com",
        "s3-uploads-1234.eu-central-1.elb.amazonaws.com",
        "s3.eu-central-1.amazonaws.com.evil.example",
        "evils3.amazonaws.com",
        "amazonaws.com",
        "s3.eu-central-1.evilamazonaws.com",
    ],
)
def test_other_hosts_are_not_amazon_s3(host: str) -> None:
    """Neither other services of Amazon, nor domains that end alike."""
    url = SecretURL(f"https://{host}/k")
    assert (amazon_host(url), amazon_bucket(url), amazon_region(url)) == (None, None, None)
    assert StorageProviders().provider(url) is None


@pytest.mark.parametrize("piece", [".s3", ".s3-a", "-a.", ".dualstack", ".vpce", "."])
def test_time_grows_with_the_host_and_not_faster(piece: str) -> None:
    """A host with many ways to be read."""

    def host(length: int) -> SecretURL:
        return SecretURL(f"https://s3{piece * length}"[: 8 + length] + ".amazonaws.com/")

    assert_linear(amazon_host, host(14), host(14 * 16), ratio=16)
