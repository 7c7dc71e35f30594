"""Presigned requests to Amazon S3 that AIStore executes for its clients.

Source: AIStore's `docs/s3compat.md` and `ais/s3/presigned.go`: with the feature `S3-Presigned-Request` a
cluster rebuilds the URL on S3's regional host from bucket, key and query, virtual-hosted unless a header says `path`.
"""

from __future__ import annotations

from callback_sdk.aistore.cluster import Cluster
from callback_sdk.errors import ConfigurationError, SigningError
from callback_sdk.models import PresignedPut
from callback_sdk.redaction import Secret, SecretFields, SecretURL
from callback_sdk.targets.amazon import amazon_host

STYLE_HEADER = "ais-s3-signed-request-style"
"""Header with the signed addressing style, `path` or `virtual`."""


def through(target: PresignedPut, endpoint: str) -> PresignedPut:
    """Route a presigned PUT to Amazon S3 through an AIStore cluster, which needs no credentials for it.

    Args:
        target: From `S3Signer`, for a bucket of Amazon S3 that the cluster has as a backend.
        endpoint: The proxy's URL, with `/s3` or without it.

    Returns:
        The request to AIStore. If nodes have other hosts than the proxy, add them to the writer's `storage_endpoints`.

    Raises:
        SigningError: The request is signed for another host than a regional one of S3.
        ConfigurationError: The target is not a `PresignedPut`, or the endpoint is not a URL.

    Example:
        >>> writer.write(result, aistore.through(signer.presign_put("runs/42.json"), "http://aistore:8080"))
    """
    if not isinstance(target, PresignedPut):
        raise ConfigurationError(
            f"The target is of type {type(target).__name__}.", hint="Give what S3Signer.presign_put returns."
        )
    url = SecretURL(target.url)
    headers = target.headers
    host = amazon_host(url)
    # AIStore rebuilds the host from bucket and region, and knows no other form of it.
    if host is None or url.host not in (
        f"s3.{host.region}.amazonaws.com",
        f"{host.bucket}.s3.{host.region}.amazonaws.com",
    ):
        raise SigningError(
            f"{url} is not on a regional host of Amazon S3, so AIStore would send it to another host.",
            hint="Presign with S3Signer(bucket, region=...), which uses s3.REGION.amazonaws.com.",
        )
    if host.bucket:
        place = f"/{host.bucket}{url.path}"
    else:
        place, headers = url.path, {**headers, STYLE_HEADER: "path"}
    root = Cluster(endpoint).root
    return PresignedPut(
        url=Secret(f"{root}/s3{place}?{url.request_target().partition('?')[2]}"),
        headers=SecretFields(headers),
        expires_at=target.expires_at,
    )
