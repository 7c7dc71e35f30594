"""Signed URLs and forms with every parameter of their signature; no key made the signatures."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any
from urllib.parse import quote

SIGNATURE = "5f" * 32
"""An HMAC-SHA256 in hexadecimal."""

SHA1 = "UmFuZG9tIHR3ZW50eSBieSE0MjE="
"""An HMAC-SHA1 in base64."""

SHA256 = "A" * 43 + "="
"""An HMAC-SHA256 in base64."""

RSA = "a" * 342 + "=="
"""A signature with an RSA key of 2,048 bits in base64."""

KEY = "AKIDEXAMPLE"
EMAIL = "signer@project.iam.gserviceaccount.com"
FORMAT = "%Y%m%dT%H%M%SZ"


def v4(
    *,
    date: str | datetime = "20260101T110000Z",
    expires: int = 7200,
    signed: str = "host",
    key: str = KEY,
    region: str = "eu-central-1",
    service: str = "s3",
    signature: str = SIGNATURE,
    **more: str,
) -> str:
    """Return the query of a presigned S3 URL with Signature Version 4; the signed headers are at its end.

    Args:
        date: When it was signed.
        expires: Seconds of its life.
        signed: Names of the signed headers.
        key: Access key id.
        region: Region in the scope.
        service: Service in the scope.
        signature: The signature.
        more: Further parameters.
    """
    time = date if isinstance(date, str) else date.strftime(FORMAT)
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{time[:8]}/{region}/{service}/aws4_request",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(expires),
        **more,
        "X-Amz-Signature": signature,
        "X-Amz-SignedHeaders": signed,
    }
    return _query(parameters)


def v2(*, expires: int = 1767276000, key: str = KEY, signature: str = SHA1) -> str:
    """Return the query of a presigned S3 URL with Signature Version 2; the arguments are like those of `v4`."""
    return _query({"AWSAccessKeyId": key, "Signature": signature, "Expires": str(expires)})


def google_v4(*, date: str = "20260101T110000Z", expires: int = 7200, signed: str = "host") -> str:
    """Return the query of a signed URL of Google, version 4; the arguments are like those of `v4`."""
    parameters = {
        "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
        "X-Goog-Credential": f"{EMAIL}/{date[:8]}/auto/storage/goog4_request",
        "X-Goog-Date": date,
        "X-Goog-Expires": str(expires),
        "X-Goog-Signature": "5f" * 256,
        "X-Goog-SignedHeaders": signed,
    }
    return _query(parameters)


def google_v2(*, expires: int = 1767276000) -> str:
    """Return the query of a signed URL of Google, version 2; the arguments are like those of `v4`."""
    return _query({"GoogleAccessId": EMAIL, "Expires": str(expires), "Signature": RSA})


def sas(**change: str | None) -> str:
    """Return a shared access signature of Azure for one blob.

    Args:
        change: Other parameters; None for one to leave out.
    """
    parameters = {"se": "2026-01-01T13:00:00Z", "sp": "cw", "sv": "2024-11-04", "sr": "b", "sig": SHA256, **change}
    return _query({name: value for name, value in parameters.items() if value is not None})


def oss_v4(*, date: str = "20260101T110000Z", expires: int = 7200) -> str:
    """Return the query of a signed URL of Alibaba OSS, Version 4; the arguments are like those of `v4`."""
    parameters = {
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{KEY}/{date[:8]}/cn-hangzhou/oss/aliyun_v4_request",
        "x-oss-date": date,
        "x-oss-expires": str(expires),
        "x-oss-signature": SIGNATURE,
    }
    return _query(parameters)


def oss_v2(*, expires: int = 1767276000) -> str:
    """Return the query of a signed URL of Alibaba OSS, Version 2; the arguments are like those of `v4`."""
    parameters = {
        "x-oss-signature-version": "OSS2",
        "x-oss-expires": str(expires),
        "x-oss-access-key-id": KEY,
        "x-oss-signature": SHA256,
    }
    return _query(parameters)


def oss_v1(*, expires: int = 1767276000) -> str:
    """Return the query of a signed URL of Alibaba OSS, Version 1; the arguments are like those of `v4`."""
    return _query({"OSSAccessKeyId": KEY, "Expires": str(expires), "Signature": SHA1})


def cos(*, expires: int = 1767276000) -> str:
    """Return the query of a signed URL of Tencent COS; the arguments are like those of `v4`."""
    return _query({**cos_fields(expires=expires), "q-header-list": "host", "q-url-param-list": "", **_COS_SIGNATURE})


def obs(*, expires: int = 1767276000) -> str:
    """Return the query of a signed URL of Huawei OBS; the arguments are like those of `v4`."""
    return _query({"AccessKeyId": KEY, "Expires": str(expires), "Signature": SHA1})


def swift(*, expires: int = 1767276000) -> str:
    """Return the query of a temporary URL of OpenStack Swift; the arguments are like those of `v4`."""
    return _query({"temp_url_sig": SIGNATURE, "temp_url_expires": str(expires)})


_COS_SIGNATURE = {"q-signature": "5f" * 20}


def cos_fields(*, expires: int = 1767276000) -> dict[str, str]:
    """Return what a signature of Tencent COS adds to a URL, except the lists and the signature itself."""
    times = f"1767268800;{expires}"
    return {"q-sign-algorithm": "sha1", "q-ak": KEY, "q-sign-time": times, "q-key-time": times}


def cos_form_fields() -> dict[str, str]:
    """Return the fields that a signature of Tencent COS adds to a form, except the policy."""
    fields = {name: value for name, value in cos_fields().items() if name != "q-sign-time"}
    return {**fields, **_COS_SIGNATURE}


def oss_fields() -> dict[str, str]:
    """Return the fields that a signature of Alibaba OSS, Version 4, adds to a form, except the policy."""
    date = "20260101T110000Z"
    return {
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{KEY}/{date[:8]}/cn-hangzhou/oss/aliyun_v4_request",
        "x-oss-date": date,
        "x-oss-signature": SIGNATURE,
    }


def signed_fields(**fields: str) -> dict[str, str]:
    """Return the fields that a signature of Version 4 adds to a form, except the policy."""
    date = "20260101T110000Z"
    return {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{KEY}/{date[:8]}/eu-central-1/s3/aws4_request",
        "x-amz-date": date,
        "x-amz-signature": SIGNATURE,
        **fields,
    }


def google_fields() -> dict[str, str]:
    """Return the fields that a signature of Google's version 4 adds to a form, except the policy."""
    date = "20260101T110000Z"
    return {
        "x-goog-algorithm": "GOOG4-RSA-SHA256",
        "x-goog-credential": f"{EMAIL}/{date[:8]}/auto/storage/goog4_request",
        "x-goog-date": date,
        "x-goog-signature": "5f" * 256,
    }


UNSIGNED = frozenset({"x-amz-signature", "x-goog-signature", "signature", "AWSAccessKeyId", "GoogleAccessId"})
"""Fields that no policy has a condition for."""


def form(
    *conditions: Any, expires: str = "2026-01-01T13:00:00Z", signed: dict[str, str] | None = None, **fields: str
) -> dict[str, dict[str, str]]:
    """Return a `callback_param` with the fields of a form and its policy.

    Args:
        conditions: Conditions besides those for the fields.
        expires: When the policy expires.
        signed: Fields of the signature; None for those of Version 4.
        fields: Fields besides the key, or another key.
    """
    given = {"key": "k", **fields, **(signed_fields() if signed is None else signed)}
    rules = [*conditions, *({name: value} for name, value in given.items() if name not in UNSIGNED)]
    policy = base64.b64encode(json.dumps({"expiration": expires, "conditions": rules}).encode()).decode()
    own = {name: value for name, value in given.items() if "signature" not in name}
    return {"s3_fields": {**own, "policy": policy, **{name: given[name] for name in given.keys() - own.keys()}}}


def _query(parameters: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
