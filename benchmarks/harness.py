"""What all benchmarks share: rounds in turns, medians, bars, and how they are printed."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field


@define(frozen=True)
class Case:
    """One contestant.

    Attributes:
        name: Whose.
        run: Does the work once.
        count: Operations in one run.
    """

    name: str
    run: Callable[[], Any]
    count: int = 1


@define
class Times:
    """What a contestant took in each round, per operation.

    Attributes:
        wall: Seconds that passed.
        cpu: Seconds that this process, and its children that ended meanwhile, were on a core.
    """

    wall: list[float] = field(factory=list)
    cpu: list[float] = field(factory=list)

    @property
    def median(self) -> float:
        """Seconds per operation."""
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        """Seconds on a core per operation."""
        return statistics.median(self.cpu)


def in_turns(cases: Sequence[Case], rounds: int) -> dict[str, Times]:
    """Run all cases once to warm up, then round by round, each time in another order."""
    times = {case.name: Times() for case in cases}
    for number in range(-1, rounds):
        shift = number % len(cases)
        for case in (*cases[shift:], *cases[:shift]):
            wall, cpu = time.perf_counter(), _cpu()
            case.run()
            wall, cpu = time.perf_counter() - wall, _cpu() - cpu
            if number >= 0:
                times[case.name].wall.append(wall / case.count)
                times[case.name].cpu.append(cpu / case.count)
    return times


def _cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Report:
    """A benchmark's output: tables, then what became of its bars.

    Args:
        name: The benchmark's.
        as_json: Whether the last line is JSON.
    """

    def __init__(self, name: str, *, as_json: bool) -> None:
        self._name = name
        self._as_json = as_json
        self._ratios: dict[str, float] = {}
        self._bars: dict[str, str] = {}

    def table(self, title: str, times: Mapping[str, Times], *, us: str) -> None:
        """Print medians per operation, and how they compare to ours."""
        ours = times[us].median
        width = max(len(title), *(len(name) for name in times))
        print(f"\n{title:<{width}}  {'each':>10}  {'per second':>11}  {'CPU each':>10}  {'beside us':>9}")
        for name, taken in times.items():
            print(
                f"{name:<{width}}  {duration(taken.median):>10}  {1 / taken.median:>11,.0f}  "
                f"{duration(taken.median_cpu):>10}  {taken.median / ours:>7.2f} ×"
            )

    def lines(self, title: str, lines: Iterable[str]) -> None:
        """Print what has no contestants."""
        print(f"\n{title}", *lines, sep="\n")

    def bar(self, name: str, ratio: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Keep a ratio and hold it against its bar."""
        self._ratios[name] = round(ratio, 3)
        if at_least is not None:
            self._bars[name] = f"≥ {at_least:g} ×  {'reached' if ratio >= at_least else 'NOT reached'}"
        if at_most is not None:
            self._bars[name] = f"≤ {at_most:g} ×  {'reached' if ratio <= at_most else 'NOT reached'}"

    def end(self) -> None:
        """Print the bars."""
        print()
        width = max(map(len, self._ratios), default=0)
        for name, ratio in self._ratios.items():
            print(f"{name:<{width}}  {ratio:>8.2f} ×   {self._bars.get(name, 'no bar')}")
        if self._as_json:
            print(json.dumps({"benchmark": self._name, "ratios": self._ratios}))


def duration(seconds: float) -> str:
    """Return a duration with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def parser(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=_rounds, default=rounds, help=f"rounds of each contestant, at least 1 ({rounds})"
    )
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    return parser


def forget_peak() -> int:
    """Let `peak_memory` begin anew, and return what this process has now, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Return the most memory that this process had, in bytes (Linux).

    Not getrusage: its peak begins with that of the parent process.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def _rounds(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
