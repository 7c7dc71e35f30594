"""Files at a real HTTP server: nginx with its WebDAV module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter
from callback_sdk.errors import DeliveryError
from callback_sdk.testing.supervisor import free_ports
from tests.checkers import nginx
from tests.conftest import missing_server

RESULT = JobResult(job_id="42", success=True, results={"a": 1})
PARAM = {"run": 7, "http": {"method": "PUT", "headers": {"PRIVATE-TOKEN": nginx.TOKEN}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Nginx]:
    """Run nginx."""
    command = nginx.find()
    if command is None:
        missing_server(nginx.HOW_TO_GET_IT)
    with nginx.running(command, tmp_path_factory.mktemp("nginx")) as running:
        yield running


def test_document_is_stored_and_replaced(server: nginx.Nginx) -> None:
    """A new file is answered with 201, a replaced one with 204; the document has no credentials."""
    with ResultsWriter() as writer:
        receipts = [writer.write(RESULT, f"{server.url}/new.json", PARAM)[0] for _ in range(2)]
    assert [receipt.status for receipt in receipts] == [201, 204]
    assert {receipt.target_kind for receipt in receipts} == {"http-put"}
    stored = (server.files / "new.json").read_bytes()
    assert json.loads(stored)["callback_param"] == {"run": 7}
    assert len(stored) == receipts[0].size


def test_outbox_stores_the_headers(tmp_path: Path) -> None:
    """While the server is down, the delivery is pending with them; it is sent later."""
    command = nginx.find()
    if command is None:
        missing_server(nginx.HOW_TO_GET_IT)
    (port,) = free_ports(1)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        written = outbox.write(RESULT, f"http://127.0.0.1:{port}/kept.json", PARAM)
    assert (list(written.receipts), len(written.pending)) == ([], 1)
    assert nginx.TOKEN not in repr(written)
    with nginx.running(command, tmp_path, port) as server, Outbox(tmp_path / "outbox.sqlite3") as outbox:
        outbox.redeliver(*[entry.delivery_id for entry in written.pending])
        outbox.run(until_empty=True)
        assert json.loads((server.files / "kept.json").read_bytes())["results"] == {"a": 1}


@pytest.mark.parametrize(
    ("path", "headers", "status", "hint"),
    [
        ("new.json", {}, 401, "credentials"),
        ("new.json", {"PRIVATE-TOKEN": "another"}, 401, "credentials"),
        ("no/such/folder/new.json", {"PRIVATE-TOKEN": nginx.TOKEN}, 500, "create_full_put_path"),
        ("moved/new.json", {"PRIVATE-TOKEN": nginx.TOKEN}, 307, "final URL"),
    ],
)
def test_rejection_has_a_hint_and_no_credentials(
    server: nginx.Nginx, path: str, headers: dict[str, str], status: int, hint: str
) -> None:
    """For each status of such servers; a redirect isn't followed with the credentials."""
    with ResultsWriter(timeout=timedelta(milliseconds=1)) as writer, pytest.raises(DeliveryError, match=hint) as caught:
        writer.write(RESULT, f"{server.url}/{path}", {"http": {"method": "PUT", "headers": headers}})
    assert caught.value.status == status
    assert caught.value.attempts == 1
    assert nginx.TOKEN not in str(caught.value)
    assert not (server.files / "elsewhere.json").exists()
