"""Settings of boto3 clients for AIStore."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import one_of, whole_number, words

AISTORE_ALLOW_HOSTS = Setting(
    "AISTORE_ALLOW_HOSTS",
    words,
    "names or addresses of hosts, with a port or without, separated by commas or spaces",
    "Hosts that AIStore's redirects may lead to, such as node-1 or 10.0.0.5:8081, instead of the nodes of the "
    "cluster's map.",
    default=(),
)
AISTORE_MAX_REDIRECTS = Setting(
    "AISTORE_MAX_REDIRECTS",
    whole_number(0, 100),
    "a whole number from 0 to 100",
    "Maximum number of redirects of one request.",
    default=3,
    shown_default="3",
)
AISTORE_UNKNOWN_NODES = Setting(
    "AISTORE_UNKNOWN_NODES",
    one_of("auto", "follow", "reject"),
    "auto, follow or reject",
    "Redirects of AIStore to other hosts: follow without credentials, reject, or follow if the cluster's map can't be "
    "read (auto).",
    default="auto",
    shown_default="auto",
)
