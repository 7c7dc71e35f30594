"""A stand-in for OpenStack Swift's TempURL middleware, written from its documentation: it verifies signatures.

Source: "Temporary URL middleware" in Swift's API guide. Tests compare it with what `python-swiftclient` signs.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, unquote

from tests.checkers.http_store import Refusal, Request, whole_number

KEY = "secretEXAMPLE"

_ALGORITHMS = {40: "sha1", 64: "sha256", 128: "sha512"}
"""Hash algorithms by the length of a signature in hexadecimal."""


class Swift:
    """The store.

    Attributes:
        objects: What was taken, by its path.
        endpoint: URL of the store.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.endpoint = ""

    def take(self, request: Request) -> int:
        """Check a request, keep what it brings, and return the status."""
        check_put(request, KEY, datetime.now(timezone.utc))
        self.objects[unquote(request.path).lstrip("/")] = request.body
        return 201

    def sign(self, path: str, expires: timedelta, algorithm: str = "sha256") -> str:
        """Return a temporary URL; a negative life is over."""
        end = int((datetime.now(timezone.utc) + expires).timestamp())
        signed = hmac.new(KEY.encode(), f"PUT\n{end}\n{path}".encode(), algorithm).hexdigest()
        return f"{self.endpoint}{quote(path)}?temp_url_sig={signed}&temp_url_expires={end}"


def check_put(request: Request, key: str, now: datetime, address: str = "127.0.0.1") -> None:
    """Compare a PUT with the signature in its query.

    Args:
        request: The request.
        key: The account's key.
        now: The time.
        address: The client's address.

    Raises:
        Refusal: It is not what was signed.
    """
    parameters = request.parameters()
    if not {"temp_url_sig", "temp_url_expires"} <= parameters.keys():
        raise Refusal(401, "TempURLInvalid")
    end = _time(parameters["temp_url_expires"])
    algorithm, given = _parsed(parameters["temp_url_sig"])
    allowed = parameters.get("temp_url_ip_range")
    if allowed is not None and ipaddress.ip_address(address) not in ipaddress.ip_network(allowed):
        raise Refusal(401, "TempURLInvalid")
    if given != signature(request, key, algorithm) or now.timestamp() >= end:
        raise Refusal(401, "TempURLInvalid")
    if {"x-object-manifest", "x-symlink-target", "x-copy-from"} & request.headers.keys():
        raise Refusal(400, "TempURLHeaderNotAllowed")


def signature(request: Request, key: str, algorithm: str) -> str:
    """Return the signature that a request should have, in hexadecimal."""
    parameters, path = request.parameters(), unquote(request.path)
    if (prefix := parameters.get("temp_url_prefix")) is not None:
        *place, name = path.split("/", 4)
        if not name.startswith(prefix):
            raise Refusal(401, "TempURLInvalid")
        path = "prefix:" + "/".join([*place, prefix])
    lines = [request.method, str(_time(parameters["temp_url_expires"])), path]
    if (allowed := parameters.get("temp_url_ip_range")) is not None:
        lines.insert(0, f"ip={allowed}")
    return hmac.new(key.encode(), "\n".join(lines).encode(), algorithm).hexdigest()


def _parsed(signature: str) -> tuple[str, str]:
    """Return algorithm and hexadecimal digits."""
    algorithm, colon, encoded = signature.partition(":")
    if not colon:
        return _ALGORITHMS.get(len(signature), "sha1"), signature.lower()
    return algorithm, binascii.hexlify(
        base64.urlsafe_b64decode(encoded.replace("+", "-").replace("/", "_") + "==")
    ).decode()


def _time(text: str) -> int:
    if text.isdigit():
        return whole_number(text)
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())
