"""Tables as lines of text: columns for a terminal, tab-separated fields for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

_GAP = "  "
_MIN_LAST_COLUMN = 20
"""Characters that the last column of a table needs, of which longer cells continue in the terminal's next line."""


def as_fields(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return one line for each row, with a tab between its cells. These contain no tab and no line break."""
    return map("\t".join, rows)


def as_columns(heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> Iterator[str]:
    """Return the lines of a table for a terminal.

    Cells are never truncated or broken into lines, so that ids and URLs can be copied at any width. If the columns are
    wider than the terminal, each row is a block of lines, one for each cell.

    Args:
        heads: Titles of the columns; empty for rows of names and values.
        rows: Cells of each row, without control characters.
        width: Columns of the terminal.
    """
    shown = [*([heads] if heads else []), *rows]
    widths = [max(map(_cell_width, column)) for column in zip(*shown, strict=True)]
    last = min(widths[-1], _MIN_LAST_COLUMN) if widths else 0
    if heads and sum(widths[:-1]) + len(_GAP) * (len(widths) - 1) + last > width:
        return _blocks(heads, rows)
    return (_align(row, widths) for row in shown)


def _blocks(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, heads)), 0]
    for number, row in enumerate(rows):
        if number:
            yield ""
        for head, cell in zip(heads, row, strict=True):
            if cell:
                yield _align((head, cell), widths)


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    # The last cell isn't padded: a longer line than the terminal's would seem to be followed by an empty one.
    padded = [cell + " " * (width - _cell_width(cell)) for cell, width in zip(row[:-1], widths, strict=False)]
    return _GAP.join([*padded, *row[-1:]]).rstrip()


def _cell_width(text: str) -> int:
    """Return the number of columns that a text takes in a terminal."""
    if text.isascii():
        return len(text)
    # Imported here, because few cells have characters of another width.
    from rich.cells import cell_len

    return cell_len(text)
