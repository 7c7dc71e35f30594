"""callback_sdk.commands.completion, in bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import TOKEN

JOB = "3f2a9c10-5c1e-4d3a-9b1f-0a2b3c4d5e6f"
OTHER = "3f2b9c10-5c1e-4d3a-9b1f-0a2b3c4d5e6f"
DELIVERY = "msg_0123456789abcdef0123456789abcdef"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@pytest.fixture(scope="module")
def script() -> str:
    """Return the script that bash gets in its start-up file."""
    environment = os.environ | {"_CALLBACK_SDK_COMPLETE": "source_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "callback_sdk.cli"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def service() -> Iterator[FakeService]:
    """Run a service with two tasks and two algorithms."""
    fake = FakeService()
    tasks = [{"job_id": one, "status": "Pending", "algorithm": "mean"} for one in (JOB, OTHER)]
    for query, found in (("", tasks), ("id_prefix=3f2&", tasks), ("id_prefix=3f2a&", tasks[:1])):
        for limit in (11, 50):
            page = {"tasks": found, "next_cursor": None}
            fake.on("GET", f"/algorithms/tasks?{query}limit={limit}", fake.Say(data=page))
    fake.on(
        "GET",
        f"/algorithms/tasks/{JOB}/deliveries",
        fake.Say(data=[{"delivery_id": DELIVERY, "url": "https://h/x", "status": "dead"}]),
    )
    fake.on("GET", "/algorithms", fake.Say(data=[{"id": "mean", "versions": []}, {"id": "median", "versions": []}]))
    yield fake
    fake.close()


def complete(script: str, line: str, folder: Path, variables: Mapping[str, str]) -> list[str]:
    """Return what bash offers for the last word of a line."""
    (folder / "callback-sdk").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m callback_sdk.cli "$@"\n')
    (folder / "callback-sdk").chmod(0o755)
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    lines = [script, f"COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}"]
    lines += [f"_callback_sdk_completion callback-sdk '{words[-1]}'", 'printf "%s\\n" "${COMPREPLY[@]}"']
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLBACK_SDK_")}
    environment = own | {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash", "--norc"],
        input="\n".join(lines),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("callback-sdk tasks ", [JOB, OTHER]),
        ("callback-sdk tasks 3f2", [JOB, OTHER]),
        ("callback-sdk cancel 3f2a", [JOB]),
        ("callback-sdk deliveries 3f2a", [JOB]),
        (f"callback-sdk redeliver {JOB} ", [DELIVERY]),
        ("callback-sdk redeliver 3f2a msg_0", [DELIVERY]),
        ("callback-sdk submit me", ["mean", "median"]),
        ("callback-sdk tasks --algorithm med", ["median"]),
        ("callback-sdk algorithms m", ["mean", "median"]),
        ("callback-sdk tasks --status f", ["failed", "finished"]),
        ("callback-sdk outbox list a --status ", ["pending", "delivered", "dead"]),
        ("callback-sdk tas", ["tasks"]),
    ],
)
def test_words_are_completed(service: FakeService, script: str, tmp_path: Path, line: str, offered: list[str]) -> None:
    """Ids and algorithms by the service, which is asked with the token of the environment."""
    variables = {"CALLBACK_SDK_URL": service.url, "CALLBACK_SDK_TOKEN": TOKEN}
    assert complete(script, line, tmp_path, variables) == offered
    assert {seen.headers["authorization"] for seen in service.requests} <= {f"Bearer {TOKEN}"}


def test_options_before_the_word_count(service: FakeService, script: str, tmp_path: Path) -> None:
    """A line may name the file with the token."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    line = f"callback-sdk tasks --token-file {tmp_path}/token 3f2a"
    assert complete(script, line, tmp_path, {"CALLBACK_SDK_URL": service.url}) == [JOB]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"CALLBACK_SDK_URL": "not a url", "CALLBACK_SDK_TOKEN": "t"},
        {"CALLBACK_SDK_URL": "http://127.0.0.1:9", "CALLBACK_SDK_TOKEN": "t"},
        {"CALLBACK_SDK_URL": "http://127.0.0.1:9", "CALLBACK_SDK_USERNAME": "anna", "CALLBACK_SDK_PASSWORD": "p"},
        {"CALLBACK_SDK_URL": "http://127.0.0.1:9", "CALLBACK_SDK_TOKEN": "t", "CALLBACK_SDK_TIMEOUT": "soon"},
        {"CALLBACK_SDK_URLS": "misspelled"},
    ],
)
def test_errors_complete_nothing(script: str, tmp_path: Path, variables: dict[str, str]) -> None:
    """Nothing is printed into the command line, and nobody is asked for a password."""
    assert complete(script, "callback-sdk tasks 3f2a", tmp_path, variables) == []


def test_a_password_is_not_used(service: FakeService, script: str, tmp_path: Path) -> None:
    """Each press of the Tab key would be a login."""
    variables = {"CALLBACK_SDK_URL": service.url, "CALLBACK_SDK_USERNAME": "anna", "CALLBACK_SDK_PASSWORD": "p"}
    assert complete(script, "callback-sdk tasks 3f2a", tmp_path, variables) == []
    assert service.requests == []


def test_a_service_that_does_not_answer_is_not_waited_for(service: FakeService, script: str, tmp_path: Path) -> None:
    """The request is given up after a second, and isn't repeated."""
    never = threading.Event()
    service.on("GET", "/algorithms", service.Say(hold=never))
    variables = {"CALLBACK_SDK_URL": service.url, "CALLBACK_SDK_TOKEN": TOKEN, "CALLBACK_SDK_RETRIES": "9"}
    assert complete(script, "callback-sdk submit me", tmp_path, variables) == []
    never.set()
    assert len(service.requests) == 1
