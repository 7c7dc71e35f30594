"""callback_sdk.outbox.open_jobs"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import JobResult, Outbox
from callback_sdk.errors import DeliveryError, JobEndedError, OutboxError
from callback_sdk.outbox.jobs import begin_job, drop_job, end_job, end_jobs_of, fail_job
from callback_sdk.outbox.open_jobs import JobFailure, OpenJob
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.state import folder_of
from callback_sdk.outbox.temporary import TemporaryOutbox
from callback_sdk.redaction import Secret
from callback_sdk.testing import WebhookReceiver

RESULT = JobResult(job_id="42", success=True, results=7.5)
NO_OUTPUTS: Secret[Any] = Secret(None)


@pytest.fixture
def outbox(tmp_path: Path) -> Any:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        yield outbox


def _job(webhook: WebhookReceiver, owner: str = "kernel.owner", **options: Any) -> OpenJob:
    return OpenJob(key="k", job_id="42", callbacks=Secret([{"url": webhook.url}]), owner=owner, **options)


def test_a_job_ends_once(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Whoever comes second stores and sends nothing."""
    job = _job(webhook)
    begin_job(outbox, job)
    assert end_job(outbox, job, RESULT, NO_OUTPUTS).receipts
    with pytest.raises(JobEndedError, match="42"):
        end_job(outbox, job, JobResult(job_id="42", success=True, results="x" * 100_000), NO_OUTPUTS)
    fail_job(outbox, job.key, JobFailure("too late"))
    assert [request.document["results"] for request in webhook.requests] == [7.5]
    assert list(folder_of(outbox.path).glob("*.json")) == []


def test_a_dropped_job_delivers_nothing(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Neither now nor when its process has ended."""
    job = _job(webhook)
    begin_job(outbox, job)
    drop_job(outbox, job)
    end_jobs_of(outbox, job.owner, JobFailure("killed"))
    assert not webhook.requests


def test_the_open_jobs_of_a_process_fail_with_it(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Those of another one don't, nor those that run again."""
    begin_job(outbox, _job(webhook))
    begin_job(outbox, OpenJob(key="other", job_id="43", callbacks=Secret([{"url": webhook.url}]), owner="o"))
    again = OpenJob(
        key="again", job_id="44", callbacks=Secret([{"url": webhook.url}]), owner="kernel.owner", reports_loss=False
    )
    begin_job(outbox, again)
    end_jobs_of(outbox, "kernel.owner", JobFailure("killed"))
    # Nothing is sent yet: a slow receiver must not keep the failures of others from being stored.
    assert [(entry.job_id, entry.status, entry.attempts) for entry in outbox.entries()] == [("42", "pending", 0)]
    assert not webhook.requests
    assert outbox._process_state().open_jobs.owners() == ["o"]
    outbox.run(until_empty=True)
    documents = {request.document["job_id"]: request.document["error"] for request in webhook.requests}
    assert documents["42"] == "killed"
    assert documents.keys() == {"42", "43"}


def test_run_delivers_the_failure_of_jobs_whose_process_has_ended(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """As after the death of a container: no other process was left to do it."""
    owner = ClaimOwner(folder_of(outbox.path))
    owner.acquire_lock()
    begin_job(outbox, _job(webhook, owner.name))
    outbox.run(until_empty=True)
    assert not webhook.requests
    owner._release_lock()
    outbox.run(until_empty=True)
    (request,) = webhook.requests
    assert request.document["success"] is False
    assert "ended before the job did" in request.document["error"]
    assert not owner.path.exists()


def test_jobs_of_a_process_whose_lock_file_is_gone_fail(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """As after a restart of the machine, when no process holds a lock of another kernel."""
    begin_job(outbox, _job(webhook, "another-kernel.owner"))
    outbox.run(until_empty=True)
    assert [request.document["success"] for request in webhook.requests] == [False]
    assert outbox._process_state().open_jobs.owners() == []


def test_an_old_lock_file_stays_as_long_as_its_jobs_are_open(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """A worker of yesterday that was killed is not taken for one that runs."""
    owner = ClaimOwner(folder_of(outbox.path))
    owner.acquire_lock()
    os.utime(owner.path, (0, 0))
    begin_job(outbox, _job(webhook, owner.name))
    owner._release_lock()
    outbox.purge(older_than=1)
    assert owner.path.exists()
    outbox.run(until_empty=True)
    assert len(webhook.requests) == 1
    assert not owner.path.exists()


def test_jobs_stay_open_while_the_outbox_takes_no_failures(
    outbox: Outbox, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as on a full disk."""

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OutboxError("The disk is full.")

    begin_job(outbox, _job(webhook))
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "_write", fail)
        with pytest.raises(OutboxError, match="full"):
            end_jobs_of(outbox, "kernel.owner", JobFailure("killed"))
    assert not webhook.requests
    outbox.run(until_empty=True)
    assert len(webhook.requests) == 1


def test_a_target_that_was_rejected_ends_the_job_nevertheless(outbox: Outbox, webhook: WebhookReceiver) -> None:
    """Its failure must not be delivered later."""
    webhook.respond(410)
    job = _job(webhook)
    begin_job(outbox, job)
    with pytest.raises(DeliveryError, match="410"):
        end_job(outbox, job, RESULT, NO_OUTPUTS)
    assert outbox._process_state().open_jobs.find(job.key) is None


def test_a_temporary_outbox_waits_for_retries(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """Its deliveries end with the call."""
    webhook.respond(503, times=2)
    with TemporaryOutbox(tmp_path / "outbox") as outbox:
        written = outbox.write(RESULT, webhook.url)
    assert [receipt.attempts for receipt in written.receipts] == [3]
    assert not written.pending
