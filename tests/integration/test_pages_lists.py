"""The lists of the web UI: search, bulk actions with confirmations, and hostile texts."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.testing import WebhookReceiver
from tests.integration.browsers import PASSWORD, TABLE, Browser
from tests.integration.page_jobs import HOSTILE
from tests.topology import Topology, wait_until

MARKER = "MARKER93cc"
ANSI_AND_BIDI = "\x1b[31mred\x1b[0m \u202egnp.exe"


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service with a second user, who has a password."""
    folder = tmp_path_factory.mktemp("lists")
    with Topology(folder, "page_jobs:registry", settings={"RETRY_DELAYS": "0.1s"}) as topology:
        topology.run("users", "add", "mary", "--password", stdin=f"{PASSWORD}\n")
        yield topology


@pytest.fixture
def browser(topology: Topology) -> Iterator[Browser]:
    """Give the first user's browser."""
    with Browser(topology) as browser:
        browser.log_in()
        yield browser


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    """Run a receiver."""
    with WebhookReceiver() as webhook:
        yield webhook


def dead(client: Client, webhook: WebhookReceiver, body: bytes = b"") -> Task:
    """Return a task with a dead delivery."""
    webhook.respond(400, body=body)
    return client.run_algorithm("shown", TABLE, callbacks=[f"{webhook.url}?key={MARKER}"]).wait(progress=False)


def send(browser: Browser, path: str, **fields: Any) -> requests.Response:
    """Send a form of a list. `selected` may have several values."""
    csrf = re.search(r'name="csrf" value="(\w+)"', browser.page("/overview"))[1]
    return browser.post(f"{browser.origin}/ui{path}", data={"csrf": csrf, **fields}, timeout=60)


def confirm(browser: Browser, page: str) -> requests.Response:
    """Press the button of a page that asks for a confirmation."""
    form = re.search(r'<form method="post" action="/ui([^"]+)" class="buttons">(.*?)</form>', page, re.DOTALL)
    fields = re.findall(r'name="(\w+)" value="([^"]*)"', form[2])
    data = [(name, value.replace("&amp;", "&")) for name, value in fields]
    return browser.post(f"{browser.origin}/ui{form[1]}", data=data, timeout=60)


def test_tasks_are_searched(browser: Browser, client: Client) -> None:
    """By the beginning of the id together with other filters, by the error, and by time; the form keeps the filter."""
    good = client.run_algorithm("shown", TABLE).wait(progress=False)
    bad = client.run_algorithm("shown", TABLE, parameters={"fail": True}).wait(progress=False)
    assert bad.job_id in browser.page(f"/tasks?id={bad.job_id[:8]}&status=failed")
    assert bad.job_id not in browser.page(f"/tasks?id={bad.job_id[:8]}&status=succeeded").split("<table")[-1]
    page = browser.page("/tasks?error=ALERT(&status=failed")
    assert bad.job_id in page
    assert good.job_id not in page
    assert 'value="ALERT("' in page
    assert good.job_id in browser.page("/tasks?since=2000-01-01T00:00")
    for query in ("until=2000-01-01T00:00", "error=no+such+text", "id=zzz", "status=failed&error=%25%25%25"):
        page = browser.page(f"/tasks?{query}")
        assert "match this filter" in page
        assert "/ui/tasks/" not in page
    for wrong in ("since=yesterday", "status=x", f"error={'x' * 301}", "id=%00"):
        browser.page(f"/tasks?{wrong}", 422)


def test_a_filter_survives_the_login(topology: Topology) -> None:
    """A link with a filter leads to the filtered list."""
    with Browser(topology) as stranger:
        page = stranger.page("/tasks?status=failed&error=a%26b")
        place = re.search(r'name="next" value="([^"]+)"', page)[1].replace("&amp;", "&")
        answer = stranger.log_in(token=stranger.token, next=place)
    assert answer.url.endswith("/ui/tasks?status=failed&error=a%26b")


def test_selected_tasks_are_canceled_after_a_confirmation(browser: Browser, client: Client, tmp_path: Path) -> None:
    """And the list has the same filter afterwards."""
    go = {"go": str(tmp_path / "go")}
    first, second, third = (client.run_algorithm("shown", TABLE, parameters=go) for _ in range(3))
    place = "/ui/tasks?algorithm=shown"
    asked = send(browser, "/tasks/cancel", choice="selected", selected=[first.job_id, second.job_id], next=place)
    assert "Cancel 2 tasks?" in asked.text
    assert first.refresh().status != "Canceled"
    done = confirm(browser, asked.text)
    assert done.url == f"{browser.origin}{place}&notice=canceled-2"
    assert "Canceled tasks: 2." in done.text
    assert [task.refresh().status == "Canceled" for task in (first, second, third)] == [True, True, False]
    asked = send(browser, "/tasks/cancel", choice="all", id=third.job_id, next=place)
    later = client.run_algorithm("shown", TABLE, parameters=go)
    confirm(browser, asked.text)
    assert third.refresh().status == "Canceled"
    assert later.refresh().status != "Canceled"
    assert "Nothing was selected" in send(browser, "/tasks/cancel", choice="selected", next=place).text
    (tmp_path / "go").touch()
    later.wait(progress=False)


def test_deliveries_are_redelivered_together(browser: Browser, client: Client, webhook: WebhookReceiver) -> None:
    """Selected ones, or all that match; those that need attention are first, by host and algorithm."""
    tasks = [dead(client, webhook) for _ in range(3)]
    page = browser.page("/deliveries")
    assert re.search(r'aria-label="\d+ dead deliveries to 127\.0\.0\.1, shown"', page)
    assert "dead deliveries to 127.0.0.1, shown" in browser.page("/overview")
    selected = [f"{task.job_id}/{client.get_deliveries(task.job_id)[0].delivery_id}" for task in tasks[:2]]
    assert all(f'value="{one}"' in page for one in selected)
    asked = send(
        browser, "/deliveries/redeliver", choice="selected", selected=selected, next="/ui/deliveries?status=dead"
    )
    assert "Redeliver 2 deliveries?" in asked.text
    done = confirm(browser, asked.text)
    assert done.url == f"{browser.origin}/ui/deliveries?status=dead&notice=redelivered-2"
    wait_until(lambda: all(task.refresh().deliveries[0].status == "delivered" for task in tasks[:2]))
    assert tasks[2].refresh().deliveries[0].status == "dead"
    asked = send(browser, "/deliveries/redeliver", choice="all", status="dead", host="127.0.0.1", error="400")
    confirm(browser, asked.text)
    wait_until(lambda: tasks[2].refresh().deliveries[0].status == "delivered")
    nothing = send(browser, "/deliveries/redeliver", choice="all", status="dead", host="nowhere.example.org")
    assert "Nothing was selected" in nothing.text


def test_a_delivered_result_is_repeated_only_after_a_question(
    browser: Browser, client: Client, webhook: WebhookReceiver
) -> None:
    """The receiver has it already."""
    task = client.run_algorithm("shown", TABLE, callbacks=[webhook.url]).wait(progress=False)
    (delivery,) = client.get_deliveries(task.job_id)
    asked = send(browser, f"/tasks/{task.job_id}/deliveries/{delivery.delivery_id}/redeliver")
    assert "Deliver this result again?" in asked.text
    assert len(webhook.requests) == 1
    assert confirm(browser, asked.text).url.startswith(f"{browser.origin}/ui/tasks/{task.job_id}")
    webhook.wait_for(2)


def test_others_forms_change_nothing(
    browser: Browser, mary: Browser, client: Client, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """Neither the forms of other sites, nor ids of other users."""
    task = dead(client, webhook)
    running = client.run_algorithm("shown", TABLE, parameters={"go": str(tmp_path / "go")})
    (delivery,) = client.get_deliveries(task.job_id)
    selected = {
        "/deliveries/redeliver": f"{task.job_id}/{delivery.delivery_id}",
        "/tasks/cancel": running.job_id,
    }
    for path, one in selected.items():
        fields = {"choice": "selected", "selected": one, "confirm": "yes"}
        for forged in ({"csrf": ""}, {"csrf": "0" * 64}):
            answer = browser.post(f"{browser.origin}/ui{path}", data=fields | forged, timeout=60)
            assert answer.status_code == 403
        assert browser.get(f"{browser.origin}/ui{path}", timeout=60).status_code in (404, 405)
        assert send(mary, path, **fields).status_code == 200
        assert send(mary, path, choice="all", confirm="yes").status_code == 200
    assert task.refresh().deliveries[0].status == "dead"
    assert running.refresh().status != "Canceled"
    assert task.job_id not in mary.page("/overview") + mary.page("/deliveries")
    events = mary.get(f"{mary.origin}/ui/tasks/{running.job_id}/events", timeout=60)
    assert events.status_code == 404
    (tmp_path / "go").touch()


def test_a_response_is_shown_without_credentials_and_markup(
    browser: Browser, client: Client, webhook: WebhookReceiver
) -> None:
    """Bounded, and in the REST API too."""
    body = f"{HOSTILE} {ANSI_AND_BIDI} {webhook.url}?key={MARKER} ".encode() + b"\xff" + b"x" * 50_000
    task = dead(client, webhook, body)
    (attempt,) = client.get_deliveries(task.job_id)[0].attempts
    assert len(attempt.response_body) == 2000
    assert attempt.response_body.startswith(f"{HOSTILE} \\x1b[31mred\\x1b[0m \\u202egnp.exe ")
    page = browser.page(f"/tasks/{task.job_id}")
    assert "Response of attempt 1" in page
    assert "&lt;script&gt;alert(" in page
    assert "\\u202egnp.exe" in page
    assert "<script>alert" not in page
    for bad in ("\x1b", "\u202e", MARKER):
        assert bad not in page + attempt.response_body
    assert len(page) < 30_000


def test_a_running_task_is_watched(browser: Browser, client: Client, topology: Topology, tmp_path: Path) -> None:
    """With the session of the pages, or with a token; the same events."""
    go = tmp_path / "go"
    task = client.run_algorithm("shown", TABLE, parameters={"go": str(go), "says": ANSI_AND_BIDI})
    path = f"tasks/{task.job_id}/events"
    token = {"Authorization": f"Bearer {browser.token}"}
    assert requests.get(f"{browser.origin}/api/v2/algorithms/{path}", timeout=60).status_code == 401
    timer = threading.Timer(2, go.touch)
    timer.start()
    answers = [
        browser.get(f"{browser.origin}/ui/{path}", timeout=60),
        requests.get(f"{browser.origin}/api/v2/algorithms/{path}", headers=token, timeout=60),
    ]
    timer.join()
    for answer in answers:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        blocks = [block for block in answer.text.split("\n\n") if block]
        assert blocks[-1].startswith("event: end\nid: ")
        text = "".join(json.loads(block.partition("data: ")[2])["text"] for block in blocks if "event: output" in block)
        assert text == f"{ANSI_AND_BIDI}\n"
    last = re.search("^id: (.*end)$", answers[0].text, re.MULTILINE)[1]
    again = browser.get(f"{browser.origin}/ui/{path}", headers={"Last-Event-ID": last}, timeout=60)
    assert again.status_code == 204
    assert browser.get(f"{browser.origin}/ui/{path}?after=x", timeout=60).status_code == 422


def test_streams_end_when_the_service_stops(tmp_path: Path) -> None:
    """Without waiting for the timeout of responses, and without a word in the log."""
    with Topology(tmp_path, "page_jobs:registry", settings={"SHUTDOWN_TIMEOUT": "0.1s"}) as topology:
        with topology.client() as client, Browser(topology) as browser:
            browser.log_in()
            task = client.run_algorithm("shown", TABLE, parameters={"go": str(tmp_path / "go")})
            url = f"{browser.origin}/ui/tasks/{task.job_id}/events"
            with browser.get(url, stream=True, timeout=60) as answer:
                lines = answer.iter_lines()
                next(line for line in lines if line.startswith(b"event: status"))
                topology.service.terminate()
                assert not any(line.startswith(b"event: end") for line in lines)
            assert topology.service.wait(60) in (0, -15, 143)
        assert "timeout graceful shutdown exceeded" not in topology.log
        assert "Traceback" not in topology.log


def test_pages_are_bounded_with_thousands_of_deliveries(tmp_path: Path) -> None:
    """Each page is small, with 10,000 dead deliveries."""
    with Topology(tmp_path, "page_jobs:registry") as topology, Browser(topology) as browser:
        browser.log_in()
        insert_dead(topology.data, 10_000)
        for path in ("/overview", "/deliveries", "/tasks", "/tasks?status=failed", "/tasks?error=nothing", "/health"):
            assert len(browser.page(path)) < 100_000, path
        assert "10000" in browser.page("/overview")
        assert 'rel="next"' in browser.page("/deliveries")
        asked = send(browser, "/deliveries/redeliver", choice="all", status="dead")
        assert "Redeliver 10000 deliveries?" in asked.text


def insert_dead(data: Path, count: int) -> None:
    """Write dead deliveries of failed tasks into the database."""
    connection = sqlite3.connect(next(data.glob("*.sqlite3")), timeout=60)
    with connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(tasks)")]
        ids = [str(uuid.uuid4()) for _ in range(count)]
        at = time.time() - timedelta(hours=1).total_seconds()
        task = {
            **dict.fromkeys(names),
            "owner": "admin",
            "kind": "predict",
            "algorithm": "shown",
            "version": "1.0.0",
            "features_format": "json",
            "parameters": "{}",
            "evaluate": "true",
            "options": "{}",
            "priority": 5,
            "status": "Finished",
            "success": 0,
            "error": HOSTILE,
            "attempt": 1,
            "crash_count": 0,
            "nulls_written": 0,
            "features_bytes": 0,
            "stored_bytes": 0,
        }
        rows = [
            {**task, "job_id": one, "created_at": at, "started_at": at, "finished_at": at + n / count}
            for n, one in enumerate(ids)
        ]
        places = ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({places})", rows)
        columns = connection.execute("PRAGMA table_info(deliveries)").fetchall()
        names = [column[1] for column in columns]
        delivery = {
            **{name: "" if is_needed else None for _, name, _, is_needed, *_ in columns},
            "position": 0,
            "encrypted_target": "x",
            "url": f"https://example.org/{HOSTILE}",
            "host": "example.org",
            "status": "dead",
            "attempt_count": 9,
            "attempts_before_redelivery": 0,
            "last_error": HOSTILE,
            "stage": 0,
        }
        rows = [{**delivery, "delivery_id": f"msg_{n:032x}", "job_id": one} for n, one in enumerate(ids)]
        places = ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO deliveries ({', '.join(names)}) VALUES ({places})", rows)
    connection.close()
