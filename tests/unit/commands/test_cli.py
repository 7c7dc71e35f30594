"""callback_sdk.cli"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

import pytest

from callback_sdk import cli

Run = Callable[..., tuple[int, str, str]]


def test_an_interrupt_that_became_another_error_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that converts Ctrl-C to another error, as some imports do, exits with 130 and without a traceback."""

    def run(_: Sequence[str] | None) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("expected a message argument") from None
        return 0

    monkeypatch.setattr(cli, "_run", run)
    before = signal.getsignal(signal.SIGINT)

    assert cli.main([]) == cli.EXIT_INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_without_an_interrupt_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the package is not taken for Ctrl-C."""

    def run(_: Sequence[str] | None) -> int:
        raise TypeError("a fault")

    monkeypatch.setattr(cli, "_run", run)

    with pytest.raises(TypeError, match="a fault"):
        cli.main([])


def test_an_ignored_interrupt_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup, and in the background of a script, a command runs on."""

    def run(_: Sequence[str] | None) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    monkeypatch.setattr(cli, "_run", run)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.main([]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "argument",
    [
        "https://example.org/done?token=s3cretT0ken",
        "example.org/done?token=s3cretT0ken",
        "user:s3cretT0ken@example.org",
        "hooks.slack.com/services/T1/B1/s3cretT0ken",
    ],
)
@pytest.mark.parametrize("arguments", [["check", "targets.json"], ["send", "a", "b"], []])
def test_a_usage_error_quotes_no_credential_in_a_url(
    arguments: list[str], argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an argument too many, or in place of a command."""
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([*arguments, argument]) == 2
    said = capsys.readouterr().err
    assert "T0ken" not in said
    assert "example.org" in said or "slack.com" in said


@pytest.mark.parametrize(
    "arguments",
    [["tasks", "a", "b", "{}"], ["--no{}"], ["no{}"], ["users", "add", "a", "{}"], ["serve", "a", "--port", "{}"]],
)
def test_a_usage_error_quotes_arguments_escaped(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments may come from other programs, and click prints them unescaped (its issue 3832)."""
    monkeypatch.setenv("COLUMNS", "200")
    evil = "x\x1b]0;title\x07\x1b[2J\x9b31m\r\u202e\u2028y"
    assert cli.main([argument.format(evil) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert "x\\x1b]0;title" in said
    assert not set("\x07\x9b\r\u202e\u2028") & set(said)
    assert "\x1b]" not in said
    assert "\x1b[2J" not in said


def test_misspelled_setting_is_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every command but those with a log, which have it there."""
    monkeypatch.setenv("CALLBACK_SDK_WEBHOOK_SECRET", "whsec_MARKER")
    code, _, err = run("check", "https://example.org/done", "--no-resolve")
    assert code == 0
    assert err.count("Did you mean CALLBACK_SDK_WEBHOOK_SECRETS?") == 1
    assert "MARKER" not in err
