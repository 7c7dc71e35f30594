"""callback_sdk.client.outputs: broken connections, wrong contents, and names that a hostile service sends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from callback_sdk.client import Client
from callback_sdk.client import outputs as module
from callback_sdk.client.connection import _CHUNK
from callback_sdk.client.outputs import TaskOutput, TaskOutputs
from callback_sdk.errors import NotFoundError, OutputError, ServiceError
from tests.unit.client.fake import FakeService

DATA = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = "/algorithms/tasks/1/outputs/model.bin"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without a pause."""
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


@pytest.fixture
def outputs_of(client: Client, service: FakeService) -> Callable[..., TaskOutputs]:
    """Return a function that gives the outputs of a task with files of these names."""

    def make(*names: str, **members: Any) -> TaskOutputs:
        files = [{"name": name, "size": len(DATA), "sha256": SHA256, "media_type": "x/y", **members} for name in names]
        service.on(
            "GET", "/algorithms/tasks/1", service.Say(200, {"job_id": "1", "status": "Finished", "outputs": files})
        )
        return client.get_task("1").outputs

    return make


@pytest.fixture
def output(outputs_of: Callable[..., TaskOutputs]) -> TaskOutput:
    """Return the output file of a task."""
    return outputs_of("model.bin")["model.bin"]


def part(start: int, cut: int = 0) -> FakeService.Say:
    headers = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return FakeService.Say(206, raw=DATA[start:], headers=headers, cut=cut)


def test_a_broken_download_is_continued_where_it_broke(
    output: TaskOutput, service: FakeService, tmp_path: Path
) -> None:
    """By a range of the same content."""
    # The beginning of a piece is lost.
    first = (len(DATA) - 200_000) // _CHUNK * _CHUNK
    second = first + (len(DATA) - first - 100_000) // _CHUNK * _CHUNK
    service.on(
        "GET",
        PATH,
        service.Say(200, raw=DATA, cut=200_000),
        part(first, cut=100_000),
        part(second),
    )
    assert output.download(tmp_path / "model").read_bytes() == DATA
    ranges = [seen.headers.get("range") for seen in service.requests[1:]]
    assert ranges == [None, f"bytes={first}-", f"bytes={second}-"]
    assert {seen.headers.get("if-range") for seen in service.requests[2:]} == {f'"{SHA256}"'}
    assert {seen.headers["accept-encoding"] for seen in service.requests[1:]} == {"identity"}


def test_a_server_without_ranges_is_tolerated(output: TaskOutput, service: FakeService) -> None:
    """What is here already is discarded."""
    service.on("GET", PATH, service.Say(200, raw=DATA, cut=200_000), service.Say(200, raw=DATA))
    assert output.read() == DATA


def test_a_download_that_makes_no_progress_fails(output: TaskOutput, service: FakeService, tmp_path: Path) -> None:
    """After the client's number of retries, and leaves nothing behind."""
    service.on("GET", PATH, service.Say(200, raw=DATA, cut=200_000), service.Say(503))
    with pytest.raises(ServiceError):
        output.download(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [DATA[:-1] + b"\0", DATA + b"x", DATA[:100]])
def test_another_content_is_an_error(output: TaskOutput, service: FakeService, tmp_path: Path, content: bytes) -> None:
    """An existing file is kept as it was."""
    (tmp_path / "model").write_bytes(b"before")
    service.on("GET", PATH, service.Say(200, raw=content))
    with pytest.raises(ServiceError):
        output.download(tmp_path / "model")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model", b"before")]


def test_a_range_of_another_place_is_an_error(output: TaskOutput, service: FakeService) -> None:
    """It would be appended at the wrong place."""
    service.on("GET", PATH, service.Say(200, raw=DATA, cut=200_000), part(0))
    with pytest.raises(ServiceError):
        output.read()


def test_a_purged_file_is_not_requested_again(output: TaskOutput, service: FakeService) -> None:
    """The error says that it doesn't exist."""
    service.on("GET", PATH, service.Say(404, {"status": False, "error": "gone"}))
    with pytest.raises(NotFoundError, match="gone"):
        output.read()
    assert len(service.paths("GET")) == 2


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "C:x", "a\0b", "NUL", ""])
def test_a_name_can_not_lead_out_of_the_directory(
    outputs_of: Callable[..., TaskOutputs], service: FakeService, tmp_path: Path, name: str
) -> None:
    """Nothing is downloaded then, the other files neither."""
    outputs = outputs_of("fine", name)
    with pytest.raises(OutputError):
        outputs.download(tmp_path / "results")
    with pytest.raises(OutputError):
        outputs[name].download(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(service.requests) == 1


@pytest.mark.parametrize("target", ["../elsewhere", "link", "../missing"])
def test_a_link_can_not_lead_out_of_the_directory(
    outputs_of: Callable[..., TaskOutputs], service: FakeService, tmp_path: Path, target: str
) -> None:
    """Nothing is downloaded then, the other files neither."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "link").symlink_to(target)
    outputs = outputs_of("fine", "link/x")
    with pytest.raises(OutputError, match="link in the directory"):
        outputs.download(tmp_path / "results")
    with pytest.raises(OutputError, match="link in the directory"):
        outputs["link/x"].download(tmp_path / "results")
    assert {path.name for path in tmp_path.rglob("*")} == {"elsewhere", "results", "link"}
    assert len(service.requests) == 1


def test_other_links_are_used_or_replaced(
    outputs_of: Callable[..., TaskOutputs], service: FakeService, tmp_path: Path
) -> None:
    """The directory may be a link, one within it is followed, and one in the place of a file is replaced."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "results").symlink_to("real")
    (tmp_path / "real" / "link").symlink_to("sub")
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "real" / "file").symlink_to("../kept")
    for name in ("link/x", "file"):
        service.on("GET", f"/algorithms/tasks/1/outputs/{name}", service.Say(200, raw=DATA))
    outputs_of("link/x", "file").download(tmp_path / "results")
    assert (tmp_path / "real" / "sub" / "x").read_bytes() == (tmp_path / "real" / "file").read_bytes() == DATA
    assert (tmp_path / "kept").read_bytes() == b"kept"


@pytest.mark.parametrize("name", [".thing.output.json", "foo..bar", ".foo/.bar", "a b/ä#%&+.txt"])
def test_harmless_names_are_downloaded(
    outputs_of: Callable[..., TaskOutputs], service: FakeService, tmp_path: Path, name: str
) -> None:
    """Under the same name; each character that has a meaning in a URL is escaped."""
    service.on("GET", f"/algorithms/tasks/1/outputs/{quote(name)}", service.Say(200, raw=DATA))
    assert outputs_of(name).download(tmp_path) == [tmp_path / name]
    assert (tmp_path / name).read_bytes() == DATA


def test_names_that_differ_in_case_are_not_downloaded_into_one_directory(
    outputs_of: Callable[..., TaskOutputs], tmp_path: Path
) -> None:
    """One would replace the other on some file systems."""
    with pytest.raises(OutputError, match="same name"):
        outputs_of("a.bin", "A.bin").download(tmp_path)


@pytest.mark.parametrize("members", [{"size": "1"}, {"size": -1}, {"size": True}, {"sha256": None}, {"media_type": 1}])
def test_a_wrong_announcement_is_an_error(outputs_of: Callable[..., TaskOutputs], members: dict[str, Any]) -> None:
    """Of the service, when the task is read."""
    with pytest.raises(ServiceError, match="not a task"):
        outputs_of("a", **members)


def test_a_service_without_outputs_has_none(client: Client, service: FakeService) -> None:
    """One of an earlier version doesn't announce any."""
    service.on("GET", "/algorithms/tasks/1", service.Say(200, {"job_id": "1", "status": "Finished"}))
    assert len(client.get_task("1").outputs) == 0
