"""`callback-sdk exec`: real programs, and what arrives when they end in each of the possible ways."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from callback_sdk import Outbox, S3Signer
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.acceptance.exec_command import ROOT, SECRET, document_of, run_exec, start_exec, wait_for, write_callbacks


@pytest.fixture
def callbacks(tmp_path: Path, webhook: WebhookReceiver) -> Path:
    return write_callbacks(tmp_path, webhook)


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_does_not_get_the_targets(callbacks: Path, tmp_path: Path) -> None:
    """They are credentials, and a nested command would deliver the same job twice."""
    environment = {"CALLBACK_SDK_CALLBACKS_FILE": str(callbacks), "CALLBACK_SDK_CALLBACKS": SECRET, "OTHER": "1"}
    run = run_exec("--job-id", "42", "--", "sh", "-c", f"env > {tmp_path}/env", environment=environment)
    assert run.returncode == 0
    variables = (tmp_path / "env").read_text()
    assert "OTHER=1" in variables
    assert "CALLBACK_SDK_RESULTS=" in variables
    assert "CALLBACKS" not in variables


def test_a_program_that_succeeds_delivers_its_results(callbacks: Path, webhook: WebhookReceiver) -> None:
    script = 'cat; printf "\\377err" >&2; echo \'{"life": 7.5}\' > "$CALLBACK_SDK_RESULTS"'
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script, stdin=subprocess.DEVNULL)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"\xfferr")
    assert document_of(webhook) == {
        "job_id": "42",
        "status": "Finished",
        "callback_param": {"run": 7},
        "success": True,
        "results": {"life": 7.5},
    }


def test_targets_come_from_the_environment(webhook: WebhookReceiver) -> None:
    environment = {"CALLBACK_SDK_CALLBACKS": webhook.url, "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "8"}
    environment["SLURM_ARRAY_TASK_ID"] = "3"
    assert run_exec("--", "true", environment=environment).returncode == 0
    assert document_of(webhook)["job_id"] == "8_3"


@pytest.mark.parametrize(
    ("program", "code", "error"),
    [
        (
            "echo deep trouble >&2; exit 3",
            3,
            "The program exited with code 3.\n\nThe end of its standard error:\ndeep trouble",
        ),
        ("kill -SEGV $$", -signal.SIGSEGV, "The program was ended by signal 11 (SIGSEGV)."),
        ("kill -KILL $$", -signal.SIGKILL, "The program was ended by signal 9 (SIGKILL)."),
    ],
)
def test_a_program_that_fails_is_delivered_with_the_cause(
    program: str, code: int, error: str, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """The exit code or the signal is passed on, so that a scheduler records the same end."""
    options = ("--callbacks-file", callbacks, "--job-id", "42")
    directory = tmp_path / "temporary"
    directory.mkdir()
    run = run_exec(*options, "--", "sh", "-c", program, environment={"TMPDIR": str(directory)})
    assert run.returncode == code
    document = document_of(webhook)
    assert (document["status"], document["success"], document["results"]) == ("Finished", False, None)
    assert document["error"] == error
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(("mode", "code"), [(None, 127), (0o600, 126)])
def test_a_program_that_cannot_be_executed_is_delivered_as_failed(
    mode: int | None, code: int, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--", program)
    assert run.returncode == code
    assert f"{program} can't be executed" in document_of(webhook)["error"]


def test_a_time_limit_stops_the_whole_group(callbacks: Path, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """SIGKILL follows for a program that ignores SIGTERM."""
    script = f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/pid; while :; do sleep 0.1; done"
    options = ("--timeout", "2s", "--grace-period", "500ms")
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", *options, "--", "sh", "-c", script)
    assert run.returncode == 124
    assert document_of(webhook)["error"] == (
        "The program was stopped at its time limit of 0:00:02: it was ended by signal 9 (SIGKILL)."
    )
    assert _has_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("handles", [True, False])
def test_a_signal_is_forwarded_and_the_end_delivered(
    handles: bool, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """A program that saves its work at SIGTERM and exits with 0 has succeeded; otherwise the job is canceled."""
    save = "trap 'echo 1 > $CALLBACK_SDK_RESULTS; exit 0' TERM; " if handles else ""
    script = f"{save}touch {tmp_path}/started; while :; do sleep 0.05; done"
    with start_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script) as process:
        wait_for(tmp_path / "started")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == (0 if handles else -signal.SIGTERM)
    document = document_of(webhook)
    assert (document["success"], document["results"]) == ((True, 1) if handles else (False, None))
    assert document["status"] == ("Finished" if handles else "Canceled")


def test_a_signal_that_reaches_the_program_first_was_meant_for_both(callbacks: Path, webhook: WebhookReceiver) -> None:
    """Schedulers signal the processes of a job one after the other: on a busy node the program ends in between."""
    command = "from callback_sdk.program import execution, main; execution._SIGNAL_LAG = 120.0; main.main(sys.argv[1:])"
    # There is no such process any more as soon as its exit status has been read.
    later = "while kill -0 $1; do sleep 0.02; done; kill -TERM $2"
    script = f"sh -c '{later}' sh $$ $PPID 2>/dev/null & kill -TERM $$"
    words = ["--callbacks-file", str(callbacks), "--job-id", "42", "--", "sh", "-c", script]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; {command}", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert run.returncode == -signal.SIGTERM
    document = document_of(webhook)
    assert document["status"] == "Canceled"
    assert "asked to end with SIGTERM" in document["error"]


LONG_AGO, IN_FUTURE = "2020-01-01T00:00:00", "2099-01-01T00:00:00"


def _slurm(folder: Path, script: str) -> dict[str, str]:
    """Write a scontrol that runs in this directory, and return the variables of a job that finds it."""
    (folder / "scontrol").write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    (folder / "scontrol").chmod(0o755)
    return {"SLURM_JOB_ID": "9", "PATH": f"{folder}:{os.environ['PATH']}"}


def _shown(state: str, reason: str, start: str) -> str:
    return f"echo JobId=9 JobName=a JobState={state} Reason={reason} TimeLimit=00:01:00 StartTime={start}"


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (_shown("RUNNING", "None", LONG_AGO), "Finished", "time limit of Slurm"),
        (_shown("COMPLETING", "TimeLimit", IN_FUTURE), "Finished", "time limit of Slurm"),
        (_shown("COMPLETING", "None", LONG_AGO), "Canceled", "asked to end with SIGTERM by Slurm"),
        (
            f"if mkdir asked; then {_shown('RUNNING', 'None', LONG_AGO)}; else exit 1; fi",
            "Finished",
            "time limit of Slurm",
        ),
    ],
    ids=["after the limit", "ended because of the limit", "canceled after the limit", "no answer at the end"],
)
def test_slurm_says_whether_a_job_has_reached_its_time_limit(
    answer: str, status: str, error: str, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """It is asked when the program starts and when it has ended, as a busy controller may not answer."""
    script = f"touch {tmp_path}/started; exec sleep 300"
    environment = _slurm(tmp_path, f"touch shown; {answer}")
    with start_exec("--callbacks-file", callbacks, "--", "sh", "-c", script, environment=environment) as process:
        wait_for(tmp_path / "started")
        wait_for(tmp_path / "shown")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    document = document_of(webhook)
    assert document["status"] == status
    assert error in document["error"]


def test_other_signals_are_the_programs(callbacks: Path, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Slurm's `--signal=B:USR1@60` announces the end, and doesn't start it."""
    loop = f"while [ ! -e {tmp_path}/saved ]; do sleep 0.05; done; exit 0"
    script = f"trap 'touch {tmp_path}/saved' USR1; touch {tmp_path}/started; {loop}"
    with start_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script) as process:
        wait_for(tmp_path / "started")
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert document_of(webhook)["success"] is True


def test_ctrl_c_at_a_terminal_ends_the_program_and_is_delivered(
    callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """The program stays in the foreground, and reads from the terminal."""
    script = f"read line; echo got $line; touch {tmp_path}/started; exec sleep 300"
    pid, terminal = _at_terminal("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script)
    os.write(terminal, b"hello\n")
    wait_for(tmp_path / "started")
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGINT
    document = document_of(webhook)
    assert (document["status"], document["success"]) == ("Canceled", False)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ('{"url": "https://bucket.s3.eu-central-1.amazonaws.com/key", "param": {}}', "s3_fields"),
        ("not json", "neither one URL nor JSON"),
        ("[]", "There is no target"),
    ],
)
def test_invalid_targets_are_an_error_at_once(target: str, error: str, tmp_path: Path) -> None:
    """The program is not started, or is stopped before it has run for long: its results would be lost."""
    path = tmp_path / "callbacks.json"
    path.write_text(target)
    run = run_exec("--callbacks-file", path, "--job-id", "42", "--", "sleep", "300")
    assert run.returncode == 2
    assert error in run.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--", "true"], "There is no job id"),
        (["--job-id", "1", "--", "true"], "There are no targets"),
        (["--job-id", "1", "--callbacks-file", "missing.json", "--", "true"], "missing.json"),
        (
            ["--job-id", "1", "--callbacks-file", f"https://h.example/{SECRET}?X-Amz-Signature={SECRET}", "--", "true"],
            "URL",
        ),
        (["--job-id", "1"], "give the program after --"),
        (["--job-id", "1", "./simulate"], "give the program after --"),
        (["--job", "1", "--", "true"], "unrecognized arguments: --job 1"),
        (["--timeout", "5", "--", "true"], "a number with a unit"),
    ],
)
def test_wrong_usage_runs_nothing(arguments: list[str], error: str, tmp_path: Path) -> None:
    run = run_exec(*arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert error in run.stderr.decode()


@pytest.mark.parametrize(
    ("options", "script", "error"),
    [
        ((), 'echo "{" > $CALLBACK_SDK_RESULTS', "not valid"),
        (("--results", "out.json"), "true", "did not write"),
        (("--output", "*.bin"), "true", "did not write *.bin"),
    ],
)
def test_missing_or_invalid_results_are_delivered_as_a_failure(
    options: tuple[str, ...], script: str, error: str, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", *options, "--", "sh", "-c", script, cwd=tmp_path)
    assert run.returncode == 65
    document = document_of(webhook)
    assert document["success"] is False
    assert error in document["error"]


def test_an_outbox_that_cannot_be_opened_is_an_error_at_once(callbacks: Path, tmp_path: Path) -> None:
    """At the end of the program, its results would be lost."""
    path = tmp_path / "missing" / "directory" / "outbox.sqlite3"
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--outbox", path, "--", "sleep", "300")
    assert run.returncode == 2
    assert f"The outbox {path} can't be created" in run.stderr.decode()


def test_what_cannot_be_sent_stays_in_the_outbox(callbacks: Path, webhook: WebhookReceiver, tmp_path: Path) -> None:
    webhook.respond(503)
    path = tmp_path / "outbox.sqlite3"
    script = 'echo 7 > "$CALLBACK_SDK_RESULTS"'
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--outbox", path, "--", "sh", "-c", script)
    assert run.returncode == 0
    assert f"callback-sdk outbox run {path}" in run.stderr.decode()
    webhook.respond(200)
    with Outbox(path) as outbox:
        outbox.redeliver()
        outbox.run(until_empty=True)
    assert json.loads(webhook.requests[-1].body)["results"] == 7


def test_a_failed_delivery_without_an_outbox_is_an_error(callbacks: Path, webhook: WebhookReceiver) -> None:
    """A scheduler must not take the job for done."""
    webhook.respond(404)
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "true")
    assert run.returncode == 75
    assert b"404" in run.stderr


def test_a_job_that_is_killed_while_it_sends_has_its_document_in_the_outbox(
    webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """Schedulers send SIGTERM, and some time later SIGKILL to everything."""
    path, callbacks = tmp_path / "outbox.sqlite3", tmp_path / "callbacks"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        callbacks.write_text(f"http://127.0.0.1:{silent.getsockname()[1]}/done")
        options = ("--callbacks-file", callbacks, "--job-id", "42", "--outbox", path)
        script = f"touch {tmp_path}/started; exec sleep 300"
        with start_exec(*options, "--", "sh", "-c", script) as process:
            wait_for(tmp_path / "started")
            process.send_signal(signal.SIGTERM)
            connection, _ = silent.accept()
            process.kill()
            process.communicate(timeout=60)
        connection.close()
    with Outbox(path) as outbox:
        (entry,) = outbox.entries()
        assert (entry.job_id, entry.status) == ("42", "pending")
        outbox.redeliver(entry.delivery_id, target=webhook.url)
        outbox.run(until_empty=True)
    assert document_of(webhook)["status"] == "Canceled"


@pytest.mark.parametrize("has_outbox", [True, False])
def test_ctrl_c_while_the_document_is_sent_says_what_to_do(has_outbox: bool, tmp_path: Path) -> None:
    path, callbacks = tmp_path / "outbox.sqlite3", tmp_path / "callbacks"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        callbacks.write_text(f"http://127.0.0.1:{silent.getsockname()[1]}/done")
        outbox = ("--outbox", path) if has_outbox else ()
        with start_exec("--callbacks-file", callbacks, "--job-id", "42", *outbox, "--", "true") as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        connection.close()
    assert process.returncode in (130, -signal.SIGINT)
    expected = f"callback-sdk outbox run {path}" if has_outbox else "Run the job again"
    assert expected in err.decode()
    assert b"Traceback" not in err


def test_jobs_of_an_array_share_one_signature(seaweedfs: SeaweedFS, bucket: str, tmp_path: Path) -> None:
    signed = S3Signer(bucket, client=seaweedfs.client()).presign_prefix("runs/", document="{job_id}/result.json")
    path = tmp_path / "callbacks.json"
    path.write_text(json.dumps({"url": signed.url, "param": signed.callback_param}))
    environment = {
        "CALLBACK_SDK_STORAGE_ENDPOINTS": seaweedfs.endpoint_url,
        "SLURM_JOB_ID": "1",
        "SLURM_ARRAY_JOB_ID": "90",
    }
    script = 'echo $SLURM_ARRAY_TASK_ID > model.bin; echo "{\\"task\\": $SLURM_ARRAY_TASK_ID}" > $CALLBACK_SDK_RESULTS'
    for index in ("1", "2"):
        folder = tmp_path / index
        folder.mkdir()
        own = {**environment, "SLURM_ARRAY_TASK_ID": index}
        run = run_exec(
            "--callbacks-file", path, "--output", "*.bin", "--", "sh", "-c", script, cwd=folder, environment=own
        )
        assert run.returncode == 0, run.stderr
    client = seaweedfs.client()
    for index in ("1", "2"):
        document = json.loads(client.get_object(Bucket=bucket, Key=f"runs/90_{index}/result.json")["Body"].read())
        assert document["job_id"] == f"90_{index}"
        assert document["results"]["task"] == int(index)
        assert list(document["results"]["outputs"]) == [f"90_{index}/model.bin"]
        assert (
            client.get_object(Bucket=bucket, Key=f"runs/90_{index}/model.bin")["Body"].read() == f"{index}\n".encode()
        )


def test_nothing_heavy_is_imported_for_a_program(callbacks: Path) -> None:
    environment = {"PYTHONPROFILEIMPORTTIME": "1"}
    run = run_exec("--callbacks-file", callbacks, "--job-id", "42", "--", "true", environment=environment)
    assert run.returncode == 0
    lines = [line for line in run.stderr.splitlines() if line.startswith(b"import time:")]
    names = [line.rpartition(b"|")[2].strip().decode() for line in lines]
    packages = {name.split(".")[0] for name in names}
    assert packages.isdisjoint({"boto3", "botocore", "typer", "rich", "requests"})
    # The program is started before the packages for targets and for sending are imported.
    before = names[: names.index("callback_sdk.program.main") + 1]
    assert {"attr", "attrs", "ssl", "http"}.isdisjoint(name.split(".")[0] for name in before)


@pytest.mark.parametrize("descriptor", ["closed", "full", "without a reader"])
def test_standard_error_that_takes_nothing_prevents_no_delivery(
    descriptor: str, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """The program's own messages are lost, as they are without the command; its end is not."""
    reader, writer = os.pipe()
    os.close(reader)
    redirection = {"closed": "2>&-", "full": "2>/dev/full", "without a reader": f"2>&{writer}"}[descriptor]
    words = [sys.executable, "-m", "callback_sdk.cli", "exec", "--callbacks-file", str(callbacks), "--job-id", "42"]
    run = subprocess.run(
        ["bash", "-c", f'exec "$@" {redirection}', "bash", *words, "--results", "missing.json", "--", "true"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        pass_fds=[writer],
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert run.returncode == 65
    assert "missing.json" in document_of(webhook)["error"]


def test_a_full_disk_for_standard_error_does_not_end_the_program(callbacks: Path, webhook: WebhookReceiver) -> None:
    """A write to the full disk would fail, but send no signal. A closed pipe would send SIGPIPE."""
    script = "for each in 1 2 3; do echo $each >&2; sleep 0.2; done; exit 0"
    arguments = ("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script)
    with Path("/dev/full").open("wb") as full, start_exec(*arguments, stderr=full) as process:
        assert process.wait(60) == 0
    assert document_of(webhook)["success"] is True


@pytest.mark.parametrize("background", ["", "sleep 20 & "])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_gets_the_whole_standard_error(
    background: str, blocking: bool, callbacks: Path, webhook: WebhookReceiver
) -> None:
    """Nothing is read before the document has been delivered, when only a part of the output is in the pipe."""
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    script = f"{background}head -c 100000 /dev/zero >&2"
    with start_exec(
        "--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script, stderr=writer
    ) as process:
        os.close(writer)
        end = time.monotonic() + 60
        while not webhook.requests:
            assert time.monotonic() < end
            time.sleep(0.02)
        with os.fdopen(reader, "rb") as pipe:
            assert len(pipe.read()) == 100_000
        assert process.wait(60) == 0


def _at_terminal(*arguments: object) -> tuple[int, int]:
    """Start the command as the leader of the session of a terminal, as in a container with one or in tmux."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "callback_sdk.cli", "exec", *map(str, arguments)])
    return pid, terminal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, None])
def test_signals_at_a_terminal_that_reach_only_the_command_are_forwarded(
    number: int | None, callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """Those of `docker kill -s` or `timeout --foreground`, and that of a terminal which hangs up."""
    script = f"ulimit -c 0; touch {tmp_path}/started; exec sleep 300"
    pid, terminal = _at_terminal("--callbacks-file", callbacks, "--job-id", "42", "--", "sh", "-c", script)
    wait_for(tmp_path / "started")
    if number is None:
        os.close(terminal)
    else:
        os.kill(pid, number)
    _, status = os.waitpid(pid, 0)
    if number is not None:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == -(number or signal.SIGHUP)
    assert document_of(webhook)["status"] == "Canceled"


def test_a_signal_that_is_ignored_has_not_canceled_the_job(
    callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """nohup(1) ignores SIGHUP for the command and the program."""
    script = f"touch {tmp_path}/started; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 3"
    words = ["exec", "--callbacks-file", str(callbacks), "--job-id", "42", "--", "sh", "-c", script]
    with subprocess.Popen(
        ["nohup", sys.executable, "-m", "callback_sdk.cli", *words], env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        wait_for(tmp_path / "started")
        process.send_signal(signal.SIGHUP)
        (tmp_path / "go").touch()
        assert process.wait(60) == 3
    document = document_of(webhook)
    assert (document["status"], document["error"]) == ("Finished", "The program exited with code 3.")


def test_a_time_limit_may_be_longer_than_the_system_can_wait(callbacks: Path, webhook: WebhookReceiver) -> None:
    options = ("--timeout", "900000000d", "--grace-period", "900000000d")
    assert run_exec("--callbacks-file", callbacks, "--job-id", "42", *options, "--", "true").returncode == 0
    assert document_of(webhook)["success"] is True
