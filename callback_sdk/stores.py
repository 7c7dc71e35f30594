"""Which hosts are object stores, so that a bare URL there is known to lack its signature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from attrs import define

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.redaction import SecretURL

_PROVIDERS = {
    "Amazon S3": r"(.+\.)?s3([.-][a-z0-9-]+)*\.amazonaws\.com(\.cn)?|(.+\.)?s3express-[a-z0-9.-]+\.amazonaws\.com",
    "Cloudflare R2": r".+\.r2\.cloudflarestorage\.com",
    "Wasabi": r"(.+\.)?s3([.-][a-z0-9-]+)*\.wasabisys\.com",
    "Backblaze B2": r"(.+\.)?s3\.[a-z0-9-]+\.backblazeb2\.com",
    "DigitalOcean Spaces": r".+\.digitaloceanspaces\.com",
    "Google Cloud Storage": r"(.+\.)?storage\.googleapis\.com|storage\.cloud\.google\.com",
    "Azure Blob Storage": r".+\.blob\.(core\.(windows|usgovcloudapi)\.net|core\.chinacloudapi\.cn|storage\.azure\.net)",
}
"""Providers and their hosts, from each one's page of service endpoints."""


@cache
def _hosts() -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in _PROVIDERS.items()}


@define(frozen=True)
class Stores:
    """The object stores that are known: the providers' own hosts, and the endpoints of the configuration.

    Attributes:
        endpoints: Host and port of each endpoint that was named.
    """

    endpoints: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def of(cls, endpoints: Iterable[str] = ()) -> Stores:
        """Read endpoint URLs, such as `https://minio.example.org`.

        Raises:
            ConfigurationError: One is no http or https URL.
        """
        return cls(frozenset(_endpoint(url) for url in endpoints))

    def provider(self, url: SecretURL) -> str | None:
        """Return whose object store a URL points to; None when it is none that is known."""
        host = url.host.lower().rstrip(".")
        for name, pattern in _hosts().items():
            if pattern.fullmatch(host):
                return name
        for endpoint, port in self.endpoints:
            # A bucket in the host name is below its endpoint.
            if port == port_of(url) and (host == endpoint or host.endswith(f".{endpoint}")):
                return "a configured storage endpoint"
        return None


def port_of(url: SecretURL) -> int:
    """Return the port of a URL, its scheme's own when it names none."""
    return url.port or default_port(url)


def default_port(url: SecretURL) -> int:
    """Return the port of a URL's scheme."""
    return 443 if url.scheme == "https" else 80


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
    return url.host.lower().rstrip("."), port_of(url)
