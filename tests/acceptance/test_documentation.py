"""Executes the code blocks and commands of README and docs, in order, on local servers.

Each page is one session. Files are made by blocks that begin with their name (`# jobs.py`). The names that a page takes
for granted (`callback_url`, `results`, `webhook_url` …) are those of `placeholders`. Left out, and checked only by
`tests/unit/test_docs.py`, are blocks after `<!-- not run: reason -->`, and commands that stay in the foreground or need
servers of their own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pandas as pd
import pytest
from attrs import define
from standardwebhooks.webhooks import Webhook

from callback_sdk import S3Signer
from callback_sdk.testing import LocalService, SeaweedFS, WebhookReceiver

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if re.search(r"^```(python|sh)$", path.read_text(), re.MULTILINE) and path.name != "quickstart.md"
]
BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>.+) -->\n)?```(?P<language>python|sh)\n(?P<text>.*?)^```", re.M | re.S)
FILE = re.compile(r"# (\w+\.py)(?P<continued>, continued)?\n")
RUN = re.compile(r"callback-sdk (run|sign|check|send|submit|tasks|outbox (?!run)\w+|outbox run .*--until-empty)\b")
TABLE = {"temperature": [9.5, 14.2, 7.1]}


@define
class Session:
    """One page: the names that its blocks have defined, and its working directory."""

    folder: Path
    names: dict[str, Any]

    def run(self, language: str, text: str) -> None:
        """Run a block, or keep it as the file that it names."""
        if language == "sh":
            for line in filter(RUN.match, text.splitlines()):
                self._command(line)
        elif (named := FILE.match(text)) is None:
            exec(compile(text, str(self.folder / "block"), "exec"), self.names)
        else:
            with (self.folder / named[1]).open("a" if named["continued"] else "w") as file:
                file.write(text)
            if named[1].startswith("test_"):
                self._command(f"{sys.executable} -m pytest -q -p no:cacheprovider {named[1]}")

    def _command(self, line: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ran = subprocess.run(
            ["bash", "-ec", line],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"


@pytest.fixture(scope="module")
def service(seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """Run the service with the README's algorithm."""
    folder = tmp_path_factory.mktemp("service")
    blocks = {FILE.match(block["text"]): block["text"] for block in BLOCK.finditer((ROOT / "README.md").read_text())}
    (text,) = [text for named, text in blocks.items() if named is not None and named[1] == "jobs.py"]
    (folder / "jobs.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        running = LocalService("jobs:registry", storage_endpoints=[seaweedfs.endpoint_url])
        running.start()
    with running:
        yield running


@pytest.fixture
def session(
    seaweedfs: SeaweedFS, service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """Start a session: an empty directory, and an environment with local servers."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
        "AWS_ENDPOINT_URL_S3": seaweedfs.endpoint_url,
        "AWS_REGION": "us-east-1",
        "CALLBACK_SDK_STORAGE_ENDPOINTS": seaweedfs.endpoint_url,
        "CALLBACK_SDK_URL": service.url,
        "CALLBACK_SDK_TOKEN": service.token,
    }.items():
        monkeypatch.setenv(name, value)
    names = {bucket["Name"] for bucket in seaweedfs.client().list_buckets()["Buckets"]}
    if "results-bucket" not in names:
        seaweedfs.create_bucket("results-bucket")
    with WebhookReceiver() as receiver, WebhookReceiver() as rejecting:
        rejecting.respond(400, times=100)
        yield Session(tmp_path, placeholders(tmp_path, receiver.url, rejecting.url))


def placeholders(folder: Path, webhook_url: str, rejecting_url: str) -> dict[str, Any]:
    """Return the names, and create the files, that pages assume."""
    signer = S3Signer("results-bucket")
    post = signer.presign_post("runs/42.json")
    target = {"url": post.url, "param": post.callback_param}
    for name in ("target.json", "targets.json"):
        (folder / name).write_text(json.dumps([target]))
    (folder / "results.json").write_text(json.dumps({"life_years": 7.5}))
    (folder / "data.json").write_text(json.dumps(TABLE))
    pd.DataFrame(TABLE).to_parquet(folder / "data.parquet")
    secret, now = "whsec_" + "c2VjcmV0" * 4, datetime.now(timezone.utc)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, "{}"),
    }
    return {
        "__name__": "page",
        "callback_param": post.callback_param,
        "callback_url": post.url,
        "data": TABLE,
        "existing_client": boto3.client("s3"),
        "password": "secret",
        "post": post,
        "put": signer.presign_put("runs/42.json"),
        "rejecting_url": rejecting_url,
        "request": SimpleNamespace(body=b"{}", headers=headers),
        "results": {"life_years": 7.5},
        "secret": secret,
        "signer": signer,
        "targets": [webhook_url, signer.presign_put("runs/43.json")],
        "timedelta": timedelta,
        "webhook_url": webhook_url,
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_the_page_run(page: Path, session: Session) -> None:
    """One after the other, as a reader would enter them."""
    for block in BLOCK.finditer(page.read_text()):
        if page.name == "README.md":
            # Each runs as it stands. The names of a webhook's request are those of the reader's web framework.
            session.names = {name: session.names[name] for name in ("__name__", "request", "secret")}
        if not block["why"]:
            session.run(block["language"], block["text"])
