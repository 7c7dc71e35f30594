"""callback_sdk.program.job"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import JobDelivery, JobResult, Outbox, ResultsWriter, S3Signer, delivering
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    EncodingError,
    InvalidTargetError,
    JobEndedError,
    OutboxError,
    TargetError,
)
from callback_sdk.program import supervision
from callback_sdk.program.watcher import Watcher
from callback_sdk.testing import ObjectStore, WebhookReceiver

ROOT = Path(__file__).parents[3]
SECRET = "MARKER51bd"


def _documents(webhook: WebhookReceiver) -> list[tuple[str, bool, Any]]:
    return [
        (request.document["job_id"], request.document["success"], request.document.get("error"))
        for request in webhook.requests
    ]


def _wait_until_empty(directory: Path) -> None:
    end = time.monotonic() + 60
    while list(directory.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.02)


def _fail_once() -> None:
    """Have what explains a failure imported: an import that is interrupted leaves its file to the garbage collector."""
    with WebhookReceiver() as webhook, ResultsWriter(timeout=0) as writer:
        webhook.respond(503)
        with pytest.raises(DeliveryError):
            writer.write(JobResult(job_id="42", success=True), webhook.url)


def _run(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, whose end its watching process sees."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("environment", {})
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False, **options)


def test_results_and_output_files_are_delivered(tmp_path: Path) -> None:
    """The files go to the directory of the document."""
    with ObjectStore() as store:
        signed = S3Signer("results", client=store.client()).presign_prefix("runs/", document="{job_id}/result.json")
        (tmp_path / "model.bin").write_bytes(b"model")
        with delivering(signed, job_id="42") as job:
            job.results = {"life": 7.5}
            job.output("model.bin", tmp_path / "model.bin")
        assert set(store.objects) == {"results/runs/42/result.json", "results/runs/42/model.bin"}
    assert len(job.receipts) == 1


def test_an_exception_is_delivered_and_raised(webhook: WebhookReceiver) -> None:
    error = ValueError("no convergence")
    with pytest.raises(ValueError, match="no convergence") as raised, delivering(webhook.url, job_id="42"):
        raise error
    assert raised.value is error
    assert _documents(webhook) == [("42", False, "ValueError: no convergence")]


def test_targets_that_subscribe_to_events_get_the_progress(
    webhook: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """In order, the last one before the end, and then the document. A fraction that is wrong does not end the job."""
    param = {"events": ["started", "progress", "completed"], "n": 1}
    with delivering(webhook.url, param, job_id="42", run=2) as job:
        webhook.wait_for(1)
        job.progress(0.5, "half")
        webhook.wait_for(2)
        job.progress(99, "x" * 1200)
        job.progress(150, "x" * 1200)
    documents = [request.document for request in webhook.requests]
    assert [document["status"] for document in documents] == ["In Progress"] * 3 + ["Finished"]
    assert [document["progress"] for document in documents[1:3]] == [
        {"fraction": 0.5, "message": "half"},
        {"fraction": 1.0, "message": "x" * 1000},
    ]
    assert [document["sequence"] for document in documents[:3]] == [1_000_001, 1_000_002, 1_000_003]
    assert caplog.text.count("The fraction of the progress is 99.") == 1
    assert "150" not in caplog.text


def test_no_event_follows_the_end_of_a_job(webhook: WebhookReceiver) -> None:
    """Neither after an attempt that is repeated, nor at its time limit."""

    def fail(job: JobDelivery) -> None:
        job.progress(0.5)
        webhook.wait_for(1)
        job.progress(0.75)
        raise ValueError("again")

    def take_too_long(job: JobDelivery) -> None:
        webhook.wait_for(2)
        job.progress(0.9)

    param = {"events": ["progress", "completed"]}
    with (
        pytest.raises(ValueError, match="again"),
        delivering(webhook.url, param, job_id="1", error_is_final=False) as one,
    ):
        fail(one)
    with pytest.raises(JobEndedError), delivering(webhook.url, param, job_id="2", timeout=0.5) as two:
        take_too_long(two)
    assert [request.document.get("progress", {}).get("fraction") for request in webhook.requests] == [0.5, None]


@pytest.mark.parametrize(
    ("error", "options"),
    [(ValueError(), {"error_is_final": False}), (SystemExit(1), {"death_is_final": False})],
)
def test_an_attempt_that_is_repeated_is_not_delivered(
    error: BaseException, options: dict[str, bool], webhook: WebhookReceiver
) -> None:
    """The last one is, under the same id."""
    with pytest.raises(type(error)), delivering(webhook.url, job_id="42", **options):
        raise error
    assert not webhook.requests
    with delivering(webhook.url, job_id="42", **options) as job:
        job.results = 1
    assert _documents(webhook) == [("42", True, None)]


def test_results_that_are_not_json_are_an_error_and_delivered_as_one(webhook: WebhookReceiver) -> None:
    with pytest.raises(EncodingError, match="results"), delivering(webhook.url, job_id="42") as job:
        job.results = {"model": object()}
    ((job_id, success, error),) = _documents(webhook)
    assert (job_id, success) == ("42", False)
    assert error.startswith("The results are not valid: results.model")


@pytest.mark.parametrize(
    ("callbacks", "job_id", "kind"),
    [
        ("https://b.s3.amazonaws.com/k", "42", TargetError),
        ([], "42", TargetError),
        ("ftp://example.org", "42", InvalidTargetError),
        ("https://example.org", "", EncodingError),
        ("https://example.org", 42, EncodingError),
    ],
)
def test_a_job_that_could_not_be_delivered_does_not_begin(
    callbacks: Any, job_id: Any, kind: type[CallbackSDKError]
) -> None:
    with pytest.raises(kind):
        delivering(callbacks, job_id=job_id)


def test_a_delivery_that_fails_is_an_error_of_the_job(webhook: WebhookReceiver) -> None:
    """Its results would be lost if nobody knew."""
    webhook.respond(410)
    with pytest.raises(DeliveryError, match="410"), delivering(webhook.url, job_id="42") as job:
        job.results = 1


def test_a_failure_that_is_not_delivered_leaves_the_exception_as_it_is(
    webhook: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    webhook.respond(410)
    with pytest.raises(ValueError, match="no convergence"), delivering(webhook.url, job_id="42"):
        raise ValueError("no convergence")
    assert "job 42: its failure was not delivered" in caplog.text


@pytest.mark.parametrize("is_open", [True, False])
def test_what_cannot_be_sent_stays_in_the_outbox(is_open: bool, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Of which the path is given, or the outbox itself."""
    webhook.respond(503)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        with delivering(webhook.url, job_id="42", outbox=outbox if is_open else outbox.path) as job:
            job.results = 1
        assert [entry.job_id for entry in job.pending] == ["42"]
        assert not job.receipts
        assert [entry.status for entry in outbox.entries()] == ["pending"]


def test_jobs_may_be_nested_and_run_in_threads(webhook: WebhookReceiver) -> None:
    """Each is one job."""

    def run(number: int) -> None:
        with delivering(webhook.url, job_id=f"outer-{number}"), delivering(webhook.url, job_id=f"inner-{number}"):
            pass

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {(f"{kind}-{number}", True, None) for kind in ("outer", "inner") for number in range(4)}
    assert set(_documents(webhook)) == expected
    assert len(webhook.requests) == 8


def test_a_job_in_a_coroutine_that_is_canceled_is_delivered_as_canceled(webhook: WebhookReceiver) -> None:
    async def work(begun: asyncio.Event) -> None:
        with delivering(webhook.url, job_id="42"):
            begun.set()
            await asyncio.sleep(60)

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(work(begun))
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    (request,) = webhook.requests
    assert (request.document["status"], request.document["error"]) == (
        "Canceled",
        "The job was interrupted: CancelledError.",
    )


def test_a_forked_child_does_not_deliver_the_job_of_its_parent(webhook: WebhookReceiver) -> None:
    """It leaves the block too, and may even run jobs of its own."""

    with delivering(webhook.url, job_id="parent") as job:
        # Not by multiprocessing: kombu's hook in its children waits forever for connections of other tests.
        if (pid := os.fork()) == 0:
            try:
                job.__exit__(None, None, None)
                with delivering(webhook.url, job_id="child"):
                    pass
            except BaseException:  # noqa: BLE001 - the child must end here, whatever it was
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert [job_id for job_id, _, _ in _documents(webhook)] == ["child"]
    assert [job_id for job_id, _, _ in _documents(webhook)] == ["child", "parent"]


def test_a_child_that_outlives_its_killed_parent_does_not_hide_its_death(webhook: WebhookReceiver) -> None:
    """It has inherited what the parent had open."""
    code = (
        "import os, signal, sys, time\nfrom callback_sdk import delivering\n"
        "with delivering(sys.argv[1], job_id='42'):\n"
        "    if os.fork() == 0: os.close(1); os.close(2); time.sleep(600)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = _run(code, webhook.url, start_new_session=True)
    assert process.returncode == -signal.SIGKILL
    (request,) = webhook.wait_for(1)
    assert "SIGKILL" in request.document["error"]


def test_a_job_that_reaches_its_time_limit_is_delivered_as_failed(webhook: WebhookReceiver) -> None:
    """At its limit, although the block goes on; what becomes of it is not delivered any more."""
    with pytest.raises(JobEndedError), delivering(webhook.url, job_id="42", timeout=0.5) as job:
        job.results = webhook.wait_for(1)[0].document
    assert _documents(webhook) == [("42", False, "The job has reached its time limit of 0:00:00.500000.")]


@pytest.mark.parametrize("is_final", [True, False])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_delivery_that_is_interrupted_is_finished(
    kind: type[BaseException], is_final: bool, webhook: WebhookReceiver
) -> None:
    """By the other process, unless the exception counts as the failure of an attempt, which is repeated.

    Task queues raise an exception at their time limits, which may be while the document is sent.
    """

    options = {"error_is_final": is_final, "death_is_final": is_final}

    def interrupt(*_: object) -> None:
        raise kind

    def signal_at_request() -> None:
        webhook.wait_for(1)
        os.kill(os.getpid(), signal.SIGUSR1)

    _fail_once()
    before = signal.signal(signal.SIGUSR1, interrupt)
    webhook.respond(503, times=1)
    thread = threading.Thread(target=signal_at_request)
    thread.start()
    try:
        # Where the exception is raised depends on where the signal arrives.
        with contextlib.suppress(kind, OutboxError), delivering(webhook.url, job_id="42", **options) as job:
            job.results = 1
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    webhook.wait_for(2)
    assert set(_documents(webhook)) == {("42", True, None)}


_STORED = """
import os, signal, sys
from callback_sdk import delivering
with delivering(sys.argv[1], job_id="42") as job:
    job.results = 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_after_its_job_has_not_failed(webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Although its queue may take the job for failed. Its temporary files are removed when all is done."""
    assert _run(_STORED, webhook.url, environment={"TMPDIR": str(tmp_path)}).returncode == -signal.SIGKILL
    _wait_until_empty(tmp_path)
    assert _documents(webhook) == [("42", True, None)]


def test_a_process_that_is_killed_while_it_delivers_delivers_the_same_document(webhook: WebhookReceiver) -> None:
    """With the same id, by which a receiver knows it."""
    webhook.respond(503, times=1)
    command = [sys.executable, "-c", _STORED, webhook.url]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        webhook.wait_for(1)
        process.kill()
    first, second = webhook.wait_for(2)
    assert first.document["success"] is True
    assert second.body == first.body
    assert second.headers["webhook-id"] == first.headers["webhook-id"]


def test_the_process_that_watches_is_replaced_if_it_was_killed(webhook: WebhookReceiver) -> None:
    """The jobs that were open are watched again."""
    code = (
        "import os, psutil, signal, sys, time\nfrom callback_sdk import delivering\n"
        "with delivering(sys.argv[1], job_id='42'):\n"
        "    own = str(os.getpid())\n"
        "    (found,) = [p.pid for p in psutil.process_iter(['cmdline']) if own in (p.info['cmdline'] or ())]\n"
        "    os.kill(found, signal.SIGKILL)\n"
        "    while os.path.exists(f'/proc/{found}/fd/0'): time.sleep(0.01)\n"
        "    with delivering(sys.argv[1], job_id='43'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert _run(code, webhook.url).returncode == -signal.SIGKILL
    webhook.wait_for(2)
    assert {job_id for job_id, _, _ in _documents(webhook)} == {"42", "43"}


def test_a_job_that_was_handed_over_survives_the_process_that_watches(webhook: WebhookReceiver, tmp_path: Path) -> None:
    """It may be killed before it could deliver. Another one does, even if no other job follows."""
    code = (
        "import glob, os, psutil, signal, sys, time\nfrom callback_sdk import delivering\n"
        "try:\n"
        "    with delivering(sys.argv[1], job_id='42'):\n"
        "        (outbox,) = glob.glob(sys.argv[2] + '/*/outbox.sqlite3')\n"
        "        os.rename(outbox, outbox + '.away')\n"
        "        raise ValueError('no convergence')\n"
        "except ValueError: pass\n"
        "own = str(os.getpid())\n"
        "(found,) = [p.pid for p in psutil.process_iter(['cmdline']) if own in (p.info['cmdline'] or ())]\n"
        "os.kill(found, signal.SIGKILL)\n"
        "while os.path.exists(f'/proc/{found}/fd/0'): time.sleep(0.01)\n"
        "os.rename(outbox + '.away', outbox)\n"
    )
    process = _run(code, webhook.url, tmp_path, environment={"TMPDIR": str(tmp_path)})
    assert process.returncode == 0, process.stderr
    _wait_until_empty(tmp_path)
    assert _documents(webhook) == [("42", False, "ValueError: no convergence")]


def test_time_limits_survive_the_process_that_watches(webhook: WebhookReceiver) -> None:
    """Another one takes over, with the time that is left."""
    code = (
        "import os, psutil, signal, sys, time\nfrom callback_sdk import delivering\n"
        "with delivering(sys.argv[1], job_id='42', timeout=3):\n"
        "    own = str(os.getpid())\n"
        "    (found,) = [p.pid for p in psutil.process_iter(['cmdline']) if own in (p.info['cmdline'] or ())]\n"
        "    os.kill(found, signal.SIGKILL)\n"
        "    while os.path.exists(f'/proc/{found}/fd/0'): time.sleep(0.01)\n"
        "    with delivering(sys.argv[1], job_id='43'): pass\n"
        "    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, webhook.url]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE) as process:
        webhook.wait_for(2)
        process.kill()
    assert ("42", False, "The job has reached its time limit of 0:00:03.") in _documents(webhook)


@pytest.mark.parametrize("ends_by", ["limit", "death"])
def test_a_slow_receiver_delays_no_other_job(webhook: WebhookReceiver, tmp_path: Path, ends_by: str) -> None:
    """The failures of several jobs are delivered at the same time, at their limits and when their process is killed."""
    code = (
        "import os, signal, sys\nfrom callback_sdk import delivering\n"
        "options = {'outbox': sys.argv[3], 'timeout': None if sys.argv[4] == 'death' else 0.5}\n"
        "with delivering(sys.argv[1], job_id='1', **options), delivering(sys.argv[2], job_id='2', **options):\n"
        "    if sys.argv[4] == 'death': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    sys.stdin.readline()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        command = [sys.executable, "-c", code, url, webhook.url, str(tmp_path / "outbox"), ends_by]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
            # The document of the first job is on its way all the time.
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                (request,) = webhook.wait_for(1)
                assert connection.recv(1, socket.MSG_PEEK) != b""
            process.kill()
    assert request.document["job_id"] == "2"
    # Nobody tries the first delivery any more.
    (tmp_path / "outbox").unlink()


def test_a_process_leaves_nothing_behind(webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Neither processes nor files, however it ends."""
    code = (
        "import os, sys\nfrom callback_sdk import delivering\n"
        "with delivering(sys.argv[1], job_id='42'): pass\nprint(os.getpid())\n"
    )
    run = _run(
        f"import warnings; warnings.simplefilter('error')\n{code}", webhook.url, environment={"TMPDIR": str(tmp_path)}
    )
    assert (run.returncode, run.stderr) == (0, "")
    _wait_until_empty(tmp_path)


def test_a_job_is_not_pickled_and_shows_no_credentials() -> None:
    """A pool would run its block elsewhere."""
    job = delivering("https://example.org/hook?token=MARKER", job_id="42")
    assert repr(job) == "JobDelivery(job_id='42')"
    with pytest.raises(TypeError, match="process"):
        pickle.dumps(job)


def _shown(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def test_no_traceback_shows_the_credentials_of_a_target(webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Neither of a delivery that fails, nor of an outbox that can't store it, nor of a target that is rejected."""
    webhook.respond(410)
    errors: list[BaseException] = []
    try:
        with delivering(f"{webhook.url}?token={SECRET}", job_id="42"):
            pass
    except DeliveryError as error:
        errors.append(error)
    try:
        with delivering(f"{webhook.url}?token={SECRET}", job_id="42", outbox=tmp_path / "none" / "none" / "outbox"):
            pass
    except ConfigurationError as error:
        errors.append(error)
    try:
        delivering(f"ftp://example.org/?token={SECRET}", {"webhook": {"secret": SECRET}}, job_id="42")
    except TargetError as error:
        errors.append(error)
    assert len(errors) == 3
    assert not any(SECRET in _shown(error) for error in errors)


def test_a_job_runs_once(webhook: WebhookReceiver) -> None:
    job = delivering(webhook.url, job_id="42")
    with job:
        pass
    with pytest.raises(ConfigurationError, match="begun"), job:
        pass


def test_a_process_that_cannot_be_watched_runs_no_job(
    webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would know of its end."""
    supervised = supervision._supervision.pop()
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: "/nonexistent/python")
    try:
        with pytest.raises(ConfigurationError, match="nonexistent"), delivering(webhook.url, job_id="42"):
            pass
    finally:
        supervision._supervision._value = None if supervised is None else (supervised,)


def test_a_job_that_was_interrupted_before_its_block_is_not_taken_for_lost(webhook: WebhookReceiver) -> None:
    """An exception of a signal handler may come before the block begins."""
    job: JobDelivery = delivering(webhook.url, job_id="42").__enter__()
    supervised = supervision._supervision.get()
    assert len(supervised._open) == 1
    del job
    assert not supervised._open
    assert not webhook.requests


class _Limit(Exception):
    """A time limit, as a signal handler raises it."""


def test_an_interrupt_before_the_block_is_delivered(webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment that the job is stored; the block doesn't run."""
    original = supervision.BegunJob.begin

    def begin(job: Any) -> None:
        original(job)
        signal.raise_signal(signal.SIGUSR1)

    def interrupt(*_: object) -> None:
        raise _Limit("30 s")

    monkeypatch.setattr(supervision.BegunJob, "begin", begin)
    before = signal.signal(signal.SIGUSR1, interrupt)
    blocks = []
    try:
        with pytest.raises(_Limit), delivering(webhook.url, job_id="42"):
            blocks.append("run")
    finally:
        signal.signal(signal.SIGUSR1, before)
    webhook.wait_for(1)
    assert _documents(webhook) == [("42", False, "_Limit: 30 s")]
    assert blocks == []
    assert not supervision._supervision.get()._open


def test_a_coroutine_delivers_without_blocking_the_loop(
    webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document is sent when the loop has done something else."""
    original, has_run = JobDelivery._end, threading.Event()

    def end(*arguments: Any) -> None:
        assert has_run.wait(60)
        original(*arguments)

    async def main() -> JobDelivery:
        async with delivering(webhook.url, job_id="42") as job:
            job.results = 1
            asyncio.get_running_loop().call_later(0.01, has_run.set)
        return job

    monkeypatch.setattr(JobDelivery, "_end", end)
    assert len(asyncio.run(main()).receipts) == 1
    assert _documents(webhook) == [("42", True, None)]


def test_errors_of_a_coroutine_are_delivered(webhook: WebhookReceiver) -> None:
    """Exceptions of the block, and of the delivery, are raised as without asyncio."""

    async def main() -> None:
        async with delivering(webhook.url, job_id="42"):
            raise ValueError("no convergence")

    with pytest.raises(ValueError, match="no convergence"):
        asyncio.run(main())
    webhook.respond(400)

    async def rejected() -> None:
        async with delivering(webhook.url, job_id="43"):
            pass

    with pytest.raises(DeliveryError):
        asyncio.run(rejected())
    assert _documents(webhook) == [("42", False, "ValueError: no convergence"), ("43", True, None)]


def test_a_task_that_is_canceled_in_its_block_is_delivered_as_canceled(webhook: WebhookReceiver) -> None:
    async def work(begun: asyncio.Event) -> None:
        async with delivering(webhook.url, job_id="42"):
            begun.set()
            await asyncio.sleep(60)

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(work(begun))
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    (request,) = webhook.requests
    assert request.document["status"] == "Canceled"


def test_a_task_that_is_canceled_while_it_delivers_does_not_wait_and_loses_nothing(webhook: WebhookReceiver) -> None:
    """The document is sent after the loop was closed."""
    webhook.respond(503, times=1)

    async def work() -> None:
        async with delivering(webhook.url, job_id="42") as job:
            job.results = 1

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.to_thread(webhook.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    webhook.wait_for(2)
    assert set(_documents(webhook)) == {("42", True, None)}


def test_a_task_that_is_canceled_before_its_block_is_delivered_as_canceled(
    webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the job is stored, although the block doesn't run."""
    original, stored, canceled = supervision.BegunJob.begin, threading.Event(), threading.Event()

    def begin(job: Any) -> None:
        original(job)
        stored.set()
        canceled.wait(60)

    async def work() -> None:
        async with delivering(webhook.url, job_id="42"):
            raise AssertionError

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.to_thread(stored.wait, 60)
        task.cancel()
        asyncio.get_running_loop().call_soon(canceled.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(supervision.BegunJob, "begin", begin)
    asyncio.run(main())
    webhook.wait_for(1)
    (request,) = webhook.requests
    assert request.document["status"] == "Canceled"


def test_a_watcher_that_was_left_uses_no_other_connection() -> None:
    """Its descriptor may be that of another connection by then."""
    watcher = Watcher()
    watcher.leave()
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(OSError, match="Bad file descriptor"):
            watcher.end("k")
        watcher.leave()
        one.send(b"x")
        assert other.recv(2) == b"x"
