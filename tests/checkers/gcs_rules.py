"""Verification of Google Cloud Storage's signatures by its documentation, independent of any signer.

Sources: "Canonical requests", "Signatures", "V2 signing process" and "POST Object" in Google's documentation.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from tests.checkers.http_store import Refusal, Request, compact_time, expiration, policy_document, rules, whole_number

ALGORITHM = "GOOG4-RSA-SHA256"
LONGEST = timedelta(days=7)

FREE_FIELDS = {"file", "policy", "signature", "googleaccessid", "x-goog-signature"}


def check_put(request: Request, key: RSAPublicKey, email: str) -> None:
    """Verify a PUT request by the signature in its query.

    Raises:
        Refusal: The request doesn't match its signature.
    """
    parameters = request.parameters()
    if "X-Goog-Signature" in parameters:
        _check_put_v4(request, parameters, key, email)
    elif {"GoogleAccessId", "Expires", "Signature"} <= parameters.keys():
        _check_put_v2(request, parameters, key, email)
    else:
        raise Refusal(401, "AuthenticationRequired")
    digest = base64.b64encode(hashlib.md5(request.body).digest()).decode()
    if request.headers.get("content-md5", digest) != digest:
        raise Refusal(400, "BadDigest")


def _check_put_v4(request: Request, parameters: Mapping[str, str], key: RSAPublicKey, email: str) -> None:
    missing = {f"X-Goog-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders")}
    if missing - parameters.keys() or parameters["X-Goog-Algorithm"] != ALGORITHM:
        raise Refusal(400, "AuthenticationError")
    signed = parameters["X-Goog-SignedHeaders"].split(";")
    vendor = {name for name in request.headers if name.startswith("x-goog-")}
    if "host" not in signed or signed != sorted(signed) or vendor - set(signed) or set(signed) - request.headers.keys():
        raise Refusal(403, "SignatureDoesNotMatch")
    stamp = parameters["X-Goog-Date"]
    _scope(parameters["X-Goog-Credential"], email, stamp)
    _verify(key, parameters["X-Goog-Signature"], _hex, text_v4(request))
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    begins, life = compact_time(stamp), timedelta(seconds=whole_number(parameters["X-Goog-Expires"]))
    if life > LONGEST or not begins - timedelta(minutes=15) <= _now() < begins + life:
        raise Refusal(400, "ExpiredToken")
    if payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(request.body).hexdigest()):
        raise Refusal(400, "XAmzContentSHA256Mismatch")
    _check_length(request)


def text_v4(request: Request) -> bytes:
    """Return the string to sign of a request with a query of Version 4."""
    parameters = request.parameters()
    signed = parameters["X-Goog-SignedHeaders"].split(";")
    query = "&".join(
        f"{quote(name, safe='~')}={quote(value, safe='~')}"
        for name, value in sorted(parse_qsl(request.query, keep_blank_values=True))
        if name != "X-Goog-Signature"
    )
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed)
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    canonical = "\n".join([request.method, request.path, query, headers, ";".join(signed), payload])
    scope = parameters["X-Goog-Credential"].partition("/")[2]
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join([ALGORITHM, parameters["X-Goog-Date"], scope, hashed]).encode()


def _check_length(request: Request) -> None:
    least, _, most = request.headers.get("x-goog-content-length-range", "").partition(",")
    if least and len(request.body) < int(least):
        raise Refusal(400, "EntityTooSmall")
    if most and len(request.body) > int(most):
        raise Refusal(400, "EntityTooLarge")


def _check_put_v2(request: Request, parameters: Mapping[str, str], key: RSAPublicKey, email: str) -> None:
    if parameters["GoogleAccessId"] != email:
        raise Refusal(403, "InvalidAccessKeyId")
    _verify(key, parameters["Signature"], _base64, text_v2(request))
    if _now().timestamp() >= whole_number(parameters["Expires"]):
        raise Refusal(400, "ExpiredToken")


def text_v2(request: Request) -> bytes:
    """Return the string to sign of a request with a query of Version 2."""
    vendor = sorted((name, " ".join(v.split())) for name, v in request.headers.items() if name.startswith("x-goog-"))
    lines = [
        request.method,
        request.headers.get("content-md5", ""),
        request.headers.get("content-type", ""),
        request.parameters()["Expires"],
        *(f"{name}:{value}" for name, value in vendor if "encryption-key" not in name),
        request.path,
    ]
    return "\n".join(lines).encode()


def check_form(bucket: str, fields: Mapping[str, str], size: int, key: RSAPublicKey, email: str) -> None:
    """Verify a form by its policy, and the policy by its signature.

    Args:
        bucket: Bucket of the request.
        fields: Fields before the file.
        size: Size of the file, in bytes.
        key: Public key of the signer.
        email: Email address of the signer.

    Raises:
        Refusal: The form doesn't match its policy or signature.
    """
    given = {name.lower(): value for name, value in fields.items()}
    if "policy" not in given or not {"x-goog-signature", "signature"} & given.keys():
        raise Refusal(401, "AuthenticationRequired")
    if "key" not in given:
        raise Refusal(400, "InvalidArgument")
    if "x-goog-signature" in given:
        if given.get("x-goog-algorithm") != ALGORITHM:
            raise Refusal(400, "InvalidArgument")
        _scope(given.get("x-goog-credential", ""), email, given.get("x-goog-date", ""))
        _verify(key, given["x-goog-signature"], _hex, given["policy"].encode())
    else:
        if given.get("googleaccessid") != email:
            raise Refusal(403, "InvalidAccessKeyId")
        _verify(key, given["signature"], _base64, given["policy"].encode())
    document = policy_document(given["policy"])
    if _now() >= expiration(document):
        raise Refusal(400, "ExpiredToken")
    check_conditions(document["conditions"], {**given, "bucket": bucket}, size, free=FREE_FIELDS)


def check_conditions(conditions: list[Any], given: Mapping[str, str], size: int, *, free: Collection[str]) -> None:
    """Verify a form by the conditions of its policy.

    Args:
        conditions: The policy's conditions.
        given: Fields by lower-case names, `bucket` included.
        size: Bytes of the file.
        free: Names of fields that need no condition.

    Raises:
        Refusal: One doesn't hold.
    """
    named = {"bucket"}
    for operator, first, second in rules(conditions):
        if operator == "content-length-range":
            if not int(first) <= size <= second:
                raise Refusal(400, "EntityTooLarge" if size > second else "EntityTooSmall")
            continue
        if operator not in ("eq", "starts-with") or not isinstance(second, str):
            raise Refusal(400, "InvalidPolicyDocument")
        named.add(first)
        value = given.get(first)
        if value is None or (value != second if operator == "eq" else not value.startswith(second)):
            raise Refusal(403, "AccessDenied")
    if any(name not in {*named, *free} and not name.startswith("x-ignore-") for name in given):
        raise Refusal(403, "AccessDenied")


def _scope(credential: str, email: str, stamp: str) -> str:
    signer, _, scope = credential.partition("/")
    if signer != email:
        raise Refusal(403, "InvalidAccessKeyId")
    date, _, rest = scope.partition("/")
    if date != stamp[:8] or rest.split("/")[1:] != ["storage", "goog4_request"]:
        raise Refusal(400, "InvalidArgument")
    return scope


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _hex(text: str) -> bytes:
    if " " in text or "\n" in text:
        raise ValueError(text)
    return bytes.fromhex(text)


def _verify(key: RSAPublicKey, signature: str, decode: Callable[[str], bytes], text: bytes) -> None:
    try:
        key.verify(decode(signature), text, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise Refusal(403, "SignatureDoesNotMatch") from None


def _now() -> datetime:
    return datetime.now(timezone.utc)
