"""The scripts of the page about Slurm, run by Slurm as they stand there."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import Outbox, S3Signer
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.checkers.slurm import HOW_TO_GET_IT, Slurm, missing, slurm
from tests.conftest import missing_server

PAGE = Path(__file__).parents[2] / "docs" / "slurm.md"
SCRIPTS = [text for text in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S) if text.startswith("#!")]
ARRAY, REST, STEPS = SCRIPTS

pytestmark = pytest.mark.checkout


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    if missing():
        missing_server(HOW_TO_GET_IT)
    with slurm() as cluster:
        yield cluster


def _submit(cluster: Slurm, folder: Path, script: str, *options: str, **variables: str) -> str:
    """Submit a script, and return the job's id."""
    path = folder / f"job{len(list(folder.glob('job*.sh')))}.sh"
    path.write_text(script)
    own = {**variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    exported = ",".join(["ALL", *(f"{name}={value}" for name, value in own.items())])
    places = (f"--chdir={folder}", f"--output={folder}/%x.%j.out", f"--export={exported}")
    return cluster.run("sbatch", "--parsable", *options, *places, path).strip()


def test_the_array_delivers_with_one_signature(
    cluster: Slurm, seaweedfs: SeaweedFS, bucket: str, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """Three of its jobs; and what is left in the outboxes is sent by the second script."""
    signed = S3Signer(bucket, client=seaweedfs.client()).presign_prefix("runs/", document="{job_id}/result.json")
    (tmp_path / "callbacks.json").write_text(json.dumps({"url": signed.url, "param": signed.callback_param}))
    (tmp_path / "simulate").write_text('#!/bin/sh\necho $SLURM_ARRAY_TASK_ID > "$CALLBACK_SDK_RESULTS"\n')
    (tmp_path / "simulate").chmod(0o755)
    endpoints = {"CALLBACK_SDK_STORAGE_ENDPOINTS": seaweedfs.endpoint_url}
    array = _submit(cluster, tmp_path, ARRAY, "--array=1-3", **endpoints)
    for index in (1, 2, 3):
        assert cluster.wait_for(f"{array}_{index}", "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
        key = f"runs/{array}_{index}/result.json"
        document = json.loads(seaweedfs.client().get_object(Bucket=bucket, Key=key)["Body"].read())
        assert (document["job_id"], document["results"]) == (f"{array}_{index}", index)
    with Outbox(tmp_path / "outbox.1.sqlite3") as outbox:
        (entry,) = outbox.entries()
        assert entry.status == "delivered"
    webhook.respond(503)
    (tmp_path / "callbacks.json").write_text(json.dumps({"url": webhook.url}))
    late = _submit(cluster, tmp_path, ARRAY, "--array=4")
    cluster.wait_for(f"{late}_4", "COMPLETED")
    webhook.respond(200)
    with Outbox(tmp_path / "outbox.4.sqlite3") as outbox:
        outbox.redeliver()
    rest = _submit(cluster, tmp_path, REST)
    assert cluster.wait_for(rest, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert json.loads(webhook.requests[-1].body)["job_id"] == f"{late}_4"


def test_one_document_for_a_parallel_step(cluster: Slurm, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """The command starts srun, which starts the processes."""
    (tmp_path / "callbacks.json").write_text(json.dumps({"url": webhook.url}))
    program = '#!/bin/sh\n[ $SLURM_PROCID != 0 ] || echo "{\\"tasks\\": $SLURM_NTASKS}" > metrics.json\n'
    (tmp_path / "simulate").write_text(program)
    (tmp_path / "simulate").chmod(0o755)
    job = _submit(cluster, tmp_path, STEPS, "--ntasks=2")
    assert cluster.wait_for(job, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    document: dict[str, Any] = json.loads(webhook.requests[-1].body)
    assert (document["job_id"], document["results"]) == (job, {"tasks": 2})
