"""The algorithm of the demo, held to the standard's own example."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest

from callback_sdk.errors import AlgorithmError
from callback_sdk.examples import FatigueLaw, registry, thermal_fatigue
from callback_sdk.service import JobContext
from callback_sdk.service.algorithms.features import Features

ASTM = [-2.0, 1.0, -3.0, 5.0, -1.0, 3.0, -4.0, 4.0, -2.0]
"""The load history in figure 6 of ASTM E1049-85, whose cycles the standard lists."""


def _run(folder: Path, columns: dict[str, Any], parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    path = folder / "features.json"
    path.write_bytes(orjson.dumps(columns))
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda fraction, message: None)
    return thermal_fatigue(Features(path, "json"), parameters, context)


def test_cycles_are_those_of_the_standard(tmp_path: Path) -> None:
    """ASTM E1049 counts 0.5 cycles of 3, 1.5 of 4, 0.5 of 6, 1 of 8 and 0.5 of 9."""
    result = _run(tmp_path, {"temperature": ASTM})
    assert result["predictions"]["histogram"] == [
        {"from": 0.0, "to": 5.0, "cycles": 2.0},
        {"from": 5.0, "to": 10.0, "cycles": 2.0},
    ]
    assert result["evaluations"]["cycles"] == 4.0
    assert result["evaluations"]["largest_range"] == 9.0


def test_damage_adds_up_over_the_cycles(tmp_path: Path) -> None:
    """By Palmgren and Miner: each cycle uses a part of the lifetime given by the Coffin-Manson law."""
    parameters = {"exponent": 1.0, "reference_range": 1.0, "reference_cycles": 1.0}
    damage = _run(tmp_path, {"temperature": ASTM}, parameters)["predictions"]["damage"]
    assert math.isclose(damage, 0.5 * 3 + 1.5 * 4 + 0.5 * 6 + 8 + 0.5 * 9)


def test_constant_weather_does_no_damage(tmp_path: Path) -> None:
    """Without cycles there is no damage, and the lifetime is unlimited."""
    result = _run(tmp_path, {"temperature": [20, 20, 20, 20]})
    assert result["predictions"] == {"damage": 0.0, "life_years": None, "histogram": []}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"temp": [1.0, 2.0, 3.0]}, "no column 'temperature'.*'temp'"),
        ({"temperature": [1.0, None, 3.0]}, "Row 1"),
        ({"temperature": ["1", "2", "3"]}, "Row 0"),
        ({"temperature": [True, False, True]}, "Row 0"),
        ({"temperature": [1.0, 2.0]}, "fewer than three"),
    ],
)
def test_features_that_are_not_temperatures_are_rejected(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    """The error names the column or the row."""
    with pytest.raises(AlgorithmError, match=said):
        _run(tmp_path, columns)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"exponnent": 2.0}, "no parameter 'exponnent'.*exponent"),
        ({"exponent": 0}, "'exponent' is 0"),
        ({"exponent": "2"}, "'exponent' is '2'"),
        ({"reference_range": math.inf}, "'reference_range' is inf"),
        ({"reference_cycles": math.nan}, "'reference_cycles' is nan"),
        ({"reference_cycles": True}, "'reference_cycles' is True"),
    ],
)
def test_parameters_are_validated(parameters: dict[str, Any], said: str) -> None:
    """Unknown names, and values that aren't positive numbers, are named."""
    with pytest.raises(AlgorithmError, match=said):
        FatigueLaw.from_parameters(parameters)


def test_the_registry_has_the_algorithm() -> None:
    """It is found under the name that the README uses."""
    assert registry.get("thermal-fatigue").version == "1.0.0"
