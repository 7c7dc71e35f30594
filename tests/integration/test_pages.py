"""The web UI over HTTP: authorization, forms and security headers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk import Client
from callback_sdk.testing import WebhookReceiver
from tests.integration.browsers import PASSWORD, TABLE, Browser
from tests.integration.page_jobs import HOSTILE
from tests.topology import Topology, wait_until

MARKER = "MARKER77aa"
NOTHING = str(uuid.uuid4())
FILE = f"/tasks/{NOTHING}/outputs/static/plot.png"


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service with a second user, who has a password."""
    folder = tmp_path_factory.mktemp("pages")
    with Topology(folder, "page_jobs:registry", settings={"RETRY_DELAYS": "0.1s"}) as topology:
        topology.run("users", "add", "mary", "--password", stdin=f"{PASSWORD}\n")
        yield topology


@pytest.fixture
def stranger(topology: Topology) -> Iterator[Browser]:
    """Return a browser without a session."""
    with Browser(topology) as browser:
        yield browser


@pytest.fixture
def browser(stranger: Browser) -> Browser:
    """Give the first user's browser."""
    stranger.log_in()
    return stranger


def test_an_operator_pauses_and_resumes_an_algorithm(browser: Browser, mary: Browser, client: Client) -> None:
    """Everybody sees the reason, which is escaped; others have no buttons, and may not pause."""
    form = {"accept": "yes", "reason": "<b>Wrong</b> model"}
    assert browser.submit("/algorithms/shown/pause", fields=form).url.endswith("/algorithms/shown")
    (pause,) = client.get_paused_algorithms()
    assert (pause.algorithm, pause.accept, pause.reason) == ("shown", True, "<b>Wrong</b> model")
    for page in (browser.page("/algorithms/shown"), mary.page("/algorithms/shown")):
        assert "&lt;b&gt;Wrong&lt;/b&gt; model" in page
    assert "/algorithms/shown/resume" in browser.page("/algorithms/shown")
    assert "/algorithms/shown/resume" not in mary.page("/algorithms/shown")
    assert mary.submit("/algorithms/shown/resume").status_code == 403
    assert browser.submit("/algorithms/shown/pause", fields={"reason": "x" * 301}).status_code == 422
    browser.submit("/algorithms/shown/resume")
    assert client.get_paused_algorithms() == []
    browser.submit("/algorithms/shown/pause", fields={"reason": ""})
    assert not client.get_paused_algorithms()[0].accept
    browser.submit("/algorithms/shown/resume")


def test_pages_require_a_login(stranger: Browser) -> None:
    """Visitors are redirected to the login page, and after the login to the requested page."""
    for path in (
        "/overview",
        "/tasks",
        f"/tasks/{NOTHING}",
        "/deliveries",
        "/algorithms",
        "/algorithms/shown",
        "/health",
    ):
        answer = stranger.get(f"{stranger.origin}/ui{path}", timeout=60, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/login?next=/ui{path}")
    answer = stranger.post(
        f"{stranger.origin}/ui/login", data={"token": stranger.token, "next": "/ui/health"}, timeout=60
    )
    assert answer.url == f"{stranger.origin}/ui/health"
    for path in ("/", "/ui", "/ui/"):
        assert stranger.get(f"{stranger.origin}{path}", timeout=60).url == f"{stranger.origin}/ui/overview"


def test_a_partial_refresh_never_shows_the_login_page(stranger: Browser) -> None:
    """If the session ends during a refresh by htmx, the browser is redirected as a whole."""
    answer = stranger.get(f"{stranger.origin}/ui/tasks", headers={"HX-Request": "true"}, timeout=60)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/ui/login?next=/ui/tasks")


@pytest.mark.parametrize(
    "fields",
    [{"username": "mary", "password": "wrong"}, {"username": "nobody"}, {"token": "cbk_wrong"}, {"token": "\ud800"}],
)
def test_a_wrong_login_is_rejected(stranger: Browser, fields: dict[str, str]) -> None:
    """The page shows the error, and no cookie is set."""
    encoded = {name: value.encode("utf-8", "surrogatepass") for name, value in fields.items()}
    answer = stranger.post(f"{stranger.origin}/ui/login", data=encoded, timeout=60)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert not stranger.cookies


def test_the_cookie_is_restricted_to_the_pages(stranger: Browser) -> None:
    """Scripts can't read it, and it isn't sent with forms of other sites."""
    stranger.log_in()
    (cookie,) = stranger.cookies
    assert cookie.path == "/ui"
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "lax"
    assert stranger.token not in cookie.value
    # It says nothing to the REST API.
    assert stranger.get(f"{stranger.origin}/api/v2/algorithms", timeout=60).status_code == 401


def test_a_logout_ends_the_session(browser: Browser) -> None:
    """Pages redirect to the login page afterwards."""
    assert browser.submit("/logout").url == f"{browser.origin}/ui/login"
    answer = browser.get(f"{browser.origin}/ui/tasks", timeout=60)
    assert answer.url.startswith(f"{browser.origin}/ui/login")


def test_a_task_is_shown_and_can_be_canceled(browser: Browser, client: Client, tmp_path: Path) -> None:
    """With its progress while it runs; texts of others are never markup."""
    with WebhookReceiver() as webhook:
        task = client.run_algorithm(
            "shown", TABLE, parameters={"go": str(tmp_path / "go")}, callbacks=[f"{webhook.url}?key={MARKER}"]
        )
        wait_until(lambda: "25 %" in browser.page(f"/tasks/{task.job_id}"))
        page = browser.page(f"/tasks/{task.job_id}")
        assert "hx-trigger" in page
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
        assert MARKER not in page
        assert task.job_id in browser.page("/tasks?status=In+Progress")
        assert task.job_id not in browser.page("/tasks?status=Finished")
        answer = browser.submit(f"/tasks/{task.job_id}/cancel")
        assert answer.url == f"{browser.origin}/ui/tasks/{task.job_id}"
        assert "Canceled" in answer.text
        (request,) = webhook.wait_for(1)
    assert request.document["status"] == "Canceled"
    assert browser.submit(f"/tasks/{task.job_id}/cancel").status_code == 200
    done = client.run_algorithm("shown", TABLE).wait(progress=False)
    assert browser.submit(f"/tasks/{done.job_id}/cancel").status_code == 409


def test_dead_deliveries_can_be_redelivered(browser: Browser, client: Client) -> None:
    """They can be redelivered from the list of dead deliveries, and from the page of the task."""
    with WebhookReceiver() as webhook:
        webhook.respond(400)
        task = client.run_algorithm("shown", TABLE, callbacks=[f"{webhook.url}?key={MARKER}"]).wait(progress=False)
        (delivery,) = client.get_deliveries(task.job_id)
        page = browser.page("/deliveries")
        form = f"/tasks/{task.job_id}/deliveries/{delivery.delivery_id}/redeliver"
        assert f'action="/ui{form}"' in page
        assert "answered 400" in page
        assert f'action="/ui{form}"' in browser.page(f"/tasks/{task.job_id}")
        assert browser.submit(form).status_code == 200
        wait_until(lambda: task.refresh().deliveries[0].status == "delivered")
    assert task.job_id not in browser.page("/deliveries")
    page = browser.page(f"/tasks/{task.job_id}")
    assert "webhook: 200" in page
    assert MARKER not in page
    assert browser.submit(f"/tasks/{task.job_id}/deliveries/msg_none/redeliver").status_code == 404


def test_the_target_of_a_delivery_can_be_replaced(browser: Browser, client: Client) -> None:
    """By a URL, or by JSON; what can't be used is an error page without it."""
    with WebhookReceiver() as first, WebhookReceiver() as second:
        first.respond(400)
        task = client.run_algorithm("shown", TABLE, callbacks=[first.url]).wait(progress=False)
        (delivery,) = client.get_deliveries(task.job_id)
        form = f"/tasks/{task.job_id}/deliveries/{delivery.delivery_id}/redeliver"
        assert "New target" in browser.page(f"/tasks/{task.job_id}")
        for wrong in (f'{{"url": "{MARKER}', f'{{"link": "{MARKER}"}}', f"ftp://example.org/?{MARKER}"):
            refused = browser.submit(form, target=wrong)
            assert refused.status_code == 422
            assert MARKER not in refused.text
        assert browser.submit(form, target=f"{second.url}?key={MARKER}").status_code == 200
        (arrived,) = second.wait_for(1)
        wait_until(lambda: task.refresh().deliveries[0].status == "delivered")
        assert browser.submit(form, target=json.dumps({"url": first.url, "param": {}})).status_code == 200
        (_, again) = first.wait_for(2)
    assert arrived.headers["webhook-id"] == again.headers["webhook-id"] == delivery.delivery_id
    assert arrived.body == again.body
    assert MARKER not in browser.page(f"/tasks/{task.job_id}")


def test_a_failed_task_says_why(browser: Browser, client: Client) -> None:
    """A text without end is cut."""
    task = client.run_algorithm("shown", TABLE, parameters={"fail": True}).wait(progress=False)
    page = browser.page(f"/tasks/{task.job_id}")
    assert "Failed" in page
    assert HOSTILE not in page
    assert len(page) < 20_000
    answer = browser.get(f"{browser.origin}/ui/tasks/{task.job_id}/results", timeout=60)
    assert answer.json()["success"] is False


def test_results_can_be_had(browser: Browser, client: Client) -> None:
    """As the REST API has them."""
    task = client.run_algorithm("shown", TABLE).wait(progress=False)
    answer = browser.get(f"{browser.origin}/ui/tasks/{task.job_id}/results", timeout=60)
    assert answer.json()["predictions"] == TABLE
    assert "attachment" in answer.headers["content-disposition"]


def test_users_see_only_their_own_tasks(browser: Browser, mary: Browser, client: Client) -> None:
    """Tasks of others look like unknown ones."""
    with WebhookReceiver() as webhook:
        webhook.respond(400)
        task = client.run_algorithm("shown", TABLE, callbacks=[webhook.url]).wait(progress=False)
    (delivery,) = client.get_deliveries(task.job_id)
    assert task.job_id in browser.page("/tasks")
    assert task.job_id not in mary.page("/tasks") + mary.page("/deliveries")
    theirs, nothing = (
        re.sub("[0-9a-f-]{36}", "", mary.page(f"/tasks/{job_id}", 404)) for job_id in (task.job_id, NOTHING)
    )
    csrf = re.compile(r'value="\w{64}"')
    assert csrf.sub("", theirs) == csrf.sub("", nothing)
    for path in ("cancel", f"deliveries/{delivery.delivery_id}/redeliver"):
        assert mary.submit(f"/tasks/{task.job_id}/{path}").status_code == 404
    assert mary.get(f"{mary.origin}/ui/tasks/{task.job_id}/results", timeout=60).status_code == 404


@pytest.mark.parametrize("path", ["cancel", "deliveries/msg_x/redeliver"])
def test_a_form_of_another_site_does_nothing(browser: Browser, mary: Browser, client: Client, path: str) -> None:
    """Without a CSRF token, with that of another session, or from another host."""
    task = client.run_algorithm("shown", TABLE)
    theirs = re.search(r'name="csrf" value="(\w+)"', mary.page("/tasks"))[1]
    for options in (
        {"csrf": ""},
        {"csrf": theirs},
        {"headers": {"Origin": "https://evil.example"}},
        {"headers": {"Origin": "null"}},
    ):
        assert browser.submit(f"/tasks/{task.job_id}/{path}", **options).status_code == 403
    if path != "cancel":
        assert browser.get(f"{browser.origin}/ui/tasks/{task.job_id}/{path}", timeout=60).status_code == 405
    forged = {"Origin": "https://evil.example"}
    login = browser.post(f"{browser.origin}/ui/login", data={"token": browser.token}, headers=forged, timeout=60)
    assert login.status_code == 403


def test_pages_go_on_where_the_last_one_ended(browser: Browser, client: Client) -> None:
    """Each task is on one of them, the newest first."""
    tasks = client.run_algorithm_batch("shown", [TABLE] * 60, progress=False)
    found: list[str] = []
    page = browser.page("/tasks?algorithm=shown")
    while True:
        found += re.findall(r'href="/ui/tasks/([0-9a-f-]{36})"', page)
        further = re.search(r'href="/ui(/tasks\?[^"]+)" rel="next"', page)
        if further is None:
            break
        page = browser.page(further[1].replace("&amp;", "&"))
    mine = [task.job_id for task in tasks]
    assert [job_id for job_id in found if job_id in mine] == mine[::-1]
    assert len(found) == len(set(found))


def test_algorithms_are_shown_with_all_that_they_have(browser: Browser) -> None:
    """Versions, templates and pictures."""
    assert 'href="/ui/algorithms/shown"' in browser.page("/algorithms")
    page = browser.page("/algorithms/shown")
    assert "Version 1.0.0" in page
    assert HOSTILE not in page
    (picture,) = re.findall(r'src="(/ui/algorithms/[^"]+)"', page)
    answer = browser.get(browser.origin + picture.replace("&amp;", "&"), timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    template = browser.get(f"{browser.origin}/ui/algorithms/shown/template?type=input", timeout=60)
    assert template.json() == {"a": [1, HOSTILE]}
    for path in ("/algorithms/nothing", "/algorithms/shown/graph?type=x", "/algorithms/shown/template?type=output"):
        browser.page(path, 404)


def test_the_health_of_the_service(browser: Browser, client: Client, tmp_path: Path) -> None:
    """Queued tasks, workers and ended tasks."""
    client.run_algorithm("shown", TABLE).wait(progress=False)
    go = tmp_path / "go"
    running = [client.run_algorithm("shown", TABLE, parameters={"go": str(go)}) for _ in range(3)]
    wait_until(lambda: "embedded-" in browser.page("/health"))
    page = browser.page("/health")
    assert "Healthy: database" in page
    assert re.search(r"<td>shown</td><td>\d+</td>", page)
    assert page.count("<svg role=") == 4
    assert 'class="series-succeeded"' in page
    go.touch()
    client.wait_all(running, progress=False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/tasks/%00", 404),
        ("/tasks/%3Cscript%3E", 404),
        ("/tasks?status=Ended", 422),
        ("/tasks?cursor=x", 422),
        ("/tasks?cursor=WyIxIl0", 422),
        ("/deliveries?cursor=bnVsbA", 422),
    ],
)
def test_errors_are_pages_too(browser: Browser, path: str, status: int) -> None:
    """Browsers get HTML for errors, not JSON."""
    page = browser.page(path, status)
    assert 'role="alert"' in page
    assert "<script>" not in page


def test_pages_have_security_headers(browser: Browser) -> None:
    """No inline scripts, no resources of other hosts, and no caching."""
    for path in ("/tasks", "/health", "/nothing", "/static/style.css", "/static/htmx.min.js", FILE):
        headers = browser.get(f"{browser.origin}/ui{path}", timeout=60).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("max-age=3600" if path.startswith("/static/") else "no-store")
    for path in ("/tasks", "/health", "/algorithms/shown", "/deliveries"):
        page = browser.page(path)
        assert not re.search(r"<style|\sstyle=|<script(?! src=)|\son\w+=|javascript:", page)
        assert not re.search(r'(?:src|href|action|hx-get)="(?!/ui/)(?!#)', page)


def test_who_is_shut_out_sees_no_page_any_more(topology: Topology, stranger: Browser) -> None:
    """At once, and not when the session is over."""
    token = topology.run("users", "add", "eve")
    stranger.log_in(token=token)
    stranger.page("/tasks")
    topology.run("users", "disable", "eve")
    answer = stranger.get(f"{stranger.origin}/ui/tasks", timeout=60)
    assert answer.url.startswith(f"{stranger.origin}/ui/login")
    assert token not in topology.log
