"""Settings that decide what is a target, and which targets may be reached."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import (
    CLUSTERS,
    ENDPOINTS,
    HOSTS,
    NETWORKS,
    clusters,
    direct_places,
    networks,
    one_of,
    proxy_url,
    words,
)

ALLOW_NETWORKS = Setting(
    "ALLOW_NETWORKS",
    networks,
    NETWORKS,
    "Private network that callbacks may reach, such as 10.20.0.0/16:9000 or [fd00::/8]:9000. Without a port: "
    "ports 80 (http) and 443 (https); with :*: every port.",
    default=(),
    option="--allow-network",
    metavar="CIDR[:PORT]",
    repeatable=True,
)
ALLOW_HOSTS = Setting(
    "ALLOW_HOSTS",
    words,
    HOSTS,
    "Host that callbacks may reach regardless of its address, such as minio.internal:9000, or *.NAME for all below it. "
    "Ports as above.",
    default=(),
    option="--allow-host",
    metavar="HOST[:PORT]",
    repeatable=True,
)
STORAGE_ENDPOINTS = Setting(
    "STORAGE_ENDPOINTS",
    words,
    ENDPOINTS,
    "URL of a self-hosted object store, so that unsigned URLs there are rejected.",
    default=(),
    option="--storage-endpoint",
    metavar="URL",
    repeatable=True,
)
AISTORE_CLUSTERS = Setting(
    "AISTORE_CLUSTERS",
    clusters,
    CLUSTERS,
    "AIStore clusters: `PROXY`, or `PROXY=SOURCE` with AuthN. PROXY is a URL such as `http://aistore:8080`. SOURCE is "
    "a token, the absolute path of a file with one, or AuthN's URL with user name and password. Uploads follow "
    "redirects to all nodes.",
    default=(),
    secret=True,
)
BUCKET = Setting("BUCKET", str.strip, "the name of a bucket", "Bucket of presigned targets.")
REGION = Setting("REGION", str.strip, "the name of a region, such as eu-central-1", "Region of that bucket.")
CALLBACK_PROXY = Setting(
    "CALLBACK_PROXY",
    proxy_url,
    "http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with special characters encoded",
    "Proxy that deliveries go through, with CONNECT to addresses that were checked. Put a URL with a password into the "
    "variable; set it for workers too.",
    shown_default="none",
    secret=True,
    option="--callback-proxy",
    metavar="URL",
)
CALLBACK_NO_PROXY = Setting(
    "CALLBACK_NO_PROXY",
    direct_places,
    "names of hosts, networks in CIDR notation, either with a port, or *, separated by commas or spaces",
    "Host, with all names below it, or network that deliveries reach without the proxy. Loopback always is.",
    default=(),
    option="--callback-no-proxy",
    metavar="HOST|CIDR",
    repeatable=True,
)
CALLBACK_PROXY_DNS = Setting(
    "CALLBACK_PROXY_DNS",
    one_of("local", "proxy"),
    "local or proxy",
    "Where names of targets are resolved. With proxy, the proxy has to reject private addresses itself: only literal "
    "ones are checked here.",
    default="local",
    shown_default="local",
    option="--callback-proxy-dns",
    metavar="local|proxy",
)
