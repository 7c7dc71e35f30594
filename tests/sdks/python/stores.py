"""OpenStack Swift's SDK, and forms that SDKs leave to their callers: signed as the provider's documentation shows.

Needs alibabacloud-oss-v2 cos-python-sdk-v5 esdk-obs-python oss2 python-swiftclient freezegun.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from freezegun import freeze_time
from recording import KEY, LIFE, TIME, TYPE, Rows, write

NOW = datetime.strptime(TIME, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
SECRET = "inventedsecretofstores"


def of_alibaba() -> list[Rows]:
    import oss2

    host, key_id = "https://oss-cn-hangzhou.aliyuncs.com", "LTAI5tEXAMPLEEXAMPLE"
    common = {"store": "oss", "access_key": key_id, "secret": SECRET}
    headers = Rows("oss2", "oss2", **common)
    more = {"cache-control": "no-store"}
    for name, kind in {"V2": oss2.AuthV2, "V4": oss2.AuthV4}.items():
        bucket = oss2.Bucket(kind(key_id, SECRET), host, "bucket", region="cn-hangzhou")
        url = bucket.sign_url("PUT", KEY, LIFE, more, slash_safe=True, additional_headers=["Cache-Control"])
        headers.add(f"sign_url('PUT'), {name}", "additional_headers", url, asked=more)
    forms = Rows("alibabacloud-oss-v2", "alibabacloud-oss-v2", **common)
    rules = [["content-length-range", 0, 1000], ["in", "$content-type", ["application/json", TYPE]]]
    first = policy(rules)
    signed = encoded(digest(SECRET, first, "sha1"))
    fields = {"key": KEY, "OSSAccessKeyId": key_id, "policy": first, "Signature": signed, "Content-Type": TYPE}
    url = "https://bucket.oss-cn-hangzhou.aliyuncs.com/"
    forms.add("form signed by hand, V1", "content-length-range, in", url, fields=fields)
    own = {
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{key_id}/{NOW:%Y%m%d}/cn-hangzhou/oss/aliyun_v4_request",
        "x-oss-date": NOW.strftime("%Y%m%dT%H%M%SZ"),
    }
    last = policy([*({name: value} for name, value in own.items()), *rules])
    key: bytes | str = f"aliyun_v4{SECRET}"
    for part in (f"{NOW:%Y%m%d}", "cn-hangzhou", "oss", "aliyun_v4_request"):
        key = digest(key, part, "sha256")
    signed = digest(key, last, "sha256").hex()
    fields = {"key": KEY, **own, "policy": last, "x-oss-signature": signed, "Content-Type": TYPE}
    forms.add("form signed by hand, V4", "content-length-range, in", url, fields=fields)
    return [headers, forms]


def of_tencent() -> list[Rows]:
    from qcloud_cos import CosConfig, CosS3Client

    bucket, key_id = "bucket-1250000000", "AKIDinventedidoftencentcloud"
    common = {"store": "cos", "access_key": key_id, "secret": SECRET}
    client = CosS3Client(CosConfig(Region="ap-guangzhou", SecretId=key_id, SecretKey=SECRET))
    urls = Rows("cos-python-sdk-v5", "cos-python-sdk-v5", **common)
    urls.add(
        "get_presigned_url('PUT')", "Params", client.get_presigned_url(bucket, KEY, "PUT", LIFE, Params={"run": "42"})
    )
    # Until version 1.7 it put the whole signature into one parameter.
    sign = client.get_auth(Method="PUT", Bucket=bucket, Key=KEY, Expired=LIFE)
    url = f"https://{bucket}.cos.ap-guangzhou.myqcloud.com/{quote(KEY)}?sign={quote(sign)}"
    urls.add("get_presigned_url('PUT')", "up to version 1.6", url)
    times = f"{int(NOW.timestamp())};{int(NOW.timestamp()) + LIFE}"
    own = {"q-sign-algorithm": "sha1", "q-ak": key_id, "q-sign-time": times}
    text = policy([*({name: value} for name, value in own.items()), ["starts-with", "$key", "runs/"]])
    hashed = hashlib.sha1(base64.b64decode(text)).hexdigest()
    signed = digest(digest(SECRET, times, "sha1").hex(), hashed, "sha1").hex()
    fields = {"key": KEY, "policy": text, "q-sign-algorithm": "sha1", "q-ak": key_id, "q-key-time": times}
    forms = Rows("cos-python-sdk-v5", "cos-python-sdk-v5", **common)
    url = f"https://{bucket}.cos.ap-guangzhou.myqcloud.com/"
    fields |= {"q-signature": signed, "success_action_status": "200"}
    forms.add("form signed by hand", "starts-with $key", url, fields=fields)
    return [urls, forms]


def of_huawei() -> list[Rows]:
    from obs import ObsClient

    host, key_id = "https://obs.cn-north-4.myhuaweicloud.com", "INVENTEDACCESSKEYOBS"
    rows = Rows("esdk-obs-python", "esdk-obs-python", store="obs", access_key=key_id, secret=SECRET)
    client = ObsClient(key_id, SECRET, server=host, signature="obs", is_signature_negotiation=False)
    made = client.createPostSignature(expires=LIFE)
    fields = {"key": KEY, "AccessKeyId": key_id, "policy": made.policy, "signature": made.signature}
    rows.add("createPostSignature", "any key", "https://bucket.obs.cn-north-4.myhuaweicloud.com/", fields=fields)
    return [rows]


def of_openstack() -> list[Rows]:
    from swiftclient.utils import generate_temp_url

    rows = Rows("python-swiftclient", "python-swiftclient", store="swift", access_key="", secret=SECRET)
    host, path = "https://swift.example.org", "/v1/AUTH_project/bucket/runs/42.json"
    call = "generate_temp_url"
    for name in ("sha1", "sha256", "sha512"):
        rows.add(call, f"digest={name}", host + generate_temp_url(path, LIFE, SECRET, "PUT", digest=name))
    rows.add(call, "iso8601", host + generate_temp_url(path, LIFE, SECRET, "PUT", iso8601=True))
    ranged = generate_temp_url(path, LIFE, SECRET, "PUT", ip_range="198.51.100.0/24")
    rows.add(call, "ip_range", host + ranged)
    prefix = generate_temp_url("/v1/AUTH_project/bucket/runs/", LIFE, SECRET, "PUT", prefix=True)
    rows.add(call, "prefix, with a name added", f"{host}{prefix.replace('runs/?', 'runs/42.json?')}")
    rows.add(call, "prefix", f"{host}{prefix}")
    return [rows]


def policy(conditions: list[Any]) -> str:
    end = (NOW + timedelta(seconds=LIFE)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return encoded(json.dumps({"expiration": end, "conditions": conditions}).encode())


def digest(key: bytes | str, text: str, algorithm: str) -> bytes:
    return hmac.new(key.encode() if isinstance(key, str) else key, text.encode(), algorithm).digest()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    with freeze_time(TIME):
        write(*of_alibaba(), *of_tencent(), *of_huawei(), *of_openstack())
