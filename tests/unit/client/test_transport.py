"""One client for many threads and many processes: connections, responses, certificates."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.client import Client, transport
from callback_sdk.compat import get_instance, instances
from callback_sdk.errors import ConfigurationError, ServiceConnectionError, ServiceError
from tests.forks import Child, in_child
from tests.rawserver import RawServer, answer, read_request
from tests.tlsserver import Authority
from tests.unit.client.jobs import ACCEPTED, DATA, PREDICT, TOKEN


def echo(connection: socket.socket, number: int) -> None:
    """Answer each request on a connection with the id of the task that it asks for."""
    while True:
        head, _ = read_request(connection)
        if not head:
            return
        job_id = head.split(b" ")[1].rpartition(b"/")[2].decode()
        connection.sendall(answer("200 OK", body=b'{"job_id": "%s", "status": "Finished"}' % job_id.encode()))


def test_processes_do_not_share_a_connection(clean_environment: Any) -> None:
    """A client that was used before a fork gives parent and children their own responses, each over its own socket."""
    with RawServer(echo) as server, Client(server.url, token=TOKEN, retries=0) as client:
        client.get_task("first")

        def ask(name: str) -> list[str]:
            return [client.get_task(f"{name}-{number}").job_id for number in range(20)]

        children = [Child(lambda name=name: ask(name)) for name in ("a", "b", "c")]
        assert ask("parent") == [f"parent-{number}" for number in range(20)]
        for name, child in zip("abc", children, strict=True):
            assert child.result() == [f"{name}-{number}" for number in range(20)]
        # The parent's one was neither closed nor shut down by its children.
        assert server.connections == 4


def test_a_child_leaves_an_encrypted_connection_alone(tmp_path: Path, clean_environment: Any) -> None:
    """Closing a client in a child sends nothing over the parent's TLS connection."""
    authority = Authority(tmp_path)
    clean_environment.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with authority.serve(echo, "127.0.0.1") as server, Client(server.url, token=TOKEN, retries=0) as client:
        client.get_task("first")

        def close_and_ask() -> str:
            client.close()
            return client.get_task("child").job_id

        assert in_child(close_and_ask) == "child"
        assert client.get_task("second").job_id == "second"
        assert server.connections == 2


def test_a_fork_while_other_threads_make_requests(clean_environment: Any) -> None:
    """Children make requests regardless of locks and connections that other threads held."""
    stop = threading.Event()
    with RawServer(echo) as server, Client(server.url, token=TOKEN, retries=0) as client:

        def ask_on() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                assert client.get_task(f"parent-{number}").job_id == f"parent-{number}"

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(ask_on) for _ in range(4)]
            try:
                children = [Child(lambda: client.get_task("child").job_id) for _ in range(8)]
                assert [child.result() for child in children] == ["child"] * 8
            finally:
                stop.set()
            for future in running:
                future.result()


def test_a_child_logs_in_separately(client: Client, service: Any, clean_environment: Any) -> None:
    """A fork during a login of another thread doesn't block, and processes don't share a refresh token."""
    hold = threading.Event()
    tokens = {"access": "access-1", "refresh": "refresh-1"}
    service.on("POST", "/token/", service.Say(data=tokens, hold=hold), service.Say(data=tokens))
    service.on("GET", "/algorithms", service.Say(data=[]))
    with Client(service.url, username="anna", password="secret-word", retries=0) as client:
        thread = threading.Thread(target=client.get_algorithms)
        thread.start()
        while not service.paths("POST"):
            thread.join(0.01)
        assert in_child(client.get_algorithms) == []
        hold.set()
        thread.join()
        assert client._connection._credentials._refresh is not None  # type: ignore[attr-defined]
        assert in_child(lambda: client._connection._credentials._refresh) is None  # type: ignore[attr-defined]


def test_the_shared_client_of_a_child_is_its_own(service: Any, clean_environment: Any) -> None:
    """`get_instance` in a child returns another client, also when a thread of the parent was inside it."""
    clean_environment.setenv("CALLBACK_SDK_URL", service.url)
    with get_instance(token=TOKEN) as client:
        with instances._instances_lock:
            assert in_child(lambda: get_instance(token=TOKEN) is not client)
        assert get_instance(token=TOKEN) is client


@pytest.mark.parametrize("method", ["get_task", "cancel_task", "refresh", "wait"])
def test_a_response_about_another_task_is_an_error(client: Client, service: Any, method: str) -> None:
    """The hint names a proxy that mixes up responses."""
    service.on(
        "GET", "/algorithms/tasks/42", service.Say(data=ACCEPTED), service.Say(data={**ACCEPTED, "job_id": "43"})
    )
    service.on("DELETE", "/algorithms/tasks/42", service.Say(data={**ACCEPTED, "job_id": "43"}))
    task = client.get_task("42")
    calls = {
        "get_task": lambda: client.get_task("42"),
        "cancel_task": lambda: client.cancel_task("42"),
        "refresh": task.refresh,
        "wait": lambda: task.wait(timedelta(minutes=1), progress=False),
    }
    with pytest.raises(ServiceError, match="asked for the task '42' and responded with '43'"):
        calls[method]()
    assert task.job_id == "42"


def test_a_response_about_another_delivery_is_an_error(client: Client, service: Any) -> None:
    """So does the redelivery of another delivery."""
    delivery = {"delivery_id": "d-2", "url": "https://h/x", "status": "pending"}
    service.on("POST", "/algorithms/tasks/42/deliveries/d-1/redeliver", service.Say(data=delivery))
    with pytest.raises(ServiceError, match="asked for the delivery 'd-1' and responded with 'd-2'"):
        client.redeliver("42", "d-1")


@pytest.mark.parametrize("ids", [["1", "1"], ["1", 2], ["1"], ["1", "2", "3"], "12", None])
def test_a_batch_requires_one_id_per_task(client: Client, service: Any, ids: Any) -> None:
    """Too few, too many, duplicate and invalid ids belong to another request's response."""
    service.on("POST", f"{PREDICT}/batch", service.Say(202, {"job_ids": ids}))
    with pytest.raises(ServiceError, match="not a list of 2 ids"):
        client.run_algorithm_batch("an-algorithm", [DATA, DATA])


def test_a_batch_takes_no_id_twice(client: Client, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids of a later request are all new."""
    monkeypatch.setattr("callback_sdk.client.batch.MAX_TASKS", 1)
    service.on("POST", f"{PREDICT}/batch", service.Say(202, {"job_ids": ["1"]}))
    with pytest.raises(ServiceError, match="different from those before") as caught:
        client.run_algorithm_batch("an-algorithm", [DATA, {"a": [3]}])
    assert caught.value.accepted_job_ids == ("1",)


def test_many_threads_share_a_client(clean_environment: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A hundred threads get the responses to their own requests, without a warning, over few connections."""
    barrier = threading.Barrier(100)
    with RawServer(echo) as server, Client(server.url, token=TOKEN) as client, ThreadPoolExecutor(100) as pool:

        def ask(number: int) -> str:
            barrier.wait(120)
            return [client.get_task(f"{number}-{again}").job_id for again in range(3)][-1]

        assert list(pool.map(ask, range(100))) == [f"{number}-2" for number in range(100)]
        assert server.connections <= 100
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_idle_connections_that_the_service_closed_are_not_kept(clean_environment: Any) -> None:
    """After a burst, each request discards one closed connection."""
    both = threading.Barrier(8)

    def script(connection: socket.socket, number: int) -> None:
        head, _ = read_request(connection)
        if b"burst" in head:
            both.wait(60)
        connection.sendall(answer("200 OK", body=b'{"job_id": "%s"}' % head.split(b" ")[1].rpartition(b"/")[2]))
        if b"burst" not in head:
            echo(connection, number)

    with RawServer(script) as server, Client(server.url, token=TOKEN, retries=0) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(client.get_task, [f"burst-{number}" for number in range(8)]))
        for number in range(20):
            client.get_task(f"later-{number}")
        assert _idle(client) == [1]


def test_connections_that_were_idle_for_long_are_not_used(
    clean_environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a machine's sleep, or a clock that was set, a request goes over a new connection."""
    now = 1000.0
    monkeypatch.setattr(transport, "_now", lambda: now)
    with RawServer(echo) as server, Client(server.url, token=TOKEN, retries=0) as client:
        for step, connections in [(0, 1), (1, 1), (transport.IDLE_LIMIT + 1, 2), (1, 2), (-3600, 3)]:
            now += step
            assert client.get_task("42").job_id == "42"
            assert server.connections == connections


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TimeoutError, BaseException])
def test_a_late_response_is_not_the_next_ones(
    error: type[BaseException], clean_environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between request and response, or in the middle of one, leaves no connection that answers late."""
    asked, interrupted = threading.Semaphore(0), threading.Semaphore(0)

    def script(connection: socket.socket, number: int) -> None:
        while head := read_request(connection)[0]:
            name = head.split(b" ")[1].rpartition(b"/")[2]
            response = answer("200 OK", body=b'{"job_id": "%s"}' % name)
            begun = len(response) - 5 if name == b"middle" else 0
            connection.sendall(response[:begun])
            if name in (b"first", b"middle"):
                asked.release()
                interrupted.acquire(timeout=60)
            connection.sendall(response[begun:])

    def ask_and_interrupt() -> None:
        asked.acquire(timeout=60)
        os.kill(os.getpid(), signal.SIGUSR1)

    def interrupt(signal_number: int, frame: object) -> None:
        interrupted.release()
        raise error

    handler = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with RawServer(script) as server, Client(server.url, token=TOKEN, retries=0) as client:
            for name in ("first", "middle"):
                thread = threading.Thread(target=ask_and_interrupt)
                thread.start()
                with pytest.raises((error, ServiceConnectionError)):
                    client.get_task(name)
                thread.join()
                assert [client.get_task(f"{name}-{n}").job_id for n in range(3)] == [f"{name}-{n}" for n in range(3)]
    finally:
        signal.signal(signal.SIGUSR1, handler)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br, zstd, gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 300 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nno colon\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://.com\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: https://./\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\xf1\xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://http://x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 \xe9\r\nContent-Type: \xff; charset=nonsense\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b'HTTP/1.1 422 X\r\nContent-Length: 14\r\n\r\n{"error":null}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 100002\r\n\r\n" + b"[" * 50_001 + b"]" * 50_001,
        b'HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"job_id":"42","status":[]}',
    ],
    ids=lambda response: str(response[:40]),
)
def test_malformed_responses_are_typed_errors(response: bytes, clean_environment: Any) -> None:
    """No exception of a library is raised."""

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(response)

    with RawServer(script) as server, Client(server.url, token=TOKEN, retries=0) as client:
        for call in (lambda: client.get_task("42"), lambda: client.run_algorithm("an-algorithm", DATA)):
            with pytest.raises(ServiceError) as caught:
                call()
            assert TOKEN not in str(caught.value)


def _idle(client: Client) -> list[int]:
    """Return how many connections each pool of a client keeps."""
    pools = client._connection._session.get().get_adapter(client.url).poolmanager.pools  # type: ignore[attr-defined]
    return [pools[key].pool.qsize() for key in pools.keys()]  # noqa: SIM118 - it can't be iterated


def test_a_closed_client_can_be_used_again(client: Client, service: Any) -> None:
    """`close` closes connections; the next call makes another one."""
    service.on("GET", "/algorithms", service.Say(data=[]))
    for _ in range(2):
        assert client.get_algorithms() == []
        client.close()


def test_a_certificate_that_cannot_be_verified_is_not_retried(tmp_path: Path, clean_environment: Any) -> None:
    """The failure is permanent, so the error is raised at once."""
    with Authority(tmp_path).serve(echo, "127.0.0.1") as server, Client(server.url, token=TOKEN, retries=5) as client:
        for call in (
            lambda: client.get_task("42"),
            lambda: client.run_algorithm("x", DATA, idempotency_key="k"),
        ):
            with pytest.raises(ServiceConnectionError, match="certificate verify failed") as caught:
                call()
            assert "may have been accepted" not in caught.value.hint
        assert server.connections == 2


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_certificate_authorities_of_the_environment_apply_to_every_host(
    variable: str, host: str, tmp_path: Path, clean_environment: Any
) -> None:
    """Even to a service at loopback, such as a tunnel."""
    authority = Authority(tmp_path)
    with authority.serve(echo, host) as server:
        url = f"https://{host}:{server.port}"
        with Client(url, token=TOKEN, retries=0) as client:
            with pytest.raises(ServiceConnectionError, match=r"certificate verify failed.*REQUESTS_CA_BUNDLE"):
                client.get_task("42")
            clean_environment.setenv(variable, str(authority.file))
            assert client.get_task("42").job_id == "42"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_that_cannot_be_read_are_named(variable: str, tmp_path: Path, clean_environment: Any) -> None:
    """The error for a missing file names the variable."""
    clean_environment.setenv(variable, str(tmp_path / "moved.pem"))
    with (
        Client("https://service.invalid", token=TOKEN, retries=0) as client,
        pytest.raises(ConfigurationError, match=rf"{variable} names .*moved\.pem', which doesn't exist"),
    ):
        client.get_algorithms()


def test_a_file_without_certificates_is_named(tmp_path: Path, clean_environment: Any) -> None:
    """An invalid file isn't reported as an untrusted certificate of the service."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing\n")
    clean_environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    authority = Authority(tmp_path)
    with (
        authority.serve(echo, "127.0.0.1") as server,
        Client(server.url, token=TOKEN, retries=0) as client,
        pytest.raises(ConfigurationError, match=r"REQUESTS_CA_BUNDLE names .*which contains no valid certificates"),
    ):
        client.get_algorithms()


def test_authorities_do_not_matter_without_encryption(client: Client, service: Any, clean_environment: Any) -> None:
    """The variable has no effect on plain HTTP."""
    clean_environment.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    service.on("GET", "/algorithms", service.Say(data=[]))
    assert client.get_algorithms() == []


@pytest.mark.parametrize("location", ["http://[bad", "http://user@:port/", "//", "http://\udc80/", "ftp://x", ""])
def test_a_malformed_redirect_is_a_typed_error(location: str, client: Client, service: Any) -> None:
    """No exception of a library is raised for any Location."""
    service.on(
        "GET", "/algorithms", service.Say(302, headers={"Location": location.encode("utf-8", "replace").decode()})
    )
    with pytest.raises(ServiceError):
        client.get_algorithms()


PROXIES = {
    "http://[bad": "is not a URL",
    "http://:port": "is not a URL",
    "http://user:MARKER9c2e@": "is not a URL",
    "http://": "is not a URL",
    "nonsense://x": "has the unsupported scheme nonsense",
    "socks5://127.0.0.1:9": "SOCKS proxies need PySocks",
}


@pytest.mark.parametrize(("proxy", "reason"), PROXIES.items())
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_cannot_be_used_is_an_error_of_ours(
    proxy: str, reason: str, scheme: str, clean_environment: Any
) -> None:
    """A malformed proxy of the environment, or one of a kind that isn't installed, is named before anything is sent."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        clean_environment.setenv(name, proxy)
    with (
        Client(f"{scheme}://service.invalid", token=TOKEN, retries=0) as client,
        pytest.raises((ConfigurationError, ServiceConnectionError), match=reason) as caught,
    ):
        client.run_algorithm("x", DATA)
    assert "MARKER9c2e" not in str(caught.value)
    assert "may have been accepted" not in str(caught.value)


def not_found(connection: socket.socket, number: int) -> None:
    """Respond without TLS to any data."""
    connection.recv(65536)
    connection.sendall(answer("400 Bad Request"))


def hang_up(connection: socket.socket, number: int) -> None:
    """Close the connection after the first bytes."""
    connection.recv(65536)


def closed(connection: socket.socket, number: int) -> None:
    """Read a request, and close the connection without a response."""
    read_request(connection)


def test_nothing_was_accepted_before_a_request_is_sent(tmp_path: Path, clean_environment: Any) -> None:
    """A server without TLS, one that closes in the handshake and one that never answers it leave no doubt."""
    authority = Authority(tmp_path)
    clean_environment.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    short_wait = timedelta(seconds=1)
    silent = RawServer(lambda connection, number: silent.wait(60))
    with RawServer(not_found) as plain, RawServer(hang_up) as short, silent:
        for server in (plain, short, silent):
            place = f"https://127.0.0.1:{server.port}"
            with (
                Client(place, token=TOKEN, retries=0, timeout=short_wait, connect_timeout=short_wait) as client,
                pytest.raises(ServiceConnectionError) as caught,
            ):
                client.run_algorithm("x", DATA, idempotency_key="k")
            assert "may have been accepted" not in caught.value.hint
            assert caught.value.idempotency_key is None


def test_a_request_that_was_sent_may_have_been_accepted(tmp_path: Path, clean_environment: Any) -> None:
    """A server that closes the connection after a request may have processed it, with TLS and without."""
    authority = Authority(tmp_path)
    clean_environment.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with RawServer(closed) as plain, authority.serve(closed, "127.0.0.1") as encrypted:
        for server in (plain, encrypted):
            with (
                Client(server.url, token=TOKEN, retries=0) as client,
                pytest.raises(ServiceConnectionError, match="may have been accepted") as caught,
            ):
                client.run_algorithm("x", DATA, idempotency_key="k")
            assert caught.value.idempotency_key == "k"
            assert server.connections == 1


def test_every_server_error_is_asked_again(client: Client, service: Any) -> None:
    """The client retries what the package's one list calls a passing fault."""
    from callback_sdk.transport.retry import RETRYABLE_STATUSES

    statuses = sorted(RETRYABLE_STATUSES)[:2]
    service.on("GET", "/algorithms", *[service.Say(status) for status in statuses], service.Say(data=[]))
    assert client.get_algorithms() == []
    assert len(service.requests) == len(statuses) + 1


def test_a_process_that_exits_does_not_wait_for_its_parents_connections(client: Client, service: Any) -> None:
    """A child that ends as a script does, with its finalizers, ends."""
    service.on("GET", "/algorithms", service.Say(data=[]))
    client.get_algorithms()
    pid = os.fork()
    if not pid:
        import atexit

        atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert client.get_algorithms() == []
