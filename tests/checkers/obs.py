"""A stand-in for Huawei Cloud OBS, written from its documentation and apart from any SDK: it verifies signatures.

Sources: "Authentication of Signature in a URL" and "POST Object" in Huawei's API reference. Tests compare it with what
Huawei's SDK signs.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

from tests.checkers.http_store import Refusal, Request, SignedStore, whole_number
from tests.checkers.policies import check_policy, write_policy

ID, SECRET = "AKIDEXAMPLE", "secretEXAMPLE"


class OBS(SignedStore):
    """The store."""

    def check_put(self, request: Request, now: datetime) -> None:
        """See `SignedStore.check_put`."""
        check_put(request, SECRET, now)

    def check_form(self, bucket: str, fields: Mapping[str, str], size: int, now: datetime) -> None:
        """See `SignedStore.check_form`."""
        check_form(bucket, fields, size, SECRET, now)

    def sign(self, path: str, expires: timedelta, headers: Mapping[str, str] | None = None) -> str:
        """Return a signed URL; a negative life is over."""
        end = int((datetime.now(timezone.utc) + expires).timestamp())
        query = f"AccessKeyId={ID}&Expires={end}"
        given = {"host": self.endpoint.removeprefix("http://"), **(headers or {})}
        signed = signature(Request("PUT", quote(path), query, given, b""), SECRET)
        return f"{self.endpoint}{quote(path)}?{query}&Signature={quote(signed, safe='')}"

    def sign_form(self, key: str, expires: timedelta, largest: int) -> dict[str, str]:
        """Return the fields of a signed form; a negative life is over."""
        policy = write_policy(datetime.now(timezone.utc) + expires, {"key": key}, largest)
        return {"key": key, "AccessKeyId": ID, "policy": policy, "signature": _signed(policy, SECRET)}


def check_put(request: Request, secret: str, now: datetime) -> None:
    """Compare a PUT with the signature in its query.

    Raises:
        Refusal: It is not what was signed.
    """
    parameters = request.parameters()
    if not all(parameters.get(name) for name in ("AccessKeyId", "Expires", "Signature")):
        raise Refusal(403, "AccessDenied")
    if parameters["Signature"] != signature(request, secret):
        raise Refusal(403, "SignatureDoesNotMatch")
    if now.timestamp() >= whole_number(parameters["Expires"]):
        raise Refusal(403, "AccessDenied")


def check_form(bucket: str, fields: Mapping[str, str], size: int, secret: str, now: datetime) -> None:
    """Compare a form with its policy, and the policy with its signature.

    Raises:
        Refusal: It is not what was signed.
    """
    given = {name.lower(): value for name, value in fields.items()}
    if not all(given.get(name) for name in ("policy", "signature", "accesskeyid")):
        raise Refusal(403, "AccessDenied")
    if given["signature"] != _signed(given["policy"], secret):
        raise Refusal(403, "SignatureDoesNotMatch")
    check_policy({"bucket": bucket, **given}, size, now)


def signature(request: Request, secret: str) -> str:
    """Return the signature that a request should have."""
    own = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-obs-"))
    bucket, _, rest = request.headers["host"].partition(".obs.")
    token = request.parameters().get("x-obs-security-token")
    lines = [
        request.method,
        request.headers.get("content-md5", ""),
        request.headers.get("content-type", ""),
        request.parameters()["Expires"],
        *(f"{name}:{value}" for name, value in own),
        # The path stays encoded.
        (f"/{bucket}" if rest else "") + request.path + (f"?x-obs-security-token={token}" if token else ""),
    ]
    return _signed("\n".join(lines), secret)


def _signed(text: str, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), "sha1").digest()).decode()
