"""Amazon S3's signatures, verified as its documentation describes them; written apart from any signer.

Sources: "Authenticating Requests: Using Query Parameters", "POST Policy", "POST Object" and "Signing and Authenticating
REST Requests" in Amazon's S3 documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, quote, unquote

from tests.checkers.gcs_rules import check_conditions
from tests.checkers.http_store import Refusal, Request, expiration, policy_document

SUBRESOURCES = frozenset(
    {
        *("acl", "lifecycle", "location", "logging", "notification", "partNumber", "policy", "requestPayment"),
        *("torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website"),
    }
)

FREE_FIELDS = frozenset({"file", "policy", "signature", "awsaccesskeyid", "x-amz-signature"})


def check_put(request: Request, secret: str, now: datetime, bucket: str = "") -> None:
    """Verify a PUT with a signature in its query.

    Args:
        request: The request, with `host` and `content-length` among its headers.
        secret: The secret access key.
        now: The time of the request.
        bucket: The bucket in the host's name, which Signature Version 2 signs.

    Raises:
        Refusal: It is not the request that was signed.
    """
    if request.headers.get("content-length") != str(len(request.body)):
        raise Refusal(411, "MissingContentLength")
    if "X-Amz-Signature" in request.parameters():
        _check_put_v4(request, secret, now)
    else:
        _check_put_v2(request, secret, now, bucket)
    _check_digests(request)


def _check_put_v4(request: Request, secret: str, now: datetime) -> None:
    given = request.parameters()
    signed = given["X-Amz-SignedHeaders"].split(";")
    vendor = {name for name in request.headers if name.startswith("x-amz-")}
    if "host" not in signed or signed != sorted(signed) or set(signed) - request.headers.keys():
        raise Refusal(403, "SignatureDoesNotMatch")
    # Amazon refuses an unsigned Content-MD5 too, unlike other unsigned standard headers; compatible stores verify it.
    if ".amazonaws." in request.headers["host"]:
        vendor |= {"content-md5"} & request.headers.keys()
    if vendor - set(signed):
        raise Refusal(403, "AccessDenied")
    _compare(signature_v4(request, secret), given["X-Amz-Signature"])
    begins = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    life = timedelta(seconds=int(given["X-Amz-Expires"]))
    if life > timedelta(days=7) or not begins <= now < begins + life:
        raise Refusal(403, "AccessDenied")


def signature_v4(request: Request, secret: str) -> str:
    """Return the signature that a request with a query of Version 4 should have."""
    given = request.parameters()
    signed = given["X-Amz-SignedHeaders"].split(";")
    pairs = parse_qsl(request.query, keep_blank_values=True)
    query = sorted((_encode(n), _encode(v)) for n, v in pairs if n != "X-Amz-Signature")
    canonical = "\n".join(
        [
            request.method,
            quote(unquote(request.path), safe="/~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed),
            ";".join(signed),
            given.get("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    scope = given["X-Amz-Credential"].partition("/")[2]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return _v4(secret, scope, "\n".join([given["X-Amz-Algorithm"], given["X-Amz-Date"], scope, digest]))


def _check_put_v2(request: Request, secret: str, now: datetime, bucket: str) -> None:
    given = request.parameters()
    _compare(signature_v2(request, secret, bucket), given["Signature"])
    if now.timestamp() >= int(given["Expires"]):
        raise Refusal(403, "AccessDenied")


def signature_v2(request: Request, secret: str, bucket: str = "") -> str:
    """Return the signature that a request with a query of Version 2 should have."""
    given = request.parameters()
    # The only x-amz- parameter of the query that counts as a header; all others have to be sent as headers.
    token = {name: value for name, value in given.items() if name == "x-amz-security-token"}
    vendor = {**{n: v for n, v in request.headers.items() if n.startswith("x-amz-")}, **token}
    resource = (f"/{bucket}" if bucket else "") + request.path
    subresources = sorted(f"{n}={v}" if v else n for n, v in given.items() if n in SUBRESOURCES)
    text = "\n".join(
        [
            request.method,
            request.headers.get("content-md5", ""),
            request.headers.get("content-type", ""),
            given["Expires"],
            *(f"{name}:{value}" for name, value in sorted(vendor.items())),
            resource + ("?" + "&".join(subresources) if subresources else ""),
        ]
    )
    return _v2(secret, text)


def check_form(fields: Mapping[str, str], bucket: str, size: int, secret: str, now: datetime) -> None:
    """Verify a form: its signature, and its fields against the policy.

    Args:
        fields: The fields before the file.
        bucket: Where it was sent to.
        size: Bytes of the file.
        secret: The secret access key.
        now: The time of the request.

    Raises:
        Refusal: It is not what was signed.
    """
    given = {name.lower(): value for name, value in fields.items()}
    if "key" not in given:
        raise Refusal(400, "InvalidArgument")
    policy = given["policy"]
    _compare(form_signature(given, secret), given.get("x-amz-signature") or given["signature"])
    document = policy_document(policy)
    if now >= expiration(document):
        raise Refusal(403, "AccessDenied")
    check_conditions(document["conditions"], {**given, "bucket": bucket}, size, free=FREE_FIELDS)


def form_signature(given: Mapping[str, str], secret: str) -> str:
    """Return the signature that a form should have, by its fields with names in lower case."""
    if "x-amz-credential" in given:
        return _v4(secret, given["x-amz-credential"].partition("/")[2], given["policy"])
    return _v2(secret, given["policy"])


def _check_digests(request: Request) -> None:
    """Compare the digests among the headers with the body. Amazon ignores those in the query."""
    for name, algorithm in (("content-md5", "md5"), ("x-amz-checksum-sha256", "sha256")):
        digest = base64.b64encode(hashlib.new(algorithm, request.body).digest()).decode()
        if request.headers.get(name, digest) != digest:
            raise Refusal(400, "BadDigest")


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _v4(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _v2(secret: str, text: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()


def _compare(computed: str, given: str) -> None:
    if not hmac.compare_digest(computed, given):
        raise Refusal(403, "SignatureDoesNotMatch")
