"""Common parts of all benchmarks: rounds in turns, medians, bars and reports."""

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
        name: Name of the contestant.
        run: Runs the work once.
        count: Number of operations in one run.
    """

    name: str
    run: Callable[[], Any]
    count: int = 1


@define
class Times:
    """Times of a contestant in each round, per operation.

    Attributes:
        wall: Elapsed seconds.
        cpu: CPU seconds of this process and of its children that ended during the round.
    """

    wall: list[float] = field(factory=list)
    cpu: list[float] = field(factory=list)

    @property
    def median(self) -> float:
        """Median of the elapsed seconds per operation."""
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        """Median of the CPU seconds per operation."""
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
    """Output of a benchmark: tables, then the results of its bars.

    Args:
        name: Name of the benchmark.
        as_json: Whether to print a last line with JSON.
    """

    def __init__(self, name: str, *, as_json: bool) -> None:
        self._name = name
        self._as_json = as_json
        self._ratios: dict[str, float] = {}
        self._bars: dict[str, str] = {}

    def table(self, title: str, times: Mapping[str, Times], *, us: str) -> None:
        """Print medians per operation, and their ratios to the contestant `us`."""
        ours = times[us].median
        width = max(len(title), *(len(name) for name in times))
        print(f"\n{title:<{width}}  {'each':>10}  {'per second':>11}  {'CPU each':>10}  {'beside us':>9}")
        for name, taken in times.items():
            print(
                f"{name:<{width}}  {duration(taken.median):>10}  {1 / taken.median:>11,.0f}  "
                f"{duration(taken.median_cpu):>10}  {taken.median / ours:>7.2f} ×"
            )

    def lines(self, title: str, lines: Iterable[str]) -> None:
        """Print lines without a comparison."""
        print(f"\n{title}", *lines, sep="\n")

    def bar(self, name: str, ratio: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Record a ratio, and compare it with its bar."""
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
    """Format a duration with three significant digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def parser(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=_rounds, default=rounds, help=f"rounds of each contestant, at least 1 ({rounds})"
    )
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    return parser


def forget_peak() -> int:
    """Reset `peak_memory`, and return the current memory of this process, in bytes (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Return the peak memory of this process, in bytes (Linux).

    Not by getrusage(2), because its maximum includes the time before execve(2), when the process was a copy of its
    parent.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def _rounds(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
