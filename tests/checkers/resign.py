"""Sign URLs and forms again after a mutation, so that a store has to look at what was signed.

The signatures are those that the rules of each store compute, apart from any signer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from tests.checkers import azure_rules, cos, gcs_rules, obs, oss, s3_rules, swift
from tests.checkers.http_store import Refusal, Request
from tests.checkers.places import Place


def request(url: str, headers: Mapping[str, str]) -> Request:
    """Return the PUT of a URL as it arrives."""
    parts = urlsplit(url)
    return Request("PUT", parts.path, parts.query, {"host": parts.netloc, **headers}, b"")


def url(place: Place, text: str, headers: Mapping[str, str]) -> str | None:
    """Return a URL with its signature made anew; None if a part is missing that the signature is computed from.

    Args:
        place: Where to.
        text: The URL.
        headers: Headers of the request, by names in lower case.
    """
    # The transport escapes other characters, and a callback is stripped.
    text = quote(text.strip(), safe="!#$%&'()*+,/:;=?@[]~\n ")
    name, sign = _URLS[type(place).__name__]
    if type(place).__name__ in ("S3PutV2", "GCSPutV2"):
        # Signers of Version 2 put headers of the upload into the query.
        query = {key.lower(): value for key, value in parse_qsl(urlsplit(text).query)}
        headers = {key: query[key] for key in query if key.startswith(("x-amz-", "x-goog-", "content-type"))}
    start, question, query = text.partition("?")
    query, hash_sign, fragment = query.partition("#")
    pairs = query.split("&")
    at = next((number for number, pair in enumerate(pairs) if pair.partition("=")[0] == name), None)
    if at is None or not question:
        return None
    rest = "&".join(pairs[:at] + pairs[at + 1 :])
    try:
        pairs[at] = f"{name}={quote(sign(place, request(f'{start}?{rest}', headers)), safe='')}"
    except (LookupError, ValueError, Refusal):
        return None
    return f"{start}?{'&'.join(pairs)}{hash_sign}{fragment}"


def _s3_v4(place: Any, arrived: Request) -> str:
    return s3_rules.signature_v4(arrived, place.server.secret_key)


def _s3_v2(place: Any, arrived: Request) -> str:
    return s3_rules.signature_v2(arrived, place.server.secret_key)


def _azure(place: Any, arrived: Request) -> str:
    # Azurite has the account in the path.
    path = arrived.path.removeprefix(f"/{place.server.account}")
    inside = Request(arrived.method, path, arrived.query, arrived.headers, b"")
    return azure_rules.signature(inside, place.server.account, place.server.key)


def _rsa(place: Any, text: bytes) -> bytes:
    return bytes(place.server.key.sign(text, PKCS1v15(), SHA256()))


def _gcs_v4(place: Any, arrived: Request) -> str:
    return _rsa(place, gcs_rules.text_v4(arrived)).hex()


def _gcs_v2(place: Any, arrived: Request) -> str:
    return base64.b64encode(_rsa(place, gcs_rules.text_v2(arrived))).decode()


_URLS: dict[str, tuple[str, Callable[[Any, Request], str]]] = {
    "S3PutV4": ("X-Amz-Signature", _s3_v4),
    "S3PutV2": ("Signature", _s3_v2),
    **dict.fromkeys(("AzureBlob", "AzureAccount", "AzureContainer"), ("sig", _azure)),
    "GCSPutV4": ("X-Goog-Signature", _gcs_v4),
    "GCSPutV2": ("Signature", _gcs_v2),
    "OSSPut": ("x-oss-signature", lambda _, arrived: oss.signature(arrived, oss.SECRET)),
    "OSSPutV1": ("Signature", lambda _, arrived: oss.signature(arrived, oss.SECRET)),
    "COSPut": ("q-signature", lambda _, arrived: cos.signature(arrived, cos.SECRET)),
    "OBSPut": ("Signature", lambda _, arrived: obs.signature(arrived, obs.SECRET)),
    "SwiftTempURL": ("temp_url_sig", lambda _, arrived: swift.signature(arrived, swift.KEY, "sha256")),
}


def form(place: Any, fields: Mapping[str, str]) -> dict[str, str] | None:
    """Return the fields of a form with their signature made anew; None if it has none."""
    given = {name.lower(): value for name, value in fields.items()}
    kind = type(place).__name__
    try:
        signed = _FORMS[kind](place, given)
    except (LookupError, ValueError, Refusal):
        return None
    names = [name for name in fields if name.lower() in ("signature", "q-signature") or name.endswith("-signature")]
    return {**fields, **dict.fromkeys(names, signed)}


def _gcs_form(place: Any, given: Mapping[str, str]) -> str:
    made = _rsa(place, given["policy"].encode())
    return made.hex() if "x-goog-signature" in given else base64.b64encode(made).decode()


def _oss_form(place: Any, given: Mapping[str, str]) -> str:
    return oss.form_signature(given, oss.SECRET)


def _cos_form(place: Any, given: Mapping[str, str]) -> str:
    hashed = hashlib.sha1(base64.b64decode(given["policy"])).hexdigest()
    key = hmac.new(cos.SECRET.encode(), given["q-key-time"].encode(), "sha1").hexdigest()
    return hmac.new(key.encode(), hashed.encode(), "sha1").hexdigest()


def _obs_form(place: Any, given: Mapping[str, str]) -> str:
    return base64.b64encode(hmac.digest(obs.SECRET.encode(), given["policy"].encode(), "sha1")).decode()


_FORMS: dict[str, Callable[[Any, Mapping[str, str]], str]] = {
    "S3PostV4": lambda place, given: s3_rules.form_signature(given, place.server.secret_key),
    "S3PostV2": lambda place, given: s3_rules.form_signature(given, place.server.secret_key),
    "GCSPostV4": _gcs_form,
    "GCSPostV2": _gcs_form,
    "OSSPost": _oss_form,
    "COSPost": _cos_form,
    "OBSPost": _obs_form,
}
