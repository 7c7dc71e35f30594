"""Providers of object storage: their endpoints, and what they don't support.

A further provider is one entry in `PROVIDERS`. Each has the page of its documentation that the facts are from.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Literal

from attrs import define

Feature = Literal["form", "signature-v2", "if-none-match", "acl"]
"""What a target may need of its store: POST forms with a policy, Signature Version 2, writing an object only once
(If-None-Match), and ACLs of single objects."""


@define(frozen=True, kw_only=True, eq=False, repr=False)
class Provider:
    """A provider of object storage.

    Attributes:
        name: The provider, as messages call it.
        endpoints: Its hosts. `*` stands for any text within one label. The labels before an endpoint are the bucket's
            name.
        source: Page of its documentation.
        rejects: Features that it answers with an error.
        ignores: Features that it accepts without effect.
        write_once: Its own header with the effect of If-None-Match, with the value.
        max_expiry: Longest life of a signed URL, `timedelta.max` if there is no limit; None if that isn't documented.
        notes: What to know of every target there.
    """

    name: str
    endpoints: tuple[str, ...]
    source: str = ""
    rejects: frozenset[Feature] = frozenset()
    ignores: frozenset[Feature] = frozenset()
    write_once: str = ""
    max_expiry: timedelta | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


WEEK = timedelta(days=7)

AMAZON = Provider(
    name="Amazon S3",
    # `targets.amazon` recognizes its hosts: they have more parts than one pattern for each can express.
    endpoints=(),
    source="https://docs.aws.amazon.com/general/latest/gr/s3.html",
    max_expiry=WEEK,
)

GOOGLE = Provider(
    name="Google Cloud Storage",
    endpoints=(
        *("storage.googleapis.com", "storage.cloud.google.com", "storage.mtls.googleapis.com"),
        # "Regional endpoints", also within a VPC ("API endpoint types").
        *("storage.*.rep.googleapis.com", "storage.*.p.rep.googleapis.com"),
        # "Locational endpoints" such as us-east1-storage; storage-upload and content-storage of older clients.
        *("*-storage.googleapis.com", "storage-*.googleapis.com", "content-storage-*.googleapis.com"),
        # Private Service Connect ("Access Google APIs through endpoints").
        "storage-*.p.googleapis.com",
        # The name before 2012, and the API's clouds of partners ("Request endpoints" of S3NS).
        *("commondatastorage.googleapis.com", "storage.s3nsapis.fr"),
    ),
    # "Request preconditions": If-None-Match is for requests that retrieve data.
    source="https://cloud.google.com/storage/docs/request-preconditions",
    ignores=frozenset({"if-none-match"}),
    write_once="x-goog-if-generation-match: 0",
    max_expiry=WEEK,
)

_ORACLE_DOMAINS = (
    # Of the realms in Oracle's SDK for Python (`regions_definitions`), such as oraclecloud8.com.
    *("oraclecloud*.com", "oraclecloud.eu", "oraclegovcloud.com", "oraclegovcloud.uk"),
    # Hosts of one namespace.
    *("oci.customer-oci.com", "ds.oci.customer-oci.com"),
)

ORACLE = Provider(
    name="Oracle Object Storage",
    endpoints=tuple(
        f"{prefix}objectstorage.*.{domain}"
        # Its API, and its versions of Amazon's and of Swift's.
        for prefix, domain in product(("", "*.compat.", "compat.", "vhcompat.", "swift"), _ORACLE_DOMAINS)
    ),
    source="https://docs.oracle.com/iaas/Content/Object/Tasks/s3compatibleapi.htm",
)

HUAWEI = Provider(
    name="Huawei Cloud OBS",
    endpoints=(
        *("obs.*.myhuaweicloud.com", "obs.*.myhuaweicloud.eu", "obs.*.myhuaweicloud.cn", "obs.myhuaweicloud.com"),
        # The public clouds of Deutsche Telekom.
        *("obs.*.otc.t-systems.com", "obs.*.sc.otc.t-systems.com"),
    ),
    source="https://developer.huaweicloud.com/endpoint?OBS",
)

AISTORE = Provider(
    name="AIStore",
    # The configuration names the proxies of each cluster.
    endpoints=(),
    # What the page doesn't say was observed with version 5.0: it answers 400 to a form, and stores an object twice.
    source="https://github.com/NVIDIA/aistore/blob/main/docs/s3compat.md",
    rejects=frozenset({"form"}),
    ignores=frozenset({"if-none-match"}),
    max_expiry=timedelta.max,
    notes=(
        "AIStore verifies no signatures: expired and changed URLs work too. Enable AuthN, or restrict the network.",
        "AIStore keeps neither the Content-Type nor the metadata of an object in its own buckets (ais://).",
    ),
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
        # "Presigned URLs": GET, PUT, HEAD and DELETE with Signature Version 4; "S3 API compatibility": no x-amz-acl,
        # which was rejected until 2022 and is ignored since.
        source="https://developers.cloudflare.com/r2/api/s3/presigned-urls/",
        rejects=frozenset({"form", "signature-v2"}),
        ignores=frozenset({"acl"}),
        max_expiry=WEEK,
    ),
    Provider(
        name="Backblaze B2",
        endpoints=("s3.*.backblazeb2.com",),
        # The supported calls don't include PostObject, and a PUT with If-None-Match gets 501 NotImplemented. An ACL
        # must be the bucket's own.
        source="https://www.backblaze.com/docs/cloud-storage-call-the-s3-compatible-api",
        rejects=frozenset({"form", "signature-v2", "if-none-match"}),
        ignores=frozenset({"acl"}),
        max_expiry=WEEK,
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
    GOOGLE,
    ORACLE,
    Provider(
        name="Azure Blob Storage",
        endpoints=(
            *("*.blob.core.windows.net", "*.dfs.core.windows.net"),
            *("*.blob.core.usgovcloudapi.net", "*.dfs.core.usgovcloudapi.net"),
            *("*.blob.core.chinacloudapi.cn", "*.dfs.core.chinacloudapi.cn"),
            *("*.blob.storage.azure.net", "*.dfs.storage.azure.net"),
        ),
        source="https://learn.microsoft.com/azure/storage/common/storage-account-overview",
    ),
    Provider(
        name="Alibaba Cloud OSS",
        endpoints=(
            # Of the S3-compatible API, of access points, of a region (also accelerated and internal), with IPv6.
            *("s3.oss-*.aliyuncs.com", "oss-*.oss-accesspoint.aliyuncs.com", "oss-*.aliyuncs.com"),
            *("vpc100-oss-*.aliyuncs.com", "*.oss.aliyuncs.com", "oss.aliyuncs.com"),
        ),
        source="https://www.alibabacloud.com/help/en/oss/user-guide/regions-and-endpoints",
        write_once="x-oss-forbid-overwrite: true",
    ),
    Provider(
        name="Tencent Cloud COS",
        endpoints=(
            *("cos.*.myqcloud.com", "cos-internal.*.myqcloud.com", "cos.internal.*.myqcloud.com"),
            *("cos.*.tencentcos.cn", "cos-internal.*.tencentcos.cn", "cos.*.tencentcos.com"),
        ),
        source="https://www.tencentcloud.com/document/product/436/6224",
        write_once="x-cos-forbid-overwrite: true",
    ),
    HUAWEI,
    Provider(
        name="Volcengine TOS",
        # Outside and within its network; also as tos-s3-*, for S3's protocol. BytePlus is the same outside of China.
        endpoints=("tos-*.volces.com", "tos-*.ivolces.com", "tos-*.bytepluses.com", "tos-*.ibytepluses.com"),
        source="https://www.volcengine.com/docs/6349/107356",
        write_once="x-tos-forbid-overwrite: true",
    ),
    Provider(
        name="Kingsoft Cloud KS3",
        endpoints=("ks3-*.ksyuncs.com", "ks3-*.ksyun.com", "kss.ksyun.com"),
        source="https://docs.ksyun.com/documents/6761",
        write_once="x-kss-forbid-overwrite: true",
    ),
    Provider(
        name="Baidu Object Storage",
        endpoints=("s3.*.bcebos.com", "*.bcebos.com"),
        source="https://cloud.baidu.com/doc/BOS/s/xjwvyq9l4-en",
        write_once="x-bce-forbid-overwrite: true",
    ),
    Provider(
        name="UCloud UFile",
        # Its S3 endpoints such as s3-cn-bj are among them; the others are older, of the CDN, or within its network.
        endpoints=("*.ufileos.com", "ufile.ucloud.cn", "ufile.ucloud.com.cn", "ufile.*.ucloud.cn"),
        # "The S3 v4 protocol standard".
        source="https://ucloud-global.com/en/docs/ufile/devguide/s3/s3_introduction",
        rejects=frozenset({"signature-v2"}),
    ),
    Provider(
        # Its other hosts serve functions too, which may be webhooks.
        name="Supabase Storage",
        endpoints=("*.storage.supabase.co",),
        source="https://supabase.com/docs/guides/storage/s3/authentication",
    ),
    Provider(
        name="Scaleway Object Storage",
        endpoints=("s3.*.scw.cloud",),
        source="https://www.scaleway.com/en/docs/object-storage/api-cli/post-object/",
    ),
    Provider(
        name="OVHcloud Object Storage",
        endpoints=("s3.*.io.cloud.ovh.net", "s3.*.io.cloud.ovh.us", "s3.*.perf.cloud.ovh.net", "s3.*.cloud.ovh.net"),
        source="https://docs.ovhcloud.com/guides/storage-and-backup/object-storage/s3-conditional-writes",
    ),
    Provider(
        name="Hetzner Object Storage",
        endpoints=("*.your-objectstorage.com",),
        source="https://docs.hetzner.com/storage/object-storage/supported-actions/",
    ),
    Provider(
        name="IBM Cloud Object Storage",
        endpoints=(
            "s3.*.cloud-object-storage.appdomain.cloud",
            "s3.private.*.cloud-object-storage.appdomain.cloud",
            "s3.direct.*.cloud-object-storage.appdomain.cloud",
        ),
        # "Unlike AWS S3, IBM Cloud Object Storage does not enforce a maximum expiration time of 7 days".
        source="https://cloud.ibm.com/docs/cloud-object-storage?topic=cloud-object-storage-presign-url",
        max_expiry=timedelta.max,
    ),
    Provider(
        name="Akamai Object Storage",
        endpoints=("*.linodeobjects.com",),
        source="https://techdocs.akamai.com/cloud-computing/docs/object-storage",
    ),
    Provider(
        name="Vultr Object Storage",
        endpoints=("*.vultrobjects.com",),
        source="https://docs.vultr.com/products/cloud-storage/object-storage",
    ),
    Provider(
        name="Storj",
        endpoints=("gateway.storjshare.io", "gateway.*.storjshare.io"),
        source="https://storj.dev/dcs/api/s3/s3-compatibility",
    ),
    Provider(
        name="Tigris",
        endpoints=("t3.storage.dev", "fly.storage.tigris.dev"),
        source="https://www.tigrisdata.com/docs/api/s3/",
    ),
    Provider(
        name="Exoscale Object Storage",
        endpoints=("sos-*.exo.io",),
        source="https://community.exoscale.com/product/storage/object-storage/",
    ),
    Provider(
        name="Contabo Object Storage",
        endpoints=("*.contabostorage.com",),
        source="https://docs.contabo.com/docs/products/Object-Storage/",
    ),
    Provider(
        name="IDrive e2",
        endpoints=("*.*.idrivee2-*.com", "s3.*.idrivee2.com"),
        source="https://www.idrive.com/s3-storage-e2/guides/",
    ),
    Provider(
        name="Yandex Object Storage",
        endpoints=("storage.yandexcloud.net",),
        source="https://yandex.cloud/en/docs/storage/s3/",
    ),
    Provider(
        name="Selectel Object Storage",
        endpoints=("s3.*.storage.selcloud.ru", "s3.storage.selcloud.ru"),
        source="https://docs.selectel.ru/en/s3/objects/conditional-requests/",
    ),
    Provider(
        name="IONOS Object Storage",
        endpoints=("s3-*.ionoscloud.com", "s3.*.ionoscloud.com"),
        source="https://docs.ionos.com/cloud/storage-and-backup/ionos-object-storage/endpoints",
    ),
    Provider(
        name="OUTSCALE Object Storage",
        endpoints=("oos.*.outscale.com",),
        source="https://docs.outscale.com/en/userguide/OOS-API-Endpoints-Reference.html",
    ),
    Provider(
        name="DreamObjects",
        endpoints=("objects-*.dream.io", "s3.*.dream.io"),
        source="https://help.dreamhost.com/hc/en-us/articles/215916627",
    ),
    Provider(
        name="CoreWeave AI Object Storage",
        endpoints=("cwobject.com",),
        source="https://docs.coreweave.com/products/storage/object-storage/reference/object-storage-s3",
    ),
)
"""Providers of object storage. An unsigned URL at one of their hosts is an error, and not a webhook."""
