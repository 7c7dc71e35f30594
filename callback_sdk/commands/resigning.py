"""New signatures for the objects of targets that have expired."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from callback_sdk.models import PresignedPut
    from callback_sdk.redaction import SecretURL
    from callback_sdk.signer import S3Signer

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Resigner:
    """Presigns objects by their URLs, with the credentials boto3 finds.

    Args:
        options: Options of `S3Signer.presign_put`.
        region: Region of the buckets; that of boto3's configuration if None.
        endpoint_url: URL of an S3-compatible store; None for Amazon S3.
    """

    def __init__(self, options: Mapping[str, Any], *, region: str | None, endpoint_url: str | None) -> None:
        from callback_sdk.targets.providers import StorageProviders

        self._options = options
        self._region = region
        self._endpoint_url = endpoint_url
        self._providers = StorageProviders.of([endpoint_url] if endpoint_url else [])
        self._signers: dict[str, S3Signer] = {}

    def sign(self, object_url: Any) -> PresignedPut | str:
        """Return a presigned PUT of an object, or why there is none.

        Args:
            object_url: URL of the object without a signature.
        """
        from callback_sdk.errors import InvalidTargetError
        from callback_sdk.redaction import SecretURL

        try:
            url = SecretURL(object_url)
        except InvalidTargetError:
            return "It has no object_url, as its target is not an expired object."
        signed = [self._signer(bucket).presign_put(key, **self._options) for bucket, key in self._places(url)]
        same = [one for one in signed if unquote(SecretURL(one.url).bare) == unquote(url.bare)]
        if same:
            return same[0]
        found = f"It would be signed for {SecretURL(signed[0].url).origin}. " if signed else ""
        return f"The object {url} can't be signed. {found}Check --region, and --endpoint-url for a compatible store."

    def _places(self, url: SecretURL) -> list[tuple[str, str]]:
        """Return the buckets and keys that the URL of an object may name, in its host and in its path."""
        path = unquote(url.path.removeprefix("/"))
        in_host = self._providers.bucket_in_host(url)
        places = [(in_host, path), path.partition("/")[::2]] if in_host else [path.partition("/")[::2]]
        return [(bucket, key) for bucket, key in places if _BUCKET_NAME.fullmatch(bucket) and key]

    def _signer(self, bucket: str) -> S3Signer:
        from callback_sdk.signer import S3Signer

        if bucket not in self._signers:
            self._signers[bucket] = S3Signer(bucket, region=self._region, endpoint_url=self._endpoint_url)
        return self._signers[bucket]
