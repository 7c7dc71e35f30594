"""Providers of object storage: their endpoints, and what they don't support.

A further provider is one entry in `PROVIDERS`. Each has the page of its documentation that the facts are from.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from attrs import define

ConditionalWrites = Literal["enforced", "ignored", "rejected"]
"""How a store treats a PUT with If-None-Match: as RFC 9110 says, as if it weren't there, or as an error."""


@define(frozen=True, kw_only=True)
class Provider:
    """A provider of object storage.

    Attributes:
        name: The provider, as messages call it.
        endpoints: Its hosts. `*` stands for the rest of one label. The labels before an endpoint are the bucket's name.
        source: Page of its documentation.
        form_posts: Whether it accepts POST forms with a policy.
        signature_v2: Whether it accepts URLs with Signature Version 2.
        conditional_writes: How it treats If-None-Match; None if that isn't documented.
        acls: Values of an ACL that an upload may have; None for any.
        max_expiry: Longest life of a signed URL; None if that isn't documented.
    """

    name: str
    endpoints: tuple[str, ...]
    source: str = ""
    form_posts: bool = True
    signature_v2: bool = True
    conditional_writes: ConditionalWrites | None = None
    acls: frozenset[str] | None = None
    max_expiry: timedelta | None = None

    def __str__(self) -> str:
        return self.name


_WEEK = timedelta(days=7)

AMAZON = Provider(
    name="Amazon S3",
    # `targets.amazon` recognizes its hosts: they have more parts than one pattern for each can express.
    endpoints=(),
    source="https://docs.aws.amazon.com/general/latest/gr/s3.html",
    conditional_writes="enforced",
    max_expiry=_WEEK,
)

CONFIGURED = Provider(name="a configured storage endpoint", endpoints=())
"""The provider of each endpoint that the configuration names."""

PROVIDERS = (
    AMAZON,
    Provider(
        name="Cloudflare R2",
        endpoints=(
            "*.eu.r2.cloudflarestorage.com",
            "*.fedramp.r2.cloudflarestorage.com",
            "*.r2.cloudflarestorage.com",
        ),
        # "Presigned URLs": GET, PUT, HEAD and DELETE, for up to 7 days; "S3 API compatibility": x-amz-acl.
        source="https://developers.cloudflare.com/r2/api/s3/presigned-urls/",
        form_posts=False,
        signature_v2=False,
        conditional_writes="enforced",
        max_expiry=_WEEK,
    ),
    Provider(
        name="Backblaze B2",
        endpoints=("s3.*.backblazeb2.com",),
        # The list of supported calls has no PostObject. If-None-Match is answered with 501 NotImplemented.
        source="https://www.backblaze.com/docs/cloud-storage-s3-compatible-api",
        form_posts=False,
        signature_v2=False,
        conditional_writes="rejected",
        max_expiry=_WEEK,
    ),
    Provider(
        name="Wasabi",
        endpoints=("s3.wasabisys.com", "s3.*.wasabisys.com", "s3-*.wasabisys.com"),
        source="https://docs.wasabi.com/docs/service-urls-for-wasabis-storage-regions",
    ),
    Provider(
        name="DigitalOcean Spaces",
        endpoints=("*.digitaloceanspaces.com",),
        source="https://docs.digitalocean.com/products/spaces/reference/s3-compatibility/",
    ),
    Provider(
        name="Google Cloud Storage",
        endpoints=("storage.googleapis.com", "storage.cloud.google.com"),
        source="https://cloud.google.com/storage/docs/request-endpoints",
        max_expiry=_WEEK,
    ),
    Provider(
        name="Azure Blob Storage",
        endpoints=(
            "*.blob.core.windows.net",
            "*.blob.core.usgovcloudapi.net",
            "*.blob.core.chinacloudapi.cn",
            "*.blob.storage.azure.net",
        ),
        source="https://learn.microsoft.com/azure/storage/common/storage-account-overview",
    ),
)
