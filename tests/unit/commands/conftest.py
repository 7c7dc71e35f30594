"""Run commands in this process, in an empty folder."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callback_sdk import cli
from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import TOKEN

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command with invented credentials, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "MARKER-of-a-secret-key")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = cli.main(arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return call


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """Run a scripted service, and let the environment name it."""
    fake = FakeService()
    for name in ("USERNAME", "PASSWORD", "CALLBACK_URL", "FAIL_ON_ERROR"):
        monkeypatch.delenv(f"CALLBACK_SDK_{name}", raising=False)
    monkeypatch.setenv("CALLBACK_SDK_URL", fake.url)
    monkeypatch.setenv("CALLBACK_SDK_TOKEN", TOKEN)
    monkeypatch.setenv("CALLBACK_SDK_RETRIES", "0")
    yield fake
    fake.close()
