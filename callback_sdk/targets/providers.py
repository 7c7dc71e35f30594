"""Hosts of object stores: a URL there without a signature is an error, and not a webhook."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import product

from attrs import define

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.parsing import several
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import port_of

AMAZON_SUFFIXES = ("amazonaws.com", "amazonaws.com.cn")
"""Domains of Amazon's partitions ("Amazon Simple Storage Service endpoints and quotas", AWS General Reference)."""

_AMAZON = tuple(
    f"{service}.{place}{suffix}"
    for service, place, suffix in product(
        # The service label may have a suffix: s3-accelerate, s3-accesspoint, s3-fips, s3express-usw2-az1.
        ("s3", "s3-*", "s3express-*"),
        ("", "*.", "dualstack.*.", "*.vpce."),
        AMAZON_SUFFIXES,
    )
)

_PROVIDERS = {
    "Amazon S3": _AMAZON,
    "Cloudflare R2": (
        "*.eu.r2.cloudflarestorage.com",
        "*.fedramp.r2.cloudflarestorage.com",
        "*.r2.cloudflarestorage.com",
    ),
    "Wasabi": ("s3.wasabisys.com", "s3.*.wasabisys.com", "s3-*.wasabisys.com"),
    "Backblaze B2": ("s3.*.backblazeb2.com",),
    "DigitalOcean Spaces": ("*.digitaloceanspaces.com",),
    "Google Cloud Storage": ("storage.googleapis.com", "storage.cloud.google.com"),
    "Azure Blob Storage": (
        "*.blob.core.windows.net",
        "*.blob.core.usgovcloudapi.net",
        "*.blob.core.chinacloudapi.cn",
        "*.blob.storage.azure.net",
    ),
}
"""Providers and their endpoints, from the page of service endpoints of each.

`*` stands for the rest of one label. The labels before an endpoint are the bucket's name.
"""


@cache
def _endpoints() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each endpoint's provider and labels, the last label first."""
    pairs = ((name, tuple(reversed(text.split(".")))) for name, texts in _PROVIDERS.items() for text in texts)
    return tuple(pairs)


@define(frozen=True)
class StorageProviders:
    """Known object stores: the providers' hosts, and the configured storage endpoints.

    Attributes:
        endpoints: Host and port of each configured endpoint.
    """

    endpoints: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def of(cls, endpoints: Iterable[str] = ()) -> StorageProviders:
        """Parse endpoint URLs, such as `https://minio.example.org`.

        Raises:
            ConfigurationError: One is not an http or https URL, or they are not a list.
        """
        return cls(frozenset(_endpoint(url) for url in several("storage_endpoints", endpoints)))

    def provider(self, url: SecretURL) -> str | None:
        """Return the provider of a URL's host; None for an unknown host."""
        found = self._find(url)
        return found[0] if found else None

    def bucket_in_host(self, url: SecretURL) -> str | None:
        """Return the bucket in a URL's host, `""` if it is in the path; None for an unknown host."""
        found = self._find(url)
        return found[1] if found else None

    def _find(self, url: SecretURL) -> tuple[str, str] | None:
        host = _host(url)
        if found := _provider_and_bucket(host):
            return found
        for endpoint, port in self.endpoints:
            # Virtual-hosted style: the bucket is a subdomain of the endpoint.
            if port == port_of(url) and (host == endpoint or host.endswith(f".{endpoint}")):
                return "a configured storage endpoint", host.removesuffix(endpoint).removesuffix(".")
        return None


def amazon_bucket(url: SecretURL) -> str | None:
    """Return the bucket in a host of Amazon S3, `""` if it is in the path; None for any other host."""
    found = _provider_and_bucket(_host(url))
    return found[1] if found and found[0] == "Amazon S3" else None


def _host(url: SecretURL) -> str:
    return url.host.lower().rstrip(".")


def _provider_and_bucket(host: str) -> tuple[str, str] | None:
    # Label by label, in linear time: a regular expression for all endpoints backtracks exponentially ("s3-a-a-a…").
    labels = host.split(".")[::-1]
    for provider, endpoint in _endpoints():
        if len(labels) >= len(endpoint) and all(map(_matches, labels, endpoint)):
            return provider, ".".join(labels[len(endpoint) :][::-1])
    return None


def _matches(label: str, pattern: str) -> bool:
    return label.startswith(pattern[:-1]) and label != "" if pattern.endswith("*") else label == pattern


def _endpoint(text: str) -> tuple[str, int]:
    try:
        url = SecretURL(text)
    except InvalidTargetError:
        url = SecretURL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            "A storage endpoint is not a URL.",
            hint="Give scheme and host, such as https://minio.example.org:9000.",
        )
    return _host(url), port_of(url)
