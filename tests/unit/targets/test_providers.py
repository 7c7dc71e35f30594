"""Which hosts are object stores, and where they have their bucket."""

from __future__ import annotations

import pytest

from callback_sdk.errors import MissingS3FieldsError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets import check_target
from callback_sdk.targets.amazon import amazon_bucket
from callback_sdk.targets.provider_table import CONFIGURED
from callback_sdk.targets.providers import StorageProviders
from tests.growth import assert_linear

ENDPOINTS = StorageProviders.of(["https://minio.example.org", "http://10.0.0.5:9000"])


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("s3.amazonaws.com", ""),
        ("b.s3.amazonaws.com", "b"),
        ("b.with.dots.s3.eu-central-1.amazonaws.com", "b.with.dots"),
        ("B.S3.EU-CENTRAL-1.AMAZONAWS.COM.", "b"),
        ("s3-eu-west-1.amazonaws.com", ""),
        ("b.s3-eu-west-1.amazonaws.com", "b"),
        ("b.s3.dualstack.eu-west-1.amazonaws.com", "b"),
        ("b.s3-fips.dualstack.us-gov-west-1.amazonaws.com", "b"),
        ("b.s3-accelerate.amazonaws.com", "b"),
        ("b.s3-accelerate.dualstack.amazonaws.com", "b"),
        ("point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "point-123456789012"),
        ("b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com", "b--usw2-az1--x-s3"),
        ("bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com", ""),
        ("s3.cn-north-1.amazonaws.com.cn", ""),
        ("b.account.r2.cloudflarestorage.com", "b"),
        ("account.eu.r2.cloudflarestorage.com", ""),
        ("b.s3.eu-central-1.wasabisys.com", "b"),
        ("b.s3.us-west-004.backblazeb2.com", "b"),
        ("b.ams3.digitaloceanspaces.com", "b"),
        ("storage.googleapis.com", ""),
        ("b.storage.googleapis.com", "b"),
        ("storage.mtls.googleapis.com", ""),
        ("storage.me-central2.rep.googleapis.com", ""),
        ("b.storage.us-east1.rep.googleapis.com", "b"),
        ("storage.us-east1.p.rep.googleapis.com", ""),
        ("us-central1-storage.googleapis.com", ""),
        ("b.us-central1-storage.googleapis.com", "b"),
        ("content-storage.googleapis.com", ""),
        ("storage-upload.googleapis.com", ""),
        ("gcs-eu-00002.content-storage-upload.googleapis.com", "gcs-eu-00002"),
        ("storage-psc.p.googleapis.com", ""),
        ("commondatastorage.googleapis.com", ""),
        ("b.commondatastorage.googleapis.com", "b"),
        ("b.storage.s3nsapis.fr", "b"),
        ("bigquerystorage.googleapis.com", None),
        ("chat.googleapis.com", None),
        ("storagetransfer.us-east1.rep.googleapis.com", None),
        ("account.blob.core.windows.net", ""),
        ("b.s3.fr-par.scw.cloud", "b"),
        ("s3.gra.io.cloud.ovh.net", ""),
        ("b.s3.us-east-va.io.cloud.ovh.us", "b"),
        ("b.fsn1.your-objectstorage.com", "b"),
        ("s3.private.eu-de.cloud-object-storage.appdomain.cloud", ""),
        ("b.s3.eu-de.cloud-object-storage.appdomain.cloud", "b"),
        ("b.eu-central-1.linodeobjects.com", "b"),
        ("ewr1.vultrobjects.com", ""),
        ("gateway.eu1.storjshare.io", ""),
        ("b.t3.storage.dev", "b"),
        ("b.sos-ch-gva-2.exo.io", "b"),
        ("eu2.contabostorage.com", ""),
        ("b.l4g4.ch11.idrivee2-2.com", "b"),
        ("storage.yandexcloud.net", ""),
        ("b.s3.ru-1.storage.selcloud.ru", "b"),
        ("s3-eu-central-2.ionoscloud.com", ""),
        ("b.oos.eu-west-2.outscale.com", "b"),
        ("s3.us-east-005.dream.io", ""),
        ("b.cwobject.com", "b"),
        ("b.tos-cn-beijing.volces.com", "b"),
        ("tos-s3-cn-beijing.ivolces.com", ""),
        ("b.ks3-cn-beijing.ksyuncs.com", "b"),
        ("s3.bj.bcebos.com", ""),
        ("b.s3.bj.bcebos.com", "b"),
        ("b.bj.bcebos.com", "b"),
        ("b.cn-bj.ufileos.com", "b"),
        ("s3-cn-bj.ufileos.com", ""),
        ("ark.cn-beijing.volces.com", None),
        ("www.scw.cloud", None),
        ("example.cloud-object-storage.appdomain.cloud", None),
        ("link.storjshare.io", None),
        ("minio.example.org", ""),
        ("b.minio.example.org", "b"),
        ("abc.execute-api.eu-central-1.amazonaws.com", None),
        ("s3-uploads.execute-api.eu-central-1.amazonaws.com", None),
        ("s3.eu-central-1.amazonaws.com.evil.example", None),
        ("evils3.amazonaws.com", None),
        ("amazonaws.com", None),
        (".s3-.amazonaws.com", ""),
        ("..amazonaws.com", None),
    ],
)
def test_host_tells_the_store_and_the_bucket(host: str, bucket: str | None) -> None:
    """By its last labels; what precedes them is the bucket."""
    url = SecretURL(f"https://{host}/k")
    assert ENDPOINTS.bucket_in_host(url) == bucket
    assert (ENDPOINTS.provider(url) is None) is (bucket is None)


def test_endpoint_counts_with_its_port() -> None:
    """Another port is another server."""
    assert ENDPOINTS.provider(SecretURL("http://10.0.0.5:9000/b/k")) is CONFIGURED
    assert ENDPOINTS.provider(SecretURL("http://10.0.0.5:9001/b/k")) is None
    assert ENDPOINTS.provider(SecretURL("http://minio.example.org/b/k")) is None


def test_buckets_of_other_stores_are_not_amazons() -> None:
    """Only Amazon's hosts name their bucket for sure."""
    assert amazon_bucket(SecretURL("https://b.s3.amazonaws.com/")) == "b"
    assert amazon_bucket(SecretURL("https://s3.amazonaws.com/b")) == ""
    assert amazon_bucket(SecretURL("https://b.minio.example.org/")) is None


@pytest.mark.parametrize("piece", [".s3", ".s3-a", "-a.", ".dualstack", "."])
def test_time_grows_with_the_host_and_not_faster(piece: str) -> None:
    """A host with many ways to be read: 64 of these characters once took minutes."""

    def host(length: int) -> SecretURL:
        return SecretURL(f"https://s3{piece * length}"[: 8 + length] + "/")

    assert_linear(StorageProviders().provider, host(14), host(14 * 16), ratio=16)


@pytest.mark.parametrize(
    "url",
    [
        "https://results.oss-cn-hangzhou.aliyuncs.com/k",
        "https://results.oss-cn-hangzhou-internal.aliyuncs.com/k",
        "https://results.oss-accelerate.aliyuncs.com/k",
        "https://results.cn-hangzhou.oss.aliyuncs.com/k",
        "https://results.s3.oss-cn-hangzhou.aliyuncs.com/k",
        "https://results-1250000000.cos.ap-guangzhou.myqcloud.com/k",
        "https://results-1250000000.cos.accelerate.myqcloud.com/k",
        "https://results-1250000000.cos-internal.ap-guangzhou.tencentcos.cn/k",
        "https://results.obs.cn-north-4.myhuaweicloud.com/k",
        "https://results.obs.eu-de.otc.t-systems.com/k",
        "https://objectstorage.us-ashburn-1.oraclecloud.com/n/namespace/b/results/o/k",
        "https://objectstorage.us-gov-ashburn-1.oraclegovcloud.com/n/namespace/b/results/o/k",
        "https://objectstorage.ap-chiyoda-1.oraclecloud8.com/n/namespace/b/results/o/k",
        "https://namespace.objectstorage.us-ashburn-1.oci.customer-oci.com/n/namespace/b/results/o/k",
        "https://namespace.compat.objectstorage.us-ashburn-1.oraclecloud.com/results/k",
        "https://abcdefgh.storage.supabase.co/storage/v1/s3/results/k",
        "https://results.tos-cn-beijing.volces.com/k",
        "https://results.tos-s3-cn-beijing.volces.com/k",
        "https://results.tos-ap-southeast-1.bytepluses.com/k",
        "https://results.ks3-cn-beijing.ksyuncs.com/k",
        "https://ks3-cn-beijing-internal.ksyun.com/results/k",
        "https://results.bj.bcebos.com/k",
        "https://s3.bj.bcebos.com/results/k",
        "https://results.cn-bj.ufileos.com/k",
        "https://s3-cn-bj.ufileos.com/results/k",
        "https://b\u00aducket.s3.eu-central-1.amazon\u00adaws.com/k",
        "https://bucket。s3。eu-central-1。amazonaws。com/k",
        "https://ｓｔｏｒａｇｅ.ｇｏｏｇｌｅａｐｉｓ.ｃｏｍ/b/k",
    ],
)
def test_unsigned_url_at_a_store_is_not_a_webhook(url: str) -> None:
    """Nothing would be stored there, and the document would be lost."""
    with pytest.raises(MissingS3FieldsError):
        check_target(url)


@pytest.mark.parametrize("host", ["cn-hangzhou.fc.aliyuncs.com", "abcdefgh.supabase.co", "apigw.oraclecloud.com"])
def test_functions_of_the_same_providers_are_webhooks(host: str) -> None:
    """Their hosts have other names than those of the stores."""
    assert check_target(f"https://{host}/functions/v1/done").kind == "webhook"
