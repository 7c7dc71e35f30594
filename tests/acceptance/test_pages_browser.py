"""The web UI in a browser: all pages in light and dark mode, accessible, by keyboard, and without JavaScript.

With CALLBACK_SDK_SCREENSHOTS naming a folder, the pictures of all pages are kept there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from callback_sdk import Client
from callback_sdk.client import Task
from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server
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
        return {
            "tasks": "/tasks",
            "tasks-none": "/tasks?status=Canceled",
            "task-ended": f"/tasks/{self.ended.job_id}",
            "task-running": f"/tasks/{self.running.job_id}",
            "dead-deliveries": "/deliveries",
            "algorithms": "/algorithms",
            "algorithm": "/algorithms/shown",
            "health": "/health",
            "not-found": "/tasks/nothing",
        }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run the service with an ended and a running task that have credentials in the URLs of their targets."""
    folder = tmp_path_factory.mktemp("browser")
    with (
        Topology(folder, "page_jobs:registry", settings={"SHUTDOWN_TIMEOUT": "0.1s"}) as topology,
        topology.client() as client,
        WebhookReceiver() as webhook,
    ):
        url = f"{webhook.url}?key={MARKER}"
        webhook.respond(410)
        ended = client.run_algorithm("shown", TABLE, callbacks=[url]).wait(progress=False)
        client.run_algorithm("shown", TABLE, parameters={"fail": True}, callbacks=[url]).wait(progress=False)
        go = folder / "go"
        running = client.run_algorithm("shown", TABLE, parameters={"go": str(go)}, callbacks=[url])
        wait_until(lambda: running.refresh().progress.fraction is not None)
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
        page.get_by_label("API token").fill(house.token)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Tasks")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_everybody(
    visit: Callable[..., Page], house: House, pictures: Path, scheme: str
) -> None:
    """axe-core finds no serious fault, nothing is wider than the window, and no picture shows a credential."""
    page = visit(color_scheme=scheme, viewport={"width": 1100, "height": 800})
    for name, path in house.pages.items():
        page.goto(f"{house.origin}/ui{path}")
        assert serious_faults(page) == [], name
        assert MARKER not in page.content()
        assert house.token not in page.content()
        picture = pictures / f"{name}-{scheme}.png"
        page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 5000
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert serious_faults(page) == []
    page.screenshot(path=pictures / f"log-in-{scheme}.png")


def test_every_page_fits_a_telephone(visit: Callable[..., Page], house: House, pictures: Path) -> None:
    """360 pixels are enough; a wide table scrolls within itself."""
    page = visit(viewport={"width": 360, "height": 740})
    for name, path in house.pages.items():
        page.goto(f"{house.origin}/ui{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        page.screenshot(path=pictures / f"{name}-narrow.png", full_page=True)


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
    link = page.get_by_role("link", name=task.job_id)
    press_until_focused(page, link)
    outline = link.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(task.job_id)
    button = page.get_by_role("button", name="Cancel task")
    press_until_focused(page, button)
    page.keyboard.press("Enter")
    expect(page.locator(".badge").first).to_have_text("Canceled")
    assert task.refresh().status == "Canceled"


def press_until_focused(page: Page, wanted: object) -> None:
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("The keyboard doesn't come there.")


def test_a_page_refreshes_itself(visit: Callable[..., Page], house: House, tmp_path: Path) -> None:
    """With JavaScript, the list shows new tasks without a reload. Polling stops when a task has ended."""
    go = tmp_path / "go"
    task = house.client.run_algorithm("shown", TABLE, parameters={"go": str(go)})
    page = visit()
    expect(page.get_by_role("link", name=task.job_id)).to_be_visible(timeout=15_000)
    page.goto(f"{house.origin}/ui/tasks/{task.job_id}")
    expect(page.locator("progress")).to_have_attribute("value", "0.25")
    go.touch()
    expect(page.get_by_role("link", name="Download results (JSON)")).to_be_visible(timeout=15_000)
    assert page.locator("[hx-get]").count() == 0


def test_everything_works_without_javascript(visit: Callable[..., Page], house: House) -> None:
    """Filter, pages, and the buttons are plain links and forms."""
    page = visit(java_script_enabled=False)
    page.get_by_label("Status").select_option("In Progress")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name=house.running.job_id)).to_be_visible()
    expect(page.get_by_role("link", name=house.ended.job_id)).to_have_count(0)
    page.get_by_role("link", name="Dead deliveries").click()
    house.webhook.respond(410)
    page.get_by_role("button", name="Redeliver").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Task")
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("img", name="Ended tasks per minute")).to_be_visible()
    page.get_by_text("Show values").click()
    expect(page.get_by_role("columnheader", name="Succeeded")).to_be_visible()
