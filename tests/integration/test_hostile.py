"""Hostile requests to a service in a separate process: each is rejected with JSON, and takes little memory."""

from __future__ import annotations

import io
import json
import select
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import requests

from tests.topology import Topology, wait_until
from tests.unit.service.footers import column, parquet, row_group, schema

MIB = 1024**2
MAX_BODY = 32 * MIB
MAX_GROWTH = 200 * MIB
SENT_AT_MOST = 1024 * MIB
API = "/api/v2"
PREDICT = f"{API}/algorithms/sum/predict"
BATCH = f"{PREDICT}/batch"
TASKS = f"{API}/algorithms/tasks"
FORM = "multipart/form-data; boundary=B"
TABLE = b'{"a": [1, 2]}'
CLOSED_PORT = "http://127.0.0.1:9/nobody"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what the service takes is read from /proc")


class Service:
    """The service, and methods that send hostile requests.

    Args:
        topology: It, running.
        temporary: Its folder for temporary files.
    """

    def __init__(self, topology: Topology, temporary: Path) -> None:
        self.topology = topology
        self._temporary = temporary
        self.address = (topology.data / "address").read_text().strip()
        self._token = (topology.data / "token").read_text().strip()
        self._session = requests.Session()
        self._session.trust_env = False
        self.run_task(features=parquet_of(pa.table({"a": [1, 2]})))
        self._before = self._memory("VmRSS")

    def ask(self, method: str, path: str, *, headers: Any = None, **options: Any) -> requests.Response:
        """Send a request with `requests`."""
        headers = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        return self._session.request(method, self.address + path, headers=headers, timeout=60, **options)

    def connect(self) -> socket.socket:
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def head(self, line: str, *headers: str) -> bytes:
        """Return the head of a request: request line, common headers and further headers, in Latin-1."""
        lines = [f"{line} HTTP/1.1", "Host: service", *headers]
        if "Authorization" not in "".join(headers):
            lines.append(f"Authorization: Bearer {self._token}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def run_task(self, **fields: Any) -> Any:
        """Submit a task, and return it after its end."""
        answer = self.ask(**form(**fields))
        assert answer.status_code == 202, answer.text
        path = f"{TASKS}/{answer.json()['job_id']}"
        wait_until(lambda: self.ask("GET", path).json()["status"] == "Finished", what="a task's end")
        return self.ask("GET", path).json()["predictions"]

    def growth(self) -> int:
        """Return how many bytes more than at the start the process ever had in memory."""
        return self._memory("VmHWM") - self._before

    def remnants(self) -> list[Path]:
        """Return the files that are on their way in."""
        folders = (self.topology.data / "scratch", self._temporary)
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.topology.service.pid}/status").read_text()
        return int(dict(line.split(":") for line in status.splitlines())[name].split()[0]) * 1024


def form(path: str = PREDICT, *, features: Any = TABLE, headers: Any = None, **fields: Any) -> dict[str, Any]:
    """Return the options of a request with a form, with a file for each pair."""
    files = {"features": ("f", features)} | {name: value for name, value in fields.items() if isinstance(value, tuple)}
    data = {name: value for name, value in fields.items() if not isinstance(value, tuple)}
    return {"method": "POST", "path": path, "data": data, "files": files, "headers": headers}


def written(*parts: bytes, content_type: str = FORM, end: bytes = b"--B--\r\n") -> dict[str, Any]:
    """Return the options of a request with a form written by hand, of parts without their first line."""
    body = b"".join(b"--B\r\nContent-Disposition: form-data; %b\r\n" % part for part in parts) + end
    return {"method": "POST", "path": PREDICT, "data": body, "headers": {"Content-Type": content_type}}


def log_in(body: str) -> dict[str, Any]:
    return form(f"{API}/token/") | {"data": body, "files": None, "headers": {"Content-Type": "application/json"}}


def parquet_of(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    return file.getvalue()


def bomb() -> bytes:
    """Return a small Parquet file that takes more than 4 GiB unpacked: nulls in many columns."""
    nulls = pa.nulls(4 * MIB, pa.float64())
    return parquet_of(pa.table({str(number): nulls for number in range(129)}))


FEATURES = b'name="features"; filename="f"\r\n\r\n' + TABLE
DEEP = "[" * 100_000 + "]" * 100_000

HOSTILE: dict[str, tuple[Callable[[], dict[str, Any]], int]] = {
    "Parquet bomb": (lambda: form(features=bomb()), 422),
    "Parquet that repeats a value": (
        lambda: form(features=parquet(schema([column()]) + row_group(size=9, rows=2**30, chunks=1))),
        422,
    ),
    "footer that says more than is there": (lambda: form(features=parquet(schema([], claimed=2**31 - 1))), 422),
    "footer that is not there": (lambda: form(features=b"PAR1\xff\xff\xff\x7fPAR1"), 422),
    "footer of nothing": (lambda: form(features=parquet(bytes(5_000_000))), 422),
    "features longer than a body": (lambda: form(features=bytes(MAX_BODY + 1)), 413),
    "features of too many values": (lambda: form(features=b"[" + b"{}," * 2_400_000 + b"{}]"), 422),
    "deep features": (lambda: form(features=DEEP), 422),
    "long field": (lambda: form(parameters="x" * 10_000_000), 422),
    "long parameters": (lambda: form(parameters=("p", b'{"a": "' + b"x" * 10_000_000 + b'"}')), 422),
    "deep parameters": (lambda: form(parameters=DEEP), 422),
    "long integer in parameters": (lambda: form(parameters=("p", b'{"a": ' + b"9" * 1_000_000 + b"}")), 422),
    "number beyond a float in parameters": (lambda: form(parameters='{"a": [99999999999999999999, 1e400]}'), 422),
    "lone surrogate in parameters": (lambda: form(parameters=r'{"a": ["\ud800"]}'), 422),
    "lone surrogate in callback_param": (lambda: form(callback_url=CLOSED_PORT, callback_param=r'{"\udfff": 1}'), 422),
    "deep callback_param": (lambda: form(callback_url=CLOSED_PORT, callback_param=DEEP), 422),
    "deep evaluate": (lambda: form(evaluate='{"a":' * 1000 + "1" + "}" * 1000), 422),
    "long number": (lambda: form(priority="9" * 100_000), 422),
    "number of another script": (lambda: form(priority="٣"), 422),
    "expiry that is no number": (lambda: form(expires="nan"), 422),
    "expiry of another script": (lambda: form(expires="٣"), 422),
    "expiry beyond all times": (lambda: form(expires="9" * 12), 422),
    "many callbacks": (lambda: form(callbacks=json.dumps([{"url": CLOSED_PORT}] * 10_000)), 422),
    "many URLs": (lambda: form(callback_url="|".join([CLOSED_PORT] * 10_000)), 422),
    "callback with a NUL": (lambda: form(callback_url=f"{CLOSED_PORT}\0"), 422),
    "many fields": (lambda: written(*[b'name="f"\r\n\r\n'] * 100_000), 422),
    "many files": (lambda: written(*[FEATURES + b"\r\n"] * 100_000), 422),
    "many headers of a part": (lambda: written(b'name="f"\r\n' + b"A: b\r\n" * 100_000 + b"\r\n"), 422),
    "long header of a part": (lambda: written(b'name="f"\r\nA: ' + b"b" * 10_000_000 + b"\r\n\r\n"), 422),
    "long name": (lambda: written(b'name="%b"\r\n\r\n' % (b"n" * 10_000_000)), 422),
    "features twice": (lambda: written(FEATURES + b"\r\n", FEATURES + b"\r\n"), 422),
    "priority twice": (
        lambda: written(FEATURES + b"\r\n", b'name="priority"\r\n\r\n1\r\n', b'name="priority"\r\n\r\n9\r\n'),
        422,
    ),
    "part without a name": (lambda: written(b"\r\n\r\n"), 422),
    "name that is not UTF-8": (lambda: written(FEATURES + b"\r\n", b'name="\xff\xfe"\r\n\r\n'), 422),
    "field that is not UTF-8": (lambda: written(FEATURES + b"\r\n", b'name="parameters"\r\n\r\n{"\xff": 1}\r\n'), 422),
    "field with a NUL": (lambda: written(FEATURES + b"\r\n", b'name="version"\r\n\r\n1\0\r\n'), 404),
    "form without an end": (lambda: written(FEATURES + b"\r\n", b'name="priority"\r\n\r\n', end=b"9"), 422),
    "form of nothing": (lambda: written(end=b""), 422),
    "form without a boundary": (lambda: written(content_type="multipart/form-data"), 422),
    "form with a long boundary": (lambda: written(content_type=f"multipart/form-data; boundary={'B' * 2000}"), 422),
    "form in UTF-7": (lambda: written(FEATURES + b"\r\n", content_type=f"{FORM}; charset=utf-7"), 415),
    "form in IDNA": (lambda: written(FEATURES + b"\r\n", content_type=f"{FORM}; charset=idna"), 415),
    "no form": (lambda: written(content_type="application/json"), 415),
    "packed form": (lambda: form(headers={"Content-Encoding": "gzip", "Content-Type": FORM}), 422),
    "many tasks": (lambda: form(BATCH, tasks=("t", b"[" + b"0," * 10**6 + b"0]")), 422),
    "many tasks that are objects": (lambda: form(BATCH, tasks=("t", b"[" + b"{}," * 10**6 + b"{}]")), 422),
    "deep tasks": (lambda: form(BATCH, tasks=("t", DEEP)), 422),
    "many callbacks of a task": (
        lambda: form(BATCH, tasks=("t", json.dumps([{"callbacks": [{"url": CLOSED_PORT}] * 10_000}]))),
        422,
    ),
    "cursor of nonsense": (lambda: {"method": "GET", "path": TASKS, "params": {"cursor": "?" * 100}}, 422),
    "cursor that is JSON": (lambda: {"method": "GET", "path": TASKS, "params": {"cursor": "WzFlOTk5LCAiIl0"}}, 422),
    "query that is not UTF-8": (lambda: {"method": "GET", "path": f"{TASKS}?cursor=%FF%00"}, 422),
    "NUL to look for": (lambda: {"method": "GET", "path": f"{TASKS}?algorithm=%00"}, 422),
    "long limit": (lambda: {"method": "GET", "path": f"{TASKS}?limit={'9' * 10_000}"}, 422),
    "long key": (lambda: form(headers={"Idempotency-Key": "k" * 300}), 422),
    "long log-in": (lambda: {"method": "POST", "path": f"{API}/token/", "data": b" " * 10_000_000}, 413),
    "deep log-in": (lambda: log_in(DEEP), 400),
    "name with half a character": (lambda: log_in(r'{"username": "\ud800", "password": "x"}'), 422),
    "password with half a character": (lambda: log_in(r'{"username": "x", "password": "\ud800"}'), 422),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service, and let it import its modules for Parquet."""
    folder = tmp_path_factory.mktemp("hostile")
    temporary = folder / "temporary"
    temporary.mkdir()
    settings = {"MAX_REQUEST_BYTES": str(MAX_BODY)}
    environment = {"TMPDIR": str(temporary)}
    with Topology(folder, "engine_jobs:registry", processes=1, settings=settings, environment=environment) as topology:
        yield Service(topology, temporary)


@pytest.fixture(autouse=True)
def _unhurt(service: Service) -> Iterator[None]:
    """After each request the service still answers, and nothing happened that it didn't expect."""
    yield
    assert service.ask("GET", "/healthz").status_code == 200
    assert "Traceback" not in service.topology.log


def check(given: int, headers: Any, content: bytes, status: int) -> None:
    """Check that a response is an error in the usual form."""
    assert given == status, content[:1000]
    body = json.loads(content)
    assert body["status"] is False
    assert body.get("error") or body.get("errors")
    assert headers["x-request-id"]
    assert len(content) < 10_000
    assert b"Traceback" not in content


def answer_of(connection: socket.socket, status: int) -> None:
    """Parse a response that must be an error in JSON."""
    answer = HTTPResponse(connection)
    answer.begin()
    check(answer.status, answer.headers, answer.read(), status)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_are_rejected(service: Service, name: str) -> None:
    """The response is a short 4xx error."""
    options, status = HOSTILE[name]
    answer = service.ask(**options())
    check(answer.status_code, answer.headers, answer.content, status)


WHOLE = written(FEATURES + b"\r\n")["data"]
LENGTH = "Content-Length: 99999999999999999999"

RAW: dict[str, tuple[tuple[str, ...], bytes, int]] = {
    "id with a slash": ((f"GET {TASKS}/a%2Fb",), b"", 404),
    "id of a slash": ((f"GET {TASKS}/%2F",), b"", 404),
    "id of dots": ((f"GET {TASKS}/..",), b"", 404),
    "id of a way up": ((f"GET {TASKS}/%2e%2e%2f%2e%2e%2fetc%2fpasswd",), b"", 404),
    "id with a NUL": ((f"GET {TASKS}/a%00b",), b"", 404),
    "id that is not UTF-8": ((f"DELETE {TASKS}/%FF%FE",), b"", 404),
    "long id": ((f"GET {TASKS}/{'a' * 10_000}/deliveries",), b"", 404),
    "algorithm with a NUL": ((f"GET {API}/algorithms/%00",), b"", 404),
    "another host": (("GET http://169.254.169.254/latest",), b"", 404),
    "no path": (("OPTIONS *",), b"", 404),
    "unknown method": ((f"BREW {TASKS}",), b"", 405),
    "token that is not ASCII": ((f"GET {TASKS}", "Authorization: Bearer \xff\x01"), b"", 401),
    "key with control characters": (
        (f"POST {PREDICT}", f"Content-Type: {FORM}", f"Content-Length: {len(WHOLE)}", "Idempotency-Key: a\x01\tb"),
        WHOLE,
        422,
    ),
    "length of a part of the form": ((f"POST {PREDICT}", f"Content-Type: {FORM}", "Content-Length: 40"), WHOLE, 422),
    "length without end": ((f"POST {PREDICT}", f"Content-Type: {FORM}", LENGTH), b"", 413),
    "length asked for": ((f"POST {PREDICT}", f"Content-Type: {FORM}", LENGTH, "Expect: 100-continue"), b"", 413),
    "upgrade": ((f"GET {TASKS}/x", "Connection: Upgrade", "Upgrade: websocket"), b"", 404),
}


@pytest.mark.parametrize("name", RAW)
def test_malformed_requests_on_a_raw_socket_are_rejected(service: Service, name: str) -> None:
    """Paths, headers and lengths that HTTP clients refuse to send are rejected too."""
    lines, body, status = RAW[name]
    with service.connect() as connection:
        connection.sendall(service.head(*lines) + body)
        answer_of(connection, status)


NO_HTTP = {
    "no request": b"\x16\x03\x01\x02\x00\x01\x00" + bytes(512) + b"\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "long path": b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: service\r\n\r\n",
    "long header": b"GET /healthz HTTP/1.1\r\nHost: service\r\nA: " + b"a" * MIB + b"\r\n\r\n",
    "many headers": b"GET /healthz HTTP/1.1\r\nHost: service\r\n" + b"A: a\r\n" * 100_000 + b"\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: service\r\nIdempotency-Key: \0\r\n\r\n",
    "negative length": b"POST /healthz HTTP/1.1\r\nHost: service\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /healthz HTTP/1.1\r\nHost: service\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "unknown coding": b"POST /healthz HTTP/1.1\r\nHost: service\r\nTransfer-Encoding: gzip\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_data_other_than_http_are_rejected(service: Service, name: str) -> None:
    """The server below the application responds in plain text; the application isn't called."""
    with service.connect() as connection:
        send_until_answer(connection, iter([NO_HTTP[name]]))
        assert status_of(connection) in (400, 431, None)


def status_of(connection: socket.socket) -> int | None:
    """Return an answer's status; None when the connection's end took it along, as more came than was read."""
    answer = HTTPResponse(connection)
    try:
        answer.begin()
    except ConnectionError:
        return None
    return answer.status


def send_until_answer(connection: socket.socket, pieces: Iterator[bytes]) -> int:
    """Send until there is an answer or nothing left, and return how many bytes that were."""
    sent = 0
    for piece in pieces:
        if select.select([connection], [], [], 0)[0]:
            break
        try:
            connection.sendall(piece)
        except ConnectionError:
            break
        sent += len(piece)
    return sent


def chunks(first: bytes = b"") -> Iterator[bytes]:
    """Yield the chunks of a body that has no end."""
    for piece in (first, *[bytes(MIB)] * (2 * SENT_AT_MOST // MIB)):
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)


def has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


ENDLESS = {
    "form": (PREDICT, FORM, b"--B\r\nContent-Disposition: form-data; " + FEATURES, 413),
    "batch": (BATCH, FORM, b"--B\r\nContent-Disposition: form-data; " + FEATURES, 413),
    "before the form": (PREDICT, FORM, b"", 422),
    "field": (PREDICT, FORM, b'--B\r\nContent-Disposition: form-data; name="parameters"\r\n\r\n', 422),
    "form for nothing": (f"{API}/algorithms/nothing/predict", FORM, b"", 404),
    "log-in": (f"{API}/token/", "application/json", b'"', 413),
    "where none belongs": (TASKS, "text/plain", b"", 405),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_body_is_rejected(service: Service, name: str) -> None:
    """Long before a GiB is received; a client that continues is disconnected."""
    path, content_type, first, status = ENDLESS[name]
    head = service.head(f"POST {path}", f"Content-Type: {content_type}", "Transfer-Encoding: chunked")
    with service.connect() as connection:
        connection.sendall(head)
        body = chunks(first)
        sent = send_until_answer(connection, body)
        answer_of(connection, status)
        sent += send_until_answer(connection, body)
        assert has_ended(connection)
    assert sent < SENT_AT_MOST


@pytest.mark.parametrize("framing", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
def test_a_disconnected_client_leaves_nothing(service: Service, framing: str) -> None:
    """If the connection ends within a body, the received part is deleted."""
    begun = b"--B\r\nContent-Disposition: form-data; " + FEATURES + bytes(MIB)
    before = service.topology.log.count("the client closed the connection")
    for _ in range(20):
        with service.connect() as connection:
            connection.sendall(service.head(f"POST {PREDICT}", f"Content-Type: {FORM}", framing))
            connection.sendall(begun if "Length" in framing else b"%x\r\n%b\r\n" % (len(begun), begun))
    wait_until(lambda: service.topology.log.count("the client closed the connection") == before + 20, what="their end")
    assert service.remnants() == []


def test_who_keeps_others_waiting_waits_alone(service: Service) -> None:
    """Hundreds that sent one byte, or half of a body, and stay."""
    with ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(service.connect())
            head = service.head(f"POST {PREDICT}", f"Content-Type: {FORM}", "Content-Length: 1000")
            connection.sendall(b"P" if number % 2 else head + b"--B")
        assert service.run_task() == {"a": 3}


def test_concurrent_large_requests_take_bounded_memory(service: Service) -> None:
    """Forms with JSON that is large once it is parsed are processed one after another."""
    options = form(BATCH, tasks=("t", b"[" + b"{}," * 250_000 + b"{}]"))
    with ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda _: service.ask(**options), range(16))]
    assert {answer.status_code for answer in answers} == {422}


def test_all_of_it_took_little_memory(service: Service) -> None:
    """No request had the service keep a multiple of it, and it works on as if nothing had been."""
    assert service.growth() < MAX_GROWTH
    assert service.run_task() == {"a": 3}
    wait_until(lambda: not service.remnants(), what="a tidy folder")
