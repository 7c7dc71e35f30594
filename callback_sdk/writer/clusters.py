"""Uploads to AIStore clusters: redirects to their nodes, and the bearer tokens that their proxies require."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import define, evolve

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import CallbackSDKError, ConfigurationError, DeliveryError
from callback_sdk.redaction import Secret, SecretURL, clearing_locals, strip_traceback
from callback_sdk.targets.aistore import origin_of, parse_cluster, refuses_token
from callback_sdk.targets.hosts import is_loopback
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.upload import Upload
from callback_sdk.transport import connect
from callback_sdk.transport.allowlist import AllowedNetwork
from callback_sdk.transport.connect import Addresses
from callback_sdk.transport.driver import Driver
from callback_sdk.transport.guard import AddressGuard
from callback_sdk.transport.http import HTTPSender, Timeouts
from callback_sdk.transport.response import Response
from callback_sdk.transport.sockets import Resolve, Route
from callback_sdk.types import TokenSource

if TYPE_CHECKING:
    from callback_sdk.transport.tls import ClientCert

FindProxy = Callable[[SecretURL], SecretURL | None]
"""Returns the proxy for a URL; None for a direct connection."""

_TOKEN = re.compile(r"[!-~]+")

_FOLLOWING = frozenset({"content-encoding", "content-type"})
"""Headers of a plain PUT that describe the document. Any other one may be a credential."""


_PRIVATE = ("10.0.0.0/8:*", "172.16.0.0/12:*", "192.168.0.0/16:*", "100.64.0.0/10:*", "[fc00::/7]:*")
"""Networks where nodes usually are: RFC 1918, RFC 6598 and RFC 4193."""

_LOOPBACK = ("127.0.0.0/8:*", "[::1]:*")


def is_same_object(origin: SecretURL, destination: SecretURL) -> bool:
    """Tell whether a redirect leads to the same object: a cluster redirects nothing else."""
    return origin.path == destination.path


def cluster_resolver(stores: StorageProviders, guard: AddressGuard | None) -> Resolve:
    """Return a function that resolves the hosts of clusters, which a guard would reject.

    Proxies may be anywhere, because the operator named them. The cluster's map would tell its nodes, but the roles of
    AuthN that may write don't permit to read it. So nodes may be at private addresses, but not at link-local ones, such
    as that of a cloud's metadata service, and at loopback ones only if a proxy is.

    Args:
        stores: The configured clusters.
        guard: What else may be reached; None for a writer without SSRF protection, whose nodes are restricted too.
    """
    nodes = guard = AddressGuard() if guard is None else guard
    # A guard of the user's own decides itself.
    if isinstance(guard, AddressGuard):
        local = any(is_loopback(host) for _, host, _ in stores.clusters)
        networks = map(AllowedNetwork.parse, (*_PRIVATE, *(_LOOPBACK if local else ())))
        nodes = evolve(guard, allow_networks=(*guard.allow_networks, *networks))

    def resolve(url: SecretURL, deadline: float) -> Addresses:
        proxy = origin_of(url) in stores.clusters
        return connect.resolve(url, deadline) if proxy else nodes.resolve(url, deadline)

    return resolve


class Clusters:
    """Sends uploads to AIStore clusters. Thread-safe.

    The token is sent to the proxy only. A node serves what a proxy of its cluster has redirected.

    Args:
        tokens: The source of the token by the proxy's URL; None for a cluster without authentication.
        sender: Follows redirects to the nodes.
        driver: Calls the sources.

    Raises:
        ConfigurationError: A URL is not that of a proxy, or a token is invalid.
    """

    @clearing_locals
    def __init__(
        self, tokens: Mapping[str, TokenSource | None], sender: HTTPSender, driver: Driver
    ) -> None:  # fmt: skip
        self._tokens = {parse_cluster(url): _BearerToken.of(source) for url, source in tokens.items()}
        self._sender = sender
        self._driver = driver

    @classmethod
    def of(
        cls,
        tokens: Mapping[str, TokenSource | None],
        stores: StorageProviders,
        *,
        timeouts: Timeouts | None,
        guard: AddressGuard | None,
        proxy: FindProxy,
        client_cert: ClientCert | None,
        driver: Driver,
    ) -> Clusters:
        """Return the configured clusters.

        They have connections of their own: an untrusted URL of a node's host must not be sent over one that no guard
        checked.

        Raises:
            ConfigurationError: A URL is not that of a proxy, or a token is invalid.
        """
        sender = HTTPSender(
            timeouts=timeouts,
            route=Route(resolve=cluster_resolver(stores, guard), proxy=proxy),
            may_redirect=is_same_object,
            client_cert=client_cert,
            driver=driver,
        )
        return cls(tokens, sender, driver)

    def with_timeouts(self, timeouts: Timeouts, driver: Driver) -> Clusters:
        """Return clusters with other timeouts, another driver, and the same connections and tokens."""
        other = copy.copy(self)
        other._sender, other._driver = self._sender.with_timeouts(timeouts, driver), driver
        return other

    def close(self) -> None:
        """Close idle connections."""
        self._sender.close()

    async def send(self, upload: Upload) -> Response:
        """Make one attempt. A token that is refused is replaced once.

        Raises:
            DeliveryError: There is no token, or no response.
        """
        token = self._tokens[origin_of(upload.url)]
        if upload.kind == "http-put":
            # It has its own headers. The cluster's token must not go where its user can choose path and headers.
            return await self._sender.exchange(_split(upload))
        if token is None:
            return await self._sender.exchange(upload)
        # A source may log in, and block.
        sent = await self._driver.call(token.current, upload)
        response = await self._sender.exchange(_authorize(upload, sent))
        if self.has_refused_token(upload, response):
            new = await self._driver.call(token.replace, upload, sent)
            if new is not None:
                response = await self._sender.exchange(_authorize(upload, new))
        return response

    def has_refused_token(self, upload: Upload, response: Response) -> bool:
        """Tell whether a cluster refused the token that it was sent."""
        has_token = self._tokens[origin_of(upload.url)] is not None and upload.kind != "http-put"
        return has_token and refuses_token(response.status, response.body)


@define(frozen=True)
class _BearerToken:
    """A token, and how to replace it.

    Attributes:
        source: Returns the current token.
        discard: Tells the source that a token was refused.
    """

    source: Callable[[], str]
    discard: Callable[[Secret[str]], None]

    @classmethod
    @clearing_locals
    def of(cls, source: TokenSource | None) -> _BearerToken | None:
        if source is None:
            return None
        if not callable(source) and not (isinstance(source, str) and _TOKEN.fullmatch(source)):
            raise ConfigurationError(
                "The token of an AIStore cluster is not one.",
                hint="Give a token, a function that returns one, an aistore.Token, or None without authentication.",
            )
        # `aistore.Token` logs in again.
        discard = getattr(source, "discard", lambda refused: None)
        return cls(Secret(source).reveal if isinstance(source, str) else source, discard)

    def current(self, upload: Upload) -> Secret[str]:
        """Return the token.

        Raises:
            DeliveryError: The source failed, or returned no token. A later attempt may succeed.
        """
        try:
            token = Secret(self.source())
            if isinstance(token.reveal(), str) and _TOKEN.fullmatch(token.reveal()):
                return token
            problem, failure = "the source returned none", None
        except uninterrupted(Exception) as error:  # the source may be a user's function
            # The text of an error that isn't of this package may have credentials.
            problem = str(error) if isinstance(error, CallbackSDKError) else f"the source raised {type(error).__name__}"
            failure = strip_traceback(error)
        raise DeliveryError(
            f"There is no token for {upload.url}: {problem}",
            hint="Check the token of this cluster in aistore_clusters.",
            url=str(upload.url),
            retryable=True,
        ) from failure

    def replace(self, upload: Upload, refused: Secret[str]) -> Secret[str] | None:
        """Return another token than the one that was refused; None if there is none."""
        self.discard(refused)
        token = self.current(upload)
        return None if token == refused else token


def _authorize(upload: Upload, token: Secret[str]) -> Upload:
    return evolve(upload, url_headers=Secret({"Authorization": f"Bearer {token.reveal()}"}))


def _split(upload: Upload) -> Upload:
    """Return a plain PUT that may be redirected, without the headers that may be credentials."""
    headers = upload.headers
    return evolve(
        upload,
        redirects=True,
        headers=Secret({name: value for name, value in headers.reveal().items() if name in _FOLLOWING}),
        url_headers=Secret({name: value for name, value in headers.reveal().items() if name not in _FOLLOWING}),
    )
