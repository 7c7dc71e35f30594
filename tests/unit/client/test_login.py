"""Logging in: when a name and a password get a token, and when they get another one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk import compat
from callback_sdk.client import Client, login
from callback_sdk.client.responses import ServiceResponse
from callback_sdk.compat import get_instance
from callback_sdk.errors import AuthenticationError, ConfigurationError, ServiceError
from callback_sdk.redaction import Secret
from tests.forks import in_child
from tests.unit.client.fake import FakeService, Say, Seen
from tests.unit.client.jobs import ACCEPTED, DATA, PREDICT, TOKEN, shown

PASSWORD = "password-4711-that-nobody-may-see"
TASK = "/algorithms/tasks/42"


def pair(number: int) -> dict[str, str]:
    return {"access": f"access-{number}", "refresh": f"refresh-{number}"}


@pytest.fixture
def named(service: Any, clean_environment: pytest.MonkeyPatch) -> Iterator[Client]:
    """Return a client with a user name and a password, for a service that accepts them."""
    service.on("POST", "/token/", *(service.Say(data=pair(number)) for number in (1, 2)))
    service.on("GET", TASK, service.Say(data=ACCEPTED))
    with Client(service.url, username="anna", password=PASSWORD, retries=0, timeout=timedelta(minutes=1)) as made:
        yield made


def sent(service: Any) -> list[tuple[str, str | None]]:
    """Return the last part of each request's path, and its token."""
    return [
        (seen.path.removeprefix("/api/v2"), seen.headers.get("authorization", "").removeprefix("Bearer ") or None)
        for seen in service.requests
    ]


def test_the_first_call_logs_in(named: Client, service: Any) -> None:
    """The password is sent once, and the returned token is used from then on."""
    assert service.requests == []
    named.get_task("42")
    named.get_task("42")
    assert sent(service) == [("/token/", None), (TASK, "access-1"), (TASK, "access-1")]
    assert json.loads(service.requests[0].body) == {"username": "anna", "password": PASSWORD}


def test_a_refused_token_is_refreshed(named: Client, service: Any) -> None:
    """After a 401 the refresh token gets another access token, and the request is made again."""
    service.on("GET", TASK, service.Say(401), service.Say(data=ACCEPTED))
    service.on("POST", "/token/refresh/", service.Say(data={"access": "access-9"}))
    assert named.get_task("42").job_id == "42"
    assert sent(service)[1:] == [(TASK, "access-1"), ("/token/refresh/", None), (TASK, "access-9")]
    assert json.loads(service.requests[2].body) == {"refresh": "refresh-1"}


def test_a_rejected_refresh_token_causes_a_login(named: Client, service: Any) -> None:
    """If the refresh token has expired too, the client logs in with the password once."""
    service.on("GET", TASK, service.Say(401), service.Say(data=ACCEPTED))
    service.on("POST", "/token/refresh/", service.Say(401))
    assert named.get_task("42").job_id == "42"
    assert sent(service)[1:] == [(TASK, "access-1"), ("/token/refresh/", None), ("/token/", None), (TASK, "access-2")]


def test_a_second_401_is_an_error(named: Client, service: Any) -> None:
    """The client doesn't retry endlessly."""
    service.on("GET", TASK, service.Say(401, {"error": "The user is disabled."}))
    service.on("POST", "/token/refresh/", service.Say(data={"access": "access-9"}))
    with pytest.raises(AuthenticationError, match="The user is disabled") as caught:
        named.get_task("42")
    assert len(service.requests) == 4
    assert not any(secret in shown(caught.value) for secret in (PASSWORD, "access-1", "access-9", "refresh-1"))


def test_a_wrong_password_is_an_error(named: Client, service: Any) -> None:
    """The hint names the settings; no message contains the password, even if the service quotes it."""
    service.on("POST", "/token/", service.Say(401, {"error": f"Not {PASSWORD}."}))
    with pytest.raises(AuthenticationError, match=r"Not \*\*\*\. .*CALLBACK_SDK_PASSWORD") as caught:
        named.get_task("42")
    assert PASSWORD not in shown(caught.value)


def test_a_form_is_sent_again_after_a_login(named: Client, service: Any) -> None:
    """A task with a rejected token is submitted with the next token."""
    service.on("POST", PREDICT, service.Say(401), service.Say(202, ACCEPTED))
    service.on("POST", "/token/refresh/", service.Say(data={"access": "access-9"}))
    assert named.run_algorithm("an-algorithm", DATA).job_id == "42"
    first, second = (seen for seen in service.requests if seen.path.endswith("/predict"))
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_a_token_is_refreshed_before_it_expires(named: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is about to expire isn't used for another upload."""
    monkeypatch.setattr(login, "_ACCESS_TOKEN_SECONDS", 0.0)
    service.on("POST", "/token/refresh/", service.Say(data={"access": "access-9"}))
    named.get_task("42")
    named.get_task("42")
    assert sent(service)[1:] == [(TASK, "access-1"), ("/token/refresh/", None), (TASK, "access-9")]


def test_a_login_is_retried_after_a_lost_connection(service: Any, clean_environment: Any) -> None:
    """A login may be retried, because a second one has no side effects."""
    service.on("POST", "/token/", service.Say(drop=True), service.Say(500), service.Say(data=pair(1)))
    service.on("GET", TASK, service.Say(data=ACCEPTED))
    with Client(service.url, username="anna", password=PASSWORD) as client:
        assert client.get_task("42").job_id == "42"


def test_concurrent_threads_log_in_once(named: Client, service: Any) -> None:
    """Calls during a login wait for its token."""
    threads = [threading.Thread(target=named.get_task, args=("42",)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.paths("POST") == ["/api/v2/token/"]
    assert len(service.paths("GET")) == 10


def test_threads_refresh_once() -> None:
    """Threads with a rejected token use the token that another thread has requested."""
    posted: list[str] = []

    def post(path: str, data: Secret[dict[str, str]]) -> ServiceResponse:
        posted.append(path)
        return ServiceResponse(pair(len(posted)))

    credentials = login.Login("anna", Secret(PASSWORD))
    first = credentials.token(post)
    second = credentials.renew(first, post)
    assert second == Secret("access-2")
    assert credentials.renew(first, post) is second
    assert posted == ["/token/", "/token/refresh/"]


@pytest.mark.parametrize("data", [[], {}, {"access": 7, "refresh": "x"}, {"access": "x"}, None])
def test_a_response_without_tokens_is_an_error(named: Client, service: Any, data: Any) -> None:
    """A server with another API isn't reported as a wrong password."""
    service.on("POST", "/token/", service.Say(data=data))
    with pytest.raises(ServiceError, match="login has no"):
        named.get_task("42")


def test_a_static_token_is_not_renewed(client: Client, service: Any) -> None:
    """Its rejection is an error at once."""
    service.on("GET", TASK, service.Say(401))
    with pytest.raises(AuthenticationError):
        client.get_task("42")
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("environment", "arguments", "used"),
    [
        ({"USERNAME": "anna", "PASSWORD": PASSWORD}, {}, "access-1"),
        ({"USERNAME": "anna", "PASSWORD": PASSWORD, "TOKEN": TOKEN}, {}, TOKEN),
        ({"PASSWORD": PASSWORD}, {"username": "anna"}, "access-1"),
        ({"TOKEN": TOKEN}, {"username": "anna", "password": PASSWORD}, "access-1"),
        ({"USERNAME": "anna", "PASSWORD": PASSWORD}, {"token": TOKEN}, TOKEN),
    ],
)
def test_precedence_of_credentials(
    service: Any,
    clean_environment: pytest.MonkeyPatch,
    environment: dict[str, str],
    arguments: dict[str, str],
    used: str,
) -> None:
    """Arguments have precedence over the environment, and a token over a user name."""
    for name, value in environment.items():
        clean_environment.setenv(f"CALLBACK_SDK_{name}", value)
    service.on("POST", "/token/", service.Say(data=pair(1)))
    service.on("GET", TASK, service.Say(data=ACCEPTED))
    for make in (Client, get_instance):
        with make(url=service.url, **arguments) as client:
            client.get_task("42")
        assert sent(service)[-1] == (TASK, used)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no token.*username= and password=.*CALLBACK_SDK_USERNAME"),
        ({"username": "anna"}, "no password"),
        ({"password": PASSWORD}, "no username"),
        ({"username": "anna", "password": ""}, "no password"),
        ({"username": "anna", "password": 7}, "password is of type int"),
        ({"username": 7, "password": PASSWORD}, "username is of type int"),
    ],
)
def test_half_a_login_is_an_error(clean_environment: Any, arguments: dict[str, Any], message: str) -> None:
    """The error names the missing setting, and both ways to log in."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        Client("http://h", **arguments)
    assert PASSWORD not in shown(caught.value)


class RotatingService(FakeService):
    """A service with single-use refresh tokens; reuse revokes the session."""

    def __init__(self) -> None:
        super().__init__()
        self.number = self.logins = self.refreshes = self.reuses = 0
        self.valid: set[str] = set()
        self._turn = threading.Lock()

    def answer(self, seen: Seen) -> Say:
        with self._turn:
            self.requests.append(seen)
            if seen.path.endswith("/token/"):
                self.logins += 1
                return self._pair()
            if seen.path.endswith("/token/refresh/"):
                self.refreshes += 1
                if json.loads(seen.body)["refresh"] != f"refresh-{self.number}":
                    self.reuses += 1
                    self.valid.clear()
                    return Say(401)
                return self._pair()
            token = seen.headers["authorization"].removeprefix("Bearer ")
            return Say(data=ACCEPTED) if token in self.valid else Say(401)

    def _pair(self) -> Say:
        self.number += 1
        self.valid = {f"access-{self.number}"}
        return Say(data=pair(self.number))


@pytest.fixture
def rotating(clean_environment: pytest.MonkeyPatch) -> Iterator[RotatingService]:
    """Run a service that rotates refresh tokens."""
    service = RotatingService()
    yield service
    service.close()


def test_rotated_refresh_tokens_are_used_once(rotating: RotatingService) -> None:
    """Threads with the same rejected access token refresh it once, and later with the new refresh token."""
    barrier = threading.Barrier(16)
    with Client(rotating.url, username="anna", password=PASSWORD, retries=0) as client:

        def ask(_: int) -> str:
            barrier.wait(120)
            return client.get_task("42").job_id

        with ThreadPoolExecutor(16) as pool:
            for _ in range(4):
                assert list(pool.map(ask, range(16))) == ["42"] * 16
                rotating.valid.clear()
    assert (rotating.logins, rotating.refreshes, rotating.reuses) == (1, 3, 0)


def test_a_child_does_not_use_its_parents_refresh_token(rotating: RotatingService) -> None:
    """A process that was forked logs in by itself; its parent's tokens stay good."""
    with Client(rotating.url, username="anna", password=PASSWORD, retries=0) as client:
        client.get_task("42")
        rotating.valid.clear()
        assert in_child(lambda: client.get_task("42").job_id) == "42"
        assert rotating.reuses == 0
        assert rotating.logins == 2


def test_a_child_without_a_password_gets_an_error(rotating: RotatingService) -> None:
    """A refresh token isn't shared with a forked child; the parent continues to use it."""
    with compat.get_instance(token="none", url=rotating.url, token_refresh="refresh-0") as client:

        def ask() -> str:
            with pytest.raises(
                AuthenticationError, match="only the parent process may use the refresh token"
            ) as caught:
                client.get_task("42")
            return caught.value.hint

        assert "Create a client in this process" in in_child(ask)
        assert client.get_task("42").job_id == "42"
        assert rotating.reuses == 0
