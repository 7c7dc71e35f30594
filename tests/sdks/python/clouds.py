"""Google's, Azure's, Alibaba's, Tencent's and Huawei's SDKs.

Needs google-cloud-storage azure-storage-blob oss2 alibabacloud-oss-v2 cos-python-sdk-v5 esdk-obs-python freezegun.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from freezegun import freeze_time
from recording import KEY, LIFE, TIME, TYPE, Rows, write

EXPIRES = timedelta(seconds=LIFE)
EMAIL = "worker@project.iam.gserviceaccount.com"
ACCOUNT_KEY = "aW52ZW50ZWQga2V5IG9mIGFuIGFjY291bnQgdGhhdCBkb2Vzbid0IGV4aXN0"


def of_google() -> Rows:
    from google.cloud import storage
    from google.oauth2 import service_account

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip
    info = {"client_email": EMAIL, "private_key": private, "token_uri": "https://oauth2.googleapis.com/token"}
    client = storage.Client("project", service_account.Credentials.from_service_account_info(info))
    blob = client.bucket("bucket").blob(KEY)
    rows = Rows("google-cloud-storage", "google-cloud-storage", store="gcs", access_key=EMAIL, public_key=public)
    meta = {"x-goog-meta-run": "42"}
    sizes, once = {"x-goog-content-length-range": "1,1000"}, {"x-goog-if-generation-match": "0"}
    forms: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("plain", {}, {}),
        ("content_type", {"content_type": TYPE}, {"content-type": TYPE}),
        ("headers", {"headers": meta}, meta),
        ("virtual_hosted_style", {"virtual_hosted_style": True}, {}),
        ("headers: x-goog-content-length-range", {"headers": sizes}, sizes),
        ("headers: x-goog-if-generation-match", {"headers": once}, once),
    ]
    for version in ("v4", "v2"):
        for form, options, asked in forms:
            if (version, form) == ("v2", "virtual_hosted_style"):
                continue  # Version 3.17 signs "/key", and Google's documentation of V2 demands "/bucket/key".
            url = blob.generate_signed_url(EXPIRES, method="PUT", version=version, **deepcopy(options))
            rows.add(f"generate_signed_url(version='{version}')", form, url, asked=asked)
    start = {"x-goog-resumable": "start"}
    url = blob.generate_signed_url(EXPIRES, method="POST", version="v4", headers=dict(start))
    rows.add("generate_signed_url(method='POST')", "x-goog-resumable", url, method="POST", asked=start)
    for form, options, asked in [("plain", {}, {}), ("content_type", {"content_type": TYPE}, {"content-type": TYPE})]:
        for version in ("v4", "v2"):
            url = blob.generate_signed_url(EXPIRES, method="RESUMABLE", version=version, **options)
            call = f"generate_signed_url(method='RESUMABLE'), {version}"
            rows.add(call, form, url, method="POST", asked={**start, **asked})
    for form, fields, conditions in [
        ("plain", None, None),
        ("fields, content-length-range", {"Content-Type": TYPE, **meta}, [["content-length-range", 1, 1000]]),
    ]:
        made = client.generate_signed_post_policy_v4(
            "bucket", KEY, EXPIRES, conditions=conditions, fields=deepcopy(fields)
        )
        rows.add("generate_signed_post_policy_v4", form, made["url"], asked=fields, fields=made["fields"])
    own = {"key": KEY, "Content-Type": TYPE}
    made = client.bucket("bucket").generate_upload_policy(
        [{n: v} for n, v in own.items()], datetime.now(timezone.utc) + EXPIRES
    )
    rows.add(
        "generate_upload_policy", "with key and Content-Type", "https://storage.googleapis.com/bucket/",
        fields={**own, **made}, asked={"Content-Type": TYPE},
    )  # fmt: skip
    return rows


def of_azure() -> Rows:
    from azure.storage.blob import (
        AccountSasPermissions,
        BlobSasPermissions,
        ContainerSasPermissions,
        ResourceTypes,
        UserDelegationKey,
        generate_account_sas,
        generate_blob_sas,
        generate_container_sas,
    )

    rows = Rows("azure-storage-blob", "azure-storage-blob", store="azure", access_key="account", secret=ACCOUNT_KEY)
    blob = "https://account.blob.core.windows.net/container/runs/a%20b%2Bc/42.json"
    end = datetime.now(timezone.utc) + EXPIRES
    one = {"account_name": "account", "container_name": "container", "blob_name": KEY, "expiry": end}
    write = BlobSasPermissions(create=True, write=True)
    delegated = UserDelegationKey()
    delegated.signed_oid, delegated.signed_tid = "11111111-1111-1111-1111-111111111111", "2" * 8
    delegated.signed_start, delegated.signed_expiry = "2026-01-31T11:00:00Z", "2026-02-01T12:00:00Z"
    delegated.signed_service, delegated.signed_version, delegated.value = "b", "2024-11-04", ACCOUNT_KEY
    key = {"account_key": ACCOUNT_KEY}
    call = "generate_blob_sas"
    bounds = {"start": end - 2 * EXPIRES, "ip": "192.0.2.1", "protocol": "https"}
    read = BlobSasPermissions(read=True)
    forms = [
        (call, "create, write", generate_blob_sas(**one, **key, permission=write)),
        (call, "start, ip, protocol", generate_blob_sas(**one, **key, permission=write, **bounds)),
        (call, "content_type", generate_blob_sas(**one, **key, permission=write, content_type=TYPE)),
        (call, "user_delegation_key", generate_blob_sas(**one, user_delegation_key=delegated, permission=write)),
        (call, "read", generate_blob_sas(**one, **key, permission=read)),
        (call, "policy_id", generate_blob_sas("account", "container", KEY, **key, policy_id="uploads")),
    ]
    inside = ContainerSasPermissions(write=True, create=True)
    sas = generate_container_sas("account", "container", ACCOUNT_KEY, permission=inside, expiry=end)
    forms.append(("generate_container_sas", "create, write", sas))
    for name in ("object", "container"):
        types = ResourceTypes(**{name: True})
        sas = generate_account_sas("account", ACCOUNT_KEY, types, AccountSasPermissions(write=True), end)
        forms.append(("generate_account_sas", f"{name}, write", sas))
    for call, form, sas in forms:
        rows.add(call, form, f"{blob}?{sas}")
    return rows


OSS = {"access_key": "AKIDEXAMPLE", "secret": "secretEXAMPLE"}


def of_oss2() -> Rows:
    import oss2

    rows = Rows("oss2", "oss2", store="oss", **OSS)
    for version, auth in (("V1", oss2.Auth), ("V2", oss2.AuthV2), ("V4", oss2.AuthV4)):
        keys, region = auth(OSS["access_key"], OSS["secret"]), "cn-hangzhou"
        bucket = oss2.Bucket(keys, f"https://oss-{region}.aliyuncs.com", "bucket", region=region)
        meta = {"x-oss-meta-run": "42"}
        for form, headers in (("plain", {}), ("Content-Type", {"Content-Type": TYPE}), ("metadata", meta)):
            url = bucket.sign_url("PUT", KEY, LIFE, headers=dict(headers), slash_safe=True)
            rows.add(f"sign_url('PUT'), {version}", form, url, asked={n.lower(): v for n, v in headers.items()})
    token = oss2.StsAuth(OSS["access_key"], OSS["secret"], "CAISinvented+token/==")
    bucket = oss2.Bucket(token, "https://oss-cn-hangzhou.aliyuncs.com", "bucket")
    rows.add("sign_url('PUT'), V1", "security token", bucket.sign_url("PUT", KEY, LIFE, slash_safe=True))
    return rows


def of_oss_v2() -> Rows:
    import alibabacloud_oss_v2 as oss

    rows = Rows("alibabacloud-oss-v2", "alibabacloud-oss-v2", store="oss", **OSS)
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(OSS["access_key"], OSS["secret"])
    config.region = "cn-hangzhou"
    for version in ("v4", "v1"):
        config.signature_version = version
        client = oss.Client(config)
        for form, options, asked in (
            ("plain", {}, {}),
            ("content_type", {"content_type": TYPE}, {"content-type": TYPE}),
            ("metadata", {"metadata": {"run": "42"}}, {"x-oss-meta-run": "42"}),
        ):
            made = client.presign(oss.PutObjectRequest("bucket", KEY, **options), expires=EXPIRES)
            headers = dict(made.signed_headers or {})
            rows.add(f"presign(PutObjectRequest), {version}", form, made.url, asked=asked, headers=headers)
    return rows


COS = {"access_key": "AKIDEXAMPLE", "secret": "secretEXAMPLE"}


def of_cos() -> Rows:
    from qcloud_cos import CosConfig, CosS3Client

    rows = Rows("cos-python-sdk-v5", "cos-python-sdk-v5", store="cos", **COS)
    client = CosS3Client(CosConfig(Region="ap-guangzhou", SecretId=COS["access_key"], SecretKey=COS["secret"]))
    bucket = "bucket-1250000000"
    for form, headers, parameters in (
        ("plain", {}, {}),
        ("SignHost=False", {}, {}),
        ("Headers", {"Content-Type": TYPE, "x-cos-meta-run": "42"}, {}),
    ):
        url = client.get_presigned_url(
            bucket, KEY, "PUT", LIFE, Params=parameters, Headers=dict(headers), SignHost=form != "SignHost=False"
        )
        rows.add("get_presigned_url('PUT')", form, url, asked={n.lower(): v for n, v in headers.items()})
    token = CosConfig(
        Region="ap-guangzhou", SecretId=COS["access_key"], SecretKey=COS["secret"], Token="invented-token"
    )
    url = CosS3Client(token).get_presigned_url(
        bucket, KEY, "PUT", LIFE, Params={"x-cos-security-token": "invented-token"}
    )
    rows.add("get_presigned_url('PUT')", "x-cos-security-token", url)
    return rows


OBS = {"access_key": "AKIDEXAMPLE", "secret": "secretEXAMPLE"}


def of_obs() -> Rows:
    from obs import ObsClient

    rows = Rows("esdk-obs-python", "esdk-obs-python", store="obs", **OBS)
    for signature in ("obs", "v2", "v4"):
        client = ObsClient(
            access_key_id=OBS["access_key"], secret_access_key=OBS["secret"], region="cn-north-4",
            server="https://obs.cn-north-4.myhuaweicloud.com", signature=signature,
        )  # fmt: skip
        meta = "x-obs-meta-run" if signature == "obs" else "x-amz-meta-run"
        for form, headers in (("plain", {}), ("headers", {"Content-Type": TYPE, meta: "42"})):
            made = client.createSignedUrl("PUT", "bucket", KEY, expires=LIFE, headers=dict(headers))
            rows.add(
                f"createSignedUrl('PUT'), {signature}", form, made.signedUrl,
                asked={n.lower(): v for n, v in headers.items()}, headers=dict(made.actualSignedRequestHeaders),
                store="obs" if signature == "obs" else "s3",
            )  # fmt: skip
    client = ObsClient(
        access_key_id=OBS["access_key"], secret_access_key=OBS["secret"], signature="obs",
        server="https://obs.cn-north-4.myhuaweicloud.com",
    )  # fmt: skip
    made = client.createPostSignature("bucket", KEY, LIFE, formParams={"content-type": TYPE})
    fields = {
        "key": KEY, "content-type": TYPE, "AccessKeyId": OBS["access_key"], "policy": made.policy,
        "signature": made.signature,
    }  # fmt: skip
    rows.add(
        "createPostSignature", "content-type", "https://bucket.obs.cn-north-4.myhuaweicloud.com", fields=fields,
        asked={"content-type": TYPE},
    )  # fmt: skip
    return rows


if __name__ == "__main__":
    with freeze_time(TIME):
        write(of_google(), of_azure(), of_oss2(), of_oss_v2(), of_cos(), of_obs())
