"""Parsers of setting values, and descriptions of the valid values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from callback_sdk.errors import ConfigurationError
from callback_sdk.parsing import DURATION_FORMAT, parse_duration
from callback_sdk.redaction import Secret, SecretURL

BOOL = "1, true, yes, on, or 0, false, no, off"
DURATION = f"a duration: {DURATION_FORMAT}"
ENDPOINTS = "the URLs of object stores, separated by commas or spaces"
NETWORKS = (
    "networks in CIDR notation, with a port that isn't the scheme's own, such as 10.20.0.0/16:9000 or [fd00::/8]:9000, "
    "separated by commas or spaces"
)
PROXY_NETWORKS = "networks in CIDR notation, such as 10.0.5.0/24, separated by commas or spaces, or none"
HOSTS = "names of hosts, with a port that isn't the scheme's own, such as minio:9000, separated by commas or spaces"
CLUSTERS = (
    "the URLs of proxies of AIStore, each alone or followed by = and a token, the absolute path of a file with one, or "
    "AuthN's URL with user name and password, separated by commas or spaces"
)
DIRECTORY = "the path of a directory"
DATABASE_URLS = "sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/NAME"
BROKER_URLS = "amqp://USER:PASSWORD@HOST/VHOST, or redis://:PASSWORD@HOST:PORT/0"
LEASES = f"a duration of 4 s or more: {DURATION_FORMAT}"
RATES = "a number per s, min or h, such as 10/s or 30/min"
DURATIONS = "durations such as 5s 30s 2m, separated by commas or spaces"


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`, both inclusive."""

    def parse(text: str) -> int:
        # int() also accepts "1_000" and the digits of other scripts.
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts only the given choices."""

    def parse(text: str) -> str:
        if text.strip() not in choices:
            raise ValueError(text)
        return text.strip()

    return parse


_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.:-]{0,99}")


def words(text: str) -> tuple[str, ...]:
    """Split a text at commas and whitespace."""
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def device_ids(text: str) -> tuple[str, ...]:
    """Parse ids of devices: their numbers or UUIDs, as in CUDA_VISIBLE_DEVICES."""
    found = words(text)
    if len(set(found)) < len(found) or not all(map(_DEVICE.fullmatch, found)):
        raise ValueError(text)
    return found


def public_url(text: str) -> str:
    """Parse the URL of a service, without a slash at its end."""
    parts = urlsplit(text.strip())
    # Reading the port validates it.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(text)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(text)
    return text.strip().rstrip("/")


_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,100}){1,10}")
_OWN_PATHS = ("/ui", "/api/v2")
"""Paths of the service: below such a prefix, a path could not be told from one without it."""


def is_path_prefix(text: str) -> bool:
    """Return whether a path can be the prefix of all paths of a service: `/jobs`, `/tools/jobs`."""
    is_own = any(f"{path}/".startswith(f"{text}/") or text.startswith(f"{path}/") for path in _OWN_PATHS)
    return _PREFIX.fullmatch(text) is not None and not is_own and not {".", ".."}.intersection(text.split("/"))


def path_prefix(text: str) -> str:
    """Parse the path prefix of a service, without a slash at its end; empty for `/`."""
    prefix = text.strip().rstrip("/")
    if prefix and not is_path_prefix(prefix):
        raise ValueError(text)
    return prefix


def names(text: str) -> tuple[str, ...]:
    """Parse names of environment variables."""
    found = words(text)
    # NAME=VALUE matches no variable. The error doesn't quote it, because the value may be a secret.
    if any("=" in name for name in found):
        raise ValueError(text)
    return found


def networks(text: str) -> tuple[str, ...]:
    """Parse networks in CIDR notation."""
    # Imported here because only a few commands need it.
    from callback_sdk.transport.allowlist import AllowedNetwork

    return tuple(str(AllowedNetwork.parse(word)) for word in words(text))


def networks_or_none(text: str) -> tuple[str, ...]:
    """Parse networks without ports; "none" is an empty list, because an empty variable counts as not set.

    Raises:
        ValueError: An item is not a network in CIDR notation.
    """
    from callback_sdk.transport.addresses import parse_network

    return () if text.strip().lower() == "none" else tuple(str(parse_network(word)) for word in words(text))


def clusters(text: str) -> tuple[tuple[str, Secret[str]], ...]:
    """Parse AIStore clusters, `PROXY` or `PROXY=SOURCE`: URLs, and where their tokens are from.

    Raises:
        ValueError: The URL of a proxy is invalid.
    """
    from callback_sdk.targets.aistore import parse_cluster

    found = tuple((word.partition("=")[0], Secret(word.partition("=")[2])) for word in words(text))
    try:
        for url, _ in found:
            parse_cluster(url)
    except ConfigurationError:
        # The error of a setting names the variable and what it takes.
        raise ValueError(text) from None
    return found


def durations(text: str) -> tuple[timedelta, ...]:
    """Parse durations such as `5s 30s 2m`."""
    return tuple(parse_duration(word) for word in words(text))


_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*/\s*(s|min|h)", re.ASCII)
_RATE_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def rate(text: str) -> float:
    """Parse a rate such as `30/min`, and return it per second.

    Raises:
        ValueError: The text is not a rate, or the rate is below one per hour.
    """
    match = _RATE.fullmatch(text.strip())
    found = float(match[1]) / _RATE_UNITS[match[2]] if match else 0.0
    if found < 1 / 3600:
        raise ValueError(text)
    return found


def lease(text: str) -> timedelta:
    """Parse a lease of at least 4 s: there are four heartbeats per lease, and a worker checks its claims every second.

    Raises:
        ValueError: The text is not a duration, or the duration is too short.
    """
    duration = parse_duration(text)
    if duration < timedelta(seconds=4):
        raise ValueError(text)
    return duration


def secret(text: str) -> Secret[str]:
    """Parse a credential."""
    return Secret(text.strip())


def secrets(text: str) -> tuple[Secret[str], ...]:
    """Parse credentials separated by commas or spaces."""
    return tuple(Secret(word) for word in words(text))


def proxy_url(text: str) -> SecretURL:
    """Parse the URL of an HTTP proxy."""
    from callback_sdk.transport.delivery_proxy import read_proxy

    try:
        return read_proxy(text)
    except ConfigurationError:
        # The error of a setting names the variable and what it takes.
        raise ValueError(text) from None


def direct_places(text: str) -> tuple[str, ...]:
    """Parse hosts and networks that are reached without a proxy."""
    from callback_sdk.transport.delivery_proxy import DirectPlace

    for word in words(text):
        DirectPlace.parse(word)
    return words(text)


def secret_url(text: str) -> SecretURL:
    """Parse a URL that is a credential."""
    return SecretURL(text.strip())
