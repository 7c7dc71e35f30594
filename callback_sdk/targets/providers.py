"""Hosts of object stores: a URL there without a signature is an error, and not a webhook."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache, lru_cache

from attrs import define

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.parsing import several
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.aistore import Origin, names_object, origin_of, parse_cluster
from callback_sdk.targets.amazon import amazon_bucket
from callback_sdk.targets.hosts import port_of
from callback_sdk.targets.provider_table import AISTORE, AMAZON, CONFIGURED, PROVIDERS, Provider


@cache
def _endpoints() -> dict[str, tuple[tuple[Provider, tuple[str, ...]], ...]]:
    """Return each endpoint's provider and labels, the last label first, by the last label."""
    found: dict[str, list[tuple[Provider, tuple[str, ...]]]] = defaultdict(list)
    for provider in PROVIDERS:
        for endpoint in provider.endpoints:
            labels = tuple(reversed(endpoint.split(".")))
            found[labels[0]].append((provider, labels))
    return {label: tuple(pairs) for label, pairs in found.items()}


@define(frozen=True)
class StorageProviders:
    """Known object stores: the providers' hosts, and the configured storage endpoints.

    Attributes:
        endpoints: Host and port of each configured endpoint.
        clusters: Proxies of the configured AIStore clusters.
    """

    endpoints: frozenset[tuple[str, int]] = frozenset()
    clusters: frozenset[Origin] = frozenset()

    @classmethod
    def of(cls, endpoints: Iterable[str] = (), clusters: Iterable[str] = ()) -> StorageProviders:
        """Parse endpoint URLs, such as `https://minio.example.org`.

        Args:
            endpoints: URLs of object stores.
            clusters: URLs of the proxies of AIStore clusters.

        Raises:
            ConfigurationError: One is not an http or https URL, or they are not a list.
        """
        return cls(
            frozenset(_endpoint(url) for url in several("storage_endpoints", endpoints)),
            frozenset(map(parse_cluster, several("aistore_clusters", clusters))),
        )

    def in_cluster(self, url: SecretURL) -> bool:
        """Tell whether a URL is that of an object in a configured AIStore cluster."""
        return bool(self.clusters) and names_object(url) and origin_of(url) in self.clusters

    def provider(self, url: SecretURL) -> Provider | None:
        """Return the provider of a URL's host; None for an unknown host."""
        found = self._find(url)
        return found[0] if found else None

    def bucket_in_host(self, url: SecretURL) -> str | None:
        """Return the bucket in a URL's host, `""` if it is in the path; None for an unknown host."""
        found = self._find(url)
        return found[1] if found else None

    def _find(self, url: SecretURL) -> tuple[Provider, str] | None:
        amazon = amazon_bucket(url)
        if amazon is not None:
            return AMAZON, amazon
        if self.clusters and origin_of(url) in self.clusters:
            return AISTORE, ""
        host = _host(url)
        if found := _provider_and_bucket(host):
            return found
        for endpoint, port in self.endpoints:
            # Virtual-hosted style: the bucket is a subdomain of the endpoint.
            if port == port_of(url) and (host == endpoint or host.endswith(f".{endpoint}")):
                return CONFIGURED, host.removesuffix(endpoint).removesuffix(".")
        return None


def _host(url: SecretURL) -> str:
    return url.host.lower().rstrip(".")


# Planning a target asks several times about its host, and a worker sends to few.
@lru_cache(maxsize=256)
def _provider_and_bucket(host: str) -> tuple[Provider, str] | None:
    # Label by label, in linear time: a regular expression for all endpoints backtracks exponentially ("s3-a-a-a…").
    labels = host.split(".")[::-1]
    for provider, endpoint in _endpoints().get(labels[0], ()):
        if len(labels) >= len(endpoint) and all(map(_matches, labels, endpoint)):
            return provider, ".".join(labels[len(endpoint) :][::-1])
    return None


def _matches(label: str, pattern: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return label == pattern
    return label.startswith(before) and label.endswith(after) and len(label) >= max(1, len(before) + len(after))


def _endpoint(text: str) -> tuple[str, int]:
    try:
        url = SecretURL(text if isinstance(text, str) else "")
    except InvalidTargetError:
        url = SecretURL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            "A storage endpoint is not a URL.",
            hint="Give scheme and host, such as https://minio.example.org:9000.",
        )
    return _host(url), port_of(url)
