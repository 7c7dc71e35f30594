"""callback_sdk.service.pages.charts"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from callback_sdk.service.pages.charts import Series, bars, lines

ENDS = ("an hour ago", "now")


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def test_bars_are_stacked() -> None:
    """The second series starts at the end of the first one, and both fit the scale."""
    drawn = bars("Ended", [Series(name="A", values=[3, 0]), Series(name="B", values=[1, 2])], unit="tasks", ends=ENDS)
    rects = [{name: rect.get(name) for name in ("class", "y", "height")} for rect in parsed(drawn).iter("rect")]
    assert [rect["class"] for rect in rects] == ["series-a", "series-b", "series-b"]
    a, b, alone = ({name: float(rect[name]) for name in ("y", "height")} for rect in rects)
    assert a["height"] == pytest.approx(3 * b["height"], abs=0.2)
    assert b["y"] + b["height"] == pytest.approx(a["y"], abs=0.2)
    assert alone["height"] == pytest.approx(2 * b["height"], abs=0.2)
    assert "is below 4 tasks" in drawn


def test_a_line_has_gaps_where_nothing_is_known() -> None:
    """Two runs of points are two lines, and a point alone is seen."""
    drawn = lines("Took", [Series(name="Median", values=[1, 2, None, 3])], unit="seconds", ends=ENDS)
    assert [len(line.get("points").split()) for line in parsed(drawn).iter("polyline")] == [2, 1]
    assert len(list(parsed(drawn).iter("circle"))) == 3


@pytest.mark.parametrize("values", [[], [0, 0], [None, None], [0.0004], [123456]])
def test_any_values_can_be_drawn(values: list[float | None]) -> None:
    """Nothing at all, very little, and a lot: every point is within the picture."""
    series = [Series(name="Median", values=values)]
    for drawn in (bars("t", series, unit="u", ends=ENDS), lines("t", series, unit="u", ends=ENDS)):
        svg = next(parsed(drawn).iter("svg"))
        width, height = (float(size) for size in svg.get("viewBox").split()[2:])
        for x, y in re.findall(r'(?:points="| )([\d.]+),([\d.]+)', drawn):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height


def test_texts_are_escaped_and_nothing_is_styled_inline() -> None:
    """The Content-Security-Policy forbids inline styles."""
    drawn = bars('<b>"x"</b>', [Series(name="A&B", values=[1])], unit="<u>", ends=("<a>", "&"))
    assert not re.search("<b>|<u>|<a>|style=", drawn)
    figure = parsed(drawn)
    assert figure.find("figcaption").text == '<b>"x"</b> '
    assert next(figure.iter("svg")).get("role") == "img"
