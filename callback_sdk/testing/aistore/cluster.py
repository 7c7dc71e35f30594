"""AIStore: a fake cluster of proxies, storage nodes and AuthN."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from attrs import evolve

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.testing.aistore.authn import AuthN, Permission
from callback_sdk.testing.aistore.backend import is_presigned, pass_on
from callback_sdk.testing.aistore.buckets import Buckets
from callback_sdk.testing.aistore.locations import location
from callback_sdk.testing.aistore.nodes import Node, cluster_map
from callback_sdk.testing.aistore.responses import json_error, json_response, xml_error
from callback_sdk.testing.faults import Fault, FaultResponse, Faults
from callback_sdk.testing.received import ReceivedRequest
from callback_sdk.testing.seaweedfs import SeaweedFS
from callback_sdk.testing.server import RecordingServer

_QUERY = ("ais_pid", "ais_ts", "ais_nonce", "ais_hmac")
"""Query parameters that a proxy adds to a redirect; only the first two unless it signs redirects."""

_REDIRECT_SECONDS = 60
_READING = frozenset({"GET", "HEAD"})


class AIStore(RecordingServer):
    """A fake AIStore cluster: proxies, storage nodes and AuthN, each on a separate port; objects are in memory.

    It behaves as a cluster of AIStore 5.0 was observed to. A proxy handles requests for buckets, and redirects requests
    for objects to the node of the object. A node serves only what a proxy redirected. Signatures are not verified.
    Content types, metadata and `If-None-Match` are ignored.

        with AIStore() as cluster:
            s3 = aistore.client(cluster.endpoint_url)

    Args:
        behind: The store for presigned requests, in the place of Amazon S3; see `presigned`.
        nodes: Number of storage nodes.
        proxies: Number of proxies.
        addresses: Loopback addresses of the storage nodes, in turn. Linux has all of 127.0.0.0/8.
        multihomed: Whether each storage node has a second URL (`pub_extra` in the map), to which redirects lead too.
        users: User names and passwords for AuthN. Authentication is enabled if there are any.
        roles: Roles of users: Admin, BucketOwner (the default) or Guest.
        token_lifetime: Lifetime of a token.
        redirect_status: HTTP status of redirects.
        redirect_all: Whether requests for buckets are redirected too.
        relative: Whether the locations of redirects have no scheme and host; the proxy is then also the node.
        reverse_proxy: Whether the feature S3-Reverse-Proxy is enabled: there are no redirects.
        sign_redirects: Whether the proxies sign redirects, as later versions of AIStore do.
        presigned: Whether the feature S3-Presigned-Request is enabled: presigned requests are passed to the store
            behind, as they were signed for Amazon S3.
        tls: Settings of TLS for all nodes and AuthN, with a certificate for their addresses; None for plain HTTP. With
            `verify_mode` set to `ssl.CERT_REQUIRED` clients need a certificate.
        faults: Random faults; None for none.
    """

    default_faults = tuple(fault for fault in Fault if fault is not Fault.REDIRECT)

    def __init__(
        self,
        behind: SeaweedFS | None = None,
        *,
        nodes: int = 3,
        proxies: int = 1,
        addresses: Sequence[str] = ("127.0.0.1",),
        multihomed: bool = False,
        users: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
        token_lifetime: timedelta = timedelta(days=1),
        redirect_status: int = 307,
        redirect_all: bool = False,
        relative: bool = False,
        reverse_proxy: bool = False,
        sign_redirects: bool = False,
        presigned: bool = False,
        tls: ssl.SSLContext | None = None,
        faults: Faults | None = None,
    ) -> None:
        if presigned and behind is None:
            raise ConfigurationError("There is no store for presigned requests.", hint="Give AIStore(SeaweedFS(), …).")
        super().__init__(faults=faults, ports=proxies + 1, tls=tls)
        self._behind = behind if presigned else None
        self._node_count, self._multihomed = nodes, multihomed
        self._addresses: Iterator[str] = itertools.cycle(addresses)
        self._authn = AuthN(users or {}, roles or {}, token_lifetime)
        self._redirect_status, self._redirect_all, self._relative = redirect_status, redirect_all, relative
        self._reverse_proxy, self._sign_redirects = reverse_proxy, sign_redirects
        self._key = Secret(secrets.token_bytes(32))
        self._buckets = Buckets()
        self._proxies: list[Node] = []
        self._nodes: list[Node] = []
        self._version = 0

    @property
    def endpoint_url(self) -> str:
        """URL of the first proxy's S3 API: `http://127.0.0.1:PORT/s3`."""
        return f"{self._origin}/s3"

    @property
    def proxy_urls(self) -> tuple[str, ...]:
        """URLs of the proxies."""
        _ = self._origin
        return self._origins[:-1]

    @property
    def authn_url(self) -> str:
        """URL of AuthN, which issues tokens."""
        _ = self._origin
        return self._origins[-1]

    @property
    def node_urls(self) -> tuple[str, ...]:
        """Public URLs of the storage nodes."""
        _ = self._origin
        return tuple(node.urls[0] for node in self._nodes)

    @property
    def objects(self) -> dict[str, bytes]:
        """Objects by bucket and key, such as `"results/42.json"`."""
        return self._buckets.objects

    def start(self) -> None:
        """Open the ports and serve requests."""
        if self._listeners:
            return
        super().start()
        self._proxies = [Node(f"p{number}", "proxy", (url,)) for number, url in enumerate(self.proxy_urls)]
        self._nodes = []
        for _ in range(self._node_count):
            self.add_node()

    def add_node(self) -> str:
        """Let a storage node join: redirects lead to it at once. Return its public URL."""
        urls = tuple(self._listen_elsewhere() for _ in range(2 if self._multihomed else 1))
        with self._arrived:
            self._version += 1
            self._nodes.append(Node(f"t{self._version}", "target", urls))
        return urls[0]

    def kill_node(self, url: str, *, noticed_after: int = 1) -> None:
        """Kill a storage node: connections to it are refused. Its objects stay, as if they had copies on other nodes.

        Args:
            url: Its public URL.
            noticed_after: Number of redirects that still lead to it.
        """
        node = self._nodes[self.node_urls.index(url)]
        for origin in node.urls:
            self._hang_up(origin)
        with self._arrived:
            node.redirects_left = noticed_after

    def revoke_tokens(self) -> None:
        """Revoke all tokens that were issued so far."""
        self._authn.revoke_all()

    def issue_token(self, user: str, *, lifetime: timedelta = timedelta(days=1)) -> str:
        """Return a new token; with a negative lifetime it has expired already."""
        return self._authn.issue(user, lifetime)

    def _listen_elsewhere(self) -> str:
        # The port of a request names the server, so no two addresses may have the same one.
        while True:
            origin = self._listen(next(self._addresses))
            if len({_port(listener.origin) for listener in self._listeners}) == len(self._listeners):
                return origin
            self._hang_up(origin)

    def _respond_to_head(self, request: ReceivedRequest) -> FaultResponse | None:
        if request.port == _port(self.authn_url):
            return None
        path, _, query = request.path.partition("?")
        if request.port not in map(_port, self.proxy_urls) and not (self._relative or self._was_redirected(request)):
            return xml_error(403, "wrapError", "the request did not come from a proxy of this cluster")
        if request.port in map(_port, self.proxy_urls) and not self._was_redirected(request):
            refused = self._refuse_token(request, path)
            if refused is not None:
                return refused
        if path == "/v1/cluster" and query == "what=smap":
            return self._map()
        if not f"{path}/".startswith("/s3/"):
            return json_error(404, f"invalid path {path}")
        return self._redirect(request, path, query)

    def _refuse_token(self, request: ReceivedRequest, path: str) -> FaultResponse | None:
        """Check the token of a request to a proxy. A node serves whatever a proxy let pass."""
        if not self._authn.enabled:
            return None
        native = not f"{path}/".startswith("/s3/")
        needed = Permission.READ if request.method in _READING else Permission.WRITE
        problem = self._authn.problem(request, Permission.SHOW_CLUSTER if native else needed)
        if problem is None:
            return None
        token_at_fault, message = problem
        if native:
            return json_error(401 if token_at_fault else 403, message)
        return xml_error(403, "wrapError", message)

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        if request.port == _port(self.authn_url):
            return self._authn.log_in(request)
        path, _, query = request.path.partition("?")
        query = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in _QUERY)
        if self._behind is not None and is_presigned(query):
            return pass_on(request, path.removeprefix("/s3") or "/", query, self._behind.endpoint_url)
        return self._buckets.carry_out(evolve(request, path=f"{path}?{query}"))

    def _failure(self, status: int, code: str, message: str) -> FaultResponse:
        return xml_error(status, code, message)

    def _map(self) -> FaultResponse:
        with self._arrived:
            return json_response(cluster_map([*self._proxies, *self._nodes], self._version))

    def _redirect(self, request: ReceivedRequest, path: str, query: str) -> FaultResponse | None:
        """Return the redirect to the node of an object; None if the request is to be carried out here."""
        bucket, _, key = path.removeprefix("/s3").removeprefix("/").partition("/")
        if self._reverse_proxy or self._was_redirected(request) or not (key or self._redirect_all):
            return None
        decoded = unquote_to_bytes(path.encode("latin-1"))
        origin = self._node_of(decoded)
        added = {"ais_pid": "p0", "ais_ts": str(time.time_ns())}
        if self._sign_redirects:
            added["ais_nonce"] = secrets.token_hex(8)
            added["ais_hmac"] = self._signature(request.method, decoded, added)
        parameters = (query + "&" if query else "") + urlencode(added)
        answer = xml_error(
            self._redirect_status,
            "TemporaryRedirect",
            "Redirect",
            f"<Endpoint>{origin.partition('://')[2]}/s3</Endpoint><Bucket>{bucket}</Bucket>",
        )
        where = location("" if self._relative else origin, decoded, parameters)
        return evolve(answer, headers={**answer.headers, "Location": where})

    def _node_of(self, path: bytes) -> str:
        with self._arrived:
            node = self._nodes[zlib.crc32(path) % len(self._nodes)]
            if node.redirects_left == 0:
                self._nodes.remove(node)
                self._version += 1
                node = self._nodes[zlib.crc32(path) % len(self._nodes)]
            if node.redirects_left is not None:
                node.redirects_left -= 1
            return node.next_url()

    def _signature(self, method: str, path: bytes, added: Mapping[str, str]) -> str:
        text = "\n".join([method, path.hex(), added["ais_pid"], added["ais_ts"], added["ais_nonce"]])
        return hmac.new(self._key.reveal(), text.encode(), hashlib.sha256).hexdigest()

    def _was_redirected(self, request: ReceivedRequest) -> bool:
        """Tell whether a proxy let the request pass."""
        path, _, query = request.path.partition("?")
        given = {name: value for name, value in parse_qsl(query) if name in _QUERY}
        if not self._sign_redirects:
            return "ais_pid" in given
        if set(given) != set(_QUERY) or not given["ais_ts"].isdigit():
            return False
        fresh = abs(time.time_ns() - int(given["ais_ts"])) < _REDIRECT_SECONDS * 1e9
        signature = self._signature(request.method, unquote_to_bytes(path.encode("latin-1")), given)
        return fresh and hmac.compare_digest(given["ais_hmac"], signature)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
