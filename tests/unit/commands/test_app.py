"""callback_sdk.commands.app: what all commands have in common."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from callback_sdk import JobResult, Outbox, cli
from callback_sdk.commands.app import EXIT_BROKEN_PIPE, app

SERVERS = {"serve", "worker", "outbox run"}
"""Commands that run until they are stopped. Their output is a log, of which CALLBACK_SDK_LOG_FORMAT=json makes JSON."""

PROGRAMS = {"exec"}
"""Commands whose standard output is that of another program."""

SILENT = {"progress"}
"""Commands that print nothing."""

FOR_PEOPLE = {"demo"}
"""Commands that show something to people, and change nothing that lasts."""


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield all commands below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_list_of_commands_is_complete() -> None:
    """Groups are searched too."""
    assert {"submit", "tasks", "users add", "db upgrade", "outbox list", "sign put"} < set(COMMANDS)
    assert set(COMMANDS) > SERVERS | FOR_PEOPLE


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - SERVERS - PROGRAMS - SILENT - FOR_PEOPLE))
def test_every_command_prints_json(name: str) -> None:
    """Programs use the same option for all commands."""
    options = [option for parameter in COMMANDS[name].params for option in parameter.opts]
    assert "--json" in options


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As plain text in lines of at most 80 characters, and without internal names."""
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*name.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.lstrip().startswith(f"Usage: callback-sdk {name}")
    assert "  --help" in out
    assert max(map(len, out.splitlines())) <= 80
    assert not re.search(r"\b_[a-z]|\bNone\b|callback_sdk\.(?!.*:)", out)
    assert not set("│╭╰─") & set(out)
    assert "\x1b" not in out


def test_usage_errors_have_no_frames(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames broke paths into lines, and were printed into pipes too."""
    monkeypatch.setenv("COLUMNS", "40")
    path = "a/path/that/is/longer/than/the/terminal/is/wide.json"
    assert cli.main(["tasks", "42", path]) == 2
    err = capsys.readouterr().err
    assert f"({path})" in err
    assert not set("│╭╰─") & set(err)


@pytest.fixture(scope="module")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an outbox with many deliveries that have failed."""
    path = tmp_path_factory.mktemp("outbox") / "outbox.sqlite3"
    with Outbox(path) as outbox:
        for number in range(300):
            outbox.write(JobResult(job_id=f"job-{number}", success=True), f"http://127.0.0.1:9/{'x' * 60}/{number}")
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "callback_sdk.cli", *map(str, arguments)]


@pytest.mark.parametrize("buffering", ["", "1"])
def test_a_reader_may_close_the_pipe(outbox: Path, buffering: str) -> None:
    """`callback-sdk outbox list PATH | head -1` prints one line, and no error. The exit code is that of SIGPIPE."""
    # Longer than the buffer of a pipe, and also unbuffered, as in most containers.
    environment = os.environ | {"PYTHONUNBUFFERED": buffering}
    with subprocess.Popen(
        command("outbox", "list", outbox), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"msg_")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == EXIT_BROKEN_PIPE == 141


def test_a_pipe_gets_fields(outbox: Path) -> None:
    """`cut -f 1` selects the ids, which other commands take."""
    done = subprocess.run(command("outbox", "list", outbox), capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {len(row) for row in rows} == {7}
    assert [row[1] for row in rows] == [f"job-{number}" for number in range(300)]
    assert "  " not in done.stdout


@pytest.mark.parametrize("columns", [20, 80, 250])
def test_a_terminal_gets_whole_ids(outbox: Path, columns: int) -> None:
    """At any width of the terminal."""
    ids = [entry.delivery_id for entry in Outbox(outbox, create=False).entries()]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        command("outbox", "list", outbox), stdout=follower, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(follower)
        text = b"".join(iter(lambda: _read(leader), b"")).decode()
        assert process.wait(60) == 0
    os.close(leader)
    lines = text.splitlines()
    assert all(any(one in line for line in lines) for one in ids)
    assert ("\nSTATUS " in text) is (columns < 250)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        # The other end of the terminal is closed.
        return b""
