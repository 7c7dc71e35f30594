"""The library works without modules and functions of a single operating system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from callback_sdk import cli

ROOT = Path(__file__).parents[2]

BLOCKED = """
import os, select, sys

sys.path.insert(0, os.getcwd())
MODULES = {"fcntl", "grp", "prctl", "pwd", "resource", "termios"}


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


for name in MODULES:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocker())
for module, names in {
    select: ["epoll", "kqueue", "poll"],
    os: ["O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "forkpty", "register_at_fork", "getuid"],
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""

WORK = """
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from callback_sdk import Client, JobResult, Outbox, ResultsWriter, S3Signer, delivering
from tests.unit.client.fake import FakeService

received, flaky = [], []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        received.append(self.rfile.read(int(self.headers["Content-Length"])))
        fails = self.path == "/flaky" and not flaky
        flaky.append(fails) if self.path == "/flaky" else None
        self.send_response(503 if fails else 204)
        self.send_header("Retry-After", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/done"
result = JobResult(job_id="42", success=True, results={"life": 7.5})
large = JobResult(job_id="43", success=True, results={"life": [0.5] * 50_000})

signer = S3Signer("bucket", region="eu-central-1")
print(signer.presign_put("runs/42.json").url.startswith("https://"))
print(ResultsWriter().write(result, url)[0].status)
with Outbox("outbox.sqlite3") as outbox:
    print(outbox.write(result, url).receipts[0].status, outbox.write(large, url).receipts[0].status)
    print(outbox.write(result, url.replace("done", "flaky")).receipts)
with Outbox("outbox.sqlite3") as outbox:
    outbox.run(until_empty=True)
    print(len(received), flaky)
service = FakeService()
service.on("GET", "/algorithms/tasks/42", service.Say(data={"job_id": "42", "status": "Finished", "success": True}))
with Client(service.url, token="token", timeout=60) as client:
    print(client.get_task("42").wait(10, progress=False).success)
with delivering(url, job_id="44") as job:
    job.results = 1
print(len(job.receipts))
print(sorted(MODULES & set(sys.modules)))
"""


def test_client_signer_writer_and_outbox_need_no_module_of_one_system(tmp_path: Path) -> None:
    """A presigned URL, deliveries by the writer and the outbox, and a call of the client."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED + WORK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "True",
        "204",
        "204 204",
        "()",
        "5 [True, False]",
        "True",
        "1",
        "[]",
    ]


def test_the_service_requires_linux(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On other systems `serve` and `worker` print one line with a hint."""
    monkeypatch.setattr(sys, "platform", "darwin")
    for command in ("serve", "worker"):
        assert cli.main([command, "callback_sdk.examples:registry"]) == 78
        assert "The service runs on Linux only, not on darwin" in capsys.readouterr().err
