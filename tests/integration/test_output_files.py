"""Output files of tasks: made by algorithms, stored by the service, and downloaded by clients and browsers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from callback_sdk import Client, Task
from callback_sdk.errors import NotFoundError, ResponseTooLargeError
from tests.integration.browsers import Browser
from tests.integration.output_jobs import HOSTILE, png
from tests.topology import Topology, kill_tree, wait_until

TABLE = {"a": [1]}
SVG = "plots/deep/ä b.svg"
NAMES = [
    SVG,
    "plots/loss.png",
    "model.bin",
    "table.parquet",
    "table.csv",
    "page.html",
    "note.txt",
    "empty.bin",
]  # fmt: skip


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service with small limits and a second user."""
    settings = {"MAX_OUTPUT_FILES": "1100", "MAX_OUTPUT_FILE_BYTES": "1MB", "MAX_OUTPUT_BYTES": "2MB"}
    with Topology(tmp_path_factory.mktemp("outputs"), "output_jobs:registry", settings=settings) as topology:
        topology.run("users", "add", "mary", "--password", stdin="a password of mary's\n")
        yield topology


@pytest.fixture(scope="module")
def client(topology: Topology) -> Iterator[Client]:
    """Give the first user's client."""
    with topology.client() as client:
        yield client


@pytest.fixture(scope="module")
def task(client: Client) -> Task:
    """Run the algorithm with all kinds of output files."""
    task = client.run_algorithm("all-kinds", TABLE).wait()
    assert task.success, task.error
    return task


@pytest.fixture
def browser(topology: Topology) -> Iterator[Browser]:
    """Give the first user's browser."""
    with Browser(topology) as browser:
        browser.log_in()
        yield browser


def get(client: Client, task: Task, name: str, method: str = "GET", **headers: str) -> requests.Response:
    token = client._connection._credentials.token(lambda *_: None).reveal()
    headers = {"Authorization": f"Bearer {token}", **{key.replace("_", "-"): text for key, text in headers.items()}}
    url = f"{client.url}/algorithms/tasks/{task.job_id}/outputs/{name}"
    return requests.request(method, url, headers=headers, timeout=60)


def test_all_kinds_of_files_are_stored_and_read(client: Client, task: Task, tmp_path: Path) -> None:
    """In the order of the calls; small ones in the database and large ones in blob storage."""
    assert list(task.outputs) == NAMES
    model = task.outputs["model.bin"]
    assert (model.size, model.media_type) == (300_000, "application/octet-stream")
    assert model.read() == b"m" * 300_000
    assert model.sha256 == hashlib.sha256(b"m" * 300_000).hexdigest()
    with model.open() as file:
        assert file.read() == b"m" * 300_000
    assert task.outputs["plots/loss.png"].read() == png()
    assert task.outputs["note.txt"].read() == HOSTILE.encode()
    assert task.outputs["empty.bin"].read() == b""
    assert model.download(tmp_path / "new" / "model").read_bytes() == b"m" * 300_000
    assert task.outputs[SVG].download(tmp_path) == tmp_path / SVG
    with pytest.raises(ResponseTooLargeError, match="open"):
        model.read(max_bytes=1000)
    with pytest.raises(KeyError, match=r"model\.bin"):
        task.outputs["nothing"]
    assert [one.to_dict() for one in client.get_task(task.job_id).outputs.values()] == list(task.to_dict()["outputs"])


def test_all_files_are_downloaded_into_a_directory(task: Task, tmp_path: Path) -> None:
    """Under their names, and nothing else remains there."""
    paths = task.outputs.download(tmp_path / "results")
    assert {str(path.relative_to(tmp_path / "results")) for path in paths} == set(NAMES)
    assert {path for path in (tmp_path / "results").rglob("*") if path.is_file()} == set(paths)
    for name, path in zip(task.outputs, paths, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == task.outputs[name].sha256


@pytest.mark.parametrize(
    ("algorithm", "names"),
    [("stepwise", ["step-0.txt", "step-1.txt", "step-2.txt"]), ("asynchronous", ["async.txt"])],
)
def test_generators_and_coroutines_make_files(client: Client, algorithm: str, names: list[str]) -> None:
    """As functions do."""
    task = client.run_algorithm(algorithm, TABLE).wait()
    assert task.success, task.error
    assert list(task.outputs) == names


def test_a_failed_task_keeps_its_files(client: Client) -> None:
    """Those that it made before it failed."""
    task = client.run_algorithm("all-kinds", TABLE, parameters={"fail": True}).wait()
    assert task.success is False
    assert set(task.outputs) == set(NAMES)
    assert task.outputs["model.bin"].read() == b"m" * 300_000


def test_a_task_that_times_out_keeps_its_files(client: Client) -> None:
    """A checkpoint, for example."""
    task = client.run_algorithm("slow", TABLE).wait()
    assert "took longer" in task.error
    assert {name: file.read() for name, file in task.outputs.items()} == {"checkpoint.bin": b"half"}


def test_a_thousand_files_are_stored(client: Client, tmp_path: Path) -> None:
    """And each one is right."""
    task = client.run_algorithm("many", TABLE, parameters={"count": 1000}).wait()
    assert task.success, task.error
    for number, path in enumerate(task.outputs.download(tmp_path)):
        assert path.read_text() == f"{task.job_id} {number}"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"name": "../x"}, "OutputError: The name of an output file has a segment . or .."),
        ({"name": "x", "size": 1_000_001}, "CALLBACK_SDK_MAX_OUTPUT_FILE_BYTES"),
        ({"name": "x", "size": 1_000_000}, "accepted"),
    ],
)
def test_the_algorithm_gets_the_error(client: Client, parameters: dict[str, Any], said: str) -> None:
    """At the call, so that it can react."""
    assert said in client.run_algorithm("strict", TABLE, parameters=parameters).wait().predictions


@pytest.mark.parametrize(
    ("headers", "status", "size", "span"),
    [
        ({}, 200, 300_000, None),
        ({"Range": "bytes=0-9"}, 206, 10, "bytes 0-9/300000"),
        ({"Range": "bytes=-10"}, 206, 10, "bytes 299990-299999/300000"),
        ({"Range": "bytes=299999-"}, 206, 1, "bytes 299999-299999/300000"),
        ({"Range": "bytes=300000-"}, 416, 0, "bytes */300000"),
        ({"Range": "bytes=0-1,5-6"}, 200, 300_000, None),
        ({"Range": "bytes=0-9", "If_Range": '"other"'}, 200, 300_000, None),
        ({"Range": "bytes=0-9", "If_Range": "ETAG"}, 206, 10, "bytes 0-9/300000"),
        ({"If_None_Match": "ETAG"}, 304, 0, None),
        ({"If_None_Match": '"other"'}, 200, 300_000, None),
    ],
)
def test_ranges_are_served(
    client: Client, task: Task, headers: dict[str, str], status: int, size: int, span: str | None
) -> None:
    """A single one, if the file is the one that the client knows."""
    tag = f'"{task.outputs["model.bin"].sha256}"'
    answer = get(client, task, "model.bin", **{name: tag if text == "ETAG" else text for name, text in headers.items()})
    content = answer.content if status < 400 else b""
    assert (answer.status_code, len(content), answer.headers.get("content-range")) == (status, size, span)
    assert status == 416 or answer.headers["etag"] == tag


@pytest.mark.parametrize("name", ["model.bin", "note.txt"])
def test_head_tells_the_size(client: Client, task: Task, name: str) -> None:
    """Of files in blob storage, and in the database."""
    answer = get(client, task, name, "HEAD")
    file = task.outputs[name]
    assert (answer.status_code, answer.content) == (200, b"")
    assert (int(answer.headers["content-length"]), answer.headers["etag"]) == (file.size, f'"{file.sha256}"')
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_browser_runs_nothing_of_a_file(client: Client, task: Task) -> None:
    """It is an attachment, its type isn't guessed, and no script would run under the service's origin."""
    answer = get(client, task, "page.html")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-disposition"].startswith('attachment; filename="page.html"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_users_see_their_own_files_only(topology: Topology, client: Client, task: Task) -> None:
    """Others' are as if they did not exist; names never reach a file of the service."""
    password = "a password of mary's"
    with Client(client.url, username="mary", password=password) as other, pytest.raises(NotFoundError):
        other.get_task(task.job_id)
    login = {"username": "mary", "password": password}
    access = requests.post(f"{client.url}/token/", json=login, timeout=60).json()["access"]
    for path in ("outputs", "outputs/model.bin"):
        url = f"{client.url}/algorithms/tasks/{task.job_id}/{path}"
        for headers, status in (({"Authorization": f"Bearer {access}"}, 404), ({}, 401)):
            assert requests.get(url, headers=headers, timeout=60).status_code == status
    for name in ("nothing", "..%2f..%2fkeys", "%00", "model.bin%00", "plots", "MODEL.BIN", "x" * 5000):
        assert get(client, task, name).status_code == 404
    listed = get(client, task, "").json()
    assert [one["name"] for one in listed] == list(task.outputs)


def test_the_command_lists_and_downloads(topology: Topology, task: Task, tmp_path: Path) -> None:
    """As a table, or as JSON with the paths."""
    service = ("--url", (topology.data / "address").read_text().strip(), "--token-file", str(topology.data / "token"))
    listed = topology.run("tasks", task.job_id, "--outputs", *service)
    assert all(name in listed for name in NAMES)
    found = json.loads(topology.run("tasks", task.job_id, "--download", str(tmp_path), "--json", *service))
    assert {one["name"]: Path(one["path"]) for one in found} == {name: tmp_path / name for name in NAMES}
    assert (tmp_path / "note.txt").read_text() == HOSTILE
    assert "8 (--outputs" in topology.run("tasks", task.job_id, *service)


def test_pages_show_and_download_files(browser: Browser, task: Task) -> None:
    """Without JavaScript: images, the first rows of tables, and text, everything escaped."""
    page = browser.page(f"/tasks/{task.job_id}")
    for name in NAMES:
        assert name in page
    links = re.findall(r'href="/ui(/tasks/[^"]+/preview/[^"]+)"', page)
    assert len(links) == len(NAMES)
    shown = {link.rpartition("/preview/")[2]: browser.page(link) for link in links}
    for text in shown.values():
        assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in shown["table.parquet"]
    assert "<td>1</td>" in shown["table.csv"]
    assert "&lt;script&gt;alert" in shown["note.txt"]
    assert "no preview" in shown["model.bin"]
    image = re.search(r'<img class="preview" src="/ui([^"]+)"', shown["plots/loss.png"])[1]
    answer = browser.get(f"{browser.origin}/ui{image}", timeout=60)
    assert (answer.headers["content-type"], answer.content) == ("image/png", png())
    assert "sandbox" in answer.headers["content-security-policy"]
    answer = browser.get(f"{browser.origin}/ui/tasks/{task.job_id}/outputs/page.html", timeout=60)
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("name", ["page.html", SVG, "note.txt", "nothing"])
def test_only_images_are_shown_inline(browser: Browser, task: Task, name: str) -> None:
    """An SVG is downloaded, or shown as its text."""
    browser.page(f"/tasks/{task.job_id}/image/{name}", 404)


def test_a_notebook_shows_files(task: Task) -> None:
    """Figures as images, tables as tables, and lists of files."""
    assert 'src="data:image/png;base64,' in task.outputs["plots/loss.png"]._repr_html_()
    assert "<th>text</th>" in task.outputs["table.parquet"]._repr_html_()
    assert "model.bin" in task.outputs._repr_html_()
    assert "model.bin" in task._repr_html_()
    for file in task.outputs.values():
        assert "<script" not in file._repr_html_()


def test_a_run_after_a_kill_makes_its_files_again(tmp_path: Path) -> None:
    """Those of the killed run are not the task's."""
    with Topology(tmp_path, "output_jobs:registry", settings={"LEASE": "4s"}) as topology:
        parameters = {name: str(tmp_path / name) for name in ("started", "go")}
        with topology.client() as client:
            task = client.run_algorithm("waiting", TABLE, parameters=parameters)
        wait_until(Path(parameters["started"]).exists)
        kill_tree(topology.service)
        Path(parameters["go"]).touch()
        topology.start_service()
        with topology.client() as client:
            task = client.get_task(task.job_id).wait()
            assert task.success, task.error
            assert {name: file.read() for name, file in task.outputs.items()} == {"large.bin": b"l" * 500_000}
