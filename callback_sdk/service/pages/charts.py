"""Charts as SVG, rendered on the server. The pages repeat their values in a table for screen readers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from attrs import define
from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 10, 22


@define(frozen=True, kw_only=True)
class Series:
    """One series of values in a chart.

    Attributes:
        name: Name in the legend, and the CSS class in lower case with `-` between words.
        values: One value per position on the axis, from left to right; None for a gap.
    """

    name: str
    values: Sequence[float | None]

    @property
    def css(self) -> str:
        """The CSS class."""
        return "series-" + "-".join(re.findall("[a-z0-9]+", self.name.lower()))


def bars(title: str, series: Sequence[Series], *, unit: str, ends: tuple[str, str]) -> Markup:
    """Draw stacked bars.

    Args:
        title: Title of the chart.
        series: Series of equal length.
        unit: Unit of the values.
        ends: Labels of the left and right end of the axis.
    """
    columns = list(zip(*(one.values for one in series), strict=True))
    top = _nice(max((sum(value or 0 for value in column) for column in columns), default=0))
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(columns))
    parts = []
    for number, column in enumerate(columns):
        base = 0.0
        for one, value in zip(series, column, strict=True):
            if value:
                y, height = _y(base + value, top), _y(base, top) - _y(base + value, top)
                x = _LEFT + number * width + width * 0.1
                parts.append(
                    f'<rect class="{one.css}" x="{x:.1f}" y="{y:.1f}" width="{width * 0.8:.1f}" height="{height:.1f}"/>'
                )
                base += value
    return _plot(title, series, parts, top, unit, ends)


def lines(title: str, series: Sequence[Series], *, unit: str, ends: tuple[str, str]) -> Markup:
    """Draw a line for each series, with gaps where a value is None; see `bars`."""
    top = _nice(max((value for one in series for value in one.values if value is not None), default=0))
    parts = []
    for one in series:
        step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(one.values) - 1)
        for run in _runs(one.values):
            points = " ".join(f"{_LEFT + number * step:.1f},{_y(value, top):.1f}" for number, value in run)
            parts.append(f'<polyline class="{one.css}" points="{points}"/>')
            # A line with a single point would be invisible.
            parts += [
                f'<circle class="{one.css}" cx="{_LEFT + number * step:.1f}" cy="{_y(value, top):.1f}" r="2.5"/>'
                for number, value in run
            ]
    return _plot(title, series, parts, top, unit, ends)


def _plot(
    title: str, series: Sequence[Series], parts: Sequence[str], top: float, unit: str, ends: tuple[str, str]
) -> Markup:
    text = f"{title}. The highest value is below {_number(top)} {unit}."
    grid = []
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        grid.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        grid.append(f'<text class="scale" x="{_LEFT - 6}" y="{y + 4:.1f}">{_number(top * share)}</text>')
    left, right = (escape(end) for end in ends)
    names = [
        f'<text x="{_LEFT}" y="{_HEIGHT - 5}">{left}</text>',
        f'<text class="scale" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}">{right}</text>',
    ]
    legend = "".join(f'<li class="{one.css}">{escape(one.name)}</li>' for one in series)
    drawn = "".join([*grid, *parts, *names])
    # Every text was escaped above.
    return Markup(  # noqa: S704
        f'<figure><figcaption>{escape(title)} <span class="unit">({escape(unit)})</span></figcaption>'
        f'<svg role="img" aria-label={quoteattr(text)} viewBox="0 0 {_WIDTH} {_HEIGHT}">{drawn}</svg>'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (value / top) * (_HEIGHT - _BOTTOM - _TOP)


def _nice(value: float) -> float:
    """Return a round number that is not below a value."""
    size = 1.0
    while size < value:
        size *= 10
    while size / 10 >= value > 0:
        size /= 10
    return next((size * share for share in (0.2, 0.4, 0.5) if size * share >= value > 0), size)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((number, value))
    return [run for run in runs if run]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}".replace(",", " ")
