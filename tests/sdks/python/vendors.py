"""Signed URLs of Volcengine's, Kingsoft's, Baidu's and UCloud's SDKs.

Run it with tos, ks3sdk, bce-python-sdk, ufile and freezegun installed. Their SDKs for forms return a policy at most.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from freezegun import freeze_time
from recording import KEY, LIFE, TIME, TYPE, Rows, write

NOW = datetime.fromisoformat(TIME.replace("Z", "+00:00"))
KEY_ID, SECRET = "INVENTEDKEYID", "inventedsecretkey"


def of_volcengine() -> list[Rows]:
    import tos

    rows = Rows("tos", "tos", store="tos", access_key=KEY_ID, secret=SECRET)
    client = tos.TosClientV2(KEY_ID, SECRET, "tos-cn-beijing.volces.com", "cn-beijing")
    put, call = tos.HttpMethodType.Http_Method_Put, "pre_signed_url(PUT)"

    def sign(form: str, headers: dict[str, str] | None = None, **options: Any) -> None:
        made = client.pre_signed_url(put, "bucket", KEY, LIFE, header=dict(headers or {}), **options)
        more = {"headers": dict(made.signed_header)} if headers else {}
        rows.add(call, form, made.signed_url, asked=headers, **more)

    sign("plain")
    sign("header: x-tos-acl, x-tos-meta-", {"x-tos-acl": "private", "x-tos-meta-run": "42"})
    sign("is_signed_all_headers, Content-Type", {"content-type": TYPE}, is_signed_all_headers=True)
    sign("alternative_endpoint", alternative_endpoint="bucket.example.org", is_custom_domain=True)
    sts = tos.TosClientV2(KEY_ID, SECRET, "tos-cn-beijing.volces.com", "cn-beijing", security_token="TOKEN/+=")
    rows.add(call, "security_token", sts.pre_signed_url(put, "bucket", KEY, LIFE).signed_url)
    got = client.pre_signed_url(tos.HttpMethodType.Http_Method_Get, "bucket", KEY, LIFE)
    rows.add("pre_signed_url(GET)", "plain", got.signed_url, method="GET")
    part = client.pre_signed_url(put, "bucket", KEY, LIFE, query={"partNumber": "1", "uploadId": "u"})
    rows.add(call, "query: partNumber, uploadId", part.signed_url)
    made = client.pre_signed_post_signature(
        bucket="bucket", key=KEY, expires=LIFE, content_length_range=tos.models2.ContentLengthRange(1, 1000)
    )
    own = {
        "x-tos-algorithm": made.algorithm,
        "x-tos-credential": made.credential,
        "x-tos-date": made.date,
        "x-tos-signature": made.signature,
    }
    fields = {"key": KEY, "policy": made.policy, **own}
    url = "https://bucket.tos-cn-beijing.volces.com/"
    rows.add("pre_signed_post_signature", "content-length-range", url, fields=fields)
    return [rows]


def of_kingsoft() -> list[Rows]:
    from ks3.connection import Connection

    rows = Rows("ks3sdk", "ks3sdk", store="ks3", access_key=KEY_ID, secret=SECRET)
    connection = Connection(KEY_ID, SECRET, host="ks3-cn-beijing.ksyuncs.com", is_secure=True, port=443)
    call = "generate_url('PUT')"

    def sign(form: str, headers: dict[str, str] | None = None, **options: Any) -> None:
        url = connection.generate_url(LIFE, "PUT", "bucket", KEY, headers=dict(headers or {}), **options)
        rows.add(call, form, url, asked=headers)

    sign("plain")
    sign("headers", {"Content-Type": TYPE, "x-kss-acl": "private"})
    sign("params: acl", params={"acl": None})
    rows.add("generate_url('GET')", "plain", connection.generate_url(LIFE, "GET", "bucket", KEY), method="GET")
    text = policy([{"bucket": "bucket"}, ["starts-with", "$key", "runs/"], ["content-length-range", 1, 1000]])
    signed = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    fields = {"key": KEY, "KSSAccessKeyId": KEY_ID, "policy": text, "signature": signed}
    rows.add("form signed by hand", "content-length-range", "https://bucket.ks3-cn-beijing.ksyuncs.com/", fields=fields)
    return [rows]


def of_baidu() -> list[Rows]:
    from baidubce.auth.bce_credentials import BceCredentials
    from baidubce.bce_client_configuration import BceClientConfiguration
    from baidubce.services.bos.bos_client import BosClient

    rows = Rows("bce-python-sdk", "bce-python-sdk", store="bos", access_key=KEY_ID, secret=SECRET)

    def client(**options: Any) -> BosClient:
        configuration = BceClientConfiguration(BceCredentials(KEY_ID, SECRET), "https://bj.bcebos.com", **options)
        return BosClient(configuration)

    def sign(signer: BosClient, method: bytes = b"PUT", **options: Any) -> str:
        at = int(NOW.timestamp())
        return signer.generate_pre_signed_url("bucket", KEY, at, LIFE, httpmethod=method, **options).decode()

    call = "generate_pre_signed_url(PUT)"
    rows.add(call, "plain", sign(client()))
    rows.add(call, "security_token", sign(client(security_token="TOKEN/+=")))
    rows.add(call, "params: uploadId, partNumber", sign(client(), params={b"uploadId": b"u", b"partNumber": b"1"}))
    rows.add("generate_pre_signed_url(GET)", "plain", sign(client(), b"GET"), method="GET")
    text = policy([{"bucket": "bucket"}, {"key": KEY}, ["content-length-range", 1, 1000]])
    signed = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    fields = {"accessKey": KEY_ID, "policy": text, "signature": signed, "key": KEY}
    rows.add("form signed by hand", "content-length-range", "https://bucket.bj.bcebos.com/", fields=fields)
    return [rows]


def of_ucloud() -> list[Rows]:
    from ufile import filemanager

    rows = Rows("ufile", "ufile", store="ufile", access_key=KEY_ID, secret=SECRET)
    manager = filemanager.FileManager(KEY_ID, SECRET, ".cn-bj.ufileos.com", ".cn-bj.ufileos.com")
    url = manager.private_download_url("bucket", "runs/42.json", LIFE)
    rows.add("private_download_url", "plain", url, method="GET")

    def sign(form: str, headers: dict[str, str] | None = None) -> None:
        end = str(int(NOW.timestamp()) + LIFE)
        signed = quote(manager.signature("bucket", KEY, "put", {**(headers or {}), "Expires": end}), safe="")
        query = f"UCloudPublicKey={KEY_ID}&Expires={end}&Signature={signed}"
        rows.add("signature('put')", form, f"https://bucket.cn-bj.ufileos.com/{quote(KEY)}?{query}", asked=headers)

    sign("plain")
    sign("Content-Type", {"Content-Type": TYPE})
    return [rows]


def policy(conditions: list[Any]) -> str:
    end = (NOW + timedelta(seconds=LIFE)).astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return base64.b64encode(json.dumps({"expiration": end, "conditions": conditions}).encode()).decode()


if __name__ == "__main__":
    with freeze_time(TIME):
        assert int(time.time()) == int(NOW.timestamp())
        write(*of_volcengine(), *of_kingsoft(), *of_baidu(), *of_ucloud())
