"""`callback-sdk exec` in containers, on full and read-only disks, and with programs that behave badly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from callback_sdk import Outbox
from callback_sdk.testing import WebhookReceiver
from tests.acceptance.exec_command import (
    OWN_MOUNTS,
    OWN_PROCESSES,
    document_of,
    namespaces,  # noqa: F401 - a fixture
    run_exec,
    start_exec,
    wait_for,
    write_callbacks,
)

JOB = ("--job-id", "42")


@pytest.fixture
def callbacks(tmp_path: Path, webhook: WebhookReceiver) -> Path:
    return write_callbacks(tmp_path, webhook)


def _mounting(options: str, folder: Path) -> tuple[str, ...]:
    """Return a command that mounts a file system at a directory, and runs the rest."""
    return (*OWN_MOUNTS, "sh", "-c", f'mount -t tmpfs -o {options} none {folder} && exec "$@"', "sh")


@pytest.mark.usefixtures("namespaces")
def test_the_first_process_of_a_container_reaps_the_others(
    callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """Otherwise each process whose parent has ended would remain as a zombie."""
    orphans = "for each in 1 2 3; do (sleep 0.1 & exec true); done; sleep 1"
    count = "grep -l '^State:.*Z' /proc/[0-9]*/status | wc -l"
    script = f'{orphans}; echo "[$PPID, $({count})]" > $CALLBACK_SDK_RESULTS'
    done = run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", script, before=OWN_PROCESSES)
    assert done.returncode == 0, done.stderr
    assert document_of(webhook)["results"] == [1, 0]


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_first_process_of_a_container_ends_as_a_shell_would(
    number: int, callbacks: Path, webhook: WebhookReceiver
) -> None:
    """The kernel ignores signals that it sends to itself."""
    script = f"kill -{number} $$"
    done = run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", script, before=OWN_PROCESSES)
    assert done.returncode == 128 + number
    assert f"signal {int(number)}" in document_of(webhook)["error"]


@pytest.mark.usefixtures("namespaces")
def test_a_container_without_a_disk_that_can_be_written(callbacks: Path, webhook: WebhookReceiver) -> None:
    """Without a home directory either; the results are in shared memory."""
    if sys.prefix.startswith(("/tmp/", "/var/tmp/")):
        pytest.skip("The environment of the tests is below a directory that the test mounts over.")
    # The targets are below one of the directories that are mounted over.
    script = (
        f"exec 9< {callbacks}; for each in /tmp /var/tmp; do mount -t tmpfs -o ro none $each; done; "
        'cd /var/tmp && exec "$@"'
    )
    before = (*OWN_MOUNTS, "sh", "-c", script, "sh")
    environment = {"HOME": "/nonexistent"}
    script = 'echo "\\"$CALLBACK_SDK_RESULTS\\"" > $CALLBACK_SDK_RESULTS'
    options = ("--callbacks-file", "/proc/self/fd/9", *JOB)
    done = run_exec(*options, "--", "sh", "-c", script, before=before, environment=environment)
    assert done.returncode == 0, done.stderr
    results = document_of(webhook)["results"]
    assert results.startswith("/dev/shm/callback-sdk-")
    assert not Path(results).parent.exists()


@pytest.mark.usefixtures("namespaces")
def test_an_outbox_on_a_full_disk_prevents_no_delivery(
    callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """The document is sent as without one, and what has happened is said."""
    disk = tmp_path / "disk"
    disk.mkdir()
    fill = f"cat /dev/zero > {disk}/filler 2>/dev/null; echo 7 > $CALLBACK_SDK_RESULTS"
    options = ("--callbacks-file", callbacks, *JOB, "--outbox", disk / "outbox.sqlite3")
    done = run_exec(*options, "--", "sh", "-c", fill, before=_mounting("size=1m", disk))
    assert done.returncode == 0, done.stderr
    assert b"outbox.sqlite3" in done.stderr
    assert document_of(webhook)["results"] == 7


@pytest.mark.parametrize("has_outbox", [True, False])
@pytest.mark.parametrize("first", ["to the program", "while it sends"])
def test_the_second_signal_ends_the_delivery(
    first: str, has_outbox: bool, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """The first one leaves it the time that the scheduler grants. An outbox has the document by then."""
    path, callbacks = tmp_path / "outbox.sqlite3", tmp_path / "callbacks"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        callbacks.write_text(f"http://127.0.0.1:{silent.getsockname()[1]}/done")
        outbox = ("--outbox", path) if has_outbox else ()
        script = f"touch {tmp_path}/started; exec sleep 300" if first == "to the program" else "exit 0"
        with start_exec("--callbacks-file", callbacks, *JOB, *outbox, "--", "sh", "-c", script) as process:
            if first == "to the program":
                wait_for(tmp_path / "started")
                process.send_signal(signal.SIGTERM)
            connection, _ = silent.accept()
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            while b"a second signal ends this" not in process.stderr.readline():
                pass
            time.sleep(1.1)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == -signal.SIGTERM
    assert (f"callback-sdk outbox run {path}" if has_outbox else "Run the job again") in err.decode()
    if has_outbox:
        with Outbox(path) as kept:
            (entry,) = kept.entries()
            kept.redeliver(entry.delivery_id, target=webhook.url)
            kept.run(until_empty=True)
        assert document_of(webhook)["success"] is (first == "while it sends")


def test_output_files_of_an_earlier_job_are_left_out(callbacks: Path, tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_text("old")
    options = ("--callbacks-file", callbacks, *JOB, "--output", "*.bin")
    done = run_exec(*options, "--", "true", cwd=tmp_path)
    assert done.returncode == 65
    assert (
        b"did not write *.bin. Left out, as they were there before: 'old.bin' (see --include-existing)" in done.stderr
    )


@pytest.mark.parametrize("option", [(), ("--include-existing",)])
def test_output_files_of_an_earlier_run_can_be_included(
    option: tuple[str, ...], callbacks: Path, tmp_path: Path
) -> None:
    (tmp_path / "old.bin").write_text("old")
    options = ("--callbacks-file", callbacks, *JOB, "--output", "*.bin", *option)
    done = run_exec(*options, "--", "sh", "-c", "echo new > new.bin", cwd=tmp_path)
    # A webhook takes no output files, which is an error that names them.
    assert b"new.b" in done.stderr
    assert (b"Left out, as they were there before: 'old.bin'" in done.stderr) is (not option)


def test_an_id_that_no_name_can_have_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "callbacks.json"
    prefix = {"s3_fields": {"key": "runs/${filename}"}, "s3_prefix": {"document": "{job_id}/result.json"}}
    path.write_text(json.dumps({"url": "https://bucket.s3.amazonaws.com/", "param": prefix}))
    done = run_exec("--callbacks-file", path, "--job-id", "..", "--", "touch", tmp_path / "started")
    assert done.returncode == 2
    assert b"can't be part of the document's name" in done.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("what", ["fifo", "directory", "device", "loop"])
def test_results_that_are_no_file_are_an_error(what: str, callbacks: Path, webhook: WebhookReceiver) -> None:
    """A pipe would be read for ever."""
    make = {
        "fifo": "mkfifo $CALLBACK_SDK_RESULTS",
        "directory": "mkdir $CALLBACK_SDK_RESULTS",
        "device": "ln -s /dev/zero $CALLBACK_SDK_RESULTS",
        "loop": "ln -s $CALLBACK_SDK_RESULTS $CALLBACK_SDK_RESULTS",
    }[what]
    assert run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", make).returncode == 65
    assert document_of(webhook)["success"] is False


def test_results_may_be_a_link_to_a_file(callbacks: Path, webhook: WebhookReceiver, tmp_path: Path) -> None:
    script = f"echo 7 > {tmp_path}/own.json; ln -s {tmp_path}/own.json $CALLBACK_SDK_RESULTS"
    assert run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", script).returncode == 0
    assert document_of(webhook)["results"] == 7


def test_a_process_in_another_session_prevents_no_delivery(
    callbacks: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """A daemon has the standard error of the program open for ever, and gets no signals."""
    script = (
        f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 300' & while [ ! -s {tmp_path}/pid ]; do :; done; exit 3"
    )
    done = run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", script, stdout=subprocess.DEVNULL)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert done.returncode == 3
    assert document_of(webhook)["error"] == "The program exited with code 3."


def test_a_program_that_closes_its_streams_is_waited_for(callbacks: Path, webhook: WebhookReceiver) -> None:
    script = 'exec <&- >&- 2>&-; sleep 0.5; echo 7 > "$CALLBACK_SDK_RESULTS"'
    assert run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", script).returncode == 0
    assert document_of(webhook)["results"] == 7


def test_only_the_end_of_a_long_standard_error_is_kept(callbacks: Path, webhook: WebhookReceiver) -> None:
    script = "head -c 200000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo the end >&2; exit 1"
    done = run_exec("--callbacks-file", callbacks, *JOB, "--", "sh", "-c", script, stderr=subprocess.DEVNULL)
    assert done.returncode == 1
    error = document_of(webhook)["error"]
    assert error.endswith("x\nthe end")
    assert len(error) < 5000


def test_no_time_is_not_a_time_limit(callbacks: Path, tmp_path: Path) -> None:
    """As for timeout(1) it could mean that there is none."""
    options = ("--callbacks-file", callbacks, *JOB, "--timeout", "0s")
    done = run_exec(*options, "--", "touch", tmp_path / "started")
    assert done.returncode == 2
    assert not (tmp_path / "started").exists()
