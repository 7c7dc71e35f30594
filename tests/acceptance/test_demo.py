"""The demo: the main job from a command line, and nothing of it left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.testing import SeaweedFS

ROOT = Path(__file__).parents[2]
MEMBERS = ["job_id", "status", "callback_param", "success", "results"]


class Demo:
    """A demo with a separate directory for temporary files, so that leftovers can be detected."""

    def __init__(
        self, folder: Path, *arguments: str, limit: str = ":", environment: dict[str, str] | None = None
    ) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True)
        variables = {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [
                "sh",
                "-c",
                f'{limit}; exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "callback_sdk.cli",
                "demo",
                *arguments,
            ],
            cwd=folder,
            env=os.environ | variables | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end and return exit code, output and errors."""
        output, errors = self.process.communicate(timeout=180)
        return self.process.returncode, output, errors

    def read_until(self, text: str) -> None:
        """Read output up to a line with this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return
        pytest.fail(f"the demo ended before it said {text!r}")

    def sockets(self) -> list[Path]:
        """Name the socket files of the servers that run for it now; servers of other programs have other ports."""
        said = [_said_about(path) for path in Path("/proc").glob("[0-9]*")]
        own = [text for text in said if str(self.temporary) in text]
        ports = {port for text in own for port in re.findall(r"-[a-z0-9.]*port[a-z.]*=(\d+)", text)}
        return [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]

    def remains(self) -> list[str]:
        """Name every process and file of it that is still there."""
        # Everything that a demo starts has the folder in its environment or among its arguments.
        processes = {path.name: _said_about(path) for path in Path("/proc").glob("[0-9]*")}
        found = [pid for pid, text in processes.items() if str(self.temporary) in text]
        return [str(path) for path in self.temporary.iterdir()] + found

    def end(self) -> None:
        """Let nothing outlive the test."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path, seaweedfs: SeaweedFS) -> Iterator[Start]:
    """Start demos that end with the test."""
    demos: list[Demo] = []

    def make(*arguments: str, limit: str = ":", environment: dict[str, str] | None = None) -> Demo:
        folder = tmp_path / str(len(demos))
        demos.append(Demo(folder, *arguments, limit=limit, environment=environment))
        return demos[-1]

    yield make
    for demo in demos:
        demo.end()


def _said_about(process: Path) -> str:
    with contextlib.suppress(OSError):
        return "".join((process / name).read_text(errors="replace") for name in ("cmdline", "environ"))
    return ""


def _remains_later(demo: Demo, seconds: float = 90) -> list[str]:
    """Describe what is still there when a killed demo has had time to end."""
    end = time.monotonic() + seconds
    while demo.remains() and time.monotonic() < end:
        time.sleep(0.05)
    return [f"{one}: {_said_about(Path('/proc') / one)[:300]}" for one in demo.remains()]


def _documents(output: str) -> list[dict[str, Any]]:
    blocks = re.findall(r"^\{$.*?^\}$", output, flags=re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


def _is_right(output: str) -> bool:
    documents = _documents(output)
    return (
        [list(document) for document in documents] == [MEMBERS] * 3
        and all(document["success"] is True for document in documents)
        and len({document["job_id"] for document in documents}) == 1
        and all(document["results"]["predictions"]["life_years"] > 0 for document in documents)
    )


def test_the_demo_shows_three_documents_and_leaves_nothing(start: Start) -> None:
    """A job is delivered by PUT, POST and webhook; then no process, directory or socket is left."""
    demo = start(environment={"HTTP_PROXY": "http://127.0.0.1:9", "CALLBACK_SDK_PORT": "nonsense"})
    demo.read_until("Starting the service")
    sockets = demo.sockets()
    code, output, errors = demo.finish()
    assert (code, errors) == (0, "")
    assert _is_right(output)
    assert "\x1b" not in output
    assert [kind for kind in ("s3-put", "s3-post", "webhook") if kind not in output] == []
    assert "X-Amz-Signature" not in output
    assert demo.remains() == []
    assert sockets
    assert [path for path in sockets if path.exists()] == []


def test_the_demo_runs_on_many_processes(start: Start) -> None:
    """It starts a worker, a message broker and a database server, and ends all of them."""
    demo = start("--engine", "celery")
    code, output, errors = demo.finish()
    assert (code, errors) == (0, "")
    assert "PostgreSQL" in output
    assert _is_right(output)
    assert demo.remains() == []


@pytest.mark.parametrize("moment", ["message broker", "Submitted"])
def test_a_demo_on_many_processes_that_is_killed_leaves_nothing(start: Start, moment: str) -> None:
    """Neither broker, nor database, nor worker outlive it."""
    demo = start("--engine", "celery")
    demo.read_until(moment)
    demo.process.kill()
    demo.finish()
    assert _remains_later(demo) == []


def test_two_demos_run_at_the_same_time(start: Start) -> None:
    """Neither sees anything of the other."""
    for code, output, errors in [demo.finish() for demo in (start(), start())]:
        assert (code, errors) == (0, "")
        assert _is_right(output)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
@pytest.mark.parametrize("moment", ["Starting the service", "Submitted"])
def test_a_demo_that_is_ended_leaves_nothing(start: Start, number: signal.Signals, code: int, moment: str) -> None:
    """Ctrl-C, a polite and an impolite signal in the middle: no traceback, no process, no file, no socket."""
    demo = start()
    demo.read_until(moment)
    sockets = demo.sockets()
    demo.process.send_signal(number)
    ended_with, _, errors = demo.finish()
    assert ended_with == code
    assert "Traceback" not in errors
    assert _remains_later(demo) == []
    assert sockets
    assert [path for path in sockets if path.exists()] == []


def test_the_demo_uses_a_bucket_that_it_is_given(start: Start, seaweedfs: SeaweedFS, bucket: str) -> None:
    """With --bucket, boto3 finds the credentials, and no object is left."""
    demo = start(
        "--bucket",
        bucket,
        "--endpoint-url",
        seaweedfs.endpoint_url,
        "--region",
        "us-east-1",
        environment={
            "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
            "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
        },
    )
    code, output, errors = demo.finish()
    assert (code, errors) == (0, "")
    assert _is_right(output)
    assert f"s3://{bucket}/callback-sdk-demo/" in output
    assert seaweedfs.client().list_objects_v2(Bucket=bucket).get("Contents", []) == []


def test_a_bucket_that_can_not_be_used_is_one_clear_error(start: Start, seaweedfs: SeaweedFS) -> None:
    """A bucket that isn't there ends the demo before anything is computed."""
    environment = {"AWS_ACCESS_KEY_ID": seaweedfs.access_key, "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key}
    demo = start("--bucket", "no-such-bucket", "--endpoint-url", seaweedfs.endpoint_url, environment=environment)
    code, _, errors = demo.finish()
    assert code == 1
    assert errors.startswith("Error: Bucket 'no-such-bucket' can't be used")
    assert "Traceback" not in errors
    assert _remains_later(demo) == []


def test_a_disk_without_room_is_one_clear_error(start: Start) -> None:
    """When no file can grow, the demo ends with the store's own words and leaves nothing."""
    demo = start(limit="ulimit -f 0")
    code, _, errors = demo.finish()
    assert code == 1
    assert errors.startswith("Error: ")
    assert "Traceback" not in errors
    assert _remains_later(demo) == []
