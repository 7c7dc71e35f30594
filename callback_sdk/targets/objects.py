"""The object that a target writes: its store, bucket and key, whichever form its URL has; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from callback_sdk.redaction import SecretURL
from callback_sdk.targets.amazon import amazon_host, amazon_partition
from callback_sdk.targets.hosts import default_port, ip_literal
from callback_sdk.targets.target import Target

ObjectName = tuple[str, bytes, bytes]
"""Store, bucket and key."""

_PROBE = "0"
"""A name below a prefix."""

_UNKNOWN = ""
"""The store of objects whose URLs are credentials. Their keys are digests."""


def object_names(target: Target) -> frozenset[ObjectName]:
    """Return what the object of a target may be called; nothing if each delivery writes another one, or none.

    Two targets are one object if they have a name in common. At a host that isn't known, the bucket may be a part of
    the host, or of the path ("Virtual hosting of buckets" in the S3 user guide).

    Args:
        target: The target of one object.
    """
    if not _is_one(target):
        return frozenset()
    url = object_url(target)
    if url is None:
        return frozenset({(_UNKNOWN, b"", _place(target))})
    return frozenset(_names(SecretURL(url), has_bucket=target.has_bucket))


def object_url(target: Target) -> str | None:
    """Return the URL of the object that each delivery writes, without a signature; None if it is secret or varies."""
    if target.callback.shown is not None:
        return target.callback.shown.bare
    return target.object_url("") if _is_one(target) else None


def is_same_place(one: Target, other: Target) -> bool:
    """Return whether two targets send results to one object by the same host, or to the same URL.

    Stricter than a name in common: whoever may only sign the place again must not choose another host.
    """
    return _place(one) == _place(other)


def document_digest(target: Target) -> str:
    """Return a digest of where a target's document goes and of its `callback_param`, whatever signature it has."""
    callback = target.callback
    # The query of a plain PUT may say where the object goes.
    place = _place(target) if callback.http is None else callback.url.reveal().encode("utf-8", "surrogatepass")
    param = json.dumps(callback.param, sort_keys=True)
    return hashlib.sha256(hashlib.sha256(place).digest() + param.encode()).hexdigest()


def _place(target: Target) -> bytes:
    """Return the decoded URL of a target's object, or a digest of a URL that is secret."""
    shown = target.callback.shown
    url = target.object_url("") if shown is None else shown.bare
    if url is None:
        return hashlib.sha256(target.callback.url.reveal().encode("utf-8", "surrogatepass")).digest()
    return unquote_to_bytes(url.encode("utf-8", "surrogatepass"))


def prefix_names(target: Target) -> frozenset[ObjectName]:
    """Return what the prefix of a target for any number of objects may be called; nothing for any other target."""
    if target.callback.is_results:
        # The service signs the URLs of the files beside the document.
        return frozenset(
            (store, bucket, key[: key.rfind(b"/") + 1]) for store, bucket, key in object_names(target)
        )  # fmt: skip
    if not target.takes_outputs():
        return frozenset()
    probed = object_names(target.below(_PROBE, target.media_type))
    return frozenset((store, bucket, key[: -len(_PROBE)]) for store, bucket, key in probed if store != _UNKNOWN)


def _is_one(target: Target) -> bool:
    """Return whether each delivery writes the same object: no webhook, and no form whose key has `${filename}`."""
    return target.takes_files and target.object_url("a") == target.object_url("b")


def _names(url: SecretURL, *, has_bucket: bool) -> Iterator[ObjectName]:
    # Clients encode the same key differently: `%70ct` is `pct` (RFC 3986, section 6.2.2).
    path = unquote_to_bytes(url.path.encode("utf-8", "surrogatepass")).removeprefix(b"/")
    bucket, _, key = path.partition(b"/")
    host, port = url.host.rstrip("."), "" if url.port in (None, default_port(url)) else f":{url.port}"
    amazon = amazon_host(url)
    if amazon is not None and not amazon.is_access_point:
        # A bucket has its name in all regions of a partition.
        store = amazon_partition(url)
        yield (store, amazon.bucket.encode(), path) if amazon.bucket else (store, bucket, key)
        return
    yield f"{host}{port}", bucket, key
    if has_bucket and ip_literal(host) is None:
        labels = host.split(".")
        for count in range(1, len(labels)):
            yield f"{'.'.join(labels[count:])}{port}", ".".join(labels[:count]).encode(), path
