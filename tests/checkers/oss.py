"""A stand-in for Alibaba Cloud OSS, written from its documentation and apart from any SDK: it verifies signatures.

Sources: "Add a V4 signature to a URL", "Add a signature to a URL", "PostObject" and "A V4 signature in a PostObject
request" in Alibaba's documentation. Tests compare it with what Alibaba's SDKs sign.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote

from tests.checkers.http_store import Refusal, Request, SignedStore, compact_time, whole_number
from tests.checkers.policies import check_policy, write_policy

ID, SECRET, REGION = "AKIDEXAMPLE", "secretEXAMPLE", "cn-hangzhou"
VERSION_4 = "OSS4-HMAC-SHA256"
STAMP = "%Y%m%dT%H%M%SZ"

_SCOPE = re.compile("[^/]+/[0-9]{8}/[a-z0-9-]+/oss(?:-[a-z]+)?/aliyun_v4_request")

# Of the subresources, those that an upload may have.
_SUBRESOURCES = frozenset({"security-token", "callback", "callback-var", "x-oss-traffic-limit", "partNumber", "acl"})


class OSS(SignedStore):
    """The store."""

    def resource(self, request: Request) -> str:
        """See `SignedStore.resource`."""
        return resource(request)

    def check_put(self, request: Request, now: datetime) -> None:
        """See `SignedStore.check_put`."""
        check_put(request, SECRET, now)

    def check_form(self, bucket: str, fields: Mapping[str, str], size: int, now: datetime) -> None:
        """See `SignedStore.check_form`."""
        check_form(bucket, fields, size, SECRET, now)

    def sign(self, path: str, expires: timedelta, *, version: int, headers: Mapping[str, str] | None = None) -> str:
        """Return a signed URL; a negative life is over."""
        # A life is never negative: what is over was signed long ago.
        now = datetime.now(timezone.utc) - (timedelta() if expires > timedelta() else timedelta(hours=1) - expires)
        given = {name.lower(): value for name, value in (headers or {}).items()}
        host = self.endpoint.removeprefix("http://")
        end = str(int((now + abs(expires)).timestamp()))
        if version == 1:
            query = {"OSSAccessKeyId": ID, "Expires": end}
        else:
            query = {
                "x-oss-signature-version": VERSION_4,
                "x-oss-credential": f"{ID}/{now:%Y%m%d}/{REGION}/oss/aliyun_v4_request",
                "x-oss-date": now.strftime(STAMP),
                "x-oss-expires": str(int(abs(expires).total_seconds())),
                "x-oss-additional-headers": ";".join(
                    sorted(name for name in given if not name.startswith("x-oss-") and name not in _SIGNED)
                ),
            }
        encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        request = Request("PUT", quote(path), encoded, {"host": host, **given}, b"")
        name = "Signature" if version == 1 else "x-oss-signature"
        return f"{self.endpoint}{quote(path)}?{encoded}&{name}={quote(signature(request, SECRET), safe='')}"

    def sign_form(self, key: str, expires: timedelta, largest: int) -> dict[str, str]:
        """Return the fields of a form, signed with Version 4; a negative life is over."""
        now = datetime.now(timezone.utc)
        own = {
            "x-oss-signature-version": VERSION_4,
            "x-oss-credential": f"{ID}/{now:%Y%m%d}/{REGION}/oss/aliyun_v4_request",
            "x-oss-date": now.strftime(STAMP),
        }
        policy = write_policy(now + expires, {"key": key, **own}, largest)
        signed = _hmac(_key_4(SECRET, f"{now:%Y%m%d}", REGION), policy, "sha256").hex()
        return {"key": key, **own, "policy": policy, "x-oss-signature": signed}


_SIGNED = frozenset({"content-type", "content-md5"})


def check_put(request: Request, secret: str, now: datetime) -> None:
    """Compare a PUT with the signature in its query.

    Raises:
        Refusal: It is not what was signed.
    """
    parameters = request.parameters()
    given = parameters.get("x-oss-signature") or parameters.get("Signature")
    version = parameters.get("x-oss-signature-version")
    if given is None or not (version or parameters.get("OSSAccessKeyId")):
        raise Refusal(403, "AccessDenied")
    if version == VERSION_4 and not _SCOPE.fullmatch(parameters["x-oss-credential"]):
        raise Refusal(400, "InvalidArgument")
    if set(filter(None, parameters.get("x-oss-additional-headers", "").split(";"))) - request.headers.keys():
        raise Refusal(403, "SignatureDoesNotMatch")
    if not hmac.compare_digest(given, signature(request, secret)):
        raise Refusal(403, "SignatureDoesNotMatch")
    if now >= end(parameters):
        raise Refusal(403, "AccessDenied")


def check_form(bucket: str, fields: Mapping[str, str], size: int, secret: str, now: datetime) -> None:
    """Compare a form with its policy, and the policy with its signature.

    Raises:
        Refusal: It is not what was signed.
    """
    given = {"bucket": bucket, **{name.lower(): value for name, value in fields.items()}}
    if "policy" not in given:
        raise Refusal(403, "AccessDenied")
    if (given.get("x-oss-signature") or given.get("signature")) != form_signature(given, secret):
        raise Refusal(403, "SignatureDoesNotMatch")
    check_policy(given, size, now)


def form_signature(given: Mapping[str, str], secret: str) -> str:
    """Return the signature that a form should have, by its fields with names in lower case."""
    if "x-oss-signature" not in given:
        return _base64(_hmac(secret.encode(), given["policy"], "sha1"))
    _, day, region, *_ = given["x-oss-credential"].split("/")
    return _hmac(_key_4(secret, day, region), given["policy"], "sha256").hex()


def end(parameters: Mapping[str, str]) -> datetime:
    """Return when a signature expires."""
    if parameters.get("x-oss-signature-version") == VERSION_4:
        begin = compact_time(parameters["x-oss-date"])
        life = whole_number(parameters["x-oss-expires"])
        # "Add a V4 signature to a URL": from 1 second to 7 days.
        if not 1 <= life <= 604800:
            raise Refusal(400, "InvalidArgument")
        return begin + timedelta(seconds=life)
    stamp = parameters.get("x-oss-expires") or parameters["Expires"]
    return datetime.fromtimestamp(whole_number(stamp), timezone.utc)


def resource(request: Request) -> str:
    """Return bucket and object, decoded: the bucket is in the host, or in the path at an IP address."""
    bucket, _, rest = request.headers["host"].partition(".oss-")
    return f"/{bucket}{unquote(request.path)}" if rest else unquote(request.path)


def signature(request: Request, secret: str) -> str:
    """Return the signature that a request should have."""
    parameters = {name: value for name, value in request.parameters().items() if name != "x-oss-signature"}
    version = parameters.get("x-oss-signature-version")
    if version is None:
        return _signature_1(request, parameters, secret)
    make = _signature_4 if version == VERSION_4 else _signature_2
    return make(request, parameters, secret)


def _signature_1(request: Request, parameters: Mapping[str, str], secret: str) -> str:
    extra = "&".join(_pair(name, value) for name, value in sorted(parameters.items()) if name in _SUBRESOURCES)
    lines = [
        request.method,
        request.headers.get("content-md5", ""),
        request.headers.get("content-type", ""),
        parameters["Expires"],
        _own_headers(request, frozenset()) + resource(request) + (f"?{extra}" if extra else ""),
    ]
    return _base64(_hmac(secret.encode(), "\n".join(lines), "sha1"))


def _signature_2(request: Request, parameters: Mapping[str, str], secret: str) -> str:
    more = frozenset(filter(None, parameters.get("x-oss-additional-headers", "").split(";")))
    query = "&".join(_pair(quote(name, safe=""), quote(value, safe="")) for name, value in sorted(parameters.items()))
    lines = [
        request.method,
        request.headers.get("content-md5", ""),
        request.headers.get("content-type", ""),
        parameters["x-oss-expires"],
        f"{_own_headers(request, more)}{';'.join(sorted(more))}",
        f"{quote(resource(request), safe='')}?{query}",
    ]
    return _base64(_hmac(secret.encode(), "\n".join(lines), "sha256"))


def _signature_4(request: Request, parameters: Mapping[str, str], secret: str) -> str:
    more = parameters.get("x-oss-additional-headers", "")
    names = _SIGNED | set(filter(None, more.split(";")))
    query = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in parameters.items())
    canonical = "\n".join(
        [
            request.method,
            quote(resource(request), safe="/"),
            "&".join(_pair(name, value) for name, value in query),
            _own_headers(request, names),
            more,
            "UNSIGNED-PAYLOAD",
        ]
    )
    scope = parameters["x-oss-credential"].partition("/")[2]
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([VERSION_4, parameters["x-oss-date"], scope, hashed])
    day, region, *_ = scope.split("/")
    return _hmac(_key_4(secret, day, region), text, "sha256").hex()


def _own_headers(request: Request, names: frozenset[str] | set[str]) -> str:
    own = {name: value for name, value in request.headers.items() if name.startswith("x-oss-") or name in names}
    return "".join(f"{name}:{value}\n" for name, value in sorted(own.items()))


def _key_4(secret: str, day: str, region: str) -> bytes:
    key = f"aliyun_v4{secret}".encode()
    for part in (day, region, "oss", "aliyun_v4_request"):
        key = _hmac(key, part, "sha256")
    return key


def _pair(name: str, value: str) -> str:
    return f"{name}={value}" if value else name


def _hmac(key: bytes, text: str, algorithm: str) -> bytes:
    return hmac.new(key, text.encode(), algorithm).digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
