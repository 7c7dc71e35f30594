"""The workflow of the page about Snakemake, run by Snakemake: each step delivers how it ended."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import S3Signer
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
SNAKEMAKE = ROOT / ".venv" / "schedulers" / "bin" / "snakemake"
PAGE = (ROOT / "docs" / "snakemake.md").read_text()
SAMPLES = [f"s{number}" for number in range(1, 10)]

SIMULATE = """#!/bin/sh
case $1 in
    s3) echo no convergence >&2; exit 3 ;;
    s5) [ -e again ] || { touch again; kill -SEGV $$; } ;;
esac
echo "{\\"life\\": \\"$1\\"}" > $2
"""
GOOD = '#!/bin/sh\necho "{\\"life\\": \\"$1\\"}" > $2\n'
REPORT = '#!/bin/sh\nout=$1\nshift\necho "{\\"files\\": $#}" > $out\n'

SUBMIT = """#!/bin/sh
nohup sh "$1" > submitted.log 2>&1 &
echo $!
"""

pytestmark = pytest.mark.checkout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a directory with the workflow, in which nothing fails."""
    if not SNAKEMAKE.exists():
        missing_server("Snakemake is missing: make schedulers")
    (text,) = re.findall(r"^```text\n(# Snakefile\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "Snakefile").write_text(text)
    for name, content in (("simulate", GOOD), ("report", REPORT), ("submit", SUBMIT)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def _run(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [SNAKEMAKE, "--cores", "2", *options],
        cwd=folder,
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _documents(webhook: WebhookReceiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in webhook.requests]


def test_each_of_ten_steps_is_delivered(folder: Path, seaweedfs: SeaweedFS, bucket: str) -> None:
    """With one signature, and the file of the step as its results."""
    client = seaweedfs.client()
    signed = S3Signer(bucket, client=client).presign_prefix("runs/", document="{job_id}.json")
    (folder / "callbacks.json").write_text(json.dumps({"url": signed.url, "param": signed.callback_param}))
    ran = _run(folder, CALLBACK_SDK_STORAGE_ENDPOINTS=seaweedfs.endpoint_url)
    assert ran.returncode == 0, ran.stderr
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=bucket, Prefix="runs/")["Contents"]]
    assert sorted(keys) == sorted(["runs/report.json", *(f"runs/simulate.{sample}.json" for sample in SAMPLES)])
    for key in keys:
        document = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        name, _, sample = document["job_id"].partition(".")
        assert document["success"] is True
        assert document["results"] == ({"files": 9} if name == "report" else {"life": sample})


@pytest.mark.parametrize("has_attempts", [False, True])
def test_steps_that_fail_are_delivered_with_each_attempt(
    has_attempts: bool, folder: Path, webhook: WebhookReceiver
) -> None:
    """One step fails always, one the first time; the others run to their end."""
    (folder / "callbacks.json").write_text(json.dumps({"url": webhook.url}))
    (folder / "simulate").write_text(SIMULATE)
    if has_attempts:
        (resources,) = re.findall(r"`(resources: .+?)`", PAGE)
        (job_id,) = re.findall(r"`--job-id (\S+attempt})`", PAGE)
        output = '    output: "life/{sample}.json"\n'
        text = (folder / "Snakefile").read_text().replace("{rule}.{wildcards.sample} ", f"{job_id} ")
        (folder / "Snakefile").write_text(text.replace(output, f"{output}    {resources}\n"))
    ran = _run(folder, "--keep-going", "--retries", "1")
    assert ran.returncode == 1
    documents = _documents(webhook)
    succeeded = sorted(each["job_id"] for each in documents if each["success"])
    failed = sorted((each["job_id"], each["error"].split("\n")[0]) for each in documents if not each["success"])
    codes = {"s3": "The program exited with code 3.", "s5": "The program was ended by signal 11 (SIGSEGV)."}
    first, second = (".1", ".2") if has_attempts else ("", "")
    assert succeeded == sorted(
        f"simulate.{sample}{second if sample == 's5' else first}" for sample in SAMPLES if sample != "s3"
    )
    # The outbox sends equal documents of one job once.
    again = [(f"simulate.s3{second}", codes["s3"])] if has_attempts else []
    assert failed == [(f"simulate.s3{first}", codes["s3"]), *again, (f"simulate.s5{first}", codes["s5"])]


def test_steps_on_a_cluster_are_delivered(folder: Path, webhook: WebhookReceiver) -> None:
    """By the executor that submits with any command."""
    (folder / "callbacks.json").write_text(json.dumps({"url": webhook.url}))
    text = (folder / "Snakefile").read_text()
    (folder / "Snakefile").write_text(text.replace("range(1, 10)", "range(1, 3)"))
    options = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "./submit", "--jobs", "2")
    ran = _run(folder, *options, "--seconds-between-status-checks", "1")
    assert ran.returncode == 0, ran.stderr
    found = sorted(each["job_id"] for each in _documents(webhook))
    assert found == ["report", "simulate.s1", "simulate.s2"]
