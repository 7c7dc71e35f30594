"""A registry with one real algorithm: how far a year of weather wears out a component outdoors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import define, fields_dict

from callback_sdk.errors import AlgorithmError, MissingExtraError
from callback_sdk.service import JobContext, Registry
from callback_sdk.service.algorithms.features import Features

registry = Registry()

_BIN_WIDTH = 5.0


@define(frozen=True, kw_only=True)
class FatigueLaw:
    """The Coffin-Manson law: `reference_cycles * (reference_range / range) ** exponent` cycles to failure.

    Attributes:
        exponent: Exponent of the temperature range; about 2 for solder joints.
        reference_range: Temperature range of a reference test, in kelvin.
        reference_cycles: Cycles to failure in the reference test.
    """

    exponent: float = 2.0
    reference_range: float = 100.0
    reference_cycles: float = 1000.0

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> FatigueLaw:
        """Read what came with the task.

        Raises:
            AlgorithmError: A name is unknown, or a value is not a positive number.
        """
        known = fields_dict(cls)
        for name, value in parameters.items():
            if name not in known:
                raise AlgorithmError(
                    f"thermal-fatigue has no parameter {name!r}.", hint=f"It takes {', '.join(known)}."
                )
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise AlgorithmError(f"Parameter {name!r} is {value!r}.", hint="Give a positive number.")
        return cls(**parameters)

    def cycles_to_failure(self, range_: float) -> float:
        """Return how many cycles of one range, in kelvin, the component would last."""
        return self.reference_cycles * float((self.reference_range / range_) ** self.exponent)


@registry.algorithm("thermal-fatigue", version="1.0.0", timeout=timedelta(minutes=10))
def thermal_fatigue(features: Features, parameters: dict[str, Any] | None, context: JobContext) -> dict[str, Any]:
    """Damage and expected life of a component under a year of hourly temperatures.

    Load cycles are counted by the rainflow method of ASTM E1049 and added up by Palmgren and Miner's rule.

    Args:
        features: A column `temperature` in degrees Celsius, one row per hour.
        parameters: See `FatigueLaw`.
        context: Takes the progress.

    Raises:
        AlgorithmError: No such column, fewer than three rows, a row without a number, or a wrong parameter.
    """
    law = FatigueLaw.from_parameters(parameters or {})
    context.report_progress(0.1, "reading temperatures")
    temperatures = _temperatures(features.to_dict())
    context.report_progress(0.3, "counting cycles")
    cycles = _count_cycles(temperatures)
    context.report_progress(0.7, "adding up damage")
    shares = [count / law.cycles_to_failure(range_) for range_, count in cycles]
    damage = math.fsum(shares)
    years = len(temperatures) / (365.25 * 24)
    context.report_progress(1.0, "done")
    return {
        "predictions": {
            "damage": damage,
            "life_years": years / damage if damage else None,
            "histogram": _histogram(cycles),
        },
        "evaluations": {
            "hours": len(temperatures),
            "cycles": math.fsum(count for _, count in cycles),
            "largest_range": max((range_ for range_, _ in cycles), default=0.0),
            "largest_share_of_damage": max(shares) / damage if damage else 0.0,
        },
    }


def _temperatures(columns: Mapping[str, Sequence[Any]]) -> list[float]:
    if "temperature" not in columns:
        raise AlgorithmError(
            "The features have no column 'temperature'.",
            hint=f"They have {', '.join(map(repr, columns)) or 'none'}. It is to hold degrees Celsius.",
        )
    values = columns["temperature"]
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise AlgorithmError(f"Row {row} of 'temperature' is {value!r}.", hint="Fill the gap with a finite number.")
    if len(values) < 3:
        raise AlgorithmError("There are fewer than three temperatures.", hint="A cycle needs at least three.")
    return [float(value) for value in values]


def _count_cycles(temperatures: Sequence[float]) -> list[tuple[float, float]]:
    try:
        import rainflow
    except ModuleNotFoundError as error:
        raise MissingExtraError("rainflow", extra="demo") from error
    cycles = ((float(range_), float(count)) for range_, _, count, _, _ in rainflow.extract_cycles(temperatures))
    return [(range_, count) for range_, count in cycles if range_ > 0]


def _histogram(cycles: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    counts: dict[int, float] = {}
    for range_, count in cycles:
        number = int(range_ // _BIN_WIDTH)
        counts[number] = counts.get(number, 0.0) + count
    return [
        {"from": number * _BIN_WIDTH, "to": (number + 1) * _BIN_WIDTH, "cycles": counts[number]}
        for number in sorted(counts)
    ]
