"""callback_sdk.text.escaping"""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from callback_sdk import commands
from callback_sdk.commands import printing
from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import SecretURL
from callback_sdk.service import logs
from callback_sdk.text.escaping import TRACEBACK, LogFormatter, escape, escape_json

UNSAFE = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *("\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\ufeff", "\ud800", "\udfff", "\U000e0041"),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]
HOSTILE = "\x1b]0;owned\x07 \x9b31m \r2026-01-01 00:00:00,000 ERROR forged \n2026-01-01 ERROR forged \u202e \u2028 \x85"


def is_safe(text: str, *, lines: bool = False) -> bool:
    return not any(character in text for character in UNSAFE if not (lines and character in "\n\t"))


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
def test_control_characters_are_escaped(character: str) -> None:
    """Each is replaced by a few visible characters that identify it."""
    shown = escape(f"a{character}b")
    assert shown.isascii()
    assert is_safe(shown)
    assert shown.encode().decode("unicode_escape") == f"a{character}b"


@pytest.mark.parametrize("text", ["", "plain", "größer", "日本語", "שלום", "🚀", "e\u0301", "a b", "C:\\new"])
def test_readable_text_is_not_changed(text: str) -> None:
    """In any script."""
    assert escape(text) == escape(text, lines=True) == text


def test_line_feeds_are_kept_in_multiline_texts() -> None:
    """Line feeds and tabs, but no other control characters."""
    assert escape("a\n\tb\rc\x0bd", lines=True) == "a\n\tb\\rc\\x0bd"


def test_json_stays_the_same_document() -> None:
    """It is escaped by JSON's own means."""
    value = {
        "".join(character for character in UNSAFE if not "\ud800" <= character <= "\udfff"): [
            HOSTILE,
            "\U000e0041",
            "日本語",
        ]
    }
    document = json.dumps(value, ensure_ascii=False, indent=2)
    assert is_safe(escape_json(document), lines=True)
    assert json.loads(escape_json(document)) == value


@pytest.fixture
def records() -> Iterator[tuple[logging.Logger, io.StringIO, logging.Handler]]:
    """Return a logger and the text that its handler writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("tests.escaping")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, stream, handler
    logger.removeHandler(handler)
    logger.propagate = True


def fail(logger: logging.Logger) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception("said %s", HOSTILE, extra={TRACEBACK: f"of a child: {HOSTILE}"})


def test_log_records_can_not_be_forged(records: tuple[logging.Logger, io.StringIO, logging.Handler]) -> None:
    """A message is one line; the lines of an error's text and traceback are indented."""
    logger, stream, handler = records
    handler.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(message)s"))
    fail(logger)
    assert is_safe(stream.getvalue(), lines=True)
    first, *others = stream.getvalue().splitlines()
    assert "ERROR said" in first
    assert all(line.startswith("  ") for line in others)
    assert any("of a child" in line for line in others)


def test_a_json_log_has_one_line_per_record(
    records: tuple[logging.Logger, io.StringIO, logging.Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts are the same, escaped as in JSON."""
    logger, stream, handler = records
    used: list[logging.Handler] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: used.extend(options["handlers"]))
    logs.log_to_stderr("json")
    handler.setFormatter(used[0].formatter)
    fail(logger)
    (line,) = stream.getvalue().splitlines()
    assert is_safe(line)
    assert json.loads(line)["message"] == f"said {HOSTILE}"
    assert HOSTILE in json.loads(line)["exc_info"]


def test_errors_and_urls_are_escaped() -> None:
    """They quote servers, files and users, and may be printed by any caller."""
    error = CallbackSDKError(f"The server said {HOSTILE}", hint=HOSTILE)
    assert is_safe(str(error), lines=True)
    assert is_safe(error.message + error.hint, lines=True)
    assert is_safe(str(SecretURL("https://example.org/\x1b\x9b\u202e/done")))


def test_commands_print_nothing_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, texts, errors, documents and cells of tables."""
    printing.print_line(HOSTILE)
    printing.print_text(f"{HOSTILE}\n")
    printing.print_error(HOSTILE)
    printing.print_json({HOSTILE: HOSTILE + "\x7f"})
    printing.print_document(json.dumps({"a": HOSTILE + "\x7f"}, ensure_ascii=False).encode())
    printing.print_table(("A", "B"), [(HOSTILE, printing.one_line(HOSTILE))])
    printed = capsys.readouterr()
    assert is_safe(printed.out + printed.err, lines=True)
    assert printed.out.count("owned") == 7


def test_commands_print_with_one_module_only() -> None:
    """Other output would not be escaped."""
    for path in Path(commands.__path__[0]).glob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {ast.unparse(call) for call in calls}
        assert path.name == "printing.py" or names.isdisjoint({"typer.echo", "typer.secho", "click.echo", "print"})
