"""Attacks on who gets in: connections, log-ins, tokens, sessions and quotas of a service in a process of its own."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import pytest
import requests

from tests.topology import Topology, wait_until

API = "/api/v2"
REGISTRY = "engine_jobs:registry"


class Visitor:
    """Somebody who sends requests from one address of loopback."""

    def __init__(self, topology: Topology, source: str = "127.0.0.1") -> None:
        self.address = (topology.data / "address").read_text().strip()
        self._source = source
        self._admin = (topology.data / "token").read_text().strip()

    def connect(self) -> socket.socket:
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=60, source_address=(self._source, 0))

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request over a connection of its own."""
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", _From(self._source))
            options.setdefault("allow_redirects", False)
            return session.request(method, self.address + path, timeout=60, **options)

    def as_admin(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.ask(method, path, headers={"Authorization": f"Bearer {self._admin}"}, **options)


class _From(requests.adapters.HTTPAdapter):
    def __init__(self, source: str) -> None:
        self._source = source
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, source_address=(self._source, 0))


def status_of(connection: socket.socket) -> int | None:
    """Return the status of an answer; None when the connection ended without one."""
    answer = HTTPResponse(connection)
    try:
        answer.begin()
    except ConnectionError:
        return None
    return answer.status


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service that may open few files."""
    folder = tmp_path_factory.mktemp("access")
    with Topology(folder, REGISTRY, processes=1, open_files=160, settings={"LOG_FORMAT": "json"}) as topology:
        yield topology


@pytest.fixture(autouse=True)
def _unhurt(topology: Topology) -> Iterator[None]:
    """After each attack the service still answers, and nothing happened that it didn't expect."""
    yield
    assert Visitor(topology).ask("GET", "/healthz").status_code == 200
    assert "Traceback" not in topology.log


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is loopback on Linux only")
def test_hundreds_of_idle_connections_leave_room_for_everybody(topology: Topology) -> None:
    """More of them than the service may open files: silent ones, halves of heads, halves of bodies."""
    before = len(topology.log)
    half = b"POST /api/v2/token/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with ExitStack() as stack:
        for number in range(420):
            connection = stack.enter_context(Visitor(topology, f"127.0.0.{2 + number % 4}").connect())
            try:
                connection.sendall([b"", b"GET /hea", half][number % 3])
            except ConnectionError:
                continue
            if number % 60 == 59:
                # Of halves of bodies a full service waits a second for more.
                wait_until(lambda: Visitor(topology).ask("GET", "/healthz").status_code == 200, what="an answer")
                wait_until(lambda: Visitor(topology).as_admin("GET", f"{API}/algorithms").status_code == 200)
    assert len(topology.log) - before < 10_000


PATHS = {
    "/healthz": 200,
    "/readyz": 200,
    "/metrics": 200,
    "/openapi.json": 200,
    "/nothing": 404,
    "/ui/login": 200,
    "/ui/nothing": 404,
    "/ui/tasks": 303,
    "/ui/static/style.css": 200,
    "/": 303,
    f"{API}/algorithms": 401,
    f"{API}/token/": 405,
}


@pytest.mark.parametrize("path", PATHS)
def test_no_response_is_sniffed_or_kept(topology: Topology, path: str) -> None:
    """Whatever is answered, a browser takes it for what it says; only static files may be kept."""
    answer = Visitor(topology).ask("GET", path)
    assert answer.status_code == PATHS[path]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == ("max-age=3600" if "/static/" in path else "no-store")
