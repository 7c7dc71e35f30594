"""AddressGuard: keeps uploads away from every address that is not public."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable

from attrs import define, field

from callback_sdk.errors import AddressNotAllowedError
from callback_sdk.parsing import several
from callback_sdk.redaction import SecretURL
from callback_sdk.targets.hosts import Address, ip_literal, is_local_name
from callback_sdk.transport import allowlist, connect
from callback_sdk.transport.addresses import LOOPBACK, Block, Network, embedded, special
from callback_sdk.transport.allowlist import AllowedHost, AllowedNetwork, host_name, option_value
from callback_sdk.transport.connect import Addresses

_log = logging.getLogger(__name__)


def _networks(given: Iterable[str | Network | AllowedNetwork]) -> tuple[AllowedNetwork, ...]:
    return tuple(_network(each) for each in several("allow_networks", given))


def _network(given: str | Network | AllowedNetwork) -> AllowedNetwork:
    if isinstance(given, str):
        return allowlist.network(given)
    return given if isinstance(given, AllowedNetwork) else AllowedNetwork(given)


def _hosts(given: Iterable[str | AllowedHost]) -> frozenset[AllowedHost]:
    return frozenset(allowlist.host(each) if isinstance(each, str) else each for each in several("allow_hosts", given))


@define(frozen=True, kw_only=True)
class AddressGuard:
    """Refuses hosts whose addresses are not public, so that a foreign URL can't reach into the own network.

    Every address that a name has must be public, and connections go to the very addresses that were checked: a
    name that answers another one later gains nothing. With a guard the environment's proxies are not used, as
    they would resolve names on their own.

    Args:
        allow_networks: Networks in CIDR notation that may be reached although they are not public, each with a port:
            `10.20.0.0/16:9000`, `[fd00::/8]:9000`. For an address of NAT64, 6to4 or Teredo its own network and the
            IPv4 address in it both count.
        allow_hosts: Names of hosts that may be reached whatever their addresses are, each with a port:
            `minio.internal:9000`; `*.minio.internal:9000` means all names below it.

    Without a port, only the default port of the URL's scheme is allowed, 80 or 443; `:*` allows every port.

    Raises:
        ConfigurationError: One is no network or no name.

    Example:
        >>> ResultsWriter(guard=AddressGuard(allow_networks=["10.20.0.0/16"], allow_hosts=["minio.internal:9000"]))
    """

    allow_networks: tuple[AllowedNetwork, ...] = field(default=(), converter=_networks)
    allow_hosts: frozenset[AllowedHost] = field(default=(), converter=_hosts)

    def check(self, url: SecretURL) -> None:
        """Refuse what can be refused without the network: addresses in the URL itself, and the machine's own names.

        Raises:
            AddressNotAllowedError: The host is not public.
            InvalidTargetError: No host can have such a name.
        """
        if self._allows(url):
            return
        host = host_name(url)
        address = ip_literal(host)
        if is_local_name(host):
            if any(self._block(own, url) for own in LOOPBACK):
                raise _refusal(url, "is this machine itself", f"--allow-host {option_value(host, url)}")
        elif address is not None:
            if "%" in host:
                raise _refusal(url, "has an address of one network interface", "--allow-network, without the '%'")
            if block := self._block(address, url):
                option = f"--allow-network {_network_of(address, block, url)}"
                raise _refusal(url, f"is not public ({block.name})", option)

    def resolve(self, url: SecretURL, deadline: float) -> Addresses:
        """Return the addresses of a URL's host when every one of them may be reached.

        Args:
            url: Where to.
            deadline: When to give up, by the monotonic clock.

        Raises:
            AddressNotAllowedError: One may not.
            OSError: The host has no address, or the system didn't answer in time.
        """
        self.check(url)
        found = connect.resolve(url, deadline)
        if self._allows(url):
            return found
        for *_, place in found:
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if block := self._block(address, url):
                # The error's text may go to a stranger, for whom a name inside must not lead to its address.
                _log.warning("%s leads to %s (%s): nothing is sent there.", url, address, block.name)
                option = f"--allow-host {option_value(host_name(url), url)}"
                raise _refusal(url, "leads to an address that is not public", option, resolved=True)
        return found

    def _allows(self, url: SecretURL) -> bool:
        return any(host.has(url) for host in self.allow_hosts)

    def _block(self, address: Address, url: SecretURL) -> Block | None:
        """Return why an address may not be reached; None when it may."""
        for each in (address, *embedded(address)):
            block = special(each)
            if block and not any(network.has(each, url) for network in self.allow_networks):
                return block
        return None


def _network_of(address: Address, block: Block, url: SecretURL) -> str:
    if any(embedded(address)):
        return "with its network, and with that of the IPv4 address in it"
    return option_value(str(block.network if block.name == "loopback" else address), url)


def _refusal(url: SecretURL, problem: str, option: str, *, resolved: bool = False) -> AddressNotAllowedError:
    return AddressNotAllowedError(
        f"{url} {problem}; nothing was sent.",
        hint=f"Give a public one, or let the service's operator allow it: {option} (in code: AddressGuard).",
        url=str(url),
        resolved=resolved,
    )
