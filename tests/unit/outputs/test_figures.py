"""Figures and images as output files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from callback_sdk.errors import OutputError
from callback_sdk.outputs import output_files

mpl.use("Agg")


@pytest.mark.parametrize(("name", "magic"), [("fit.png", b"\x89PNG"), ("fit.PDF", b"%PDF"), ("fit.svg", b"<?xml")])
def test_figures_of_matplotlib(name: str, magic: bytes, tmp_path: Path) -> None:
    """A figure is written in the format of the name's extension."""
    figure = Figure()
    figure.subplots().plot([1, 2])
    (output,) = output_files({f"plots/{name}": figure}, tmp_path)
    assert output.body.read().startswith(magic)


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.jpg", b"\xff\xd8")])
def test_images_of_pillow(name: str, magic: bytes, tmp_path: Path) -> None:
    """An image is written in the format of the name's extension."""
    (output,) = output_files({name: Image.new("RGB", (2, 2))}, tmp_path)
    assert output.body.read().startswith(magic)


@pytest.mark.parametrize(
    ("name", "value"), [("fit.xyz", Figure()), ("fit", Image.new("RGB", (2, 2))), ("a.jpg", Image.new("RGBA", (2, 2)))]
)
def test_formats_that_a_library_does_not_know(name: str, value: Any, tmp_path: Path) -> None:
    """The library's reason is in the error, and no file remains."""
    with pytest.raises(OutputError, match="can't be written") as caught:
        output_files({name: value}, tmp_path)
    assert caught.value.__cause__ is not None
    assert not list(tmp_path.iterdir())


class Plotly:
    """The methods of plotly's figures."""

    def write_image(self, file: str) -> None:
        Path(file).write_bytes(b"image")

    def write_html(self, file: str) -> None:
        Path(file).write_bytes(b"page")

    def write_json(self, file: str) -> None:
        Path(file).write_bytes(b"{}")


@pytest.mark.parametrize(("name", "content"), [("a.svg", b"image"), ("a.html", b"page"), ("a.json", b"{}")])
def test_figures_of_plotly(name: str, content: bytes, tmp_path: Path) -> None:
    """The extension chooses the method: an image, a page, or JSON."""
    (output,) = output_files({name: Plotly()}, tmp_path)
    assert output.body.read() == content


class Record:
    """An object whose `save` writes elsewhere, like that of a database's row."""

    def save(self, path: str) -> None:
        """Do nothing."""


def test_a_save_that_writes_no_file(tmp_path: Path) -> None:
    """An object that writes nothing to the path is an error, not an empty file."""
    with pytest.raises(OutputError, match="has written no file"):
        output_files({"a.bin": Record()}, tmp_path)
    assert not list(tmp_path.iterdir())
