"""How commands print: lines and tables for people, JSON for programs.

Nothing else in `commands` writes to the terminal. What is printed may come from others: servers, algorithms, the
service. It is escaped here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from callback_sdk.text.escaping import escaped, escaped_json

if TYPE_CHECKING:
    from callback_sdk.receipt import Receipt


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(escaped_json(json.dumps(value, indent=2)))


def print_document(document: bytes) -> None:
    """Print a JSON document as it is, but for characters that a terminal would obey, which JSON can escape."""
    typer.echo(escaped_json(document.decode()))


def print_line(text: str, *, err: bool = False) -> None:
    """Print one line.

    Args:
        text: What it says.
        err: Whether it goes to standard error.
    """
    typer.echo(escaped(text), err=err)


def print_error(error: object) -> None:
    """Print an error's text, which may have several lines."""
    typer.echo(escaped(f"Error: {error}", lines=True), err=True)


def print_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines that ends as it does.

    Args:
        text: What an algorithm has printed, for one.
        err: Whether it goes to standard error.
    """
    typer.echo(escaped(text, lines=True), err=err, nl=False)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below their heads, or without heads when there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=None, pad_edge=False, show_header=bool(heads))
    for row in rows:
        table.add_row(*(Text(escaped(cell), overflow="fold") for cell in row))
    # A pipe has no width to fit into.
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(table)


def moment(at: datetime | None) -> str:
    """Return a time as tables show it."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def proof(receipt: Receipt | None) -> str:
    """Return what a table shows of a receipt."""
    return "" if receipt is None else f"{receipt.status}, {receipt.size} bytes, sha256 {receipt.sha256[:12]}"


def one_line(text: str) -> str:
    """Return a text of several lines as one."""
    return " ".join(text.split())
