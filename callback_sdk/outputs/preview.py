"""Previews of output files for notebooks and the web UI: images, text, and the first rows of tables; all bounded."""

from __future__ import annotations

import base64
import csv
import importlib
import io
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from attrs import define

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.outputs.media_types import media_type

MAX_PREVIEW = 16 * 1024 * 1024
"""Maximum size of a file that is previewed, in bytes."""

MAX_ROWS, MAX_COLUMNS = 50, 50

_MAX_UNPACKED = 256 * 1024 * 1024
"""Maximum size of a Parquet file once it is unpacked, in bytes."""

_MAX_CELL = 200
"""Maximum characters of a cell."""

_MAX_TEXT = 64 * 1024
"""Maximum bytes of a text, and of the part of a CSV file that is parsed."""

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
"""First bytes of the image formats that can't contain scripts, unlike SVG."""

_TEXTS = ("text/", "application/json", "application/x-ndjson", "application/yaml", "application/toml")

_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")


@define(frozen=True, kw_only=True)
class TableHead:
    """The first rows of a table.

    Attributes:
        columns: Names of the first columns.
        rows: Cells of the first rows, as text.
        complete: Whether the table has no further rows or columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    complete: bool


@define(frozen=True, kw_only=True)
class Preview:
    """The preview of a file: an image, a table or a text, or none of them.

    Attributes:
        image: Media type of an image that is safe in a browser; None for other files.
        table: The first rows of a table.
        text: The beginning of a text.
        complete: Whether the text is complete.
    """

    image: str | None = None
    table: TableHead | None = None
    text: str | None = None
    complete: bool = True


def image_type(data: bytes) -> str | None:
    """Return the media type of an image that can't contain scripts, by its first bytes; None for any other file."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for head, kind in _IMAGES.items() if data.startswith(head)), None)


def preview(name: str, data: bytes) -> Preview:
    """Return the preview of a file; an empty one for any other format.

    Args:
        name: The file's name. Its extension determines the format.
        data: The content of a file of at most `MAX_PREVIEW` bytes.
    """
    if (image := image_type(data)) is not None:
        return Preview(image=image)
    extension = PurePosixPath(name).suffix.lower()
    if extension == ".parquet":
        return Preview(table=_parquet_table(data))
    text = _text(data)
    if text is None:
        return Preview()
    complete = len(data) <= _MAX_TEXT
    if extension in (".csv", ".tsv") and (table := _csv_table(text, extension, complete=complete)) is not None:
        return Preview(table=table)
    return Preview(text=text, complete=complete) if media_type(name).startswith(_TEXTS) else Preview()


def html_preview(name: str, data: bytes) -> str:
    """Return a preview as HTML in which every value is escaped; empty for any other format."""
    from html import escape

    found = preview(name, data)
    image = "image/svg+xml" if name.lower().endswith(".svg") else found.image
    if image is not None:
        # In an <img>, an SVG runs no scripts and loads nothing (SVG 2, section 2.3).
        return f'<img alt="{escape(name)}" src="data:{image};base64,{base64.b64encode(data).decode()}">'
    if found.table is not None:
        head = "".join(f"<th>{escape(column)}</th>" for column in found.table.columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in found.table.rows)
        return f"<table><tr>{head}</tr>{rows}</table>{'' if found.table.complete else '<p>…</p>'}"
    if found.text is not None:
        return f"<pre>{escape(found.text)}{'' if found.complete else '…'}</pre>"
    return ""


def _text(data: bytes) -> str | None:
    """Return the beginning of a text; None if it is binary."""
    head = data[:_MAX_TEXT]
    return None if _CONTROLS.intersection(head) else head.decode(errors="replace")


def _csv_table(text: str, extension: str, *, complete: bool) -> TableHead | None:
    if not complete:
        text = text[: text.rfind("\n") + 1]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if extension == ".tsv" else ",")
    try:
        found = list(islice(reader, MAX_ROWS + 2))
    except csv.Error:
        return None
    if not found:
        return None
    width = max(map(len, found))
    return TableHead(
        columns=_cells(found[0]),
        rows=[_cells(row) for row in found[1 : MAX_ROWS + 1]],
        complete=complete and len(found) <= MAX_ROWS + 1 and width <= MAX_COLUMNS,
    )


def _parquet_table(data: bytes) -> TableHead | None:
    """Return the first rows of a Parquet file; None if it can't be shown, or pyarrow is not installed."""
    # Imported by name, so that the client doesn't depend statically on the table libraries.
    parquet = importlib.import_module("callback_sdk.features.parquet")
    try:
        parquet.check(data, _MAX_UNPACKED)
        # With one more row and column, to see whether the table is complete.
        table = parquet.read_head(data, rows=MAX_ROWS + 1, columns=MAX_COLUMNS + 1)
        return TableHead(
            columns=_cells(table.column_names),
            rows=[_cells(row.values()) for row in table.slice(0, MAX_ROWS).to_pylist()],
            complete=table.num_rows <= MAX_ROWS and table.num_columns <= MAX_COLUMNS,
        )
    except uninterrupted(Exception):  # pyarrow and pytz raise any exception for values without a Python object
        return None


def _cells(values: Iterable[Any]) -> list[str]:
    return [_cell(value) for value in islice(values, MAX_COLUMNS)]


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 1]}…"
