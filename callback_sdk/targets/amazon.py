"""Hosts of Amazon S3 in all partitions, with the bucket and the region that they name; pure.

Sources: botocore's `partitions.json` and endpoint rule set of S3; "Amazon Simple Storage Service endpoints and quotas"
(AWS General Reference) for the older forms; "AWS PrivateLink for Amazon S3" for interface endpoints.
"""

from __future__ import annotations

from functools import lru_cache

from attrs import define

from callback_sdk.redaction import SecretURL

DOMAINS = (
    *("amazonaws.com", "api.aws"),
    *("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    *("amazonaws.eu", "api.amazonwebservices.eu"),
    *("c2s.ic.gov", "api.aws.ic.gov"),
    *("sc2s.sgov.gov", "api.aws.scloud"),
    *("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    *("csp.hci.ic.gov", "api.aws.hci.ic.gov"),
)
"""Domains of each partition, the second one for dual-stack endpoints. GovCloud has those of the first partition."""

_SUFFIXES = tuple(f".{domain}" for domain in DOMAINS)

_FORMS = tuple(
    tuple(reversed(form.split(".")))
    for form in (
        "S3.REGION",
        "S3.dualstack.REGION",
        "bucket.vpce-*.S3.REGION.vpce",
        "accesspoint.vpce-*.S3.REGION.vpce",
        "control.vpce-*.S3.REGION.vpce",
        "vpce-*.S3.REGION.vpce",
        "accesspoint.s3-global",
        "accesspoint.s3-global.vpce",
        # The global endpoint, and hosts from before the year 2019 such as s3-eu-west-1.
        "S3",
        "S3.dualstack",
    )
)
"""Endpoints without the domain, labels in reverse. The labels before an endpoint are the bucket's name."""

_IN_VPC = {"accesspoint": "s3-accesspoint", "control": "s3-control"}
"""Services behind the first label of an interface endpoint; `bucket` is S3 itself."""

_EXTERNAL = "external-1"
"""`s3-external-1` is a host of us-east-1, where the region was expected later."""

_READ_ONLY = "a website endpoint, which is read-only"
_SETTINGS = "an endpoint for buckets and their settings, which has no objects"

_WITHOUT_UPLOADS = (
    ("s3-website", _READ_ONLY),
    ("s3-control", _SETTINGS),
    ("s3express-control", _SETTINGS),
)
"""Endpoints that take no uploads, by the beginning of the service's label.

"Website endpoints" and "Regional and Zonal endpoints for directory buckets" in the S3 user guide.
"""

_WITHOUT_FORMS = (
    *_WITHOUT_UPLOADS,
    # "Best practices and guidelines for S3 Object Lambda": PUT is forwarded to the bucket, POST Object is not.
    ("s3-object-lambda", "an access point of Object Lambda, which doesn't support POST forms"),
)

_ACCESS_POINTS = ("s3-accesspoint", "s3-object-lambda", "s3-outposts", "s3-global")


@define(frozen=True)
class AmazonHost:
    """A host of Amazon S3.

    Attributes:
        service: Its label of the service, such as `s3`, `s3-accesspoint` or `s3express-use1-az4`. For an interface
            endpoint of a VPC, the one that its first label stands for.
        region: The region; None if the host has none, as the global endpoint and Transfer Acceleration.
        bucket: The bucket or the access point; `""` if it is in the path.
    """

    service: str
    region: str | None
    bucket: str

    @property
    def is_access_point(self) -> bool:
        """Whether it names an access point, which stands for a bucket with another name."""
        return self.service.startswith(_ACCESS_POINTS)

    def problem(self, *, form: bool) -> str | None:
        """Return why it takes no uploads; None if it does.

        Args:
            form: Whether the upload is a POST form.
        """
        table = _WITHOUT_FORMS if form else _WITHOUT_UPLOADS
        return next((problem for beginning, problem in table if self.service.startswith(beginning)), None)


def is_amazon(host: str) -> bool:
    """Tell whether a host is in a domain of Amazon Web Services, of any service."""
    return _labels(host) is not None


def is_region(text: str) -> bool:
    """Tell whether a text has the form of a region of Amazon, such as `us-gov-west-1`."""
    return "-" in text and text[-1:].isdigit()


def amazon_host(url: SecretURL) -> AmazonHost | None:
    """Return what a host of Amazon S3 names; None for any other host."""
    return _parse(url.host)


# Planning a target asks several times about its host, and a worker sends to few.
@lru_cache(maxsize=256)
def _parse(host: str) -> AmazonHost | None:
    labels = _labels(host)
    if labels is None:
        return None
    # Label by label, in linear time: a regular expression for all endpoints backtracks exponentially ("s3-a-a-a…").
    form = next((form for form in _FORMS if len(labels) >= len(form) and all(map(_matches, labels, form))), None)
    if form is None:
        return None
    named = dict(zip(form, labels, strict=False))
    service = _IN_VPC.get(form[-1], named["S3"]) if "S3" in named else "s3-global"
    return AmazonHost(service, named.get("REGION") or _region_of(service), ".".join(reversed(labels[len(form) :])))


def amazon_bucket(url: SecretURL) -> str | None:
    """Return the bucket in a host of Amazon S3, `""` if it is in the path; None for any other host."""
    host = amazon_host(url)
    return host.bucket if host else None


def amazon_partition(url: SecretURL) -> str:
    """Return the partition of a host of Amazon, in which each bucket has a name of its own, by its first domain."""
    index = next(index for index, suffix in enumerate(_SUFFIXES) if url.host.rstrip(".").endswith(suffix))
    return DOMAINS[index - index % 2]


def amazon_region(url: SecretURL) -> str | None:
    """Return the region in a host of Amazon S3; None if it has none, and for any other host."""
    host = amazon_host(url)
    return host.region if host else None


@lru_cache(maxsize=256)
def _labels(host: str) -> tuple[str, ...] | None:
    """Return the labels before the domain in reverse; None outside Amazon's domains."""
    name = host.lower().rstrip(".")
    if not name.endswith(_SUFFIXES):
        return None
    suffix = next(suffix for suffix in _SUFFIXES if name.endswith(suffix))
    return tuple(name.removesuffix(suffix).split(".")[::-1])


def _matches(label: str, pattern: str) -> bool:
    if pattern == "S3":
        # The label may have a suffix: s3-accelerate, s3-accesspoint, s3-fips, s3express-usw2-az1.
        return label == "s3" or label.startswith(("s3-", "s3express-"))
    if pattern == "REGION":
        return label not in ("", "dualstack", "vpce") and not _matches(label, "S3")
    return label.startswith(pattern[:-1]) if pattern.endswith("*") else label == pattern


def _region_of(service: str) -> str | None:
    """Return the region in a label such as `s3-eu-west-1`, `s3-website-eu-west-1` or `s3-fips-us-gov-west-1`."""
    place = service.removeprefix("s3-").removeprefix("website-").removeprefix("fips-")
    if place == _EXTERNAL:
        return "us-east-1"
    return place if is_region(place) else None
