"""Redirects of AIStore: whatever servers answer, credentials stay in the cluster, and requests are the caller's."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.cluster import Answer, Cluster, UnknownNodes
from callback_sdk.aistore.endpoints import METHODS, redirecting_methods
from callback_sdk.aistore.requests import RedirectFollower
from callback_sdk.errors import AIStoreError

PATH = "/s3/b/k"
KNOWN = ("proxy:8080", "proxy:9", "node:8081")
SECRETS = {"Authorization": "Bearer MARKER", "X-Amz-Security-Token": "MARKER", "Cookie": "MARKER"}
MAPS = (
    (200, json.dumps({"tmap": {"t": {"public_net": {"direct_url": "http://node:8081"}}}}).encode()),
    (403, b'{"status": 403}'),
    (404, b""),
    (0, b""),
)

hosts = st.sampled_from(
    [
        *KNOWN,
        "node:1",
        "10.0.0.5:8081",
        "evil",
        "proxy.evil:8080",
        "169.254.169.254",
        "localhost",
        "[::1]:8081",
        "u@evil",
    ]
)
other_paths = st.sampled_from(
    ["/s3/b/k/", "/s3/b/../c", "/latest/meta-data/", "", "/s3/b/%6B", "/s3/other/k", "/MARKER"]
)
schemes = st.sampled_from(["http://", "http://", "//", "https://", "ftp://"])
of_aistore = st.builds("{}{}{}?x={}".format, schemes, hosts, st.just(PATH), st.integers(0, 9))
of_others = st.builds("{}{}{}?x={}".format, schemes, hosts, other_paths, st.integers(0, 9)) | st.text(max_size=12)
redirects = st.tuples(st.sampled_from([301, 302, 307, 308]), of_aistore | of_aistore | of_others | st.none())
answers = st.lists(
    redirects | redirects | st.tuples(st.sampled_from([200, 403, 500]), st.none()), min_size=1, max_size=5
)


OUT = (307, f"http://10.0.0.5:8081{PATH}")


class Server:
    """Sends prepared responses, and records what it gets."""

    http_session = None

    def __init__(self, responses: list[tuple[int, str | None]]) -> None:
        self._responses = list(responses)
        self.got: list[tuple[str, dict[str, str]]] = []

    def make_request(self, operation_model: Any, request_dict: dict[str, Any]) -> Any:
        for attempt in range(1, 30):
            response = self._send(self.create_request(request_dict, operation_model))
            if not self._needs_retry(attempt, operation_model, request_dict, (response, {}), None):
                return response
        raise AssertionError("The request was sent endlessly.")

    def create_request(self, params: dict[str, Any], operation_model: Any = None) -> Any:
        return SimpleNamespace(url=params["url"], headers=dict(SECRETS))

    def _send(self, request: Any) -> Any:
        self.got.append((request.url, dict(request.headers)))
        status, location = self._responses.pop(0) if self._responses else (200, None)
        return SimpleNamespace(status_code=status, headers={} if location is None else {"location": location})

    def _needs_retry(self, *_: Any) -> Any:
        return False


@define
class Follower(RedirectFollower):
    """Gets the map without a request."""

    smap: Answer = field(kw_only=True)

    def _ask(self, *_: Any) -> Answer:
        return self.smap


@example([OUT, (307, f"http://proxy:9{PATH}")], MAPS[1], "auto", "MARKER", None)
@example([OUT, (307, "http://proxy:9/s3/other/k")], MAPS[1], "auto", None, None)
@settings(max_examples=400)
@given(
    answers,
    st.sampled_from(MAPS),
    st.sampled_from(["auto", "follow", "reject"]),
    st.sampled_from([None, "MARKER"]),
    st.sampled_from([None, ("node",)]),
)
def test_credentials_stay_in_the_cluster(
    responses: list[tuple[int, str | None]],
    smap: Answer,
    unknown_nodes: UnknownNodes,
    token: str | None,
    allow_hosts: tuple[str, ...] | None,
) -> None:
    """Hosts outside of it get the caller's path at most; there is an end, and a typed error."""
    cluster = Cluster("http://proxy:8080", allow_hosts=allow_hosts, unknown_nodes=unknown_nodes)
    follower = Follower(cluster, 3, None if token is None else Bearer(token), smap=smap)
    methods = redirecting_methods({name: getattr(Server, name) for name in METHODS}, lambda *_: follower)
    server = type("Following", (Server,), methods)(responses)
    with contextlib.suppress(AIStoreError):
        server.make_request(None, {"url": f"http://proxy:8080{PATH}?x=first", "context": {}, "body": b"x"})
    assert len(server.got) <= 4
    outside = False
    for url, headers in server.got:
        parts = urlsplit(url)
        known = parts.hostname in ("proxy", "node") if allow_hosts else parts.netloc in KNOWN
        outside = outside or not known
        if outside:
            # What an outsider redirects to is no more trusted.
            assert not set(headers) & set(SECRETS)
            assert parts.path == PATH
            assert unknown_nodes != "reject"
            assert parts.hostname not in ("localhost", "169.254.169.254", "::1")
