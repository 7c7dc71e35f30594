"""Values that a signer can put into a URL, right and wrong, by kind and parameter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlsplit

from tests.checkers.places import Place

Values = Mapping[str, Mapping[str, str]]
"""Values by parameter and description."""

_HOUR = timedelta(hours=1)

_SECONDS = {
    "zero": "0",
    "negative": "-1",
    "exponent": "1e3",
    "seven days": "604800",
    "eight days": "691200",
    "sign": "+60",
    "zeros": "0003600",
    "fraction": "60.5",
    "fourteen digits": "9" * 14,
    "unit": "1h",
}

MORE = {
    "s3": (
        *("note=1", "note", "x-id=PutObject", "x-id=GetObject", "partNumber=1&uploadId=x", "acl", "tagging"),
        *("uploads", "versionId=1", "delete", "append&position=0", "policy", "x-amz-copy-source=%2Fb%2Fk", "restore"),
        *(
            "x-amz-acl=private",
            "x-amz-meta-run=1",
            "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD",
            "content-type=text%2Fplain",
        ),
    ),
    "gcs": (
        "note=1",
        "userProject=x",
        "uploads",
        "generation=1",
        "ifGenerationMatch=0",
        "x-goog-meta-run=1",
        "compose",
    ),
    "azure": (
        *("note=1", "comp=block&blockid=AAAA", "comp=tags", "comp=blocklist", "restype=container", "snapshot=x"),
        *("sip=127.0.0.1", "sip=10.0.0.1", "spr=https", "spr=https%2Chttp", "spr=http%2Chttps", "rsct=text%2Fplain"),
        *("ses=x", "si=unknown", "timeout=30", "versionid=1"),
    ),
    "oss": ("note=1", "acl", "partNumber=1&uploadId=x", "x-oss-traffic-limit=819200", "x-oss-process=image"),
    "cos": ("note=1", "acl", "partNumber=1&uploadId=x", "append&position=0"),
    "obs": ("note=1", "acl", "partNumber=1&uploadId=x", "x-obs-security-token=a"),
    "swift": (
        *("note=1", "multipart-manifest=put", "temp_url_prefix=", "temp_url_prefix=runs", "temp_url_prefix=other"),
        *("temp_url_ip_range=127.0.0.1", "temp_url_ip_range=10.0.0.1", "filename=x", "inline"),
    ),
}
"""Additional parameters by store."""


def values(place: Place, url: str) -> Values:
    """Return values for the parameters of a URL."""
    given, now, name = dict(parse_qsl(urlsplit(url).query)), datetime.now(timezone.utc), type(place).__name__
    if name == "S3PutV4":
        return _version_4(given, now, "X-Amz-", "us-east-1/s3/aws4_request") | _SIGNED
    if name == "GCSPutV4":
        google = _version_4(given, now, "X-Goog-", "auto/storage/goog4_request")
        return google | {key.replace("Amz", "Goog"): value for key, value in _SIGNED.items()}
    if name == "OSSPut":
        return _oss(given, now)
    if name == "COSPut":
        return _cos(now)
    if name.startswith("Azure"):
        return {key: texts for key, texts in {**_azure(now), **_ACCOUNT}.items() if key in given}
    return {"temp_url_expires" if name == "SwiftTempURL" else "Expires": _unix_times(now)}


_SIGNED = {
    "X-Amz-SignedHeaders": {
        "first letter in upper case": "Host",
        "semicolon at the end": "host;",
        "twice": "host;host",
        "unknown value": "host;x-amz-meta-run",
        "content type": "content-type;host",
        "order": "host;content-type",
        "without host": "content-type",
        "length": "content-length;host",
        "connection": "connection;host",
    },
    "X-Amz-Algorithm": {"SHA-1": "AWS4-HMAC-SHA1", "another": "HMAC"},
}


def _version_4(given: Mapping[str, str], now: datetime, prefix: str, scope: str) -> dict[str, Mapping[str, str]]:
    key, day = given[f"{prefix}Credential"].split("/")[0], given[f"{prefix}Date"][:8]
    region, service, end = scope.split("/")
    scopes = {
        "another day": f"{key}/20200101/{scope}",
        "another region": f"{key}/{day}/eu-west-1/{service}/{end}",
        "no region": f"{key}/{day}//{service}/{end}",
        "another service": f"{key}/{day}/{region}/sts/{end}",
        "service in upper case": f"{key}/{day}/{region}/{service.upper()}/{end}",
        "another end": f"{key}/{day}/{region}/{service}/v5_request",
        "no end": f"{key}/{day}/{region}/{service}",
        "one part too many": f"{key}/{day}/{scope}/x",
        "no key": f"/{day}/{scope}",
    }
    dates = {
        "tomorrow": f"{now + 24 * _HOUR:%Y%m%dT%H%M%SZ}",
        "without Z": f"{now:%Y%m%dT%H%M%S}",
        "ISO 8601": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "a day": day,
        "a day that doesn't exist": "20260230T000000Z",
        "last year": "20250101T000000Z",
    }
    return {f"{prefix}Credential": scopes, f"{prefix}Date": dates, f"{prefix}Expires": _SECONDS}


def _unix_times(now: datetime) -> Mapping[str, str]:
    soon = int((now + _HOUR).timestamp())
    return {
        "an hour ago": str(soon - 7200),
        "zero": "0",
        "negative": "-1",
        "milliseconds": f"{soon}000",
        "fraction": f"{soon}.5",
        "zeros": f"00{soon}",
        "far": "99999999999",
        "sign": f"+{soon}",
        "ISO 8601": f"{now + _HOUR:%Y-%m-%dT%H:%M:%SZ}",
        "words": "NaN",
    }


def _oss(given: Mapping[str, str], now: datetime) -> Values:
    key, day = given["x-oss-credential"].split("/")[0], given["x-oss-date"][:8]
    return {
        "x-oss-credential": {
            "another service": f"{key}/{day}/cn-hangzhou/s3/aliyun_v4_request",
            "CloudBox": f"{key}/{day}/cn-hangzhou/oss-cloudbox/aliyun_v4_request",
            "another end": f"{key}/{day}/cn-hangzhou/oss/aws4_request",
            "no end": f"{key}/{day}/cn-hangzhou/oss",
        },
        "x-oss-expires": _SECONDS,
        "x-oss-date": {"tomorrow": f"{now + 24 * _HOUR:%Y%m%dT%H%M%SZ}", "ISO 8601": f"{now:%Y-%m-%dT%H:%M:%SZ}"},
        "x-oss-additional-headers": {"host": "host", "unknown value": "cache-control"},
        "x-oss-signature-version": {"version 1": "OSS1", "empty": ""},
    }


def _cos(now: datetime) -> Values:
    at = int(now.timestamp())
    times = {
        "over": f"{at - 7200};{at - 3600}",
        "reverse": f"{at + 3600};{at - 3600}",
        "one number": str(at + 3600),
        "three numbers": f"{at - 60};{at + 3600};1",
        "no length": f"{at - 60};{at - 60}",
        "not begun": "",
    }
    times["not begun"] = f"{at + 3600};{at + 7200}"
    headers = {"none": "", "content type": "content-type;host", "twice": "host;host"}
    return {"q-sign-time": times, "q-key-time": times, "q-header-list": headers, "q-url-param-list": {"key": "q-ak"}}


_ACCOUNT = {
    "ss": {text: text for text in ("b", "bf", "f", "q", "fb", "B")},
    "srt": {text: text for text in ("o", "sco", "co", "s", "c", "oc", "O")},
}


def _azure(now: datetime) -> Values:
    soon = now + _HOUR
    return {
        "se": {
            "an hour ago": f"{now - _HOUR:%Y-%m-%dT%H:%M:%SZ}",
            "a day": f"{now + 48 * _HOUR:%Y-%m-%d}",
            "without seconds": f"{soon:%Y-%m-%dT%H:%MZ}",
            "seven digits": f"{soon:%Y-%m-%dT%H:%M:%S.0000000Z}",
            "offset": f"{soon:%Y-%m-%dT%H:%M:%S+00:00}",
            "without a zone": f"{now + 48 * _HOUR:%Y-%m-%dT%H:%M:%S}",
            "seconds": str(int(soon.timestamp())),
        },
        "sp": {text: text for text in ("r", "c", "w", "wc", "rw", "racwd", "rwdlacup", "t", "a", "d")},
        "sr": {text: text for text in ("b", "c", "d", "bs", "bv", "B", "s")},
        "sv": {"another": "2020-12-06", "words": "latest"},
    }
