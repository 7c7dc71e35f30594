"""AIStore clusters among the targets: the URLs of their objects, and how they refuse a token; pure.

Source: "S3 compatibility" in AIStore's documentation, and clusters of version 5.0.
"""

from __future__ import annotations

from urllib.parse import unquote

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import port_of

S3_PATH = "/s3"
"""Path of the S3 API."""

Origin = tuple[str, str, int]
"""Scheme, host and port of a proxy."""

REFUSED = ("token expired", "token revoked", "invalid token")
"""Messages of the S3 API to a token that is at fault. The status is 403, as for a missing permission."""


def parse_cluster(endpoint: str) -> Origin:
    """Return the origin of a cluster's proxy.

    Args:
        endpoint: The proxy's URL, `http://aistore:8080`, with `/s3` or without it.

    Raises:
        ConfigurationError: It is not such a URL.
    """
    try:
        url = SecretURL(endpoint)
    except (InvalidTargetError, TypeError, AttributeError):
        url = SecretURL("")
    path = url.path.rstrip("/").removesuffix(S3_PATH)
    if url.scheme not in ("http", "https") or not url.host or url.has_userinfo or path or url.query_names() != {""}:
        raise ConfigurationError(
            "The endpoint of an AIStore cluster is not the URL of a proxy.",
            hint="Give scheme, host and port, such as http://aistore:8080.",
        )
    return origin_of(url)


def origin_of(url: SecretURL) -> Origin:
    """Return the origin of a URL."""
    return url.scheme, url.host.lower().rstrip("."), port_of(url)


def names_object(url: SecretURL) -> bool:
    """Tell whether a URL's path is one of the S3 API and not of the API that administers the cluster."""
    return url.path.startswith(f"{S3_PATH}/")


def check_key(url: SecretURL) -> None:
    """Reject an object key with a segment `..`: servers in front of a cluster may resolve it, to another API.

    Raises:
        InvalidTargetError: It has one.
    """
    if ".." in unquote(url.path).split("/"):
        raise InvalidTargetError(
            f"{url} has an object key with a segment .. between slashes, which AIStore rejects.",
            hint="Presign a key without it.",
            url=str(url),
        )


def refuses_token(status: int, body: bytes) -> bool:
    """Tell whether a response means that the token is at fault, and not that a permission is missing."""
    return status == 401 or (status == 403 and any(words.encode() in body for words in REFUSED))
