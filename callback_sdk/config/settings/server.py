"""Settings of the HTTP server: its addresses, proxies and connections."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import PROXY_NETWORKS, networks_or_none, one_of, path_prefix, public_url, whole_number

HOST = Setting(
    "HOST",
    str.strip,
    "a host name or an IP address",
    "Address to listen on.",
    default="127.0.0.1",
    shown_default="127.0.0.1",
    option="--host",
    metavar="HOST",
)
PORT = Setting(
    "PORT",
    whole_number(0, 65535),
    "a whole number from 0 to 65535",
    "Port to listen on; 0 takes a free one.",
    default=8000,
    shown_default="8000",
    option="--port",
    metavar="PORT",
)
PUBLIC_URL = Setting(
    "PUBLIC_URL",
    public_url,
    "an http or https URL without a query, such as https://jobs.example.org",
    "URL at which clients reach the service, for the URLs of tasks in webhooks.",
    shown_default="the address that it listens on",
    option="--public-url",
    metavar="URL",
)
TRUSTED_PROXIES = Setting(
    "TRUSTED_PROXIES",
    networks_or_none,
    PROXY_NETWORKS,
    "Network of trusted reverse proxies, whose X-Forwarded-For, -Proto, -Host and -Prefix count; none for no proxies.",
    default=("127.0.0.1/32", "::1/128"),
    shown_default="loopback",
    option="--trusted-proxy",
    metavar="CIDR",
    repeatable=True,
)
PROXY_HEADERS = Setting(
    "PROXY_HEADERS",
    one_of("x-forwarded", "forwarded"),
    "x-forwarded or forwarded",
    "Headers that the trusted reverse proxies set: X-Forwarded-*, or Forwarded (RFC 7239). The others are ignored.",
    default="x-forwarded",
    shown_default="x-forwarded",
    option="--proxy-headers",
    metavar="x-forwarded|forwarded",
)
ROOT_PATH = Setting(
    "ROOT_PATH",
    path_prefix,
    "a path such as /jobs, other than /ui and /api/v2",
    "Path prefix at which a reverse proxy publishes the service, such as /jobs.",
    default="",
    shown_default="none, or X-Forwarded-Prefix of a trusted proxy",
    option="--root-path",
    metavar="PATH",
)
MAX_CONNECTIONS = Setting(
    "MAX_CONNECTIONS",
    whole_number(8, 999_999),
    "a whole number from 8 to 999999",
    "Maximum number of connections; never more than half of the limit on open files.",
    default=1000,
    shown_default="1000",
    option="--max-connections",
    metavar="N",
)
MAX_CONNECTIONS_PER_ADDRESS = Setting(
    "MAX_CONNECTIONS_PER_ADDRESS",
    whole_number(1, 999_999),
    "a whole number from 1 to 999999",
    "Maximum number of connections from one IPv4 address or IPv6 /64 network.",
    default=200,
    shown_default="200",
    option="--max-connections-per-address",
    metavar="N",
)
MAX_REQUEST_BYTES = Setting(
    "MAX_REQUEST_BYTES",
    whole_number(1, 999_999_999),
    "a number of bytes up to 999999999",
    "Maximum size of a request.",
    default=256 * 1024 * 1024,
    shown_default="268435456",
    option="--max-request-bytes",
    metavar="BYTES",
)
