"""Hostile callback URLs: short requests that once took minutes and blocked others."""

from __future__ import annotations

import base64
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from callback_sdk.redaction import Secret
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v2
from tests.topology import Topology, wait_until

PREDICT = "/api/v2/algorithms/sum/predict"
TASKS = "/api/v2/algorithms/tasks"
LONGEST = 30
"""Seconds within which even a busy machine answers; without the limits each of these takes minutes."""

COMBINING = "\u0315\u0300"


def policy(conditions: list[Any]) -> str:
    return base64.b64encode(
        json.dumps({"expiration": "2090-01-01T00:00:00Z", "conditions": conditions}).encode()
    ).decode()


def form(conditions: list[Any], **fields: str) -> dict[str, Any]:
    return {"s3_fields": {"key": "k", **fields, "policy": policy(conditions), "x-amz-signature": "s"}}


URLS = {
    "labels of a store": "https://s3" + "-a" * 32,
    "labels of another store": "https://s3" + ".a-a" * 50 + ".wasabisys.com./k",
    "labels of a bucket": "https://" + "a.s3." * 50 + "b/k",
    "a long host": "https://s3" + "-a" * 300_000,
    "combining characters": "https://a" + COMBINING * 200_000,
    "combining characters at a port": "https://h:" + COMBINING * 200_000,
    "a long query": "https://h/k?" + "a=b&" * 200_000,
    "a long path": "https://h/" + "a/" * 300_000,
    "many at signs": "https://" + "@" * 500_000,
}

WEBHOOKS = {"labels of another store", "labels of a bucket"}

FORMS: dict[str, Callable[[], dict[str, Any]]] = {
    "names of files": lambda: form([{"key": "a" * 5000}], key="${filename}a" * 7 + "b"),
    "many names of files": lambda: form([{"key": "a" * 20_000}] * 20, key="${filename}a" * 2000 + "b"),
    "many buckets": lambda: form([{"bucket": "b"}] * 1000),
    "many conditions": lambda: form([["starts-with", "$key", ""]] * 20_000),
    "many content types": lambda: form(
        [["starts-with", "$content-type", "a"]] * 190, **{"content-type": "a, " * 15_000}
    ),
    "a long field": lambda: form([{"key": "k"}], **{"x-ignore-me": "a" * 500_000}),
    "many fields": lambda: form([{"key": "k"}], **{f"x-ignore-{number}": "" for number in range(20_000)}),
    "nested conditions": lambda: form(json.loads("[" * 900 + "]" * 900)),
    "many headers": lambda: {"s3_headers": {f"x-{number}": "" for number in range(20_000)}},
}

REFUSED: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    **{name: (lambda url=url: (url, {})) for name, url in URLS.items()},  # type: ignore[misc]
    **{name: (lambda make=make: ("http://127.0.0.1:9/" + "a/" * 3000 + "b", make())) for name, make in FORMS.items()},  # type: ignore[misc]
}


class Service:
    """The service, and other clients that use it concurrently.

    Args:
        topology: It, running.
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        address = (self.topology.data / "address").read_text().strip()
        token = (self.topology.data / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return requests.request(method, address + path, headers=headers, timeout=LONGEST, **options)

    def submit(self, url: str, param: dict[str, Any] | None = None) -> requests.Response:
        callbacks = json.dumps([{"url": url, "param": param or {}}])
        files = {"features": ("f", b'{"a": [1, 2]}')}
        return self.ask("POST", PREDICT, data={"callbacks": callbacks}, files=files)

    def delivery(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"{TASKS}/{job_id}/deliveries").json()[0]
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service."""
    with Topology(tmp_path_factory.mktemp("hostile"), "engine_jobs:registry", processes=1) as topology:
        yield Service(topology)


@pytest.fixture
def others(service: Service) -> Iterator[None]:
    """Make sure that the service answers others while a test runs, and after it."""
    stop, failures = threading.Event(), []

    def look() -> None:
        while not stop.wait(0.05):
            try:
                status = service.ask("GET", "/healthz").status_code
            except requests.RequestException as error:
                failures.append(repr(error))
                return
            if status != 200:
                failures.append(str(status))

    service.ask("GET", "/healthz").raise_for_status()
    thread = threading.Thread(target=look)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert failures == []
    assert "Traceback" not in service.topology.log


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("others")
def test_callback_that_takes_long_to_match_is_refused(service: Service, name: str) -> None:
    """With 422, in JSON, and soon; a host that no provider has is one for webhooks."""
    response = service.submit(*REFUSED[name]())
    assert response.status_code == (202 if name in WEBHOOKS else 422)
    assert len(response.content) < 10_000


@pytest.mark.parametrize("piece", ["\\", "\\a", '"', ";"])
@pytest.mark.usefixtures("others")
def test_cookies_that_take_long_to_parse_are_passed_over(service: Service, piece: str) -> None:
    """The pages look for their own and no other."""
    cookie = 'a="' + piece * (30_000 // len(piece)) + '"'
    response = service.ask("GET", "/ui/tasks", headers={"Cookie": cookie}, allow_redirects=False)
    assert response.status_code in (303, 431)


HEADERS = {
    "ranges": {"Range": "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(4000))},
    "ranges from the end": {"Range": "bytes=" + "-1," * 10_000 + "-1"},
    "digits of a range": {"Range": "bytes=" + "1" * 40_000},
    "parameters of a type": {"Content-Type": 'multipart/form-data; boundary=B; a="' + ';"' * 20_000},
    "authorization": {"Authorization": "Bearer " + "a." * 20_000},
    "trace": {"traceparent": "0" * 40_000},
    "idempotency key": {"Idempotency-Key": "k" * 40_000},
    "content length": {"Content-Length": "9" * 40_000},
}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(("method", "path"), [("GET", "/ui/static/style.css"), ("GET", TASKS), ("POST", PREDICT)])
def test_header_that_takes_long_to_parse_is_passed_over(service: Service, name: str, method: str, path: str) -> None:
    """With an error of the client's, or as if it weren't there."""
    response = service.ask(method, path, headers=HEADERS[name])
    assert response.status_code < 500


@pytest.mark.parametrize("origin", ["http://[", "http://" + "[" * 10_000, "://"])
@pytest.mark.usefixtures("others")
def test_an_invalid_origin_is_another_site(service: Service, origin: str) -> None:
    """A form with such a header is rejected like a form of another site."""
    response = service.ask("POST", "/ui/login", data={"token": "x"}, headers={"Origin": origin})
    assert response.status_code == 403


LOCATIONS = {
    "labels of a store": "http://s3" + "-a" * 32 + "/k",
    "labels": "http://" + "s3.a-a." * 30 + "amazonaws.com.x/k",
    "a long host": "http://s3" + "-a" * 10_000 + "/k",
    "steps up": "../" * 15_000,
    "brackets": "http://[" + ":" * 10_000,
}


@pytest.mark.parametrize("name", LOCATIONS)
@pytest.mark.usefixtures("others")
def test_redirect_that_takes_long_to_match_fails_the_delivery(service: Service, name: str) -> None:
    """A target may answer with any Location."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("307 Temporary Redirect", f"Location: {LOCATIONS[name]}"))

    query = v2(expires=4000000000)
    with RawServer(script) as server:
        job_id = service.submit(f"{server.url}/b/k?{query}").json()["job_id"]
        wait_until(lambda: service.delivery(job_id)["error"], what="the delivery's failure")
    assert "redirected" in service.delivery(job_id)["error"]


def test_stored_callback_is_harmless_after_a_restart(service: Service) -> None:
    """An earlier version accepted it: it becomes a dead delivery, and the service works on."""
    urls = [URLS[name] for name in ("labels of a store", "a long host", "combining characters")]
    jobs = [service.submit("http://127.0.0.1:9/closed").json()["job_id"] for _ in urls]
    for job_id in jobs:
        wait_until(lambda job_id=job_id: service.delivery(job_id)["error"], what="a first attempt")
    topology = service.topology
    topology.close()
    _store(topology.data, dict(zip(jobs, urls, strict=True)))
    topology.start_service()

    for job_id in jobs:
        wait_until(lambda job_id=job_id: service.delivery(job_id)["status"] == "dead", what="the delivery's end")
    job_id = service.submit("http://127.0.0.1:9/closed").json()["job_id"]
    wait_until(lambda: service.ask("GET", f"{TASKS}/{job_id}").json()["status"] == "Finished", what="another task")
    assert service.ask("GET", "/readyz").status_code == 200


def _store(data: Path, urls: dict[str, str]) -> None:
    """Put other URLs into the rows of deliveries, as a version without the limits had them, and make these due."""
    cipher = CredentialCipher(ensure_keys(data / "keys"))
    with closing(sqlite3.connect(data / "store.sqlite3")) as database, database:
        for job_id, url in urls.items():
            target = cipher.encrypt(Secret(json.dumps({"url": url, "param": {}})))
            database.execute(
                "UPDATE deliveries SET encrypted_target = ?, next_attempt_at = 0, dispatched_at = NULL "
                "WHERE job_id = ?",
                (target, job_id),
            )
