"""Output of commands: lines and tables for people, JSON for programs.

All commands print with these functions. The text may come from servers, algorithms and the service, so terminal escape
sequences are escaped here.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from callback_sdk.commands.tables import as_columns, as_fields
from callback_sdk.text.escaping import escape, escape_json

if TYPE_CHECKING:
    from callback_sdk.errors import CallbackSDKError
    from callback_sdk.receipt import Receipt


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(escape_json(json.dumps(value, indent=2)))


def print_document(document: bytes) -> None:
    """Print a JSON document unchanged, except for control characters of terminals, which are escaped as JSON."""
    typer.echo(escape_json(document.decode()))


def print_line(text: str, *, err: bool = False) -> None:
    """Print one line.

    Args:
        text: The text.
        err: Whether to print to standard error.
    """
    typer.echo(escape(text), err=err)


def print_error(error: CallbackSDKError | str) -> None:
    """Print the text of an error, which may have several lines."""
    text = error if isinstance(error, str) else f"{error.message} {error.command_hint}".strip()
    typer.echo(escape(f"Error: {text}", lines=True), err=True)


def print_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, such as the output of an algorithm, without adding a newline.

    Args:
        text: The text.
        err: Whether to print to standard error.
    """
    typer.echo(escape(text, lines=True), err=err, nl=False)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: in columns on a terminal; otherwise one line of tab-separated fields for each row, without heads.

    Args:
        heads: Titles of the columns; empty for rows of names and values.
        rows: Cells of each row.
    """
    cells = [[escape(cell) for cell in row] for row in rows]
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns
    for line in as_columns(heads, cells, width=width) if is_terminal else as_fields(cells):
        typer.echo(line)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair on each line. Pairs without a value are omitted."""
    print_table((), [(name, one_line(text)) for name, text in facts if text.strip()])


def print_outcome(text: str, facts: Any, *, as_json: bool) -> None:
    """Print what a command has changed.

    Args:
        text: One line for people.
        facts: The same for programs.
        as_json: Whether `--json` was given.
    """
    if as_json:
        print_json(facts)
    else:
        print_line(text)


def moment(at: datetime | None) -> str:
    """Format a time for a table."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def proof(receipt: Receipt | None) -> str:
    """Format a receipt for a table."""
    return "" if receipt is None else f"{receipt.status}, {receipt.size} bytes, sha256 {receipt.sha256[:12]}"


def one_line(text: str) -> str:
    """Join the lines of a text."""
    return " ".join(text.split())
