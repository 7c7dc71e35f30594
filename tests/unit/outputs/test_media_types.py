"""Media types of output files."""

from __future__ import annotations

import pytest

from callback_sdk.outputs.media_types import media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.csv", "text/csv"),
        ("a.JSON", "application/json"),
        ("fit.png", "image/png"),
        ("table.parquet", "application/vnd.apache.parquet"),
        ("table.arrow", "application/vnd.apache.arrow.file"),
        ("table.feather", "application/vnd.apache.arrow.file"),
        ("page.html", "text/html"),
        ("notes.md", "text/markdown"),
        ("config.yaml", "application/yaml"),
        ("photo.webp", "image/webp"),
        ("model.bin", "application/octet-stream"),
        ("model", "application/octet-stream"),
        (".csv", "application/octet-stream"),
        ("data.csv.gz", "application/gzip"),
        ("data.tar.bz2", "application/x-bzip2"),
        ("data.tar.xz", "application/x-xz"),
        ("data:,x;charset=evil.csv", "text/csv"),
        ("a.unknown-extension", "application/octet-stream"),
    ],
)
def test_media_type_is_that_of_the_extension(name: str, expected: str) -> None:
    """The media type depends on the extension alone, and is the same on every machine."""
    assert media_type(name) == expected
