"""Signatures of Volcengine TOS, Kingsoft KS3, Baidu BOS and UCloud UFile, verified as their documentation has them.

Sources: "Signature in a URL" and "Signature in a form" (TOS), "Request signature V2" and "V4" (KS3), "Generate
Authentication String" and "PostObject" (BOS), "API signature algorithm" (UFile). Tests compare them with what each
provider's SDK signs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, quote, unquote

from attrs import define

from tests.checkers.http_store import Refusal, Request, compact_time, whole_number
from tests.checkers.policies import check_policy


@define(frozen=True)
class V4:
    """A version of Amazon's Signature Version 4 with other names.

    Attributes:
        vendor: Prefix of headers and parameters, in lower case.
        algorithm: The algorithm.
        secret_prefix: What the secret key is prefixed with.
    """

    vendor: str
    algorithm: str
    secret_prefix: str

    def check_put(self, request: Request, secret: str, now: datetime) -> None:
        """Verify a PUT by the signature in its query.

        Raises:
            Refusal: It is not the request that was signed.
        """
        given = self._parameters(request)
        signed = given["signedheaders"].split(";")
        own = {name for name in request.headers if name.startswith(self.vendor)}
        if given["algorithm"] != self.algorithm or own - set(signed) or set(signed) - request.headers.keys():
            raise Refusal(403, "SignatureDoesNotMatch")
        _compare(self.signature(request, secret), given["signature"])
        begins, life = compact_time(given["date"]), timedelta(seconds=whole_number(given["expires"]))
        if life > timedelta(days=7) or not begins <= now < begins + life:
            raise Refusal(403, "AccessDenied")
        _check_digest(request)

    def signature(self, request: Request, secret: str) -> str:
        """Return the signature that a request should have."""
        given = self._parameters(request)
        pairs = parse_qsl(request.query, keep_blank_values=True)
        query = sorted((_encode(n), _encode(v)) for n, v in pairs if n.lower() != f"{self.vendor}signature")
        names = given["signedheaders"].split(";")
        canonical = "\n".join(
            [
                request.method,
                quote(unquote(request.path), safe="/~"),
                "&".join(f"{name}={value}" for name, value in query),
                *(f"{name}:{request.headers[name]}" for name in names),
                "",
                given["signedheaders"],
                request.headers.get(f"{self.vendor}content-sha256", "UNSIGNED-PAYLOAD"),
            ]
        )
        scope = given["credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return self._sign(secret, scope, "\n".join([self.algorithm, given["date"], scope, digest]))

    def check_form(self, fields: Mapping[str, str], bucket: str, size: int, secret: str, now: datetime) -> None:
        """Verify a form by its policy, and the policy by its signature.

        Raises:
            Refusal: It is not what was signed.
        """
        given = {name.lower(): value for name, value in fields.items()}
        scope = given[f"{self.vendor}credential"].partition("/")[2]
        _compare(self._sign(secret, scope, given["policy"]), given[f"{self.vendor}signature"])
        check_policy({"bucket": bucket, **given}, size, now)

    def _parameters(self, request: Request) -> dict[str, str]:
        return {name.lower().removeprefix(self.vendor): value for name, value in request.parameters().items()}

    def _sign(self, secret: str, scope: str, text: str) -> str:
        key = f"{self.secret_prefix}{secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


TOS = V4("x-tos-", "TOS4-HMAC-SHA256", "")
KS3 = V4("x-kss-", "KSS4-HMAC-SHA256", "KSS4")


def check_ks3_put(request: Request, secret: str, now: datetime, bucket: str) -> None:
    """Verify a PUT to KS3 by the signature in its query, of Version 4 or 2.

    Raises:
        Refusal: It is not the request that was signed.
    """
    given = request.parameters()
    if "X-Kss-Signature" in given:
        KS3.check_put(request, secret, now)
        return
    own = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-kss-"))
    lines = [
        request.method,
        request.headers.get("content-md5", ""),
        request.headers.get("content-type", ""),
        given["Expires"],
        *(f"{name}:{value}" for name, value in own),
        (f"/{bucket}" if bucket else "") + request.path,
    ]
    _compare(_v2("\n".join(lines), secret), given["Signature"])
    if now.timestamp() >= whole_number(given["Expires"]):
        raise Refusal(403, "AccessDenied")


def check_ks3_form(fields: Mapping[str, str], bucket: str, size: int, secret: str, now: datetime) -> None:
    """Verify a form of KS3, Version 2.

    Raises:
        Refusal: It is not what was signed.
    """
    given = {name.lower(): value for name, value in fields.items()}
    _compare(_v2(given["policy"], secret), given["signature"])
    check_policy({"bucket": bucket, **given}, size, now)


def check_ufile_put(request: Request, secret: str, now: datetime, bucket: str) -> None:
    """Verify a PUT to UFile by the signature in its query.

    Raises:
        Refusal: It is not the request that was signed.
    """
    given = request.parameters()
    own = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-ucloud-"))
    lines = [
        request.method,
        request.headers.get("content-md5", ""),
        request.headers.get("content-type", ""),
        given["Expires"],
        *(f"{name}:{value}" for name, value in own),
        (f"/{bucket}" if bucket else "") + unquote(request.path),
    ]
    # UFile takes an unescaped `+`, which Python's parser reads as a space.
    _compare(_v2("\n".join(lines), secret), given["Signature"].replace(" ", "+"))
    if now.timestamp() >= whole_number(given["Expires"]):
        raise Refusal(403, "AccessDenied")


def check_bos_put(request: Request, secret: str, now: datetime) -> None:
    """Verify a PUT to BOS by the parameter `authorization`.

    Raises:
        Refusal: It is not the request that was signed.
    """
    version, key_id, time, period, headers, given = request.parameters()["authorization"].split("/")
    pairs = sorted((_encode(n), _encode(v)) for n, v in request.parameters().items() if n != "authorization")
    lines = [
        request.method,
        request.path,
        "&".join(f"{name}={value}" for name, value in pairs),
        *sorted(f"{_encode(name)}:{_encode(request.headers[name].strip())}" for name in headers.split(";")),
    ]
    key = hmac.new(secret.encode(), f"{version}/{key_id}/{time}/{period}".encode(), "sha256").hexdigest()
    _compare(hmac.new(key.encode(), "\n".join(lines).encode(), "sha256").hexdigest(), given)
    begins = datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    if period != "-1" and now >= begins + timedelta(seconds=int(period)):
        raise Refusal(403, "RequestExpired")
    _check_digest(request)


def check_bos_form(fields: Mapping[str, str], bucket: str, size: int, secret: str, now: datetime) -> None:
    """Verify a form of BOS.

    Raises:
        Refusal: It is not what was signed.
    """
    given = {name.lower(): value for name, value in fields.items()}
    _compare(hmac.new(secret.encode(), given["policy"].encode(), "sha256").hexdigest(), given["signature"])
    check_policy({"bucket": bucket, **given}, size, now)


def _check_digest(request: Request) -> None:
    digest = base64.b64encode(hashlib.md5(request.body).digest()).decode()
    if request.headers.get("content-md5", digest) != digest:
        raise Refusal(400, "InvalidDigest")


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _v2(text: str, secret: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()


def _compare(computed: str, given: str) -> None:
    if not hmac.compare_digest(computed, given):
        raise Refusal(403, "SignatureDoesNotMatch")
