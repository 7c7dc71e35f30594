"""What a host of Amazon S3 names."""

from __future__ import annotations

import pytest

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
        ("p-123456789012.accesspoint.vpce-1a2b.s3.us-east-1.vpce", AmazonHost("s3", "us-east-1", "p-123456789012")),
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
