"""SSRF protection: allow uploads to public addresses only, and connect to the address that was checked."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable

from attrs import define, field

from callback_sdk.errors import AddressNotAllowedError, ConfigurationError
from callback_sdk.parsing import several
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import Address, ip_literal, is_local_name
from callback_sdk.text.descriptions import type_name
from callback_sdk.transport import allowlist, connect
from callback_sdk.transport.addresses import LOOPBACK, Block, Network, embedded_addresses, special
from callback_sdk.transport.allowlist import AllowedHost, AllowedNetwork, host_name, option_value
from callback_sdk.transport.connect import Addresses

_log = logging.getLogger(__name__)


def _networks(given: Iterable[str | Network | AllowedNetwork]) -> tuple[AllowedNetwork, ...]:
    return tuple(_network(each) for each in several("allow_networks", given))


def _network(given: str | Network | AllowedNetwork) -> AllowedNetwork:
    if isinstance(given, str):
        return allowlist.network(given)
    if isinstance(given, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return AllowedNetwork(given)
    if isinstance(given, AllowedNetwork):
        return given
    raise ConfigurationError(
        f"allow_networks has a value of type {type_name(given)}.", hint="Give strings such as '10.20.0.0/16:9000'."
    )


def _hosts(given: Iterable[str | AllowedHost]) -> frozenset[AllowedHost]:
    return frozenset(_host(each) for each in several("allow_hosts", given))


def _host(given: str | AllowedHost) -> AllowedHost:
    if isinstance(given, str):
        return allowlist.host(given)
    if isinstance(given, AllowedHost):
        return given
    raise ConfigurationError(
        f"allow_hosts has a value of type {type_name(given)}.", hint="Give strings such as 'minio.internal:9000'."
    )


@define(frozen=True, kw_only=True)
class AddressGuard:
    """SSRF protection: rejects targets at private, loopback, link-local and other special-purpose addresses.

    All addresses of a host must be public, and the connection goes to the address that was checked, so that DNS
    rebinding has no effect: the name is not resolved a second time. Redirects are checked in the same way. With a guard
    the environment's proxies are not used, because a proxy would resolve the name itself.

    Args:
        allow_networks: Private networks that may be reached, in CIDR notation, each with a port: `10.20.0.0/16:9000`,
            `[fd00::/8]:9000`. For a NAT64, 6to4 or Teredo address its own network and that of the IPv4 address in it
            must both be allowed.
        allow_hosts: Hosts that may be reached regardless of their addresses, each with a port: `minio.internal:9000`;
            `*.minio.internal:9000` allows all names below it.

    Without a port, only the default port of the URL's scheme is allowed, 80 or 443; `:*` allows every port.

    Raises:
        ConfigurationError: A value is not a network, or not a host name.

    Example:
        >>> ResultsWriter(guard=AddressGuard(allow_networks=["10.20.0.0/16"], allow_hosts=["minio.internal:9000"]))
    """

    allow_networks: tuple[AllowedNetwork, ...] = field(default=(), converter=_networks)
    allow_hosts: frozenset[AllowedHost] = field(default=(), converter=_hosts)

    def check(self, url: SecretURL | str) -> None:
        """Check a URL without resolving its host: IP literals, and names of the machine itself.

        Raises:
            AddressNotAllowedError: The host is not public.
            InvalidTargetError: It is not a URL, or the host name is invalid.
        """
        url = url if isinstance(url, SecretURL) else SecretURL(url)
        if self._allows(url):
            return
        host = host_name(url)
        address = ip_literal(host)
        if is_local_name(host):
            if any(self._block(own, url) for own in LOOPBACK):
                raise _refusal(url, "is this machine itself", f"--allow-host {option_value(host, url)}")
        elif address is not None:
            # A zone (RFC 6874) names an interface of this machine: only link-local addresses have one.
            if "%" in host:
                raise _refusal(url, "has an IPv6 address with a zone", "--allow-network, without the '%'")
            if block := self._block(address, url):
                option = f"--allow-network {_network_of(address, block, url)}"
                raise _refusal(url, f"is not public ({block.name})", option)

    def resolve(self, url: SecretURL | str, deadline: float) -> Addresses:
        """Resolve a URL's host, and check every address.

        The caller connects to the returned addresses and doesn't resolve again: a name that resolves to another address
        the second time (DNS rebinding) was checked in vain.

        Args:
            url: The URL.
            deadline: When to give up, by the monotonic clock.

        Raises:
            AddressNotAllowedError: At least one of the addresses is not allowed.
            OSError: The host has no address, or the resolver didn't respond in time.
        """
        url = url if isinstance(url, SecretURL) else SecretURL(url)
        self.check(url)
        found = connect.resolve(url, deadline)
        if self._allows(url):
            return found
        for *_, place in found:
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if block := self._block(address, url):
                # Only the operator's log has the address: the error may be shown to an untrusted user, who would learn
                # which internal names exist, and their addresses.
                _log.warning("%s resolves to %s (%s); nothing was sent.", url, address, block.name)
                option = f"--allow-host {option_value(host_name(url), url)}"
                raise _refusal(url, "resolves to a private address", option, resolved=True)
        return found

    def _allows(self, url: SecretURL) -> bool:
        return any(host.has(url) for host in self.allow_hosts)

    def _block(self, address: Address, url: SecretURL) -> Block | None:
        """Return the block that an address is rejected for; None if it is allowed."""
        for each in (address, *embedded_addresses(address)):
            block = special(each)
            if block and not any(network.has(each, url) for network in self.allow_networks):
                return block
        return None


def _network_of(address: Address, block: Block, url: SecretURL) -> str:
    if any(embedded_addresses(address)):
        return "with its network, and the network of the IPv4 address in it"
    return option_value(str(block.network if block.name == "loopback" else address), url)


def _refusal(url: SecretURL, problem: str, option: str, *, resolved: bool = False) -> AddressNotAllowedError:
    return AddressNotAllowedError(
        f"{url} {problem}; nothing was sent.",
        hint=f"Use a public host, or ask the operator to allow it: {option} (in code: AddressGuard).",
        url=str(url),
        resolved=resolved,
    )
