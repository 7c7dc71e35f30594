"""The API reference at `/docs`: complete without other hosts, in a browser too."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator

import pytest
import requests
from fastapi import FastAPI
from starlette.requests import Request
from starlette.routing import Route

from callback_sdk.service.pages import reference
from callback_sdk.testing import LocalService
from tests.conftest import missing_server


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Run a service, and return its address."""
    with LocalService("callback_sdk.examples:registry") as service:
        yield service.url.removesuffix("/api/v2")


def test_the_page_needs_no_other_host(origin: str) -> None:
    """All files are the service's, and the browser is told so. The page is sandboxed from the web UI."""
    answer = requests.get(f"{origin}/docs", timeout=60)
    assert answer.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(links) == 4
    for link in links:
        assert link.startswith("/")
        assert requests.get(origin + link, timeout=60).status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox allow-scripts")
    assert "https://" not in policy


def test_the_document_ends_no_element(origin: str) -> None:
    """A description with markup stays within its element."""
    page = requests.get(f"{origin}/docs", timeout=60).text
    document = page.partition('id="openapi">')[2].partition("</script>")[0]
    assert "/api/v2/algorithms/tasks" in document
    assert "<" not in document


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_a_path_prefix_is_in_the_document(origin: str, path: str) -> None:
    """Otherwise the paths of the page would be those behind the proxy. A request without it has none."""
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Prefix": "/jobs"}
    assert '"servers":[{"url":"/jobs"}]' in requests.get(origin + path, headers=headers, timeout=60).text.replace(
        " ", ""
    )
    assert '"servers":' not in requests.get(origin + path, timeout=60).text.replace(" ", "")


def test_a_browser_shows_every_path(origin: str) -> None:
    """Without an error of its console, such as a violation of the policy, and without requests to other hosts."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing_server("Chromium is missing: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page()
        errors: list[str] = []
        hosts: set[str] = set()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "://" in request.url else None)
        page.goto(f"{origin}/docs")
        page.get_by_text("/api/v2/algorithms/{algorithm_id}/predict", exact=True).wait_for(timeout=60_000)
        paths = requests.get(f"{origin}/openapi.json", timeout=60).json()["paths"]
        shown = page.locator(".opblock-summary-path").all_inner_texts()
        browser.close()
    assert {path.replace("\u200b", "") for path in shown} >= set(paths)
    assert errors == []
    assert hosts == {origin.split("/")[2]}


def test_without_swagger_ui_there_is_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service runs without the package, which has only the files of the page."""
    monkeypatch.setattr(reference, "find_spec", lambda _: None)
    app = FastAPI(docs_url=None)
    reference.add_reference(app)
    (route,) = [route for route in app.routes if isinstance(route, Route) and route.path == reference.PATH]
    answer = asyncio.run(route.endpoint(Request({"type": "http", "root_path": "/prefix"})))
    assert (answer.status_code, answer.headers["location"]) == (303, "/prefix/openapi.json")
