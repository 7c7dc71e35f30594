"""Let all S3 clients of the process follow AIStore's redirects: `import callback_sdk.aistore.patch`.

It applies to existing clients and resources too, but not to clients of Amazon S3, nor to those with settings of their
own from `follow_redirects`. `patch(...)` changes its options, `unpatch()` reverts it.

A token that a client itself sends is sent to the cluster only, also with the request of the cluster's map: a JSON Web
Token as `aws_session_token`, or the header `Authorization` that a handler of `before-send.s3` sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

from attrs import define, field
from botocore.endpoint import Endpoint

from callback_sdk.aistore.async_endpoints import follow_async, is_async
from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.certificates import ClientCertFiles, Verify, certificates
from callback_sdk.aistore.cluster import Cluster, UnknownNodes
from callback_sdk.aistore.connections import own_connections, use_certificates
from callback_sdk.aistore.endpoints import METHODS, redirecting_methods
from callback_sdk.aistore.environment import Environment
from callback_sdk.aistore.options import Redirects
from callback_sdk.aistore.requests import RedirectFollower
from callback_sdk.aistore.tokens import Token
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import ConfigurationError
from callback_sdk.targets.amazon import is_amazon
from callback_sdk.types import TokenSource

__all__ = ["patch", "unpatch"]


@define
class _PatchOptions:
    """Options of the patch.

    Attributes:
        redirects: For all clients but those of Amazon S3.
        cluster: The cluster that the other options are for; None for none.
        bearer: Its token; None to leave that to the clients.
        verify: See `certificates`.
        client_cert: See `certificates`.
        followers: The redirect followers by endpoint.
        sessions: HTTP sessions that have the settings of TLS.
    """

    redirects: Redirects
    cluster: Cluster | None
    bearer: Bearer | None
    verify: Verify
    client_cert: ClientCertFiles
    followers: dict[str, RedirectFollower] = field(factory=dict)
    sessions: WeakSet[Any] = field(factory=WeakSet)


_originals: dict[str, Any] = {}
_options: list[_PatchOptions] = []
_lock = Lock()


def patch(
    endpoint: str | None = None,
    *,
    token: TokenSource | None = None,
    allow_hosts: Iterable[str] | None = None,
    max_redirects: int | None = None,
    unknown_nodes: UnknownNodes | None = None,
    verify: Verify = None,
    client_cert: ClientCertFiles = None,
) -> None:
    """Patch botocore. Another call replaces the options.

    What is not given is read from the environment, as for `aistore.client`. Token, certificates and `verify` apply to
    clients of one cluster only, because other clients in the process may be for other stores: to that of `endpoint`.

    Args:
        endpoint: The proxy's URL, with `/s3` or without it; `AIS_ENDPOINT` when None.
        token: Sent by clients that don't have a token of their own. See `aistore.client`.
        allow_hosts: See `aistore.client`.
        max_redirects: See `aistore.client`.
        unknown_nodes: See `aistore.client`.
        verify: See `aistore.client`. A client's own setting has precedence.
        client_cert: See `aistore.client`. A client's own certificate has precedence.

    Raises:
        ConfigurationError: An argument or a variable is invalid, or there is a token or a setting of TLS without an
            endpoint.
    """
    environment = Environment.read()
    redirects = Redirects.of(allow_hosts, max_redirects, unknown_nodes)
    url = environment.endpoint if endpoint is None else endpoint
    if url is None and not (token is None and verify is None and client_cert is None):
        raise ConfigurationError(
            "There is a token or a setting of TLS without an endpoint.",
            hint="Give the endpoint of the cluster that it is for, or set AIS_ENDPOINT.",
        )
    if token is None and url is not None and environment.has_token:
        token = Token()
    options = _PatchOptions(
        redirects,
        None if url is None else redirects.cluster(url),
        None if token is None else Bearer(token),
        verify,
        client_cert,
    )
    if options.cluster is not None:
        certificates(options.cluster.endpoint, verify, client_cert, environment)
    with _lock:
        _options[:] = [options]
        if not _originals:
            _originals.update({name: getattr(Endpoint, name) for name in METHODS})
            for name, method in redirecting_methods(_originals, _follower_of).items():
                setattr(Endpoint, name, method)


def unpatch() -> None:
    """Restore botocore. A second call has no effect."""
    with _lock:
        while _originals:
            setattr(Endpoint, *_originals.popitem())


def _follower_of(endpoint: Any, operation_model: Any) -> RedirectFollower | None:
    host = urlsplit(endpoint.host).hostname or ""
    if operation_model.service_model.service_name != "s3" or is_amazon(host):
        return None
    if is_async(endpoint):
        # Each of its methods, but for the one that this is called by, overrides a patched one.
        follow_async(endpoint, _follower_of)
    own_connections(endpoint.http_session)
    with _lock:
        (options,) = _options
        follower = options.followers.get(endpoint.host)
        if follower is None:
            follower = options.followers[endpoint.host] = _make_follower(endpoint.host, options)
        if follower.cluster is options.cluster:
            _use_certificates(endpoint.http_session, options)
        return follower


def _make_follower(host: str, options: _PatchOptions) -> RedirectFollower:
    cluster = options.redirects.cluster(host)
    if options.cluster is not None and cluster.root == options.cluster.root:
        return RedirectFollower(options.cluster, options.redirects.max_redirects, options.bearer, keeps_own_token=True)
    return RedirectFollower(cluster, options.redirects.max_redirects)


def _use_certificates(session: Any, options: _PatchOptions) -> None:
    if options.cluster is not None and session not in options.sessions:
        options.sessions.add(session)
        found = certificates(options.cluster.endpoint, options.verify, options.client_cert, Environment.read())
        use_certificates(session, found)


patch()
