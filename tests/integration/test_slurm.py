"""An array of jobs under Slurm, each run by `callback-sdk exec`: the documents agree with what Slurm says."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import S3Signer
from callback_sdk.testing import SeaweedFS
from tests.checkers.slurm import HOW_TO_GET_IT, Slurm, missing, slurm
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]

SUCCEED = range(1, 16)
FAIL, CANCELED, TIMEOUT, OUT_OF_MEMORY, LOST_NODE = range(16, 21)

PROGRAM = f"""
import json, os, sys, time
index = int(os.environ["SLURM_ARRAY_TASK_ID"])
open(f"started.{{index}}", "w").close()
if index == {FAIL}:
    sys.exit("no convergence")
elif index in ({CANCELED}, {TIMEOUT}):
    time.sleep(600)
elif index == {OUT_OF_MEMORY}:
    memory = bytearray(256 * 2**20)
elif index == {LOST_NODE}:
    while not os.path.exists("go"):
        time.sleep(0.05)
with open(os.environ["CALLBACK_SDK_RESULTS"], "w") as file:
    json.dump({{"task": index}}, file)
"""

# `exec`: a shell that waits for the command would be ended by SIGTERM, and Slurm would kill the rest at once.
JOB = """#!/bin/sh
{limit_memory}
exec {python} -m callback_sdk.cli exec --callbacks-file callbacks.json --outbox outbox.$SLURM_ARRAY_TASK_ID.sqlite3 \
    --grace-period 2s -- {python} program.py
"""

V1 = Path("/sys/fs/cgroup/memory")
LIMIT_MEMORY = f"""if [ $SLURM_ARRAY_TASK_ID = {OUT_OF_MEMORY} ]; then
    echo 67108864 > {{group}}/memory.limit_in_bytes && echo $$ > {{group}}/cgroup.procs
fi"""


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    if missing():
        missing_server(HOW_TO_GET_IT)
    with slurm() as cluster:
        yield cluster


@pytest.fixture
def group() -> Iterator[Path | None]:
    """Make a control group; None where that isn't permitted, or there is only version 2."""
    path = V1 / f"callback-sdk-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError:
        yield None
        return
    yield path
    path.rmdir()


def test_each_job_of_an_array_delivers_how_it_ended(
    cluster: Slurm, group: Path | None, seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    """One signature serves all of them; the exit codes that Slurm records are those of the programs."""
    signed = S3Signer(bucket, client=seaweedfs.client()).presign_prefix("runs/", document="{job_id}.json")
    (tmp_path / "callbacks.json").write_text(json.dumps({"url": signed.url, "param": signed.callback_param}))
    (tmp_path / "program.py").write_text(PROGRAM)
    limit = LIMIT_MEMORY.format(group=group) if group else ""
    (tmp_path / "job.sh").write_text(JOB.format(python=sys.executable, limit_memory=limit))
    options = ("--array=1-20", "--time=60", "--no-requeue", f"--chdir={tmp_path}", f"--output={tmp_path}/%a.out")
    variables = f"ALL,PYTHONPATH={ROOT},CALLBACK_SDK_STORAGE_ENDPOINTS={seaweedfs.endpoint_url}"
    array = cluster.run("sbatch", "--parsable", f"--export={variables}", *options, tmp_path / "job.sh").strip()

    cluster.wait_for(f"{array}_{TIMEOUT}", "RUNNING")
    # A limit of one minute for all might end others too, on a busy machine.
    cluster.run("scontrol", "update", f"JobId={array}_{TIMEOUT}", "TimeLimit=1")
    cluster.wait_for(f"{array}_{CANCELED}", "RUNNING")
    _wait_for(tmp_path / f"started.{CANCELED}")
    cluster.run("scancel", f"{array}_{CANCELED}")
    others = [*SUCCEED, FAIL, CANCELED, *([OUT_OF_MEMORY] if group else [])]
    ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
    jobs = {index: cluster.wait_for(f"{array}_{index}", *ended) for index in others}
    _wait_for(tmp_path / f"started.{LOST_NODE}")
    cluster.kill_daemon()
    (tmp_path / "go").touch()
    _document(seaweedfs, bucket, f"{array}_{LOST_NODE}")
    cluster.start_daemon()
    jobs |= {index: cluster.wait_for(f"{array}_{index}", *ended) for index in (LOST_NODE, TIMEOUT)}

    documents = {index: _document(seaweedfs, bucket, f"{array}_{index}") for index in jobs}
    for index, document in documents.items():
        assert document["job_id"] == f"{array}_{index}"
    for index in (*SUCCEED, LOST_NODE):
        assert (documents[index]["success"], documents[index]["results"]) == (True, {"task": index})
        assert (jobs[index]["JobState"], jobs[index]["ExitCode"]) == ("COMPLETED", "0:0")
    assert documents[FAIL]["error"].endswith("no convergence")
    assert (jobs[FAIL]["JobState"], jobs[FAIL]["ExitCode"]) == ("FAILED", "1:0")
    assert documents[CANCELED]["status"] == "Canceled"
    assert jobs[CANCELED]["JobState"] == "CANCELLED"
    assert documents[TIMEOUT]["status"] == "Finished"
    assert "time limit of Slurm" in documents[TIMEOUT]["error"]
    assert jobs[TIMEOUT]["JobState"] == "TIMEOUT"
    if group:
        assert documents[OUT_OF_MEMORY]["error"].startswith("The memory limit was reached")
        # Slurm itself watches the memory only with its own plugin for control groups.
        assert (jobs[OUT_OF_MEMORY]["JobState"], jobs[OUT_OF_MEMORY]["ExitCode"]) == ("FAILED", "0:9")


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} was not written"
        time.sleep(0.05)


def _document(seaweedfs: SeaweedFS, bucket: str, job_id: str) -> dict[str, Any]:
    client, key = seaweedfs.client(), f"runs/{job_id}.json"
    end = time.monotonic() + 120
    while not client.list_objects_v2(Bucket=bucket, Prefix=key).get("KeyCount"):
        assert time.monotonic() < end, f"no document of {job_id}"
        time.sleep(0.2)
    document: dict[str, Any] = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    return document
