"""The web UI in a browser: all pages in light and dark mode, accessible, by keyboard, and without JavaScript.

With CALLBACK_SDK_SCREENSHOTS naming a folder, the pictures of all pages are kept there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from attrs import define
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server
from tests.integration.page_jobs import HOSTILE
from tests.topology import Topology, wait_until

MARKER = "MARKER5f3c"
TABLE = {"a": [1, 2]}
# Nothing that would look for updates, and no sandbox, which root can't have.
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
SERIOUS = ("serious", "critical")

# A page that never shows what it should ends the test then; on a busy machine five seconds, the default, pass.
expect.set_options(timeout=60_000)


@define
class House:
    """A service with something on every page.

    Attributes:
        ended: A task with one delivery that is made and one that is dead.
        running: One that runs until `go` is there.
    """

    topology: Topology
    client: Client
    webhook: WebhookReceiver
    ended: Task
    running: Task
    go: Path

    @property
    def origin(self) -> str:
        return (self.topology.data / "address").read_text().strip()

    @property
    def token(self) -> str:
        return (self.topology.data / "token").read_text().strip()

    @property
    def pages(self) -> dict[str, str]:
        """Every page by a name for its picture."""
        ended, running = self.ended.job_id, self.running.job_id
        return {
            "overview": "/overview",
            "tasks": "/tasks",
            "tasks-failed": "/tasks?status=failed&error=alert",
            "tasks-none": "/tasks?status=Canceled",
            "task-ended": f"/tasks/{ended}",
            "task-running": f"/tasks/{running}",
            "task-cancel": f"/tasks/{running}/cancel",
            "output-file": f"/tasks/{ended}/preview/table.csv",
            "deliveries": "/deliveries",
            "deliveries-failing": "/deliveries?status=failing",
            "deliveries-none": "/deliveries?host=nowhere.example.org",
            "algorithms": "/algorithms",
            "algorithm": "/algorithms/shown",
            "algorithm-schema": "/algorithms/declared",
            "health": "/health",
            "audit": "/audit",
            "hosts": "/hosts",
            "not-found": "/tasks/nothing",
        }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run the service with tasks and deliveries in all states, and credentials in the URLs of their targets."""
    folder = tmp_path_factory.mktemp("browser")
    with (
        Topology(folder, "page_jobs:registry", settings={"SHUTDOWN_TIMEOUT": "0.1s"}) as topology,
        topology.client() as client,
        WebhookReceiver() as webhook,
        WebhookReceiver() as failing,
    ):
        url = f"{webhook.url}?key={MARKER}"
        webhook.respond(400, body=f"{HOSTILE} {url}".encode())
        failing.respond(503, body=b"\x1b[31mNot now\x1b[0m \xe2\x80\xae" + b"x" * 5000, times=1000)
        ended = client.run_algorithm("shown", TABLE, parameters={"file": True}, callbacks=[url, failing.url]).wait(
            progress=False, delivery_timeout=0
        )
        client.run_algorithm("shown", TABLE, parameters={"fail": True}, callbacks=[url]).wait(progress=False)
        go = folder / "go"
        running = client.run_algorithm("shown", TABLE, parameters={"go": str(go)}, callbacks=[url])
        wait_until(lambda: running.refresh().progress.fraction is not None)
        wait_until(lambda: [one.status for one in ended.refresh().deliveries] == ["dead", "pending"])
        yield House(topology, client, webhook, ended, running, go)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing_server("Chromium is missing: on Debian, apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, house: House) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a browser window with a session, and blocks requests to other hosts."""
    opened: list[BrowserContext] = []
    said: list[str] = []

    def open_window(**options: object) -> Page:
        context = chromium.new_context(**options)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request", lambda request: said.append(request.url) if not request.url.startswith(house.origin) else None
        )
        page.goto(f"{house.origin}/")
        page.get_by_label("API token", exact=True).fill(house.token)
        page.get_by_role("button", name="Log in with token").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        return page

    yield open_window
    for context in opened:
        context.close()
    # A page that isn't there says so in the console as well.
    assert [text for text in said if "404" not in text] == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory for screenshots."""
    folder = Path(os.environ.get("CALLBACK_SDK_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def serious_faults(page: Page) -> list[str]:
    """Return the serious and critical violations that axe-core finds."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found if one["impact"] in SERIOUS]


OFF_SCREEN = """() => {
  const width = document.documentElement.clientWidth;
  const elements = [...document.querySelectorAll("main *, header *, footer *")];
  const wider = elements.filter((element) => {
    const place = element.getBoundingClientRect();
    // Texts for screen readers only, and what begins off the screen until it has the focus.
    if (!place.width || element.closest(".hidden, thead, .skip, svg *, option")) return false;
    if (!element.checkVisibility()) return false;
    // A long line of a sample, and a file with many columns, are scrolled in their own boxes.
    return (place.left < -1 || place.right > width + 1) && !element.parentElement.closest("pre, .wide");
  });
  const scrolled = elements.filter((element) =>
    !element.matches("pre, .wide") && !element.closest(".hidden, thead, svg, select, input") &&
    element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== "visible");
  return [...wider, ...scrolled].map((element) => element.outerHTML.slice(0, 200));
}"""
"""Elements that are not, or only in part, within the width of the window, and those that have to be scrolled."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_every_page_can_be_read_by_everybody(
    visit: Callable[..., Page], house: House, pictures: Path, scheme: str, width: int
) -> None:
    """axe-core finds no serious fault, nothing is off screen, and no picture shows a credential."""
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    for name, path in house.pages.items():
        page.goto(f"{house.origin}/ui{path}")
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true; }")
        assert serious_faults(page) == [], name
        assert page.evaluate(OFF_SCREEN) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert MARKER not in page.content()
        assert house.token not in page.content()
        picture = pictures / f"{name}-{width}-{scheme}.png"
        page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 4000
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert serious_faults(page) == []
    assert page.evaluate(OFF_SCREEN) == []
    page.screenshot(path=pictures / f"log-in-{width}-{scheme}.png")


def test_forms_after_a_choice_can_be_read_by_everybody(
    visit: Callable[..., Page], house: House, pictures: Path
) -> None:
    """Confirmations of bulk actions, and notices, on a phone."""
    page = visit(viewport={"width": 390, "height": 740})
    for path, button in (("/deliveries", "Redeliver all that match"), ("/tasks", "Cancel all that match")):
        page.goto(f"{house.origin}/ui{path}")
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("link", name="Go back")).to_be_visible()
        assert serious_faults(page) == []
        assert page.evaluate(OFF_SCREEN) == []
        page.screenshot(path=pictures / f"confirm{path.replace('/', '-')}-390-light.png")
    page.goto(f"{house.origin}/ui/tasks?notice=nothing-1")
    expect(page.get_by_role("status")).to_contain_text("Nothing was selected")
    assert serious_faults(page) == []


def test_light_and_dark_differ(visit: Callable[..., Page]) -> None:
    """The page follows the color scheme of the browser."""
    colours = {
        visit(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert len(colours) == 2


def test_a_task_can_be_found_and_canceled_by_keyboard(visit: Callable[..., Page], house: House, tmp_path: Path) -> None:
    """From the top of the page with Tab and Enter only; the focus is visible."""
    task = house.client.run_algorithm("shown", TABLE, parameters={"go": str(tmp_path / "go")})
    wait_until(lambda: task.refresh().status == "In Progress")
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Tasks", exact=True).click()
    link = page.get_by_role("link", name=task.job_id)
    press_until_focused(page, link)
    outline = link.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(task.job_id)
    press_until_focused(page, page.get_by_role("link", name="Cancel task"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Cancel this task?")
    press_until_focused(page, page.get_by_role("button", name="Cancel the task"))
    page.keyboard.press("Enter")
    expect(page.locator(".badge").first).to_have_text("Canceled")
    assert task.refresh().status == "Canceled"


def press_until_focused(page: Page, wanted: object) -> None:
    for _ in range(200):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("The keyboard doesn't come there.")


def test_a_list_refreshes_itself_unless_something_is_selected(
    visit: Callable[..., Page], house: House, tmp_path: Path
) -> None:
    """New tasks appear without a reload, and a selection isn't lost."""
    page = visit()
    page.goto(f"{house.origin}/ui/tasks")
    task = house.client.run_algorithm("shown", TABLE, parameters={"go": str(tmp_path / "go")})
    expect(page.get_by_role("link", name=task.job_id)).to_be_visible(timeout=15_000)
    box = page.get_by_label(f"Select task {task.job_id}")
    box.check()
    expect(page.get_by_role("button", name="Cancel selected (1)")).to_be_visible()
    later = house.client.run_algorithm("shown", TABLE)
    page.wait_for_timeout(6000)
    expect(box).to_be_checked()
    expect(page.get_by_role("link", name=later.job_id)).to_have_count(0)
    box.uncheck()
    expect(page.get_by_role("link", name=later.job_id)).to_be_visible(timeout=15_000)
    (tmp_path / "go").touch()


def test_a_running_task_is_shown_live(visit: Callable[..., Page], house: House, tmp_path: Path) -> None:
    """Progress and output come by events, and the stream ends with the task; a hidden page has no connection."""
    go = tmp_path / "go"
    task = house.client.run_algorithm("shown", TABLE, parameters={"go": str(go), "says": "hello \u202e there"})
    wait_until(lambda: task.refresh().progress.fraction is not None)
    page = visit()
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "/events" in request.url else None)
    page.goto(f"{house.origin}/ui/tasks/{task.job_id}")
    expect(page.locator("progress")).to_have_attribute("value", "0.25")
    expect(page.get_by_role("region", name="Algorithm output")).to_contain_text("hello \\u202e there")
    assert len(streams) == 1
    page.evaluate("window.marked = true")
    go.touch()
    expect(page.get_by_role("link", name="Download results (JSON)")).to_be_visible(timeout=15_000)
    assert page.evaluate("window.marked") is True, "the page was not reloaded"
    assert page.locator("[hx-get], [data-events]").count() == 0
    assert page.locator("pre.output").text_content().count("hello") == 1
    assert len(streams) == 1


def test_times_are_local_with_utc_as_their_title(visit: Callable[..., Page], house: House) -> None:
    """In the browser's time zone, and filters are sent in UTC, so that a link means the same everywhere."""
    page = visit(timezone_id="Asia/Tokyo")
    page.goto(f"{house.origin}/ui/tasks")
    time = page.locator("#tasks time").first
    at = datetime.fromisoformat(time.get_attribute("datetime"))
    assert time.text_content() == f"{at + timedelta(hours=9):%Y-%m-%d %H:%M:%S}"
    assert time.get_attribute("title") == f"{at:%Y-%m-%d %H:%M:%S} UTC"
    expect(page.locator("#zone")).to_contain_text("Asia/Tokyo")
    page.get_by_label("Since (Asia/Tokyo)").fill("2030-01-31T08:30")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No tasks match this filter.")).to_be_visible()
    assert "since=2030-01-30T23%3A30" in page.url
    assert "status" not in page.url
    expect(page.get_by_label("Since (Asia/Tokyo)")).to_have_value("2030-01-31T08:30")
    plain = visit(java_script_enabled=False, timezone_id="Asia/Tokyo")
    plain.goto(f"{house.origin}/ui/tasks?since=2000-01-30T23:30")
    assert plain.locator("#tasks time").first.text_content().endswith(" UTC")
    expect(plain.get_by_label("Since (UTC)")).to_have_value("2000-01-30T23:30")


def test_everything_works_without_javascript(visit: Callable[..., Page], house: House, tmp_path: Path) -> None:
    """Filters, pages, and actions with their confirmations are plain links and forms."""
    page = visit(java_script_enabled=False)
    page.get_by_role("link", name="Tasks", exact=True).click()
    page.get_by_label("Status").select_option("In Progress")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name=house.running.job_id)).to_be_visible()
    expect(page.get_by_role("link", name=house.ended.job_id)).to_have_count(0)
    page.get_by_role("button", name="Cancel selected").click()
    expect(page.get_by_role("status")).to_contain_text("Nothing was selected")
    task = house.client.run_algorithm("shown", TABLE, parameters={"go": str(tmp_path / "go")})
    wait_until(lambda: task.refresh().status == "In Progress")
    page.goto(f"{house.origin}/ui/tasks?status=In+Progress&id={task.job_id[:13]}")
    page.get_by_label(f"Select task {task.job_id}").check()
    page.get_by_role("button", name="Cancel selected").click()
    page.get_by_role("button", name="Cancel this task").click()
    expect(page.get_by_role("status")).to_have_text("Canceled tasks: 1.")
    assert f"id={task.job_id[:13]}" in page.url
    assert task.refresh().status == "Canceled"
    page.goto(f"{house.origin}/ui/tasks/{house.running.job_id}")
    page.get_by_role("link", name="Reload").click()
    expect(page.locator("progress")).to_have_attribute("value", "0.25")
    page.get_by_role("link", name="Deliveries", exact=True).click()
    house.webhook.respond(400)
    page.get_by_role("button", name="Redeliver to").first.click()
    expect(page.get_by_role("status")).to_have_text("Deliveries that are sent again now: 1.")
    expect(page.get_by_role("heading", level=1)).to_have_text("Deliveries")
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("img", name="Ended tasks per minute")).to_be_visible()
    page.get_by_text("Show values").click()
    expect(page.get_by_role("columnheader", name="Succeeded")).to_be_visible()
