"""AuthN of the fake AIStore: logins, tokens and the permissions of the default roles."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from urllib.parse import unquote

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.testing.aistore.responses import json_error, json_response
from callback_sdk.testing.faults import FaultResponse
from callback_sdk.testing.received import ReceivedRequest

_NANOSECONDS = 1_000_000_000
_SHORTEST = 60 * _NANOSECONDS
_HEADER = {"alg": "HS256", "typ": "JWT"}


class Permission(Enum):
    """A permission of AuthN, as far as the fake distinguishes them."""

    READ = "read"
    WRITE = "write"
    SHOW_CLUSTER = "show-cluster"


ROLES: Mapping[str, frozenset[Permission]] = {
    "Admin": frozenset(Permission),
    "BucketOwner": frozenset({Permission.READ, Permission.WRITE}),
    "Guest": frozenset({Permission.READ}),
}
"""Permissions by role. Neither BucketOwner nor Guest may see the map of the cluster."""


class AuthN:
    """Issues and checks tokens (JSON Web Tokens, RFC 7519, with HMAC-SHA256). Thread-safe.

    Args:
        users: Passwords by user name; authentication is disabled if there are none.
        roles: Roles by user name; BucketOwner for a user who isn't listed.
        token_lifetime: Lifetime of a token, unless the login asks for another one.
    """

    def __init__(self, users: Mapping[str, str], roles: Mapping[str, str], token_lifetime: timedelta) -> None:
        unknown = set(roles.values()) - set(ROLES)
        if unknown:
            raise ConfigurationError(f"There is no role {min(unknown)!r}.", hint=f"Give one of {', '.join(ROLES)}.")
        self._users = Secret(dict(users))
        self._roles = dict(roles)
        self._lifetime = int(token_lifetime.total_seconds() * _NANOSECONDS)
        self._key = Secret(secrets.token_bytes(32))
        self._lock = threading.Lock()
        self._issued: set[str] = set()
        self._revoked: frozenset[str] = frozenset()

    @property
    def enabled(self) -> bool:
        """Whether requests need a token."""
        return bool(self._users.reveal())

    def log_in(self, request: ReceivedRequest) -> FaultResponse:
        """Issue a token: `POST /v1/users/NAME` with the password, and `expires_in` in nanoseconds."""
        name = unquote(request.path.removeprefix("/v1/users/"))
        try:
            message = Secret(json.loads(request.body))
            correct = hmac.compare_digest(self._password(name), message.reveal()["password"].encode())
            lifetime = int(message.reveal().get("expires_in") or self._lifetime)
        except (ValueError, KeyError, TypeError, AttributeError):
            return json_error(400, "invalid log-in message")
        if request.method != "POST" or not correct:
            return json_error(401, "invalid credentials")
        if lifetime < _SHORTEST:
            return json_error(400, "token expiration must be at least 1m0s")
        return json_response({"token": self.issue(name, timedelta(microseconds=lifetime / 1000))})

    def issue(self, name: str, lifetime: timedelta) -> str:
        """Return a new token, also one that has expired already (a negative lifetime)."""
        identity = secrets.token_hex(8)
        claims = {"sub": name, "exp": time.time() + lifetime.total_seconds(), "jti": identity}
        with self._lock:
            self._issued.add(identity)
        body = ".".join(_encode(json.dumps(part).encode()) for part in (_HEADER, claims))
        return f"{body}.{self._signature(body)}"

    def revoke_all(self) -> None:
        """Revoke all tokens that were issued so far."""
        with self._lock:
            self._revoked = frozenset(self._issued)

    def problem(self, request: ReceivedRequest, permission: Permission) -> tuple[bool, str] | None:
        """Return whether the token is at fault, and the message; None if the request is permitted."""
        token = _token(request)
        if not token:
            return True, "token required"
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return True, "invalid token"
        claims = json.loads(base64.urlsafe_b64decode(body.split(".")[1] + "=="))
        if claims["exp"] < time.time():
            return True, "token expired"
        with self._lock:
            if claims["jti"] in self._revoked:
                return True, "token revoked"
        if permission not in ROLES[self._roles.get(claims["sub"], "BucketOwner")]:
            return False, f"insufficient permissions: {permission.value} is not granted"
        return None

    def _password(self, name: str) -> bytes:
        return (self._users.reveal().get(name) or secrets.token_hex(32)).encode()

    def _signature(self, body: str) -> str:
        return _encode(hmac.digest(self._key.reveal(), body.encode(), hashlib.sha256))


def _token(request: ReceivedRequest) -> str:
    """Return the token of `Authorization`, or that of a session of boto3."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token if kind == "Bearer" else request.headers.get("x-amz-security-token", "")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
