"""A fake AIStore cluster in front of an S3 store that verifies signatures."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import secrets
import time
import zlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from callback_sdk.redaction import Secret
from callback_sdk.testing.faults import FaultResponse, Faults
from callback_sdk.testing.received import ReceivedRequest
from callback_sdk.testing.seaweedfs import SeaweedFS
from callback_sdk.testing.server import RecordingServer

_STYLE = "ais-s3-signed-request-style"
_QUERY = ("ais_pid", "ais_ts", "ais_nonce", "ais_hmac")
"""Query parameters that the proxy adds to a redirect. A node requires and removes them."""

_PROXY, _AUTHN = 0, 1
"""Indexes of the ports of the proxy and of AuthN; the nodes have the following ports."""

_REDIRECT_SECONDS = 60
_UPSTREAM_SECONDS = 60
_TO_THE_NEXT_HOP = frozenset({"connection", "expect", "keep-alive", "te", "transfer-encoding", "upgrade"})
_NOT_UPSTREAM = _TO_THE_NEXT_HOP | {"authorization", "content-length", "host", "x-amz-date", "x-amz-security-token"}
_OUR_OWN = _TO_THE_NEXT_HOP | {"date", "server"}


class AIStore(RecordingServer):
    """A fake AIStore cluster: a proxy, storage nodes and AuthN, each on a separate port.

    The proxy handles requests for buckets, and redirects requests for objects to the node of the object, with a signed
    query. A node rejects requests that weren't redirected. With authentication enabled, proxy and nodes require a
    bearer token. S3 signatures are not verified, except those of presigned requests, which are passed to the store
    unchanged.

        with SeaweedFS() as behind, AIStore(behind) as cluster:
            s3 = aistore.client(cluster.endpoint_url)

    Args:
        behind: The store of the objects.
        nodes: Number of storage nodes.
        users: User names and passwords for AuthN. Authentication is enabled if there are any.
        token_lifetime: Lifetime of a token.
        redirect_status: HTTP status of redirects.
        redirect_all: Whether requests for buckets are redirected too.
        relative: Whether the locations of redirects have no scheme and host; the proxy is then also the node.
        presigned: Whether the feature S3-Presigned-Request of AIStore is enabled: presigned requests are passed to the
            store as they were signed for Amazon S3.
        faults: Random faults; None for none.
    """

    def __init__(
        self,
        behind: SeaweedFS,
        *,
        nodes: int = 3,
        users: Mapping[str, str] | None = None,
        token_lifetime: timedelta = timedelta(days=1),
        redirect_status: int = 307,
        redirect_all: bool = False,
        relative: bool = False,
        presigned: bool = False,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(faults=faults, ports=2 + nodes)
        self._behind = behind
        self._users = Secret(dict(users or {}))
        self._token_lifetime = token_lifetime
        self._redirect_status = redirect_status
        self._redirect_all = redirect_all
        self._relative = relative
        self._presigned = presigned
        self._key = Secret(secrets.token_bytes(32))
        self._revoked_before = 0

    @property
    def endpoint_url(self) -> str:
        """URL of the proxy's S3 API: `http://127.0.0.1:PORT/s3`."""
        return f"{self._origin}/s3"

    @property
    def authn_url(self) -> str:
        """URL of AuthN, which issues tokens."""
        _ = self._origin
        return self._origins[1]

    @property
    def node_urls(self) -> tuple[str, ...]:
        """URLs of the storage nodes."""
        _ = self._origin
        return self._origins[2:]

    def revoke_tokens(self) -> None:
        """Revoke all tokens that were issued so far."""
        with self._arrived:
            self._revoked_before += 1

    def _respond_to_head(self, request: ReceivedRequest) -> FaultResponse | None:
        place = self._place(request)
        if place == _AUTHN:
            return None
        if self._users.reveal() and not self._is_authorized(request):
            return self._failure(401, "AccessDenied", "token required")
        path, _, query = request.path.partition("?")
        if path == "/v1/cluster" and query == "what=smap":
            return self._map()
        if not f"{path}/".startswith("/s3/"):
            return self._failure(404, "NotFound", "Only /s3, /v1/cluster and AuthN exist.")
        if self._is_signed(request):
            return None
        if place != _PROXY:
            return self._failure(403, "AccessDenied", "the request did not come from a proxy of this cluster")
        is_object = len([item for item in path.split("/") if item]) > 2
        return self._redirect(request) if is_object or self._redirect_all else None

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        return self._log_in(request) if self._place(request) == _AUTHN else self._pass_on(request)

    def _place(self, request: ReceivedRequest) -> int:
        return self._origins.index(f"http://127.0.0.1:{request.port}")

    def _failure(self, status: int, code: str, message: str) -> FaultResponse:
        return _xml(status, f"<Code>{code}</Code><Message>{message}</Message>")

    def _map(self) -> FaultResponse:
        def node(number: int, kind: str) -> dict[str, Any]:
            net = {"direct_url": self._origins[number]}
            return {"daemon_id": f"{kind}{number}", "daemon_type": kind, "public_net": net, "intra_data_net": net}

        nodes = {f"target{number}": node(number, "target") for number in range(2, len(self._origins))}
        smap = {"pmap": {"proxy0": node(0, "proxy")}, "tmap": nodes, "proxy_si": node(0, "proxy"), "version": "7"}
        return FaultResponse(headers={"Content-Type": "application/json"}, body=json.dumps(smap).encode())

    def _redirect(self, request: ReceivedRequest) -> FaultResponse:
        path, _, query = request.path.partition("?")
        number = 2 + zlib.crc32(unquote(path).encode()) % (len(self._origins) - 2)
        signed = {"ais_pid": "proxy0", "ais_ts": str(time.time_ns()), "ais_nonce": secrets.token_hex(8)}
        signed["ais_hmac"] = self._signature(request.method, path, signed)
        origin = "" if self._relative else self._origins[number]
        location = f"{origin}{path}?{query + '&' if query else ''}{urlencode(signed)}"
        endpoint = f"{self._origins[number].partition('://')[2]}/s3"
        bucket = path.split("/")[2] if path.count("/") > 1 else ""
        answer = _xml(
            self._redirect_status,
            f"<Code>TemporaryRedirect</Code><Message>Redirect</Message><Endpoint>{endpoint}</Endpoint>"
            f"<Bucket>{bucket}</Bucket>",
        )
        return FaultResponse(status=answer.status, headers={**answer.headers, "Location": location}, body=answer.body)

    def _signature(self, method: str, path: str, signed: Mapping[str, str]) -> str:
        text = "\n".join([method, unquote(path), signed["ais_pid"], signed["ais_ts"], signed["ais_nonce"]])
        return hmac.new(self._key.reveal(), text.encode(), hashlib.sha256).hexdigest()

    def _is_signed(self, request: ReceivedRequest) -> bool:
        path, _, query = request.path.partition("?")
        given = {name: value for name, value in parse_qsl(query) if name in _QUERY}
        if set(given) != set(_QUERY) or not given["ais_ts"].isdigit():
            return False
        fresh = abs(time.time_ns() - int(given["ais_ts"])) < _REDIRECT_SECONDS * 1e9
        return fresh and hmac.compare_digest(given["ais_hmac"], self._signature(request.method, path, given))

    def _log_in(self, request: ReceivedRequest) -> FaultResponse:
        name = unquote(request.path.removeprefix("/v1/users/"))
        try:
            login_request = json.loads(request.body)
            password, lifetime = (
                login_request["password"],
                login_request.get("expires_in", self._token_lifetime.total_seconds() * 1e9) / 1e9,
            )
        except (ValueError, KeyError, TypeError):
            return self._failure(400, "BadRequest", "The body is not a login message.")
        if request.method != "POST" or self._users.reveal().get(name) != password:
            return self._failure(401, "Unauthorized", "invalid credentials")
        claims = {
            "sub": name,
            "exp": time.time() + lifetime,
            "generation": self._revoked_before,
            "id": secrets.token_hex(8),
        }
        body = f"{_encoded(b'{}')}.{_encoded(json.dumps(claims).encode())}"
        token = f"{body}.{_encoded(hmac.digest(self._key.reveal(), body.encode(), 'sha256'))}"
        return FaultResponse(headers={"Content-Type": "application/json"}, body=json.dumps({"token": token}).encode())

    def _is_authorized(self, request: ReceivedRequest) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        body, _, signature = token.rpartition(".")
        valid = _encoded(hmac.digest(self._key.reveal(), body.encode(), "sha256"))
        if kind != "Bearer" or not hmac.compare_digest(signature, valid):
            return False
        claims = json.loads(base64.urlsafe_b64decode(body.split(".")[1] + "=="))
        return bool(claims["exp"] > time.time() and claims["generation"] >= self._revoked_before)

    def _pass_on(self, request: ReceivedRequest) -> FaultResponse:
        path, _, query = request.path.partition("?")
        query = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in _QUERY)
        is_presigned = "X-Amz-Signature=" in query
        path = path.removeprefix("/s3") or "/"
        if is_presigned and not self._presigned:
            query = "&".join(pair for pair in query.split("&") if not pair.startswith("X-Amz-"))
        if is_presigned and self._presigned:
            host, path = _as_signed(path, query, request.headers.get(_STYLE, "virtual-hosted"))
            headers = {name: value for name, value in request.headers.items() if name not in _NOT_UPSTREAM}
            headers["host"] = host
        else:
            headers = self._signed(request, f"{path}?{query}" if query else path)
        return self._forward(request, f"{path}?{query}" if query else path, headers)

    def _signed(self, request: ReceivedRequest, target: str) -> dict[str, str]:
        kept = {name: value for name, value in request.headers.items() if name not in _NOT_UPSTREAM}
        kept["x-amz-content-sha256"] = hashlib.sha256(request.body).hexdigest()
        aws_request = AWSRequest(
            method=request.method, url=f"{self._behind.endpoint_url}{target}", headers=kept, data=request.body
        )
        credentials = Credentials(self._behind.access_key, self._behind.secret_key)
        S3SigV4Auth(credentials, "s3", self._behind.region).add_auth(aws_request)
        return {**dict(aws_request.headers.items()), "host": urlsplit(self._behind.endpoint_url).netloc}

    def _forward(self, request: ReceivedRequest, target: str, headers: Mapping[str, str]) -> FaultResponse:
        behind = urlsplit(self._behind.endpoint_url)
        connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=_UPSTREAM_SECONDS)
        with contextlib.closing(connection):
            try:
                connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.putheader("Content-Length", str(len(request.body)))
                connection.endheaders(request.body)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                return self._failure(502, "BadGateway", f"The store did not respond: {type(error).__name__}.")
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _OUR_OWN}
        return FaultResponse(status=response.status, headers=kept, body=body)


def _as_signed(path: str, query: str, style: str) -> tuple[str, str]:
    """Return host and path of Amazon S3 that AIStore rebuilds for a presigned request."""
    region = dict(parse_qsl(query))["X-Amz-Credential"].split("/")[2]
    if style == "path":
        return f"s3.{region}.amazonaws.com", path
    bucket, _, key = path.removeprefix("/").partition("/")
    return f"{bucket}.s3.{region}.amazonaws.com", f"/{key}"


def _xml(status: int, members: str) -> FaultResponse:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error>{members}</Error>'
    return FaultResponse(status=status, headers={"Content-Type": "text/xml; charset=utf-8"}, body=text.encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
