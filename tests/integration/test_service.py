"""The service as a separate process, in normal operation and after crashes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import requests

from callback_sdk.testing import WebhookReceiver
from tests.checkers import nginx
from tests.conftest import missing_server

PATIENCE = 60.0
TABLE = json.dumps({"a": [1, 2, 3], "b": [0.5, 0.5, 0.5]}).encode()

SERVE = """
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from callback_sdk.config.service import ServiceConfig
from callback_sdk.service.server import serve
if __name__ == "__main__":
    serve(
        "service_jobs:registry",
        ServiceConfig(
            port=0,
            data_dir=Path(sys.argv[1]),
            processes=2,
            max_request_bytes=200_000,
            shutdown_timeout=timedelta(minutes=10) if "patient" in sys.argv else timedelta(seconds=0.2),
            allow_networks=("127.0.0.0/8:*",),
        ),
        ready=lambda _: os.kill(os.getpid(), signal.SIGTERM) if "stop" in sys.argv else None,
    )
"""


class Service:
    """The service in a separate process, which can be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._script = folder / "run_service.py"
        self._script.write_text(SERVE)
        self._log = folder / "log"
        self._session = requests.Session()
        self._session.trust_env = False
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self, *arguments: str) -> None:
        here = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
        command = [sys.executable, str(self._script), str(self.data), *arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)

    def start(self, *arguments: str) -> Service:
        self.spawn(*arguments)
        wait_until(lambda: (self.data / "address").exists() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise AssertionError(self.log)
        self.address = (self.data / "address").read_text().strip()
        token = (self.data / "token").read_text().strip()
        self._session.headers["Authorization"] = f"Bearer {token}"
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        (self.data / "address").unlink(missing_ok=True)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self._session.close()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, f"{self.address}/api/v2{path}", timeout=PATIENCE, **options)

    def predict(self, algorithm: str, features: bytes = TABLE, **fields: Any) -> requests.Response:
        parameters = fields.pop("parameters", {})
        data = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        files = {"features": ("features", features), "parameters": ("parameters.json", json.dumps(parameters))}
        return self.call("POST", f"/algorithms/{algorithm}/predict", data=data, files=files)

    def submit(self, algorithm: str, features: bytes = TABLE, **fields: Any) -> str:
        reply = self.predict(algorithm, features, **fields)
        assert reply.status_code == 202, reply.text
        return reply.json()["job_id"]

    def task(self, job_id: str) -> dict[str, Any]:
        return self.call("GET", f"/algorithms/tasks/{job_id}").json()

    def ended(self, job_id: str, *, status: str = "Finished") -> dict[str, Any]:
        wait_until(lambda: self.task(job_id)["status"] == status)
        return self.task(job_id)


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Service]:
    """Run a service that the test may kill."""
    with contextlib.closing(Service(tmp_path).start()) as service:
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for the tests that leave it alone."""
    with contextlib.closing(Service(tmp_path_factory.mktemp("service")).start()) as service:
        yield service


def test_a_task_is_computed_delivered_and_read_back(service: Service, webhook: WebhookReceiver) -> None:
    """A 202, then the result in the document and in the task, credentials in neither."""
    job_id = service.submit(
        "sum",
        parameters={"factor": 2},
        callback_url=f"{webhook.url}?secret=hidden",
        callback_param={"note": "x", "s3_headers": None},
    )
    (request,) = webhook.wait_for(1)
    assert list(request.document) == ["job_id", "status", "callback_param", "success", "results"]
    assert request.document["results"] == {"predictions": {"a": 6, "b": 1.5}, "evaluations": {"factor": 2}}
    wait_until(lambda: service.task(job_id)["receipts"])
    task = service.task(job_id)
    assert task["predictions"] == {"a": 6, "b": 1.5}
    assert task["evaluations"] == {"factor": 2}
    assert task["monitors"] is None
    assert task["callback_param"] == {"note": "x"}
    assert task["progress"] == {"fraction": 1.0, "message": "adding"}
    assert task["receipts"][0]["attempts"] == 1
    assert task["deliveries"] == [
        {
            "url": f"{webhook.url}?***",
            "output": None,
            "events": ["completed"],
            "status": "delivered",
            "attempt_count": 1,
            "error": None,
        }
    ]
    assert "hidden" not in service.log


def test_headers_for_an_http_server_are_stored_encrypted(service: Service, tmp_path: Path) -> None:
    """Neither the database nor the log nor the task nor the document has them."""
    command = nginx.find()
    if command is None:
        missing_server(nginx.HOW_TO_GET_IT)
    param = {"run": 7, "http": {"method": "PUT", "headers": {"PRIVATE-TOKEN": nginx.TOKEN}}}
    with nginx.running(command, tmp_path) as server:
        job_id = service.submit("sum", callback_url=f"{server.url}/service.json", callback_param=param)
        wait_until(lambda: service.task(job_id)["receipts"])
        document = json.loads((server.files / "service.json").read_bytes())
    assert document["callback_param"] == {"run": 7}
    assert service.task(job_id)["receipts"][0]["target_kind"] == "http-put"
    stored = b"".join(path.read_bytes() for path in service.data.rglob("*") if path.is_file())
    assert job_id.encode() in stored
    assert nginx.TOKEN.encode() not in stored
    assert nginx.TOKEN not in service.log + json.dumps(service.task(job_id))


def test_parquet_features_reach_the_algorithm(service: Service, tmp_path: Path) -> None:
    """The algorithm sums the values of the file."""
    pa.parquet.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / "t.parquet")
    job_id = service.submit("sum", (tmp_path / "t.parquet").read_bytes(), version="1.0.0")
    assert service.ended(job_id)["predictions"] == {"n": 6}


def test_a_bare_return_value_becomes_the_predictions(service: Service, webhook: WebhookReceiver) -> None:
    """Any value but a dict with predictions is the predictions; NaN is null and counted, big integers stay exact."""
    job_id = service.submit("bare", callback_url=webhook.url)
    webhook.wait_for(1)
    wait_until(lambda: service.task(job_id)["receipts"])
    task = service.task(job_id)
    assert task["predictions"] == [1, 2.5, None, 2**70]
    assert task["receipts"][0]["nulls_written"] == 1


def test_evaluate_false_leaves_out_evaluations(service: Service) -> None:
    """Without being asked for, evaluations are null."""
    assert service.ended(service.submit("sum", evaluate="False"))["evaluations"] is None


def test_algorithms_and_versions_are_listed(service: Service) -> None:
    """All algorithms, one, and its versions, with and without a slash at the end."""
    names = [algorithm["id"] for algorithm in service.call("GET", "/algorithms/").json()]
    assert "sum" in names
    assert service.call("GET", "/algorithms/sum").json()["description"] == "Adds up each column."
    versions = service.call("GET", "/algorithms/sum/versions/").json()
    assert [version["version"] for version in versions] == ["1.0.0", "2.0.0"]
    assert service.call("GET", "/algorithms/sum/versions/2.0.0").json()["version"] == "2.0.0"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/algorithms/sun", 404),
        ("GET", "/algorithms/sum/versions/9", 404),
        ("GET", "/algorithms/tasks/nonsense", 404),
        ("DELETE", "/algorithms/tasks/nonsense", 404),
        ("POST", "/algorithms/sun/predict", 404),
        ("GET", "/nonsense", 404),
        ("PUT", "/algorithms", 405),
        ("POST", "/algorithms/sum/predict", 415),
    ],
)
def test_errors_are_json_with_a_request_id(service: Service, method: str, path: str, status: int) -> None:
    """Every error is `{"status": false, "error": ...}`, and can be found in the log."""
    reply = service.call(method, path)
    assert reply.status_code == status
    assert reply.json()["status"] is False
    assert reply.json()["error"]
    assert len(reply.headers["X-Request-ID"]) == 32


def test_an_unknown_algorithm_names_similar_ones(service: Service) -> None:
    """The error suggests the probable name."""
    reply = service.predict("sun")
    assert reply.status_code == 404
    assert "Did you mean 'sum'?" in reply.json()["error"]


@pytest.mark.parametrize("token", [None, "Bearer wrong", "Basic abc", "Bearer \xfc"])
def test_a_wrong_token_is_refused(service: Service, token: str | None) -> None:
    """Without the token nothing is answered but that it is missing."""
    headers = {"Authorization": token.encode("latin-1") if token else None}
    reply = service.call("GET", "/algorithms", headers=headers)
    assert reply.status_code == 401
    assert reply.json()["status"] is False
    assert requests.get(f"{service.address}/healthz", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (b"", "neither Parquet nor JSON"),
        (b"PAR1 and then nothing", "footer"),
        (b'{"a": [1, 2], "b": [1]}', "'a' has 2 values and 'b' has 1"),
        (b'{"a": 1}', "Column 'a'"),
        (b"[1]", "Record 0"),
        (b"[]", "no row"),
        (b"{}", "no column"),
        (b"7", "JSON number"),
    ],
)
def test_malformed_features_leave_no_task(service: Service, features: bytes, words: str) -> None:
    """A 422 that says where, and nothing kept."""
    reply = service.predict("sum", features)
    assert reply.status_code == 422
    assert words in reply.json()["error"]
    assert not [path for path in (service.data / "scratch").glob("*/*") if path.is_file()]
    with contextlib.closing(sqlite3.connect(service.data / "store.sqlite3")) as database:
        assert not database.execute("SELECT 1 FROM tasks WHERE finished_at IS NULL").fetchall()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"callback_url": "ftp://example.org/x"}, "only http and https"),
        ({"callback_url": "http://a.example|http://b.example", "callback_param": [{}]}, "list of 1 for 2"),
        ({"callback_url": "|".join(["http://a.example"] * 11)}, "11 callbacks"),
        ({"callback_url": "http://a.example", "callback_param": "{"}, "'callback_param' is not JSON"),
        ({"callback_url": "http://a.example", "callbacks": []}, "one of the two"),
        ({"callbacks": {"url": "http://a.example"}}, "not a JSON list"),
        ({"callbacks": [7]}, "string"),
        ({"callback_url": "https://b.s3.eu-west-1.amazonaws.com/"}, "s3_fields"),
        (
            {"callback_url": "https://b.s3.amazonaws.com/", "callback_param": {"s3_fields": {"acl": "x"}}},
            "policy",
        ),
        ({"evaluate": "perhaps"}, "'evaluate'"),
        ({"parameters": [1]}, "'parameters'"),
    ],
)
def test_targets_that_can_never_receive_a_result_are_rejected(
    service: Service, fields: dict[str, Any], words: str
) -> None:
    """Each invalid target or field is a 422 with its reason, and nothing is stored."""
    reply = service.predict("sum", **fields)
    assert reply.status_code == 422, reply.text
    assert words in reply.json()["error"]


def test_an_endless_body_is_a_413(service: Service) -> None:
    """The response is sent while the body is still being sent."""
    host, port = service.address.removeprefix("http://").split(":")
    token = (service.data / "token").read_text().strip()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = (
            f"POST /api/v2/algorithms/sum/predict HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        start = b'--b\r\nContent-Disposition: form-data; name="features"; filename="f"\r\n\r\n'
        connection.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(start), start))
        connection.settimeout(0.01)
        chunk, answer = b"%x\r\n%b\r\n" % (65536, b"x" * 65536), b""
        end = time.monotonic() + PATIENCE
        while not answer:
            assert time.monotonic() < end
            with contextlib.suppress(TimeoutError):
                connection.send(chunk)
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_announced_too_long_is_refused(service: Service) -> None:
    """A client that sends everything before it reads still gets the 413."""
    reply = service.predict("sum", b"x" * 300_000)
    assert reply.status_code == 413
    assert "200000 bytes" in reply.json()["error"]


@pytest.mark.parametrize(
    ("algorithm", "parameters", "error"),
    [
        ("raise", {}, "ValueError: no such material"),
        ("raise", {"exit": True}, "SystemExit: that was it"),
        ("odd", {}, "results.predictions[2].when"),
        ("hurried", {}, "longer than 0:00:00.5"),
    ],
)
def test_a_failure_is_delivered(
    service: Service, webhook: WebhookReceiver, algorithm: str, parameters: dict[str, Any], error: str
) -> None:
    """The target receives every kind of failure, without a stack trace."""
    job_id = service.submit(algorithm, parameters=parameters, callback_url=webhook.url)
    (request,) = webhook.wait_for(1)
    assert request.document["success"] is False
    assert request.document["status"] == "Finished"
    assert request.document["results"] is None
    assert error in request.document["error"]
    assert "Traceback" not in request.document["error"]
    task = service.task(job_id)
    assert (task["success"], task["error"]) == (False, request.document["error"])


@pytest.mark.parametrize(("how", "words"), [("SIGKILL", "SIGKILL"), ("3", "exit code 3"), ("0", "exit code 0")])
def test_a_task_fails_after_three_crashes(
    service: Service, webhook: WebhookReceiver, tmp_path: Path, how: str, words: str
) -> None:
    """After three crashes of its process, the task has failed, and the failure is delivered."""
    starts = tmp_path / "starts"
    service.submit("suicide", parameters={"how": how, "starts": str(starts)}, callback_url=webhook.url)
    (request,) = webhook.wait_for(1, timeout=timedelta(seconds=PATIENCE))
    assert request.document["success"] is False
    assert words in request.document["error"]
    assert len(lines(starts)) == 3


def test_cancel_kills_a_busy_loop(service: Service, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Grandchildren are killed too, and the cancellation is delivered."""
    pids = tmp_path / "pids"
    job_id = service.submit("busy", parameters={"pids": str(pids)}, callback_url=webhook.url)
    wait_until(lambda: service.task(job_id)["progress"]["message"] == "busy")
    reply = service.call("DELETE", f"/algorithms/tasks/{job_id}")
    assert (reply.status_code, reply.json()["status"]) == (202, "Canceled")
    (request,) = webhook.wait_for(1)
    assert request.document["status"] == "Canceled"
    assert request.document["success"] is False
    for pid in lines(pids):
        wait_until(lambda pid=pid: not is_running(int(pid)))
    assert service.call("DELETE", f"/algorithms/tasks/{job_id}").status_code == 202
    assert service.ended(service.submit("sum"))["success"] is True


def test_an_ended_task_can_not_be_canceled(service: Service) -> None:
    """A 409 and the results stay."""
    job_id = service.submit("sum")
    service.ended(job_id)
    assert service.call("DELETE", f"/algorithms/tasks/{job_id}").status_code == 409
    assert service.task(job_id)["status"] == "Finished"


def test_one_bad_target_holds_up_no_other(service: Service, webhook: WebhookReceiver) -> None:
    """The good one has the result while the bad one waits for its next attempt."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}/nobody"
    job_id = service.submit("sum", callbacks=[{"url": gone}, {"url": webhook.url, "param": {"n": 2}}])
    (request,) = webhook.wait_for(1)
    assert request.document["callback_param"] == {"n": 2}
    wait_until(lambda: service.task(job_id)["deliveries"][0]["error"])
    wait_until(lambda: service.task(job_id)["deliveries"][1]["status"] == "delivered")
    assert service.task(job_id)["deliveries"][0]["status"] == "pending"


def test_a_permanent_rejection_makes_a_delivery_dead(service: Service, webhook: WebhookReceiver) -> None:
    """It isn't retried."""
    webhook.respond(410)
    job_id = service.submit("sum", callback_url=webhook.url)
    wait_until(lambda: service.task(job_id)["deliveries"][0]["status"] == "dead")
    assert "410" in service.task(job_id)["deliveries"][0]["error"]


def test_a_passing_fault_is_tried_again(service: Service, webhook: WebhookReceiver) -> None:
    """A 503 is followed by another attempt with the same id and the same bytes."""
    webhook.respond(503)
    job_id = service.submit("sum", callback_url=webhook.url)
    first, second = webhook.wait_for(2, timeout=timedelta(seconds=PATIENCE))
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    wait_until(lambda: service.task(job_id)["receipts"])
    assert service.task(job_id)["receipts"][0]["attempts"] == 2


def test_files_are_readable_by_their_owner_only(service: Service) -> None:
    """Directory, database and token contain credentials."""
    assert stat.S_IMODE(service.data.stat().st_mode) == 0o700
    for name in ("store.sqlite3", "token"):
        assert stat.S_IMODE((service.data / name).stat().st_mode) == 0o600


def test_two_services_never_share_a_folder(service: Service) -> None:
    """The second one says so and ends."""
    from callback_sdk.errors import ConfigurationError
    from callback_sdk.service.server import lock_data_dir

    with pytest.raises(ConfigurationError, match="Another service uses"), lock_data_dir(service.data):
        pass


def test_a_task_survives_sigkill(own: Service, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """The child ends with the service; the next service runs the task again and delivers it."""
    starts, go = tmp_path / "starts", tmp_path / "go"
    parameters = {"starts": str(starts), "go": str(go)}
    job_id = own.submit("wait", parameters=parameters, callback_url=webhook.url)
    waiting = own.submit("sum", callback_url=webhook.url)
    wait_until(lambda: lines(starts))
    own.kill()
    wait_until(lambda: not is_running(int(lines(starts)[0])))
    go.touch()
    own.start()
    # The other task may have been delivered before the kill, and again because nobody had noted it yet.
    wait_until(lambda: {request.document["job_id"] for request in webhook.requests} == {job_id, waiting})
    assert all(request.document["success"] for request in webhook.requests)
    assert len({(request.delivery_id, request.body) for request in webhook.requests}) == 2
    assert own.ended(job_id)["predictions"] == "done"
    assert len(lines(starts)) == 2


def test_a_task_that_kills_the_service_ends(own: Service, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """After the third kill the task is not started a fourth time, but delivered as failed."""
    starts = tmp_path / "starts"
    parameters = {"starts": str(starts), "go": str(tmp_path / "never")}
    own.submit("wait", parameters=parameters, callback_url=webhook.url)
    for count in (1, 2, 3):
        wait_until(lambda count=count: len(lines(starts)) == count)
        own.kill()
        own.start()
    (request,) = webhook.wait_for(1, timeout=timedelta(seconds=PATIENCE))
    assert request.document["success"] is False
    assert "process died 3 times" in request.document["error"]
    assert len(lines(starts)) == 3


def test_a_delivery_survives_sigkill(own: Service, webhook: WebhookReceiver) -> None:
    """A delivery with a lost response is repeated with the same id and bytes."""
    webhook.respond(200, delay=timedelta(minutes=1))
    job_id = own.submit("sum", callback_url=webhook.url)
    webhook.wait_for(1)
    own.kill()
    own.start()
    first, second = webhook.wait_for(2, timeout=timedelta(seconds=PATIENCE))
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    wait_until(lambda: own.task(job_id)["receipts"])


def test_an_orderly_stop_requeues_running_tasks(own: Service, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """SIGTERM ends service and child with exit code 0, and doesn't count as a crash of the task."""
    starts, go = tmp_path / "starts", tmp_path / "go"
    job_id = own.submit("wait", parameters={"starts": str(starts), "go": str(go)}, callback_url=webhook.url)
    for count in (1, 2, 3, 4):
        wait_until(lambda count=count: len(lines(starts)) == count)
        assert own.stop() == 0
        assert not is_running(int(lines(starts)[-1]))
        assert not (own.data / "address").exists()
        own.start()
    go.touch()
    (request,) = webhook.wait_for(1, timeout=timedelta(seconds=PATIENCE))
    assert request.document["success"] is True
    assert own.ended(job_id)["predictions"] == "done"


def test_sigint_ends_the_service(own: Service) -> None:
    """Ctrl-C is an orderly stop too."""
    own.process.send_signal(signal.SIGINT)
    assert own.process.wait(PATIENCE) == 0
    assert "Traceback" not in own.log


def test_a_second_signal_ends_the_grace(tmp_path: Path) -> None:
    """The run is given back then, as at the grace's own end, and counts as no loss."""
    starts, go = tmp_path / "starts", tmp_path / "go"
    with contextlib.closing(Service(tmp_path)) as service:
        service.start("patient")
        job_id = service.submit("wait", parameters={"starts": str(starts), "go": str(go)})
        wait_until(lambda: lines(starts))
        service.process.terminate()
        wait_until(lambda: not (service.data / "address").exists())
        service.process.terminate()
        assert service.process.wait(PATIENCE) == 0
        go.touch()
        service.start()
        assert service.ended(job_id)["predictions"] == "done"


def test_a_signal_that_comes_before_the_first_request_counts(tmp_path: Path) -> None:
    """The service may be stopped the moment it says that it is ready."""
    with contextlib.closing(Service(tmp_path)) as service:
        service.spawn("stop")
        assert service.process.wait(PATIENCE) == 0
        assert "Traceback" not in service.log
