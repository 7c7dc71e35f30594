"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from callback_sdk.models import Receipt


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below their heads, or without heads when there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=None, pad_edge=False, show_header=bool(heads))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
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
