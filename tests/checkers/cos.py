"""A stand-in for Tencent Cloud COS, written from its documentation and apart from any SDK: it verifies signatures.

Sources: "Request Signature" and "POST Object" in Tencent's documentation. Tests compare it with what Tencent's SDK
signs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote

from tests.checkers.http_store import Refusal, Request, SignedStore, whole_number
from tests.checkers.policies import check_policy, write_policy

ID, SECRET = "AKIDEXAMPLE", "secretEXAMPLE"


class COS(SignedStore):
    """The store."""

    def check_put(self, request: Request, now: datetime) -> None:
        """See `SignedStore.check_put`."""
        check_put(request, SECRET, now)

    def check_form(self, bucket: str, fields: Mapping[str, str], size: int, now: datetime) -> None:
        """See `SignedStore.check_form`."""
        check_form(bucket, fields, size, SECRET, now)

    def sign(self, path: str, expires: timedelta, headers: Mapping[str, str] | None = None) -> str:
        """Return a signed URL; a negative life is over."""
        given = {"host": self.endpoint.removeprefix("http://"), **(headers or {})}
        times = _times(expires)
        query = {
            "q-sign-algorithm": "sha1",
            "q-ak": ID,
            "q-sign-time": times,
            "q-key-time": times,
            "q-header-list": ";".join(sorted(given)),
            "q-url-param-list": "",
        }
        encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        signed = signature(Request("PUT", quote(path), encoded, given, b""), SECRET)
        return f"{self.endpoint}{quote(path)}?{encoded}&q-signature={signed}"

    def sign_form(self, key: str, expires: timedelta, largest: int) -> dict[str, str]:
        """Return the fields of a signed form; a negative life is over."""
        times = _times(expires)
        own = {"q-sign-algorithm": "sha1", "q-ak": ID}
        end = datetime.now(timezone.utc) + expires
        policy = write_policy(end, {"key": key, **own, "q-sign-time": times}, largest)
        return {
            "key": key,
            "policy": policy,
            **own,
            "q-key-time": times,
            "q-signature": _form_signature(policy, times, SECRET),
        }


def check_put(request: Request, secret: str, now: datetime) -> None:
    """Compare a PUT with the signature in its query.

    Raises:
        Refusal: It is not what was signed.
    """
    parameters = _parameters(request)
    if "q-signature" not in parameters:
        raise Refusal(403, "AccessDenied")
    if parameters.get("q-sign-algorithm") != "sha1" or not parameters.get("q-ak"):
        raise Refusal(403, "AccessDenied")
    if parameters["q-signature"] != signature(request, secret):
        raise Refusal(403, "SignatureDoesNotMatch")
    _check_times(parameters["q-sign-time"], now)
    _check_times(parameters["q-key-time"], now)


def check_form(bucket: str, fields: Mapping[str, str], size: int, secret: str, now: datetime) -> None:
    """Compare a form with its policy, and the policy with its signature.

    Raises:
        Refusal: It is not what was signed.
    """
    given = {"bucket": bucket, **{name.lower(): value for name, value in fields.items()}}
    if "q-signature" not in given or "policy" not in given:
        raise Refusal(403, "AccessDenied")
    if given["q-signature"] != _form_signature(given["policy"], given["q-key-time"], secret):
        raise Refusal(403, "SignatureDoesNotMatch")
    _check_times(given["q-key-time"], now)
    check_policy({**given, "q-sign-time": given["q-key-time"]}, size, now)


def signature(request: Request, secret: str) -> str:
    """Return the signature that a request should have."""
    parameters = _parameters(request)
    names = list(filter(None, parameters["q-url-param-list"].split(";")))
    by_lower_name = {name.lower(): value for name, value in parameters.items()}
    headers = list(filter(None, parameters["q-header-list"].split(";")))
    try:
        listed = [
            "&".join(f"{_encoded(name)}={_encoded(by_lower_name[name])}" for name in names),
            "&".join(f"{_encoded(name)}={_encoded(request.headers[name])}" for name in headers),
        ]
    except KeyError:
        raise Refusal(403, "SignatureDoesNotMatch") from None
    text = "\n".join([request.method.lower(), unquote(request.path), *listed, ""])
    times = parameters["q-sign-time"]
    hashed = hashlib.sha1(text.encode()).hexdigest()
    return _hmac(_hmac(secret, parameters["q-key-time"]), f"sha1\n{times}\n{hashed}\n")


def _parameters(request: Request) -> dict[str, str]:
    """Return the query's parameters, also those in the parameter `sign`."""
    given = request.parameters()
    return {**given, **dict(part.partition("=")[::2] for part in given.pop("sign", "").split("&"))}


def _form_signature(policy: str, times: str, secret: str) -> str:
    return _hmac(_hmac(secret, times), hashlib.sha1(base64.b64decode(policy)).hexdigest())


def _check_times(times: str, now: datetime) -> None:
    begin, _, end = times.partition(";")
    if not whole_number(begin) <= now.timestamp() < whole_number(end):
        raise Refusal(403, "RequestTimeTooSkewed" if now.timestamp() < int(begin) else "AccessDenied")


def _times(expires: timedelta) -> str:
    # A life is never negative: what is over was signed long ago.
    now = datetime.now(timezone.utc) - (timedelta(minutes=1) if expires > timedelta() else timedelta(hours=1) - expires)
    return f"{int(now.timestamp())};{int((now + abs(expires)).timestamp())}"


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), "sha1").hexdigest()
