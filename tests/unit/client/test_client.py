"""The client: requests, validation and return values."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from callback_sdk.client import Client
from callback_sdk.compat import get_instance
from callback_sdk.errors import (
    CallbackParamError,
    CallbackSDKError,
    ConfigurationError,
    EncodingError,
    FeaturesError,
    InvalidRequestError,
    InvalidS3FieldsError,
    InvalidTargetError,
    MissingS3FieldsError,
    NotFoundError,
    TargetExpiredError,
)
from callback_sdk.models import PresignedPost, PresignedPut
from callback_sdk.redaction import Secret, SecretFields
from tests.signedurls import v4
from tests.unit.client.jobs import (
    ACCEPTED,
    BUCKET,
    DATA,
    HOOK,
    NOW,
    PREDICT,
    SIGNATURE,
    SIGNED,
    TOKEN,
    s3_fields,
    shown,
)


def test_a_task_is_submitted(client: Client, accepting: Any) -> None:
    """Features and options go as one form, the token as a bearer token."""
    task = client.run_algorithm(
        "an-algorithm", DATA, version="1.0.0", evaluate=False, parameters={"m": np.int64(5)}, callback_url=HOOK
    )
    (seen,) = accepting.requests
    assert (task.job_id, task.status, task.success) == ("42", "Pending", None)
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert int(seen.headers["content-length"]) == len(seen.body)
    assert "transfer-encoding" not in seen.headers
    form = seen.form
    assert json.loads(form.pop("features")) == DATA
    assert json.loads(form.pop("parameters")) == {"m": 5}
    assert form == {
        "version": b"1.0.0",
        "evaluate": b"false",
        "monitor": b"true",
        "callback_url": HOOK.encode(),
        "callback_param": b"{}",
    }


def test_the_form_of_the_older_notebook_works(client: Client, accepting: Any) -> None:
    """A presigned POST goes as `callback_url` and `callback_param` with its fields."""
    fields = s3_fields()
    client.run_algorithm(
        "an-algorithm", DATA, evaluate=False, callback_url=BUCKET, callback_param={"s3_fields": fields}
    )
    form = accepting.requests[0].form
    assert form["callback_url"] == BUCKET.encode()
    assert json.loads(form["callback_param"]) == {"s3_fields": fields}


def test_several_callbacks_are_joined(client: Client, accepting: Any) -> None:
    """A list of URLs goes with a list of parameters."""
    client.run_algorithm(
        "an-algorithm", DATA, callback_url=[BUCKET, HOOK], callback_param=[{"s3_fields": s3_fields()}, {}]
    )
    form = accepting.requests[0].form
    assert form["callback_url"] == f"{BUCKET}|{HOOK}".encode()
    assert json.loads(form["callback_param"]) == [{"s3_fields": s3_fields()}, {}]


def test_a_url_with_the_separator_goes_another_way(client: Client, accepting: Any) -> None:
    """A URL with `|` in it can't be joined by it."""
    client.run_algorithm("an-algorithm", DATA, callback_url=[f"{HOOK}?a|b", HOOK], callback_param={"n": 1})
    form = accepting.requests[0].form
    assert "callback_url" not in form
    assert json.loads(form["callbacks"]) == [
        {"url": f"{HOOK}?a|b", "param": {"n": 1}},
        {"url": HOOK, "param": {"n": 1}},
    ]


def test_callbacks_accepts_targets_of_every_form(client: Client, accepting: Any) -> None:
    """Presigned targets, URLs and pairs."""
    soon = NOW + timedelta(hours=1)
    put = PresignedPut(url=Secret(SIGNED), headers=SecretFields({}), expires_at=soon)
    post = PresignedPost(url=Secret(BUCKET), fields=SecretFields(s3_fields()), expires_at=soon)
    client.run_algorithm("an-algorithm", DATA, callbacks=[put, post, HOOK, (HOOK, {"n": 1})])
    form = accepting.requests[0].form
    assert form["callback_url"].decode().split("|") == [SIGNED, BUCKET, HOOK, HOOK]
    assert json.loads(form["callback_param"]) == [{}, {"s3_fields": s3_fields()}, {}, {"n": 1}]
    for one in (put, HOOK, {"url": HOOK}, iter([HOOK])):
        client.run_algorithm("an-algorithm", DATA, callbacks=one)
    urls = [seen.form["callback_url"].decode() for seen in accepting.requests[1:]]
    assert urls == [SIGNED, HOOK, HOOK, HOOK]


def test_what_may_go_wrong_with_a_target_is_logged_once(
    client: Client, accepting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The target is valid, and some stores reject such a lifetime. A batch has many alike."""
    url = f"https://files.example.org/k.json?{v4(date=NOW, expires=30 * 86400)}"
    for _ in range(2):
        client.run_algorithm("an-algorithm", DATA, callback_url=url)
    (record,) = (record for record in caplog.records if record.name == "callback_sdk.client.callbacks")
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "https://files.example.org/k.json?***: The URL is signed for 30 days. Most stores reject more than 7 days."
    )


def test_the_client_has_a_target_of_its_own(accepting: Any, clean_environment: pytest.MonkeyPatch) -> None:
    """`Client(callback_url=)` counts where a job names no target, and only there."""
    with Client(accepting.url, token=TOKEN, callback_url=HOOK) as client:
        client.run_algorithm("an-algorithm", DATA)
        client.run_algorithm("an-algorithm", DATA, callback_param={"n": 1})
        client.run_algorithm("an-algorithm", DATA, callback_url=f"{HOOK}/2")
        client.run_algorithm("an-algorithm", DATA, callbacks=[])
    forms = [seen.form for seen in accepting.requests]
    assert [form.get("callback_url") for form in forms] == [HOOK.encode(), HOOK.encode(), f"{HOOK}/2".encode(), None]
    assert forms[1]["callback_param"] == b'{"n":1}'


def test_evaluate_may_be_a_dict(client: Client, accepting: Any) -> None:
    """Options of evaluations are sent as JSON."""
    client.run_algorithm("an-algorithm", DATA, evaluate={"metric": "rmse"}, monitor=False)
    form = accepting.requests[0].form
    assert (form["evaluate"], form["monitor"]) == (b'{"metric":"rmse"}', b"false")


def test_a_large_file_is_streamed(client: Client, accepting: Any, tmp_path: Path) -> None:
    """A Parquet file of 64 MB goes through in a fraction of that memory, unchanged."""
    path = tmp_path / "large.parquet"
    noise = np.random.default_rng(1).random(8_000_000)
    pq.write_table(pa.table({"a": noise}), path, compression="none")
    del noise
    # The service of this test keeps what it gets in this very process, so it only counts.
    received: list[int] = []
    counter = _counting_server(received)
    with Client(counter, token=TOKEN) as to_counter:
        tracemalloc.start()
        try:
            to_counter.run_algorithm("an-algorithm", path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert received[0] > path.stat().st_size > 60_000_000
    assert peak < 8_000_000


def _counting_server(received: list[int]) -> str:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            count = 0
            while count < length and (chunk := stream.read(min(65536, length - count))):
                count += len(chunk)
            received.append(count)
            body = json.dumps(ACCEPTED).encode()
            connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/api/v2"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"callback_url": "ftp://example.org/x"}, InvalidTargetError, "ftp"),
        ({"callback_url": "s3://bucket/key"}, InvalidTargetError, "s3"),
        ({"callback_url": [HOOK, HOOK], "callback_param": [{}]}, CallbackParamError, "list of 1 for 2"),
        ({"callback_url": BUCKET}, MissingS3FieldsError, "s3_fields"),
        ({"callback_url": BUCKET, "callback_param": {"s3_fields": {}}}, MissingS3FieldsError, "empty"),
        (
            {"callback_url": BUCKET, "callback_param": {"s3_fields": {"ACL": "private"}}},
            InvalidS3FieldsError,
            "generate_presigned_post",
        ),
        ({"callback_url": SIGNED, "callback_param": {"s3_fields": s3_fields()}}, CallbackSDKError, "s3_fields"),
        (
            {"callback_url": SIGNED.replace("=3600", "=1").replace(f"{NOW:%Y}", "2020")},
            TargetExpiredError,
            "expired|over|ended",
        ),
        ({"callbacks": [HOOK], "callback_url": HOOK}, CallbackParamError, "together"),
        ({"callbacks": [HOOK], "callback_param": {}}, CallbackParamError, "together"),
        ({"callback_param": {"n": 1}}, CallbackParamError, "without callback_url"),
        ({"callback_url": HOOK, "callback_param": {"x": object()}}, EncodingError, "callback_param.x"),
        ({"parameters": {"x": object()}}, EncodingError, "parameters.x"),
        ({"evaluate": "yes"}, InvalidRequestError, "evaluate is of type str"),
        ({"monitor": {"a": 1}}, InvalidRequestError, "monitor"),
        ({"version": 1.0}, InvalidRequestError, "version is 1.0"),
        ({"version": "\ud800"}, InvalidRequestError, "version"),
    ],
)
def test_invalid_targets_and_options_are_not_sent(
    client: Client, accepting: Any, options: dict[str, Any], error: type[CallbackSDKError], message: str
) -> None:
    """Each invalid target and option raises a typed error, without a request."""
    with pytest.raises(error, match=message) as caught:
        client.run_algorithm("an-algorithm", DATA, **options)
    assert accepting.requests == []
    assert SIGNATURE not in shown(caught.value)


def test_bad_features_are_not_sent(client: Client, accepting: Any) -> None:
    """Features that are not a table stay here."""
    with pytest.raises(FeaturesError, match="different numbers of rows"):
        client.run_algorithm("an-algorithm", {"a": [1], "b": [1, 2]})
    assert accepting.requests == []


@pytest.mark.parametrize("name", ["", ".", "..", 7, None])
def test_an_id_can_not_change_the_path(client: Client, service: Any, name: Any) -> None:
    """An invalid id is rejected by the client."""
    for call in (client.get_algorithm, client.get_task, client.cancel_task):
        with pytest.raises(InvalidRequestError, match="is not an id"):
            call(name)
    assert service.requests == []


def test_an_invalid_id_of_a_delivery_is_an_error_that_says_where_ids_are(client: Client, service: Any) -> None:
    """`task.deliveries` has none."""
    with pytest.raises(InvalidRequestError, match=r"None is not an id\..*client\.get_deliveries\(job_id\)"):
        client.redeliver("42", None)  # type: ignore[arg-type]
    assert service.requests == []


def test_an_id_is_quoted(client: Client, service: Any) -> None:
    """A slash in an id is part of it."""
    with pytest.raises(NotFoundError):
        client.get_task("a/../b?c")
    assert service.paths("GET") == ["/api/v2/algorithms/tasks/a%2F..%2Fb%3Fc"]


def test_a_file_that_changes_meanwhile_is_an_error(accepting: Any, client: Client, tmp_path: Path) -> None:
    """A features file that is rewritten while it is sent is noticed."""
    path = tmp_path / "f.json"
    path.write_text('{"a": [1]}')
    from callback_sdk.documents import body

    original = body.PathPart.chunks

    def rewritten(part: Any) -> Any:
        path.write_text('{"a": [1, 2, 3]}')
        return original(part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body.PathPart, "chunks", rewritten)
        with pytest.raises(FeaturesError, match="changed while") as caught:
            client.run_algorithm("an-algorithm", path)
    assert TOKEN not in shown(caught.value)


def test_algorithms_are_listed(client: Client, service: Any) -> None:
    """Each has its versions and can be run."""
    one = {
        "id": "an-algorithm",
        "name": "An algorithm",
        "description": "Counts.",
        "versions": [{"version": "1.0.0", "change_description": "First.", "new": 1}, "0.9"],
        "evaluations": ["rmse"],
        "unknown": True,
    }
    service.on("GET", "/algorithms", service.Say(data=[one]))
    service.on("GET", "/algorithms/an-algorithm", service.Say(data=one))
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    (algorithm,) = client.get_algorithms()
    assert client.get_algorithm("an-algorithm") == algorithm
    assert (algorithm.id, algorithm.name, algorithm.description) == ("an-algorithm", "An algorithm", "Counts.")
    assert [version.version for version in algorithm.versions] == ["1.0.0", "0.9"]
    assert algorithm.evaluations == ("rmse",)
    assert algorithm.run(DATA, evaluate=False).job_id == "42"


def test_a_suggestion_of_the_service_is_not_repeated(client: Client, service: Any) -> None:
    """If the service suggests names, the client doesn't."""
    service.on("GET", "/algorithms", service.Say(data=[{"id": "wear"}]))
    service.on("GET", "/algorithms/waer", service.Say(404, {"error": "No 'waer'. Did you mean 'wear'?"}))
    with pytest.raises(NotFoundError, match=r"404: No 'waer'\. Did you mean 'wear'\?$"):
        client.get_algorithm("waer")


def test_a_task_is_canceled(client: Client, service: Any) -> None:
    """`cancel_task` returns the task as the service then sees it."""
    service.on("DELETE", "/algorithms/tasks/42", service.Say(202, {"job_id": "42", "status": "Canceled"}))
    assert client.cancel_task("42").status == "Canceled"


def test_an_unknown_algorithm_suggests_similar_ones(client: Client, service: Any) -> None:
    """The hint has similar names, or all of them."""
    service.on("GET", "/algorithms", service.Say(data=[{"id": "thermal-fatigue"}, {"id": "wear"}]))
    with pytest.raises(NotFoundError, match=r"Did you mean 'thermal-fatigue'\?"):
        client.run_algorithm("thermal-fatige", DATA)
    with pytest.raises(NotFoundError, match="The service has 'thermal-fatigue', 'wear'"):
        client.get_algorithm("x")


def test_everything_may_come_from_the_environment(accepting: Any, clean_environment: pytest.MonkeyPatch) -> None:
    """`Client()` is enough."""
    clean_environment.setenv("CALLBACK_SDK_URL", accepting.url)
    clean_environment.setenv("COMPREDICT_AI_CORE_KEY", TOKEN)
    clean_environment.setenv("CALLBACK_SDK_CALLBACK_URL", SIGNED)
    with Client() as client:
        client.run_algorithm("an-algorithm", DATA)
    assert accepting.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert accepting.requests[0].form["callback_url"].decode() == SIGNED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token": TOKEN}, "no URL.*CALLBACK_SDK_URL"),
        ({"url": "http://h"}, "no token.*CALLBACK_SDK_TOKEN"),
        ({"url": "http://h", "token": ""}, "no token"),
        ({"url": "http://h", "token": "two words"}, "space"),
        ({"url": "http://h", "token": 7}, "token is of type int"),
        ({"url": "ftp://h", "token": TOKEN}, "not an http"),
        ({"url": "h/api", "token": TOKEN}, "not an http"),
        ({"url": "http://h:x", "token": TOKEN}, "malformed"),
        ({"url": f"http://u:{SIGNATURE}@h", "token": TOKEN}, "user"),
        ({"url": f"http://h/?token={SIGNATURE}", "token": TOKEN}, "query"),
        ({"url": "http://h", "token": TOKEN, "retries": -1}, "retries"),
        ({"url": "http://h", "token": TOKEN, "timeout": "30"}, "timedelta"),
        ({"url": "http://h", "token": TOKEN, "connect_timeout": timedelta(0)}, "connect_timeout"),
        ({"url": "http://h", "token": TOKEN, "storage_endpoints": ["minio"]}, "endpoint"),
    ],
)
def test_invalid_settings_are_errors(clean_environment: Any, arguments: dict[str, Any], message: str) -> None:
    """Each error names the missing or invalid setting, and contains no credentials."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        Client(**arguments)
    assert SIGNATURE not in shown(caught.value)
    assert TOKEN not in shown(caught.value)


def test_a_storage_endpoint_needs_a_signature(accepting: Any, clean_environment: Any) -> None:
    """An unsigned URL at a configured storage endpoint is rejected."""
    with (
        Client(accepting.url, token=TOKEN, storage_endpoints=["https://minio.example.org"]) as client,
        pytest.raises(MissingS3FieldsError),
    ):
        client.run_algorithm("an-algorithm", DATA, callback_url="https://minio.example.org/bucket/key")


def test_a_client_is_shared_by_threads(client: Client, service: Any) -> None:
    """Calls from many threads at once all get their answers."""
    for n in range(20):
        service.on("GET", f"/algorithms/tasks/{n}", service.Say(data={"job_id": str(n)}))
    got: list[str] = []
    threads = [threading.Thread(target=lambda n=n: got.append(client.get_task(str(n)).job_id)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=int) == [str(n) for n in range(20)]


def test_get_instance_shares_a_client(service: Any, clean_environment: pytest.MonkeyPatch) -> None:
    """The same arguments give the same client, others another one, and a closed one is replaced."""
    clean_environment.setenv("CALLBACK_SDK_URL", service.url)
    one = get_instance(token=TOKEN)
    one.fail_on_error(option="False")
    assert get_instance(token=TOKEN) is one
    assert get_instance(token=Secret(TOKEN)) is one
    others = [
        get_instance(token=f"{TOKEN}-2"),
        get_instance(token=TOKEN, url=f"{service.url}/x"),
        get_instance(token=TOKEN, callback_url=HOOK),
        get_instance(token=TOKEN, callback_url=[SIGNED, HOOK]),
    ]
    assert len({id(client) for client in (one, *others)}) == 5
    one.close()
    again = get_instance(token=TOKEN)
    assert again is not one
    assert again._failures.raises is True
    for client in (again, *others):
        client.close()


def test_a_missing_token_is_an_error_of_get_instance(clean_environment: Any) -> None:
    """The error names the missing setting."""
    with pytest.raises(ConfigurationError, match="no token"):
        get_instance(url="http://h")


def test_the_client_loads_no_heavy_library() -> None:
    """Importing it needs requests only."""
    code = (
        "import sys, callback_sdk.client\n"
        "print(*{'boto3', 'botocore', 'pandas', 'pyarrow', 'numpy', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == ""
