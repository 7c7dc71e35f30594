"""Attacks on access control: connections, logins, tokens, sessions and quotas of a service in another process."""

from __future__ import annotations

import json
import math
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from typing import Any

import pytest
import requests

from callback_sdk.redaction import Secret
from callback_sdk.service.access.passwords import hash_password
from callback_sdk.service.store import Store, open_database
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from callback_sdk.service.store.users import UserError
from tests.topology import Topology, wait_until

API = "/api/v2"
PASSWORD = "a password of somebody"
MARKER = "MARKER3f9a"
SETTINGS = {"LOG_FORMAT": "json", "MAX_BYTES": "1MiB"}
REGISTRY = "engine_jobs:registry"


class Visitor:
    """A client that sends requests from one loopback address."""

    def __init__(self, topology: Topology, source: str = "127.0.0.1") -> None:
        self.address = (topology.data / "address").read_text().strip()
        self._source = source
        self._admin = (topology.data / "token").read_text().strip()

    def connect(self) -> socket.socket:
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=60, source_address=(self._source, 0))

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request over a new connection."""
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", _From(self._source))
            options.setdefault("allow_redirects", False)
            return session.request(method, self.address + path, timeout=60, **options)

    def as_admin(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.ask(method, path, headers={"Authorization": f"Bearer {self._admin}"}, **options)

    def log_in(self, name: str, password: str) -> requests.Response:
        return self.ask("POST", f"{API}/token/", json={"username": name, "password": password})

    def log_in_to_pages(self, **fields: str) -> requests.Response:
        return self.ask("POST", "/ui/login", data=fields)

    def page(self, cookies: Any) -> int:
        """Return the status of a page: 200, or 303 for a redirect to the login page."""
        return self.ask("GET", "/ui/tasks", cookies=cookies).status_code


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
    with Topology(folder, REGISTRY, processes=1, open_files=160, settings=SETTINGS) as topology:
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
                wait_until(lambda: answers(topology, "/healthz"), what="an answer")
                wait_until(lambda: answers(topology, f"{API}/algorithms"), what="an answer to a user")
    assert len(topology.log) - before < 10_000


def answers(topology: Topology, path: str) -> bool:
    """Return whether a request succeeds. A full service may reset a new connection; clients try again."""
    try:
        return Visitor(topology).as_admin("GET", path).status_code == 200
    except requests.ConnectionError:
        return False


def add_user(topology: Topology, name: str) -> None:
    """Add a user to the service's database directly, which is faster than a command."""
    url = Secret(f"sqlite:///{topology.data / 'store.sqlite3'}")
    store = Store(open_database(url), CredentialCipher(ensure_keys(topology.data / "keys")))
    try:
        store.users.add(name, password_hash=hash_password(Secret(PASSWORD)))
    finally:
        store.close()


def audited(topology: Topology, action: str) -> list[dict[str, Any]]:
    """Return the records of the audit log with an action."""
    lines = [json.loads(line) for line in topology.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("action") == action]


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is loopback on Linux only")
def test_guessers_are_delayed_and_the_owner_is_not(topology: Topology) -> None:
    """Sixteen concurrent guesses at the API and the web UI; the owner logs in from another address."""
    add_user(topology, "anna")
    guesser, owner = Visitor(topology, "127.0.0.2"), Visitor(topology, "127.0.0.3")
    before = guesser.log_in("anna", PASSWORD).json()["access"]

    def guess(number: int) -> int:
        if number % 2:
            return guesser.log_in("anna", f"{MARKER} guess {number}").status_code
        return guesser.log_in_to_pages(username="anna", password=f"{MARKER} guess {number}").status_code

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        guesses = [pool.submit(guess, number) for number in range(48)]
        assert owner.log_in("anna", PASSWORD).status_code == 200
        assert owner.log_in_to_pages(username="anna", password=PASSWORD).status_code == 303
        statuses = Counter(one.result() for one in guesses)
    assert set(statuses) == {401, 429}
    # On a busy machine some delays pass meanwhile, each twice as long as the one before.
    assert statuses[401] < 10 + math.log2(1 + time.monotonic() - began)
    # If another one has just passed, this guess begins the next.
    statuses[guess(48)] += 1
    refused = guesser.log_in("anna", PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert guesser.ask("GET", f"{API}/algorithms", headers={"Authorization": f"Bearer {before}"}).status_code == 200
    failed = [record for record in audited(topology, "login-failed") if record["user"] == "anna"]
    assert len(failed) == statuses[401]
    assert {(record["address"], record["via"]) for record in failed} <= {("127.0.0.2", "api"), ("127.0.0.2", "pages")}
    assert {record["address"] for record in audited(topology, "login")} == {"127.0.0.2", "127.0.0.3"}
    assert MARKER not in topology.log


def test_user_input_forges_no_log_records(topology: Topology) -> None:
    """User names of unknown accounts are not logged at all, because they may be passwords in the wrong field."""
    stranger = Visitor(topology, "127.0.0.4")
    answer = stranger.log_in_to_pages(username=f"{MARKER}\n2026-01-01 INFO login user=admin\x1b[2J", password="x")
    assert answer.status_code == 401
    assert stranger.log_in(f"{MARKER} in the wrong field", "x").status_code == 401
    assert stranger.log_in_to_pages(token=f"cbk_{MARKER}").status_code == 401
    forwarded = {"X-Forwarded-For": f"{MARKER}\x1b[2J"}
    proxied = Visitor(topology).ask("POST", "/ui/login", data={"username": "admin", "password": "x"}, headers=forwarded)
    assert proxied.status_code == 401
    assert {record.get("user") for record in audited(topology, "login-failed")} <= {None, "admin", "anna"}
    assert "\\x1b" in topology.log
    assert "\x1b" not in topology.log.replace("\\x1b", "")


def test_a_logout_invalidates_every_copy_of_a_cookie(topology: Topology) -> None:
    """Other sessions of the same user stay valid."""
    visitor = Visitor(topology)
    token = (topology.data / "token").read_text().strip()
    stolen, other = (visitor.log_in_to_pages(token=token).cookies.get_dict() for _ in range(2))
    assert (visitor.page(stolen), visitor.page(other)) == (200, 200)
    shown = visitor.ask("GET", "/ui/tasks", cookies=stolen).text
    csrf = re.search('name="csrf" value="([^"]+)"', shown)
    assert csrf is not None
    assert visitor.ask("POST", "/ui/logout", data={"csrf": csrf[1]}, cookies=stolen).status_code == 303
    assert (visitor.page(stolen), visitor.page(other)) == (303, 200)
    assert audited(topology, "logout")


@pytest.mark.parametrize("command", [("create-token", "bert", "--revoke"), ("set-password", "bert")])
def test_revoked_tokens_and_new_passwords_end_sessions(topology: Topology, command: tuple[str, ...]) -> None:
    """Refresh tokens, access tokens and pages of the user, at once."""
    visitor = Visitor(topology)
    with suppress(UserError):
        add_user(topology, "bert")
    pair = visitor.log_in("bert", PASSWORD).json()
    cookies = visitor.log_in_to_pages(username="bert", password=PASSWORD).cookies.get_dict()
    assert visitor.page(cookies) == 200
    topology.run("users", *command, stdin=f"{PASSWORD}\n")
    assert visitor.ask("POST", f"{API}/token/refresh/", json={"refresh": pair["refresh"]}).status_code == 401
    assert visitor.ask("POST", f"{API}/token/verify/", json={"token": pair["access"]}).status_code == 401
    assert visitor.page(cookies) == 303
    assert visitor.log_in("bert", PASSWORD).status_code == 200


def test_the_storage_quota_is_enforced(topology: Topology) -> None:
    """Features above the whole quota are a 413, and features above the rest of the quota a 429 with a hint."""
    admin, path = Visitor(topology), f"{API}/algorithms/sum/predict"
    large = {"features": ("f", json.dumps({"a": [0] * 500_000}))}
    answer = admin.as_admin("POST", path, files=large)
    assert answer.status_code == 413, answer.text
    small = {"features": ("f", '{"a": [1]}'), "parameters": ("p", json.dumps({"x": "x" * 400_000}))}
    answers = [admin.as_admin("POST", path, files=small) for _ in range(3)]
    assert [one.status_code for one in answers] == [202, 202, 429]
    assert "CALLBACK_SDK_MAX_BYTES" in answers[-1].json()["error"]
    assert int(answers[-1].headers["retry-after"]) > 0


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
def test_no_response_is_sniffed_or_cached(topology: Topology, path: str) -> None:
    """Every response has `nosniff`; only static files may be cached."""
    answer = Visitor(topology).ask("GET", path)
    assert answer.status_code == PATHS[path]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == ("max-age=3600" if "/static/" in path else "no-store")
