"""The connection to the service: retries, timeouts, redirects and proxies."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from callback_sdk.client import BatchItem, Client
from callback_sdk.errors import (
    InvalidRequestError,
    ServiceConnectionError,
    ServiceError,
)
from tests.topology import wait_until
from tests.unit.client.jobs import ACCEPTED, DATA, PREDICT, SIGNATURE, SIGNED, TOKEN, shown


def test_a_passing_error_is_survived(client: Client, service: Any) -> None:
    """A question is asked again after a 503, a CDN's 520 and a lost connection."""
    say = service.Say
    service.on("GET", "/algorithms/tasks/42", say(503), say(520), say(drop=True), say(data=ACCEPTED))
    assert client.get_task("42").job_id == "42"
    assert len(service.requests) == 4


def test_the_retries_are_bounded(service: Any, clean_environment: Any) -> None:
    """After them the last answer counts."""
    service.on("GET", "/algorithms/tasks/42", service.Say(503, {"error": "Down."}))
    with Client(service.url, token=TOKEN, retries=2) as client, pytest.raises(ServiceError, match="503: Down"):
        client.get_task("42")
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    "first",
    [
        {"status": 429},
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 503, "headers": {"Retry-After": "0"}},
    ],
)
def test_a_job_that_was_not_taken_is_submitted_again(client: Client, service: Any, first: dict[str, Any]) -> None:
    """A service that says "not now" gets the whole form again."""
    service.on("POST", PREDICT, service.Say(**first), service.Say(202, ACCEPTED))
    assert client.run_algorithm("an-algorithm", pd.DataFrame({"a": range(100_000)})).job_id == "42"
    one, two = service.requests
    assert one.body == two.body


@pytest.mark.parametrize(
    ("first", "error"),
    [
        ({"status": 500}, ServiceError),
        ({"status": 502}, ServiceError),
        ({"status": 503}, ServiceError),
        ({"status": 504}, ServiceError),
        ({"drop": True}, ServiceConnectionError),
        ({"data": ACCEPTED, "cut": 3}, ServiceConnectionError),
    ],
)
def test_a_job_that_may_have_been_accepted_is_not_retried(
    client: Client, service: Any, first: dict[str, Any], error: type[ServiceError]
) -> None:
    """A retry could create a second task; the error has a hint."""
    service.on("POST", PREDICT, service.Say(**first), service.Say(202, ACCEPTED))
    with pytest.raises(error) as caught:
        client.run_algorithm("an-algorithm", DATA)
    assert len(service.requests) == 1
    if error is ServiceConnectionError:
        assert "may have been accepted" in caught.value.hint


@pytest.mark.parametrize("batch", [False, True])
def test_a_refusal_that_accepted_nothing_is_not_contradicted(service: Any, clean_environment: Any, batch: bool) -> None:
    """When the service says that it accepted nothing, the error doesn't say that the task may have been accepted."""
    full = {"status": False, "error": "The service's disk is full. Nothing was accepted.", "accepted": False}
    service.on("POST", f"{PREDICT}/batch" if batch else PREDICT, service.Say(503, full))
    with Client(service.url, token=TOKEN, retries=0) as client:

        def submit() -> None:
            if batch:
                client.run_algorithm_batch("an-algorithm", [BatchItem(DATA)])
            else:
                client.run_algorithm("an-algorithm", DATA)

        with pytest.raises(ServiceError, match="full") as caught:
            submit()
    assert caught.value.nothing_accepted
    assert "may have been accepted" not in str(caught.value)
    assert caught.value.idempotency_key is None


def test_an_unresponsive_service_times_out(service: Any, clean_environment: Any) -> None:
    """A submitted task may still be accepted."""
    release = threading.Event()
    service.on("POST", PREDICT, service.Say(202, ACCEPTED, hold=release))
    with (
        Client(service.url, token=TOKEN, timeout=timedelta(milliseconds=300)) as client,
        pytest.raises(ServiceConnectionError, match=r"timed out.*may have been accepted.*timeout=") as caught,
    ):
        client.run_algorithm("an-algorithm", DATA, callback_url=SIGNED)
    release.set()
    # The client may give up before the server's thread has had its turn.
    wait_until(lambda: service.requests)
    assert len(service.requests) == 1
    assert not {TOKEN, SIGNATURE} & set(shown(caught.value).split())
    assert TOKEN not in shown(caught.value)


def test_a_refused_connection_has_a_hint(clean_environment: Any) -> None:
    """The hint tells how to start a service; the cause has no frames."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", token=TOKEN, retries=1) as client,
        pytest.raises(ServiceConnectionError, match=r"refused.*callback-sdk serve") as caught,
    ):
        client.run_algorithm("an-algorithm", DATA, callback_url=SIGNED)
    assert "may have been accepted" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.__cause__.__traceback__ is None
    assert TOKEN not in shown(caught.value)
    assert SIGNATURE not in shown(caught.value)


def test_an_unknown_host_is_named(clean_environment: Any) -> None:
    """So does a host that has no address."""
    with (
        Client("http://nowhere.invalid/api/v2", token=TOKEN, retries=0) as client,
        pytest.raises(ServiceConnectionError, match=r"No answer from http://nowhere.invalid/api/v2"),
    ):
        client.get_algorithms()


def test_a_rejection_during_the_upload_is_reported(client: Client, service: Any) -> None:
    """If the service stops reading, the error is its 413, or has a hint about the service's limit."""
    service.on("POST", PREDICT, service.Say(413, {"error": "Too large."}, unread=True))
    with pytest.raises((InvalidRequestError, ServiceConnectionError)) as caught:
        client.run_algorithm("an-algorithm", {"a": list(range(2_000_000))})
    assert "413" in str(caught.value) or "features are large" in str(caught.value)


def test_a_redirect_is_not_followed(client: Client, service: Any) -> None:
    """No other host gets the token."""
    for status in (301, 302, 303, 307, 308):
        elsewhere = {"Location": f"http://{service.host}/elsewhere?{SIGNATURE}"}
        service.on("GET", "/algorithms", service.Say(status, headers=elsewhere))
        service.on("POST", PREDICT, service.Say(status, headers=elsewhere))
        for call in (client.get_algorithms, lambda: client.run_algorithm("an-algorithm", DATA)):
            with pytest.raises(ServiceError, match=f"answered {status}.*redirect") as caught:
                call()
            assert SIGNATURE not in str(caught.value)
    assert {seen.path for seen in service.requests} == {"/api/v2/algorithms", f"/api/v2{PREDICT}"}


def test_cookies_are_not_kept(client: Client, service: Any) -> None:
    """Requests don't depend on each other."""
    service.on("GET", "/algorithms", service.Say(data=[], headers={"Set-Cookie": "a=b"}))
    client.get_algorithms()
    client.get_algorithms()
    assert "cookie" not in service.requests[1].headers


def test_no_netrc_is_consulted(client: Client, service: Any, tmp_path: Path, clean_environment: Any) -> None:
    """A password that lies around for the host doesn't replace the token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    clean_environment.setenv("NETRC", str(netrc))
    service.on("GET", "/algorithms", service.Say(data=[]))
    client.get_algorithms()
    assert service.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_proxy_is_used_but_not_for_loopback(service: Any, clean_environment: Any) -> None:
    """A proxy of the environment gets requests to other hosts, and not those to this machine."""
    clean_environment.setenv("HTTP_PROXY", f"http://{service.host}")
    clean_environment.setenv("http_proxy", f"http://{service.host}")
    service.on("GET", "/algorithms", service.Say(data=[]))
    service.script["GET", "http://service.invalid/api/v2/algorithms"] = [service.Say(data=[])]
    for url in (service.url, "http://service.invalid/api/v2"):
        with Client(url, token=TOKEN, retries=0) as client:
            assert client.get_algorithms() == []
    assert service.paths("GET") == ["/api/v2/algorithms", "http://service.invalid/api/v2/algorithms"]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://h:8000", "http://h:8000/api/v2"),
        ("http://h:8000/", "http://h:8000/api/v2"),
        ("HTTPS://h/api/v2/", "https://h/api/v2"),
        ("http://h/prefix/api/v2", "http://h/prefix/api/v2"),
        ("http://[::1]:8000", "http://[::1]:8000/api/v2"),
    ],
)
def test_the_url_is_completed(clean_environment: Any, given: str, used: str) -> None:
    """A host alone is enough."""
    with Client(given, token=TOKEN) as client:
        assert client.url == used
