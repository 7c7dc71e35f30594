"""callback_sdk.commands.serving"""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import pytest
import typer

from callback_sdk.cli import main
from callback_sdk.commands import serving
from callback_sdk.commands.serving import EXIT_SETTING, EXIT_UNAVAILABLE, exit_codes
from callback_sdk.config.service import ServiceConfig
from callback_sdk.errors import ConfigurationError
from callback_sdk.service.server import lock_data_dir
from callback_sdk.service.supervision.shortages import unusable

EXAMPLES = "callback_sdk.examples:registry"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.EADDRINUSE, EXIT_UNAVAILABLE),
        (errno.ENOSPC, EXIT_UNAVAILABLE),
        (errno.EDQUOT, EXIT_UNAVAILABLE),
        (socket.EAI_AGAIN, EXIT_UNAVAILABLE),
        (errno.EACCES, EXIT_SETTING),
        (errno.ENOENT, EXIT_SETTING),
        (socket.EAI_NONAME, EXIT_SETTING),
    ],
)
def test_unavailable_resources_are_not_wrong_settings(code: int, expected: int) -> None:
    """Temporary failures exit with 75, so that the service is started again; wrong settings exit with 78."""
    with pytest.raises(typer.Exit) as caught, exit_codes():
        raise unusable("It can't be used.", hint="", error=OSError(code, os.strerror(abs(code))))
    assert caught.value.exit_code == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_stopped_ends_with_0(number: int) -> None:
    """SIGINT and SIGTERM mean the same before a service is ready as afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as caught, exit_codes():
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_folder_in_use_ends_with_75(tmp_path: Path) -> None:
    """The other service may end."""
    with (
        lock_data_dir(tmp_path / "data"),
        pytest.raises(typer.Exit) as caught,
        exit_codes(),
        lock_data_dir(tmp_path / "data"),
    ):
        pass
    assert caught.value.exit_code == EXIT_UNAVAILABLE


@pytest.mark.parametrize("wrong", ["port", "host", "registry"])
def test_a_start_that_fails_leaves_nothing_behind(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a port in use, a foreign host or no registry, no data directory and no token are created."""
    monkeypatch.setattr("callback_sdk.service.work.isolation.forbid_inspection", lambda: None)
    monkeypatch.setattr("callback_sdk.service.logs.log_to_stderr", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if wrong == "port" else 0
        host = "192.0.2.1" if wrong == "host" else "127.0.0.1"
        registry = "callback_sdk.no_such:registry" if wrong == "registry" else EXAMPLES
        code = main(["serve", registry, "--host", host, "--port", str(port), "--data-dir", str(tmp_path / "data")])
    assert code == (EXIT_UNAVAILABLE if wrong == "port" else EXIT_SETTING)
    assert capsys.readouterr().err.startswith("Error: ")
    assert not (tmp_path / "data").exists()


def test_a_wrong_setting_is_not_started_again() -> None:
    """Another start would end the same way."""
    with pytest.raises(typer.Exit) as caught, exit_codes():
        raise ConfigurationError("It is wrong.")
    assert caught.value.exit_code == EXIT_SETTING


def test_misspelled_setting_is_in_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """In the format of the log, so that JSON stays JSON; and before anything starts."""
    monkeypatch.setattr("callback_sdk.service.work.isolation.forbid_inspection", lambda: None)
    monkeypatch.setattr("callback_sdk.service.logs.log_to_stderr", lambda style: None)
    monkeypatch.setenv("CALLBACK_SDK_LEASES", "1m")
    serving._begin(ServiceConfig.from_environ({}))
    (record,) = caplog.records
    assert "CALLBACK_SDK_LEASES is not a setting" in record.getMessage()
    assert "Did you mean CALLBACK_SDK_LEASE?" in record.getMessage()
