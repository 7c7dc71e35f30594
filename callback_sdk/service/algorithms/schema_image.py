"""Images of schemas: a table of names, types and descriptions, as PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence

from callback_sdk.errors import MissingExtraError
from callback_sdk.service.algorithms.input_schemas import ColumnSchema

_WIDTH = 900
_LINE, _GAP, _EDGE = 22, 10, 24
_STARTS = (0, 240, 520)
"""Left edges of the columns name, type and description, in pixels."""

_MAX_LENGTH = 44
"""Maximum characters of a line of the description."""

_TEXT, _FAINT, _BACK, _RULE = "#1c2024", "#5a636e", "#ffffff", "#d9dde2"


def drawn(title: str, parts: Mapping[str, Sequence[ColumnSchema]]) -> bytes:
    """Draw one table per schema, one below the other.

    Args:
        title: Title of the image.
        parts: Rows of each table, by the table's heading.

    Returns:
        Bytes of a PNG file.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise MissingExtraError("Pillow", extra="service") from None
    rows = [row for name, columns in parts.items() for row in _rows(name, columns)]
    height = 2 * _EDGE + 2 * _LINE + sum(len(lines) * _LINE + _GAP for *_, lines in rows)
    image = Image.new("RGB", (_WIDTH, height), _BACK)
    draw, font, large = ImageDraw.Draw(image), ImageFont.load_default(15), ImageFont.load_default(20)
    draw.text((_EDGE, _EDGE), title, _TEXT, font=large)
    y = _EDGE + 2 * _LINE
    for colour, *cells, lines in rows:
        for start, cell in zip(_STARTS, (*cells, "\n".join(lines)), strict=True):
            draw.multiline_text((_EDGE + start, y), cell, colour, font=font, spacing=6)
        y += len(lines) * _LINE + _GAP
        draw.line((_EDGE, y - _GAP / 2, _WIDTH - _EDGE, y - _GAP / 2), _RULE)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _rows(name: str, columns: Sequence[ColumnSchema]) -> list[tuple[str, str, str, list[str]]]:
    head = (_FAINT, name, "Type", ["Meaning"])
    return [
        head,
        *(
            (
                _TEXT,
                _cut(one.name, 26),
                _cut(one.type if one.required else f"{one.type}, optional", 32),
                textwrap.wrap(one.description, _MAX_LENGTH)[:4] or [""],
            )
            for one in columns
        ),
    ]


def _cut(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"
