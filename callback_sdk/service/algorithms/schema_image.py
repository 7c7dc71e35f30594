"""Images of schemas: a table of names, types and descriptions, as PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

from attrs import define

from callback_sdk.errors import MissingExtraError
from callback_sdk.service.algorithms.input_schemas import ColumnSchema

_WIDTH = 900
_LINE, _GAP, _EDGE = 22, 10, 24
_STARTS = (0, 240, 520)
"""Left edges of the columns name, type and description, in pixels."""

_MAX_LENGTH = 44
"""Maximum characters of a line of the description."""


@define(frozen=True, kw_only=True)
class _Colors:
    """Colors of an image, as in the style sheet of the web UI."""

    text: str
    faint: str
    back: str
    rule: str


_LIGHT = _Colors(text="#1c2024", faint="#5a636e", back="#ffffff", rule="#d9dde2")
_DARK = _Colors(text="#e8eaed", faint="#a7b0ba", back="#1c2024", rule="#363c43")


def draw(title: str, parts: Mapping[str, Sequence[ColumnSchema]], *, dark: bool = False) -> bytes:
    """Draw one table per schema, one below the other.

    Args:
        title: Title of the image.
        parts: Rows of each table, by the table's heading.
        dark: Whether to draw light text on a dark background.

    Returns:
        Bytes of a PNG file.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise MissingExtraError("Pillow", extra="service") from None
    colors = _DARK if dark else _LIGHT
    rows = [row for name, columns in parts.items() for row in _rows(name, columns, colors)]
    height = 2 * _EDGE + 2 * _LINE + sum(len(lines) * _LINE + _GAP for *_, lines in rows)
    image = Image.new("RGB", (_WIDTH, height), colors.back)
    draw, font, large = ImageDraw.Draw(image), ImageFont.load_default(15), ImageFont.load_default(20)
    draw.text((_EDGE, _EDGE), title, colors.text, font=large)
    y = _EDGE + 2 * _LINE
    for color, *cells, lines in rows:
        for start, cell in zip(_STARTS, (*cells, "\n".join(lines)), strict=True):
            draw.multiline_text((_EDGE + start, y), cell, color, font=font, spacing=6)
        y += len(lines) * _LINE + _GAP
        draw.line((_EDGE, y - _GAP / 2, _WIDTH - _EDGE, y - _GAP / 2), colors.rule)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _rows(name: str, columns: Sequence[ColumnSchema], colors: _Colors) -> list[tuple[str, str, str, list[str]]]:
    head = (colors.faint, name, "Type", ["Meaning"])
    return [
        head,
        *(
            (
                colors.text,
                _cut(one.name, 26),
                _cut(one.type if one.required else f"{one.type}, optional", 32),
                textwrap.wrap(one.description, _MAX_LENGTH)[:4] or [""],
            )
            for one in columns
        ),
    ]


def _cut(text: str, max_length: int) -> str:
    # Pillow's own font doesn't have these signs.
    text = text.replace("≥", ">=").replace("≤", "<=")
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"
