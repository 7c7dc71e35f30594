"""Startup times: import of the package, --help of the command line, and the first delivery of a new process.

Each run is a new process, measured from its start to its end. Files are in the page cache, and bytecode in a cache that
the first round fills. The first delivery includes its imports, and writes a document of 1 KB by a presigned PUT to a
local SeaweedFS; `requests.put` sends the same bytes. The bars compare times net of the bare interpreter, which takes
about a quarter of the time in all cases; ratios of whole processes are shown too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from benchmarks.harness import Case, Report, Times, in_turns, parser
from callback_sdk import S3Signer
from callback_sdk.testing import SeaweedFS

BARE = "bare interpreter"
DELIVERY = """
from callback_sdk import JobResult, ResultsWriter
result = JobResult(job_id="42", success=True, results={"predictions": [number / 7 for number in range(45)]})
ResultsWriter().write(result, URL)
"""
REQUESTS_PUT = """
import json, requests
results = {"predictions": [number / 7 for number in range(45)]}
members = {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": results}
headers = {"Content-Type": "application/json"}
requests.put(URL, json.dumps(members), headers=headers, timeout=30).raise_for_status()
"""


def commands(url: str) -> dict[str, list[str]]:
    """Return the arguments of the interpreter for each case, by name.

    Args:
        url: A presigned URL for the results.
    """
    place = f"URL = {url!r}"
    return {
        BARE: ["-c", "pass"],
        "import callback_sdk": ["-c", "import callback_sdk"],
        "import requests": ["-c", "import requests"],
        "import boto3": ["-c", "import boto3"],
        "callback-sdk --help": ["-m", "callback_sdk.cli", "--help"],
        "first delivery": ["-c", place + DELIVERY],
        "first requests.put": ["-c", place + REQUESTS_PUT],
    }


def process(name: str, *arguments: str, environment: Mapping[str, str], count: int) -> Case:
    """Return a case that runs an interpreter with these arguments several times."""

    def run() -> None:
        for _ in range(count):
            subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)

    return Case(name, run, count)


def net(times: Mapping[str, Times]) -> dict[str, Times]:
    """Subtract the time of the bare interpreter from all others."""
    wall, cpu = times[BARE].median, times[BARE].median_cpu
    return {
        name: Times([taken - wall for taken in of.wall], [taken - cpu for taken in of.cpu])
        for name, of in times.items()
        if name != BARE
    }


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=10, help="processes per case and round (10)")
    chosen = options.parse_args()
    with SeaweedFS() as store, tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        url = S3Signer(store.create_bucket(), client=store.client()).presign_put("results.json").url
        times = in_turns(
            [
                process(name, *command, environment=environment, count=chosen.count)
                for name, command in commands(url).items()
            ],
            chosen.rounds,
        )
    report = Report("startup", as_json=chosen.json)
    report.table("Whole processes", times, us="first delivery")
    report.table("Net of the bare interpreter", net(times), us="first delivery")
    for title, samples, at_most in (("", net(times), 0.5), (", whole", times, None)):
        for us, peer in (("import callback_sdk", "import requests"), ("first delivery", "import boto3")):
            report.bar(f"{us} beside {peer}{title}", samples[us].median / samples[peer].median, at_most=at_most)
        report.bar(
            f"first delivery beside first requests.put{title}",
            samples["first delivery"].median / samples["first requests.put"].median,
        )
        report.bar(
            f"--help beside import boto3{title}", samples["callback-sdk --help"].median / samples["import boto3"].median
        )
    report.end()


if __name__ == "__main__":
    main()
