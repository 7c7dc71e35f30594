"""callback_sdk.outputs.preview"""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from callback_sdk.outputs.preview import MAX_COLUMNS, MAX_ROWS, html_preview, image_type, preview

HOSTILE = "<script>alert('x')</script>"


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF0000WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_images_are_known_by_their_first_bytes(data: bytes, kind: str | None) -> None:
    """Not by their names; an SVG may have scripts."""
    assert image_type(data) == kind
    assert preview("x.png", data).image == kind


def test_the_first_rows_of_a_csv_file_are_a_table() -> None:
    """With cells of bounded length."""
    data = "a,b\n" + f'1,"{HOSTILE}"\n' + "2," + "x" * 500 + "\n"
    table = preview("t.csv", data.encode()).table
    assert table.columns == ["a", "b"]
    assert table.rows[0] == ["1", HOSTILE]
    assert len(table.rows[1][1]) == 200
    assert table.complete


def test_long_and_wide_tables_are_cut() -> None:
    """And say so."""
    head = ",".join(f"c{number}" for number in range(100))
    row = ",".join(map(str, range(100)))
    for data in (head + "\n" + f"{row}\n" * 200, head + "\n" + f"{row}\n" * 200_000):
        table = preview("t.csv", data.encode()).table
        assert (len(table.columns), len(table.rows)) == (MAX_COLUMNS, MAX_ROWS)
        assert not table.complete
    columns = {f"c{number}": list(range(1000)) for number in range(60)}
    table = preview("t.parquet", parquet(pa.table(columns))).table
    assert (len(table.columns), len(table.rows)) == (MAX_COLUMNS, MAX_ROWS)
    assert table.rows[3][:2] == ["3", "3"]
    assert not table.complete


def test_a_small_parquet_file_is_shown_whole() -> None:
    """Nulls are empty."""
    table = preview("t.PARQUET", parquet(pa.table({"a": [1.5, None], "b": ["x", HOSTILE]}))).table
    assert table.columns == ["a", "b"]
    assert table.rows == [["1.5", "x"], ["", HOSTILE]]
    assert table.complete


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1" + b"x" * 100 + b"\xff\xff\xff\x7fPAR1", b"not parquet", b""])
def test_a_damaged_table_has_no_preview(data: bytes) -> None:
    """It can still be downloaded."""
    assert preview("t.parquet", data).table is None
    assert html_preview("t.parquet", data) == ""


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**31 - 1], pa.date32()),
        pa.array([2**62], pa.timestamp("ms")),
        pa.array([0], pa.timestamp("us", tz="Nowhere/X")),
        pa.array([0], pa.timestamp("us", tz="+99:99")),
        pa.array([2**62], pa.duration("s")),
    ],
    ids=lambda values: str(values.type),
)
def test_a_table_with_values_that_python_does_not_have_has_no_preview(values: pa.Array) -> None:
    """The file is valid, and its dates, times and time zones are what an algorithm wrote."""
    data = parquet(pa.table({"a": values}))
    assert preview("t.parquet", data).table is None
    assert html_preview("t.parquet", data) == ""


def test_texts_are_shown_up_to_a_limit() -> None:
    """Binary files, and those of other types, are not."""
    assert preview("a.txt", b"line\n").text == "line\n"
    assert preview("a.json", b"{}").text == "{}"
    long = preview("a.log", b"x" * 100_000)
    assert (len(long.text), long.complete) == (64 * 1024, False)
    for name, data in (("a.txt", b"\x00\x01"), ("a.bin", b"text"), ("a.pkl", b"text")):
        assert preview(name, data).text is None


def test_html_has_no_markup_of_the_file() -> None:
    """Neither of its name nor of its content; an SVG is an image, in which no script runs."""
    for name, data in (
        (f"{HOSTILE}.txt", HOSTILE.encode()),
        (f"{HOSTILE}.csv", f"{HOSTILE}\n{HOSTILE}\n".encode()),
        (f"{HOSTILE}.svg", f"<svg>{HOSTILE}</svg>".encode()),
        (f"{HOSTILE}.png", b"\x89PNG\r\n\x1a\n" + HOSTILE.encode()),
        ("t.parquet", parquet(pa.table({HOSTILE: [HOSTILE]}))),
    ):
        shown = html_preview(name, data)
        assert shown
        assert "<script" not in shown
