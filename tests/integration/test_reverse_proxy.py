"""The service below a path of nginx with TLS, configured as the documentation says."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
import requests

from callback_sdk import Client
from callback_sdk.errors import ServiceError
from tests.checkers import nginx, reverse_proxy
from tests.checkers.reverse_proxy import ReverseProxy
from tests.conftest import missing_server
from tests.tlsserver import Authority
from tests.topology import Topology, wait_until

CLIENT = "127.0.0.2"
"""Address of a client that is not a trusted proxy."""

LINK = re.compile(r'(href|src|action|hx-get)="([^"#][^"]*)"')


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority of the proxy's certificate."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service below a path, which trusts proxies at one address."""
    settings = {"ROOT_PATH": "/jobs", "TRUSTED_PROXIES": "127.0.0.1/32", "LOG_FORMAT": "json"}
    with Topology(
        tmp_path_factory.mktemp("service"), "proxy_jobs:registry", processes=1, settings=settings
    ) as topology:
        yield topology


@pytest.fixture(scope="module", params=["proxy_pass http://{};", "proxy_pass http://{}/;"], ids=["passes", "strips"])
def proxy(
    request: pytest.FixtureRequest, topology: Topology, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReverseProxy]:
    """Run a proxy that passes the path on, and one that strips it."""
    command = nginx.find()
    if command is None:
        missing_server(nginx.HOW_TO_GET_IT)
    folder = tmp_path_factory.mktemp("proxy")
    certificate = authority.server_cert(folder, "127.0.0.1")
    service = address(topology)
    changes = (
        (f"proxy_pass http://{service};", request.param.format(service)),
        ("client_max_body_size 256m", "client_max_body_size 1m"),
    )
    with reverse_proxy.running(command, folder, service, certificate, *changes) as running:
        yield running


@pytest.fixture
def browser(proxy: ReverseProxy, authority: Authority) -> Iterator[requests.Session]:
    """Return a browser that trusts the proxy's certificate."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority.file)
        yield session


@pytest.fixture
def client(
    proxy: ReverseProxy, topology: Topology, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """Return a client that reaches the service through the proxy."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with Client(f"{proxy.origin}/jobs/api/v2", token=token(topology)) as client:
        yield client


def address(topology: Topology) -> str:
    return urlsplit((topology.data / "address").read_text().strip()).netloc


def token(topology: Topology) -> str:
    return (topology.data / "token").read_text().strip()


def from_client(proxy: ReverseProxy, authority: Authority, path: str, headers: dict[str, str], **form: str) -> int:
    """Send a form from an address that is not the proxy's, and return the status."""
    context = ssl.create_default_context(cafile=str(authority.file))
    host, port = proxy.authority.split(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context, source_address=(CLIENT, 0), timeout=60)
    fields = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    connection.request("POST", path, urlencode(form), fields)
    with connection.getresponse() as answer:
        status = answer.status
    connection.close()
    return status


def logged(topology: Topology, action: str) -> list[dict[str, str]]:
    records = [json.loads(line) for line in topology.log.splitlines() if line.startswith("{")]
    return [record for record in records if record.get("action") == action]


def test_all_links_redirects_and_forms_are_below_the_path(
    proxy: ReverseProxy, browser: requests.Session, topology: Topology
) -> None:
    """A browser gets from the first page to every other one, and logs in and out."""
    first = browser.get(f"{proxy.origin}/jobs/", timeout=60)
    assert urlsplit(first.url).path == "/jobs/ui/login"
    form = {"token": token(topology), "next": "/jobs/ui/health"}
    headers = {"Origin": proxy.origin}
    place = f"{proxy.origin}/jobs/ui/login"
    answer = browser.post(place, data=form, headers=headers, allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs/ui/health")
    (cookie,) = browser.cookies
    assert (cookie.path, cookie.secure) == ("/jobs/ui", True)
    waiting, seen = [f"{proxy.origin}/jobs/"], set[str]()
    while waiting:
        page = browser.get(waiting.pop(), timeout=60)
        assert page.status_code == 200, page.url
        if "text/html" not in page.headers["content-type"]:
            continue
        for attribute, link in LINK.findall(page.text):
            assert link.startswith("/jobs/ui"), (page.url, link)
            if attribute != "action" and link not in seen:
                seen.add(link)
                waiting.append(urljoin(page.url, link.replace("&amp;", "&")))
    assert {"/jobs/ui/tasks", "/jobs/ui/health", "/jobs/ui/static/style.css"} <= seen
    csrf = re.search(r'name="csrf" value="(\w+)"', browser.get(f"{proxy.origin}/jobs/ui/tasks", timeout=60).text)[1]
    left = browser.post(f"{proxy.origin}/jobs/ui/logout", data={"csrf": csrf}, headers=headers, timeout=60)
    assert urlsplit(left.url).path == "/jobs/ui/login"
    assert not list(browser.cookies)


def test_form_of_another_site_is_rejected(proxy: ReverseProxy, browser: requests.Session, topology: Topology) -> None:
    """The host and its port are compared."""
    place, form = f"{proxy.origin}/jobs/ui/login", {"token": token(topology)}
    for origin in ("https://evil.example", "https://127.0.0.1", "null"):
        answer = browser.post(place, data=form, headers={"Origin": origin}, allow_redirects=False, timeout=60)
        assert answer.status_code == 403
        assert "must pass the header Host on" in answer.text


def test_openapi_names_the_path(proxy: ReverseProxy, browser: requests.Session, topology: Topology) -> None:
    """Generated clients find the API; a document for one path is not that for another."""
    found = browser.get(f"{proxy.origin}/jobs/openapi.json", timeout=60).json()
    assert found["servers"] == [{"url": "/jobs"}]


def test_tasks_run_and_their_output_is_streamed(client: Client, tmp_path: Path) -> None:
    """The output arrives while the task runs."""
    go = tmp_path / "go"
    task = client.run_algorithm("talks", {"a": [1]}, parameters={"go": str(go)})
    stream = client.stream_logs(task.job_id, timeout=timedelta(seconds=60), poll_interval=timedelta(seconds=0.1))
    assert "hello" in next(stream)
    assert client.get_task(task.job_id).status == "In Progress"
    go.touch()
    task.wait(timeout=60, progress=False)
    assert task.result().predictions == 1


def test_request_above_the_proxys_limit_is_an_error_with_its_status(client: Client) -> None:
    """nginx answers with a page of its own."""
    with pytest.raises(ServiceError, match="413"):
        client.run_algorithm("talks", {"a": ["x" * 3_000_000]})


def test_client_cant_invent_its_address(proxy: ReverseProxy, authority: Authority, topology: Topology) -> None:
    """The proxy appends the address that it sees, and only that counts."""
    before = len(logged(topology, "login-failed"))
    headers = {
        "X-Forwarded-For": "198.51.100.9, 127.0.0.1",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=198.51.100.9;host=evil.example;proto=http",
        "X-Real-IP": "198.51.100.9",
    }
    assert from_client(proxy, authority, "/jobs/ui/login", headers, token="wrong") == 401
    wait_until(lambda: len(logged(topology, "login-failed")) > before)
    assert logged(topology, "login-failed")[-1]["address"] == CLIENT


def test_headers_of_other_peers_are_ignored(topology: Topology) -> None:
    """Neither their scheme nor their host, address or path counts."""
    host, port = address(topology).split(":")
    connection = http.client.HTTPConnection(host, int(port), source_address=(CLIENT, 0), timeout=60)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": "https://evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "198.51.100.9",
        "X-Forwarded-Prefix": "/evil",
    }
    connection.request("POST", "/ui/login", urlencode({"token": token(topology)}), headers)
    with connection.getresponse() as answer:
        assert answer.status == 403
    connection.close()
    connection.request(
        "POST", "/ui/login", urlencode({"token": token(topology)}), {**headers, "Origin": f"http://{host}:{port}"}
    )
    with connection.getresponse() as answer:
        assert answer.status == 303
        assert answer.getheader("Location", "").startswith("/jobs/ui/")
        assert "Secure" not in answer.getheader("Set-Cookie", "")
    connection.close()
    assert logged(topology, "login")[-1]["address"] == CLIENT


def test_internal_paths_are_not_published(proxy: ReverseProxy, browser: requests.Session) -> None:
    """Metrics and health checks need no token."""
    for path in ("metrics", "healthz", "readyz"):
        assert browser.get(f"{proxy.origin}/jobs/{path}", timeout=60).status_code == 404
