"""callback_sdk.commands.tables"""

from __future__ import annotations

import pytest

from callback_sdk.commands.tables import as_columns, as_fields

ID = "3f2a9c10-5c1e-4d3a-9b1f-0a2b3c4d5e6f"
URL = "https://results.example.org/a/very/long/path/to/a/result-of-a-task.json"
HEADS = ("ID", "STATUS", "TARGET", "ERROR")
ROWS = [(ID, "dead", URL, "410 Gone: the address was removed"), (ID[::-1], "pending", "https://h/x", "")]


@pytest.mark.parametrize("width", [1, 20, 40, 80, 120, 200, 10_000])
def test_cells_are_whole_at_any_width(width: int) -> None:
    """Terminals copy a line that is longer than their width as one line, so ids and URLs stay in one."""
    text = "\n".join(as_columns(HEADS, ROWS, width=width))
    for row in ROWS:
        for cell in row:
            assert cell in text
    assert "…" not in text


def test_a_table_that_fits_has_aligned_columns() -> None:
    """One line for each row, below the heads, without trailing spaces."""
    lines = list(as_columns(HEADS, ROWS, width=200))
    assert len(lines) == 3
    assert {line.index(word) for line, word in zip(lines, ("STATUS", "dead", "pending"), strict=True)} == {38}
    assert all(line == line.rstrip() for line in lines)


def test_rows_that_do_not_fit_are_blocks() -> None:
    """One cell in a line, after its head; empty cells are left out."""
    assert list(as_columns(HEADS, ROWS, width=80)) == [
        f"ID      {ID}",
        "STATUS  dead",
        f"TARGET  {URL}",
        "ERROR   410 Gone: the address was removed",
        "",
        f"ID      {ID[::-1]}",
        "STATUS  pending",
        "TARGET  https://h/x",
    ]


def test_a_long_last_cell_does_not_make_blocks() -> None:
    """The terminal continues it in its next line."""
    rows = [("a", "x" * 500)]
    assert list(as_columns(("ID", "ERROR"), rows, width=80)) == ["ID  ERROR", f"a   {'x' * 500}"]


def test_wide_characters_take_two_columns() -> None:
    """As terminals show them."""
    lines = list(as_columns(("NAME", "N"), [("結果", "1"), ("abcd", "2")], width=80))
    assert lines == ["NAME  N", "結果  1", "abcd  2"]


def test_names_and_values_have_no_heads() -> None:
    """They are aligned at any width."""
    assert list(as_columns((), [("ID", ID), ("STATUS", "dead")], width=10)) == [f"ID      {ID}", "STATUS  dead"]
    assert list(as_columns(HEADS, [], width=80)) == ["ID  STATUS  TARGET  ERROR"]
    assert list(as_columns((), [], width=80)) == []


def test_other_programs_get_fields() -> None:
    """With a tab between them, and nothing to align."""
    assert list(as_fields(ROWS)) == ["\t".join(row) for row in ROWS]
