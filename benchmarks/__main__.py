"""Runs the benchmarks one after another, each in a separate process, and prints a table of all ratios at the end."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

BENCHMARKS = (
    "signing",
    "encoding",
    "startup",
    "bulk",
    "delivery",
    "aistore",
    "memory",
    "parts",
    "jobs --jobs 300",
    "jobs --jobs 300 --engine celery",
    "submit",
    "backlog",
    "waiting",
)
PACKAGES = ("boto3", "celery", "cog", "minio", "numpy", "obstore", "orjson", "requests", "urllib3")


def main() -> None:
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run; all by default: {', '.join(BENCHMARKS)}"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.names) - {name.split()[0] for name in BENCHMARKS}
    if unknown:
        parser.error(f"Unknown benchmark: {', '.join(sorted(unknown))}. The benchmarks are {', '.join(BENCHMARKS)}.")
    rows, failed = [], []
    for name in BENCHMARKS:
        if chosen.names and name.split()[0] not in chosen.names:
            continue
        print(f"\n── {name} ──", flush=True)
        ratios = run(name)
        rows += [(name, what, ratio) for what, ratio in (ratios or {}).items()]
        failed += [name] if ratios is None else []
    print(f"\n{machine()}\n\n| benchmark | | ratio |\n|---|---|---|")
    for row in rows:
        print("| {} | {} | {:.2f} |".format(*row))
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


def run(name: str) -> dict[str, float] | None:
    """Run one benchmark, print its output, and return its ratios; None if it failed."""
    script, *arguments = name.split()
    command = [sys.executable, "-m", f"benchmarks.{script}", *arguments, "--json"]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if last:
                print(last, end="", flush=True)
            last = line
    if process.returncode:
        print(last, end="")
        return None
    ratios: dict[str, float] = json.loads(last)["ratios"]
    return ratios


def machine() -> str:
    """Describe the machine and the versions of the libraries."""
    models = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; {versions}."
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    main()
