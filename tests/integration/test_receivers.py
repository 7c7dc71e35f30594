"""Receivers in Starlette, FastAPI, Flask, Django, Node.js and Go: the same behavior in each, with real servers."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from callback_sdk import JobResult, ResultsWriter, webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from tests import receiver_apps
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
SECRET, NEXT = webhooks.generate_secret(), webhooks.generate_secret()
PRIVATE = webhooks.generate_secret("v1a")
SECRETS = f"{SECRET} {NEXT} {webhooks.public_key(PRIVATE)}"

JAVASCRIPT = """async function handle(result) {
  const { existsSync, appendFileSync, writeFileSync } = await import("node:fs");
  if (existsSync("fail")) throw new Error("the handler fails");
  writeFileSync("holding", "");
  while (existsSync("hold")) await new Promise((resolve) => setTimeout(resolve, 10));
  appendFileSync("handled", `${result.job_id}\\n`);
}
"""
GO = """func handle(result *Result) error {
	if _, err := os.Stat("fail"); err == nil {
		return errors.New("the handler fails")
	}
	os.WriteFile("holding", nil, 0o600)
	for _, err := os.Stat("hold"); err == nil; _, err = os.Stat("hold") {
		time.Sleep(10 * time.Millisecond)
	}
	file, err := os.OpenFile("handled", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintln(file, result.JobID)
	return err
}
"""


@define
class Response:
    """A response of a receiver."""

    status: int
    retry_after: str | None
    body: bytes


@define
class RunningReceiver:
    """A receiver as a process, and the folder of its files."""

    kind: str
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/done"

    @property
    def max_bytes(self) -> int:
        return receiver_apps.MAX_BYTES if self.kind in receiver_apps.KINDS else 16 * 1024 * 1024

    def handled(self) -> list[str]:
        return self._lines("handled")

    def events(self) -> list[str]:
        return self._lines("events")

    def send(self, body: Any, headers: dict[str, str], *, method: str = "POST") -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, "/done", body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        found = Response(response.status, response.getheader("Retry-After"), response.read())
        connection.close()
        return found

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def with_handler(source: Path, pattern: str, handler: str) -> str:
    """Return an example with the handler of these tests, as its users replace it by theirs."""
    text, count = re.subn(pattern, lambda _: handler, source.read_text(), count=1, flags=re.S | re.M)
    assert count == 1
    return text


def javascript(folder: Path) -> list[str]:
    if (node := shutil.which("node")) is None:
        missing_server("Node.js is missing: apt-get install nodejs")
    text = with_handler(ROOT / "examples" / "receiver.mjs", r"^async function handle\(.*?^}\n", JAVASCRIPT)
    (folder / "receiver.mjs").write_text(text)
    return [node, "receiver.mjs"]


def go(folder: Path) -> list[str]:
    if (program := shutil.which("go")) is None:
        missing_server("Go is missing: apt-get install golang-go")
    text = with_handler(ROOT / "examples" / "receiver.go", r"^func handle\(.*?^}\n", GO)
    (folder / "receiver.go").write_text(text)
    subprocess.run([program, "vet", "receiver.go"], cwd=folder, check=True, timeout=300)
    subprocess.run([program, "build", "-o", "receiver", "receiver.go"], cwd=folder, check=True, timeout=300)
    return ["./receiver"]


EXAMPLES: dict[str, Callable[[Path], list[str]]] = {"javascript": javascript, "go": go}


@pytest.fixture(scope="module", params=[*receiver_apps.KINDS, *EXAMPLES])
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReceiver]:
    """Run a receiver."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in EXAMPLES:
        command = EXAMPLES[request.param](folder)
    else:
        command = [sys.executable, receiver_apps.__file__, request.param]
    environment = {**os.environ, "WEBHOOK_SECRETS": SECRETS, "PORT": "0", "PYTHONPATH": str(ROOT)}
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=file)
    try:
        while (match := re.search(r"listening on port (\d+)\n", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        yield RunningReceiver(request.param, int(match[1]), folder)
    finally:
        process.kill()
        process.wait()


def document(job_id: str, **members: Any) -> bytes:
    ended = {"status": "Finished", "callback_param": {}, "success": True, "results": {"x": 1.5}}
    return json.dumps({"job_id": job_id, **ended, **members}).encode()


def signed(body: bytes, webhook_id: str, *secrets: str, age: timedelta = timedelta()) -> dict[str, str]:
    keys = [webhooks.decode_secret(secret) for secret in secrets or (SECRET,)]
    return webhooks.sign(keys, webhook_id, datetime.now(timezone.utc) - age, Body(body))


@pytest.mark.parametrize("secret", [SECRET, NEXT, PRIVATE], ids=["v1", "rotated", "v1a"])
def test_what_the_writer_sends_is_handled(receiver: RunningReceiver, secret: str) -> None:
    """With each of the secrets that are valid, symmetric and asymmetric."""
    job_id = f"written-{hash(secret)}"
    with ResultsWriter(webhook_secrets=[secret]) as writer:
        (receipt,) = writer.write(JobResult(job_id=job_id, success=True, results={"größe": [1, 2.5]}), receiver.url)
    assert receipt.status == 200
    assert receiver.handled().count(job_id) == 1


def test_a_foreign_secret_is_rejected_for_good(receiver: RunningReceiver) -> None:
    """The writer doesn't retry: the error has the status."""
    with (
        ResultsWriter(webhook_secrets=[webhooks.generate_secret()]) as writer,
        pytest.raises(DeliveryError) as caught,
    ):
        writer.write(JobResult(job_id="foreign", success=True), receiver.url)
    assert (caught.value.status, caught.value.retryable) == (401, False)
    assert "foreign" not in receiver.handled()


@pytest.mark.parametrize(
    ("change", "suffix", "age"),
    [
        ({}, b" ", timedelta()),
        ({"webhook-id": "msg_other"}, b"", timedelta()),
        ({"webhook-signature": "v1,AAAA"}, b"", timedelta()),
        ({"webhook-signature": ""}, b"", timedelta()),
        ({"webhook-timestamp": "x"}, b"", timedelta()),
        ({}, b"", timedelta(minutes=6)),
        ({}, b"", timedelta(minutes=-6)),
    ],
    ids=["body", "id", "signature", "no signature", "timestamp", "old", "future"],
)
def test_a_changed_or_old_webhook_is_rejected(
    receiver: RunningReceiver, change: dict[str, str], suffix: bytes, age: timedelta
) -> None:
    """Id, timestamp, body and signature are covered; the handler isn't called."""
    body = document("changed")
    response = receiver.send(body + suffix, {**signed(body, "msg_changed", age=age), **change})
    assert response.status == 401
    assert "changed" not in receiver.handled()


def test_a_body_above_the_limit_is_rejected_before_it_is_read(receiver: RunningReceiver) -> None:
    """By its announced length: nothing of it is sent here. With ASGI, Django reads each body before it calls a view."""
    body = b" " * (receiver.max_bytes + 1) if receiver.kind == "django-asgi" else None
    headers = {**signed(b"", "msg_large"), "Content-Length": str(receiver.max_bytes + 1)}
    assert receiver.send(body, headers).status == 413


def test_a_body_of_unknown_length_is_bounded(receiver: RunningReceiver) -> None:
    """A chunked one. Django takes none from a WSGI server, and sees an empty body, which is no document."""
    chunks = (b" " * 65536 for _ in range(receiver.max_bytes // 65536 + 2))
    try:
        status = receiver.send(chunks, signed(b"", "msg_chunked")).status
    except (BrokenPipeError, ConnectionResetError):
        # The server has closed the connection instead of reading the rest.
        status = 413
    assert status == (422 if receiver.kind == "django-wsgi" else 413)


def test_a_body_larger_than_the_limit_of_forms_is_taken(receiver: RunningReceiver) -> None:
    """The applications allow their forms 1,000 bytes."""
    body = document("large", results="x" * 50_000)
    assert receiver.send(body, signed(body, "msg_large_enough")).status == 200
    assert receiver.handled().count("large") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        document(""),
        document("x", status="Done"),
        document("x", success=1),
    ],
)
def test_a_foreign_document_is_rejected(receiver: RunningReceiver, body: bytes) -> None:
    """Its signature is valid, and it is not a result document: the sender must not repeat it."""
    assert receiver.send(body, signed(body, "msg_foreign")).status == 422


def test_a_duplicate_is_not_handled_again(receiver: RunningReceiver) -> None:
    """It gets 200, so that the sender stops."""
    body = document("twice")
    for _ in range(2):
        assert receiver.send(body, signed(body, "msg_twice")).status == 200
    assert receiver.handled().count("twice") == 1


def test_another_document_under_the_same_id_is_handled(receiver: RunningReceiver) -> None:
    """It is the result of a second run, after the sender's database was restored."""
    for number in (1, 2):
        body = document("rerun", results=number)
        assert receiver.send(body, signed(body, "msg_rerun")).status == 200
    assert receiver.handled().count("rerun") == 2


def test_a_delivery_whose_handler_failed_is_accepted_again(receiver: RunningReceiver) -> None:
    """500 makes the sender try again, and then it is no duplicate."""
    body = document("failed")
    (receiver.folder / "fail").touch()
    try:
        assert receiver.send(body, signed(body, "msg_failed")).status == 500
    finally:
        (receiver.folder / "fail").unlink()
    assert receiver.send(body, signed(body, "msg_failed")).status == 200
    assert receiver.handled().count("failed") == 1


def test_a_concurrent_copy_waits_for_the_first_one(receiver: RunningReceiver) -> None:
    """It gets 503 with Retry-After while the handler runs, and 200 after that."""
    body = document("held")
    found: list[Response] = []
    (receiver.folder / "holding").unlink(missing_ok=True)
    (receiver.folder / "hold").touch()
    first = threading.Thread(target=lambda: found.append(receiver.send(body, signed(body, "msg_held"))))
    first.start()
    try:
        while not (receiver.folder / "holding").exists():
            assert first.is_alive()
            time.sleep(0.01)
        second = receiver.send(body, signed(body, "msg_held"))
    finally:
        (receiver.folder / "hold").unlink()
        first.join()
    assert (second.status, second.retry_after) == (503, "5")
    assert [response.status for response in found] == [200]
    assert receiver.send(body, signed(body, "msg_held")).status == 200
    assert receiver.handled().count("held") == 1


def test_an_event_is_no_result(receiver: RunningReceiver) -> None:
    """It goes to the handler of events, if there is one."""
    progress = {"fraction": 0.5, "message": "half"}
    body = document("going", status="In Progress", success=None, results=None, progress=progress, sequence=7)
    assert receiver.send(body, signed(body, "msg_event")).status == 200
    assert "going" not in receiver.handled()
    assert receiver.events().count("7") == (receiver.kind in receiver_apps.KINDS)


def test_only_post_is_allowed(receiver: RunningReceiver) -> None:
    """405 for any other method."""
    assert receiver.send(None, {}, method="GET").status == 405


def test_events_of_the_writer_are_handed_over(receiver: RunningReceiver) -> None:
    """Before the result, with numbers that increase."""
    before = receiver.events()
    param = {"events": ["started", "progress", "completed"]}
    with ResultsWriter(webhook_secrets=[SECRET]) as writer:
        with writer.events("evented", receiver.url, param) as events:
            events.started()
            while receiver.kind in receiver_apps.KINDS and receiver.events() == before:
                time.sleep(0.01)
            events.progress(0.5, "half")
        writer.write(JobResult(job_id="evented", success=True), receiver.url, param)
    assert receiver.handled().count("evented") == 1
    if receiver.kind in receiver_apps.KINDS:
        numbers = [int(number) for number in receiver.events()[len(before) :]]
        assert numbers == sorted(set(numbers))
        assert len(numbers) >= 1
