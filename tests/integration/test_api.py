"""The contract of the REST API: authentication, authorization, and repeated requests."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from callback_sdk import S3Signer
from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.access.tokens import REFRESH, Tokens
from callback_sdk.service.store.cipher import CredentialCipher, ensure_keys
from callback_sdk.testing import Postgres, WebhookReceiver
from tests.conftest import missing_server
from tests.topology import Topology, wait_until

REGISTRY = "engine_jobs:registry"
TABLE = {"a": [1, 2]}
PASSWORD = "a password of somebody"
MARKER = "MARKER51be"
MANY = 16
SUBMIT = "/algorithms/sum/predict"
TASKS = "/algorithms/tasks"


class Caller:
    """One user's requests to one service."""

    def __init__(self, topology: Topology, token: str) -> None:
        self._topology = topology
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        address = (self._topology.data / "address").read_text().strip()
        base = address if path.endswith("z") or path == "/metrics" else f"{address}/api/v2"
        return self._session.request(method, base + path, timeout=60, **options)

    def get(self, path: str, **params: Any) -> Any:
        answer = self("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, path: str = SUBMIT, features: Any = None, *, key: str | None = None, **fields: Any) -> Any:
        """Submit one task, and return the answer."""
        headers = {"Idempotency-Key": key} if key else {}
        features = json.dumps(TABLE if features is None else features)
        data = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        return self("POST", path, data=data, files={"features": ("features", features)}, headers=headers)

    def batch(self, tasks: list[Any], features: list[Any], *, key: str | None = None) -> requests.Response:
        """Submit many tasks at once."""
        files = [("tasks", ("tasks.json", json.dumps(tasks)))]
        files += [("features", ("features", json.dumps(item))) for item in features]
        headers = {"Idempotency-Key": key} if key else {}
        return self("POST", "/algorithms/sum/predict/batch", files=files, headers=headers)

    def submit(self, path: str = SUBMIT, **options: Any) -> str:
        """Submit one task that must be accepted, and return its id."""
        answer = self.send(path, **options)
        assert answer.status_code == 202, answer.text
        return answer.json()["job_id"]

    def ended(self, job_id: str) -> Any:
        """Wait until a task has ended, and return it."""
        wait_until(lambda: self.get(f"{TASKS}/{job_id}")["status"] in ("Finished", "Canceled"), what="its end")
        return self.get(f"{TASKS}/{job_id}")

    def settled(self, job_id: str) -> Any:
        """Wait until nothing of a task's deliveries is pending, and return them."""

        def deliveries() -> Any:
            return self.get(f"{TASKS}/{job_id}/deliveries")

        wait_until(lambda: all(item["status"] != "pending" for item in deliveries()), what="its deliveries")
        return deliveries()


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run the service with two users, one of which has a password."""
    folder = tmp_path_factory.mktemp("api")
    # Many tests deliver to a port that nobody listens on, whose circuit must not open.
    settings = {"RETRY_DELAYS": "0.1s,0.1s", "MAX_CALLBACKS": "3", "CIRCUIT_FAILURES": "1000"}
    with Topology(folder, REGISTRY, settings=settings) as topology:
        topology.run("users", "add", "mary", "--password", stdin=f"{PASSWORD}\n")
        yield topology


@pytest.fixture
def ann(topology: Topology) -> Caller:
    """Give the first user."""
    return Caller(topology, (topology.data / "token").read_text().strip())


@pytest.fixture
def bob(topology: Topology) -> Caller:
    """Give another user, a new one."""
    return Caller(topology, topology.run("users", "add", f"bob-{uuid.uuid4()}"))


def log_in(caller: Caller, name: str = "mary", password: str = PASSWORD) -> requests.Response:
    return caller("POST", "/token/", json={"username": name, "password": password})


def refused(answer: requests.Response, status: int) -> str:
    """Return the reason of an answer that must be an error."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["status"] is False
    assert answer.headers["x-request-id"]
    return body.get("error") or " ".join(body["errors"])


def test_tokens_are_given_out_renewed_and_verified(topology: Topology, ann: Caller) -> None:
    """Access and refresh tokens do their own part, and neither does the other's."""
    pair = log_in(ann).json()
    renewed = ann("POST", "/token/refresh/", json={"refresh": pair["refresh"]}).json()["access"]
    for token in (pair["access"], renewed):
        assert Caller(topology, token)("GET", "/algorithms").status_code == 200
        assert ann("POST", "/token/verify/", json={"token": token}).json() == {}
    refused(Caller(topology, pair["refresh"])("GET", "/algorithms"), 401)
    refused(ann("POST", "/token/refresh/", json={"refresh": pair["access"]}), 401)
    refused(ann("POST", "/token/verify/", json={"token": f"{pair['access']}x"}), 401)


def test_a_wrong_password_and_an_unknown_name_have_the_same_error(ann: Caller) -> None:
    """User names can't be discovered."""
    reasons = {refused(log_in(ann, name, f"{PASSWORD}!"), 401) for name in ("mary", "nobody", "admin")}
    assert len(reasons) == 1


def own_tokens(topology: Topology, **lives: timedelta) -> Tokens:
    return Tokens(CredentialCipher(ensure_keys(topology.data / "keys")).derive("tokens"), **lives)


def test_a_token_made_with_the_services_keys_counts(topology: Topology) -> None:
    """The wrong ones of the next test are wrong for their own reason only."""
    token = own_tokens(topology).issue("admin", 0).reveal()
    assert Caller(topology, token)("GET", "/algorithms").status_code == 200


FORGED: dict[str, Callable[[Topology], str]] = {
    "nonsense": lambda _: "nonsense",
    "an API token of nobody": lambda _: "cbk_" + "A" * 43,
    "expired": lambda it: own_tokens(it, access=timedelta(seconds=-1)).issue("admin", 0).reveal(),
    "a refresh token": lambda it: own_tokens(it).issue("admin", 0, REFRESH).reveal(),
    "of another generation": lambda it: own_tokens(it).issue("admin", 7).reveal(),
    "of a user that there isn't": lambda it: own_tokens(it).issue("nobody", 0).reveal(),
    "signed with another key": lambda it: jwt.encode(_claims(it), "k" * 32, algorithm="HS256"),
    "not signed": lambda it: jwt.encode(_claims(it), None, algorithm="none"),
}


def _claims(topology: Topology) -> dict[str, Any]:
    token = own_tokens(topology).issue("admin", 0).reveal()
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
def test_an_invalid_token_is_rejected_by_every_route(
    topology: Topology, ann: Caller, make: Callable[[Topology], str]
) -> None:
    """For reading and changing routes, with a hint."""
    token = make(topology)
    job_id = ann.submit()
    for method, path in (("GET", TASKS), ("GET", f"{TASKS}/{job_id}"), ("DELETE", f"{TASKS}/{job_id}")):
        answer = Caller(topology, token)(method, path)
        assert token not in refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(Caller(topology, token).send(), 401)


def test_a_revoked_token_stays_revoked_after_a_restart(tmp_path: Path) -> None:
    """Even the token in the file of the first user, which is read at each start; the log has a hint."""
    with Topology(tmp_path, REGISTRY, processes=1) as topology:
        old = Caller(topology, (topology.data / "token").read_text().strip())
        assert old("GET", TASKS).status_code == 200
        new = Caller(topology, topology.run("users", "create-token", "admin", "--revoke"))
        refused(old("GET", TASKS), 401)
        topology.service.kill()
        topology.service.wait()
        topology.start_service()
        refused(old("GET", TASKS), 401)
        assert new("GET", TASKS).status_code == 200
        assert "was revoked" in topology.log


def test_a_disabled_users_tokens_are_worth_nothing(topology: Topology, ann: Caller) -> None:
    """The access token, the refresh token, and the password."""
    topology.run("users", "add", "zoe", "--password", stdin=f"{PASSWORD}\n")
    pair = log_in(ann, "zoe").json()
    topology.run("users", "disable", "zoe")
    refused(Caller(topology, pair["access"])("GET", "/algorithms"), 401)
    refused(ann("POST", "/token/refresh/", json={"refresh": pair["refresh"]}), 401)
    refused(log_in(ann, "zoe"), 401)


def test_a_new_password_ends_existing_sessions(topology: Topology, ann: Caller) -> None:
    """Sessions and tokens of the old password are revoked."""
    topology.run("users", "add", "tom", "--password", stdin=f"{PASSWORD}\n")
    access = log_in(ann, "tom").json()["access"]
    topology.run("users", "set-password", "tom", stdin=f"{PASSWORD} and more\n")
    refused(Caller(topology, access)("GET", "/algorithms"), 401)


def test_users_can_not_access_tasks_of_others(ann: Caller, bob: Caller) -> None:
    """Each route responds exactly as for an unknown task, and the task continues."""
    job_id = ann.submit(callback_url="http://127.0.0.1:9/nobody")
    (delivery,) = ann.settled(job_id)
    routes = [
        ("GET", "{}"),
        ("DELETE", "{}"),
        ("GET", "{}/deliveries"),
        ("POST", "{}/deliveries/" + delivery["delivery_id"] + "/redeliver"),
    ]
    for method, tail in routes:
        strange, unknown = (
            bob(method, f"{TASKS}/{tail.format(one)}").text.replace(one, "ID") for one in (job_id, str(uuid.uuid4()))
        )
        assert strange == unknown
        assert "not found" in strange
    assert bob.get(TASKS) == {"tasks": [], "next_cursor": None}
    assert job_id in [task["job_id"] for task in ann.get(TASKS)["tasks"]]
    # A delivery of one's own task is no way to another's.
    own = bob.submit()
    bob.ended(own)
    refused(bob("POST", f"{TASKS}/{own}/deliveries/{delivery['delivery_id']}/redeliver"), 404)


def test_a_key_makes_one_task_however_many_ask_at_once(ann: Caller, bob: Caller) -> None:
    """All get the same id; other content under the key is a conflict, and another user's key is another key."""
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(MANY) as pool:
        ids = {*pool.map(lambda _: ann.submit(key=key, parameters={"a": 1}), range(MANY))}
    assert len(ids) == 1
    assert "Idempotency-Key" in refused(ann.send(key=key, parameters={"a": 2}), 409)
    assert "Idempotency-Key" in refused(ann.send("/algorithms/sum/fit", key=key, parameters={"a": 1}), 409)
    assert bob.submit(key=key, parameters={"a": 2}) not in ids


def test_a_key_creates_one_batch(ann: Caller) -> None:
    """A repeated request returns the same ids in order, even concurrently."""
    key = str(uuid.uuid4())
    tasks = [{"features": 0, "priority": n} for n in range(5)]
    with ThreadPoolExecutor(MANY) as pool:
        answers = [*pool.map(lambda _: ann.batch(tasks, [TABLE], key=key).json()["job_ids"], range(MANY))]
    assert [answers[0]] * MANY == answers
    assert len({*answers[0]}) == 5
    refused(ann.batch(tasks[:4], [TABLE], key=key), 409)


def test_a_repeated_request_succeeds_although_its_target_has_expired(ann: Caller) -> None:
    """A client that lost the response must be able to get the id of the task."""
    key = str(uuid.uuid4())
    client = boto3.client("s3", aws_access_key_id="id", aws_secret_access_key="key", region_name="eu-west-1")
    url = S3Signer("bucket", client=client).presign_put("key", expires=timedelta(seconds=20)).url
    first = ann.submit(key=key, callback_url=url)
    first_batch = ann.batch([{"callbacks": [{"url": url}]}], [TABLE], key=f"{key} batch").json()["job_ids"]
    wait_until(lambda: ann.send(callback_url=url).status_code == 422, what="the target's expiry")
    assert ann.submit(key=key, callback_url=url) == first
    assert ann.batch([{"callbacks": [{"url": url}]}], [TABLE], key=f"{key} batch").json()["job_ids"] == first_batch


@pytest.mark.parametrize("key", ["", "k" * 256, "käse"])
def test_a_key_that_is_none_is_refused(ann: Caller, key: str) -> None:
    """One that is too long, empty, or not of ASCII."""
    files = {"features": ("features", json.dumps(TABLE))}
    answer = ann("POST", SUBMIT, files=files, headers={"Idempotency-Key": key.encode()})
    assert "Idempotency-Key" in refused(answer, 422)


def test_tasks_are_listed_in_pages(bob: Caller) -> None:
    """Newest first and without duplicates, even if tasks are submitted in between; filters apply to every page."""
    ids = [bob.submit() for _ in range(7)]
    fitted = bob.submit("/algorithms/sum/fit")
    pages, cursor = [], None
    while cursor is not None or not pages:
        page = bob.get(TASKS, limit=3, algorithm="sum", **({"cursor": cursor} if cursor else {}))
        pages.append([task["job_id"] for task in page["tasks"]])
        cursor = page["next_cursor"]
        bob.submit()
    assert [len(page) for page in pages] == [3, 3, 2]
    assert [*chain(*pages)] == [fitted, *reversed(ids)]
    for job_id in ids:
        bob.ended(job_id)
    assert {task["status"] for task in bob.get(TASKS, status="Finished", limit=200)["tasks"]} == {"Finished"}
    assert {task["job_id"] for task in bob.get(TASKS, status="succeeded", limit=200)["tasks"]} >= set(ids)
    assert bob.get(TASKS, status="failed")["tasks"] == []
    assert bob.get(TASKS, algorithm="slow")["tasks"] == []
    assert [task["job_id"] for task in bob.get(TASKS, id_prefix=ids[0][:13].upper())["tasks"]] == [ids[0]]
    for wrong in ({"limit": 0}, {"limit": 201}, {"status": "Done"}, {"cursor": "?"}, {"id_prefix": "%"}):
        refused(bob("GET", TASKS, params=wrong), 422)


def test_a_task_in_a_list_says_how_it_stands(bob: Caller) -> None:
    """All that a list needs, and times as ISO 8601 in UTC."""
    job_id = bob.submit(callback_url="http://127.0.0.1:9/nobody", priority="7")
    bob.settled(job_id)
    (task,) = bob.get(TASKS)["tasks"]
    times = [datetime.fromisoformat(task.pop(name)) for name in ("created_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert {moment.tzinfo for moment in times} == {timezone.utc}
    assert task["owner"].startswith("bob-")
    assert task == {
        "job_id": job_id,
        "algorithm": "sum",
        "version": "1.0.0",
        "kind": "predict",
        "status": "Finished",
        "success": True,
        "error": None,
        "error_code": None,
        "progress": {"fraction": 1.0, "message": ""},
        "priority": 7,
        "owner": task["owner"],
        "expires_at": None,
        "deliveries": {"pending": 0, "delivered": 0, "dead": 1},
    }


def test_a_batch_keeps_its_order(bob: Caller) -> None:
    """Fifty tasks, with separate or shared features."""
    features = [{"a": [n]} for n in range(50)]
    ids = bob.batch([{} for _ in features], features).json()["job_ids"]
    assert [bob.ended(job_id)["predictions"]["a"] for job_id in ids] == [*range(50)]
    shared = bob.batch([{"features": 1}, {"features": 1}, {"features": 0}], [{"a": [1]}, {"a": [2]}]).json()["job_ids"]
    assert [bob.ended(job_id)["predictions"]["a"] for job_id in shared] == [2, 2, 1]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"callbacks": [{"url": "ftp://x/y"}]}, "https"),
        ({"callbacks": [{"url": "https://bucket.s3.amazonaws.com/key", "param": {}}]}, "s3_fields"),
        ({"priority": 10}, "priority"),
        ({"expires": "3600"}, "expires"),
        ({"expires": 0}, "expires"),
        ({"expires": True}, "expires"),
        ({"expires": 1e12}, "expires"),
        ({"parameters": []}, "parameters"),
        ({"features": 50}, "features"),
        ({"nonsense": 1}, "nonsense"),
        ("nonsense", "object"),
    ],
)
def test_a_batch_with_one_bad_task_is_refused_whole(bob: Caller, item: Any, words: str) -> None:
    """The error names the task, and none of the others is accepted."""
    tasks: list[Any] = [{} for _ in range(50)]
    tasks[3] = item
    reason = refused(bob.batch(tasks, [{"a": [n]} for n in range(50)]), 422)
    assert "tasks[3]" in reason
    assert words in reason
    assert bob.get(TASKS)["tasks"] == []


def test_a_delivery_shows_each_attempt(ann: Caller, webhook: WebhookReceiver) -> None:
    """With times and errors, and without credentials; a redelivery has the same id."""
    webhook.respond(503)
    urls = [f"{webhook.url}?token={MARKER}", f"http://127.0.0.1:9/nobody?sig={MARKER}"]
    job_id = ann.submit(callbacks=[{"url": url} for url in urls])
    delivered, dead = ann.settled(job_id)
    assert (delivered["status"], delivered["attempt_count"], delivered["receipt"] is not None) == ("delivered", 2, True)
    assert [item["error"] is None for item in delivered["attempts"]] == [False, True]
    assert (dead["status"], dead["attempt_count"], dead["receipt"]) == ("dead", 3, None)
    assert [item["number"] for item in dead["attempts"]] == [1, 2, 3]
    assert all(item["started_at"] <= item["finished_at"] for item in dead["attempts"])
    assert MARKER not in json.dumps([delivered, dead])
    again = ann("POST", f"{TASKS}/{job_id}/deliveries/{delivered['delivery_id']}/redeliver")
    assert (again.status_code, again.json()["delivery_id"]) == (202, delivered["delivery_id"])
    requests_ = webhook.wait_for(3)
    assert len({item.headers["webhook-id"] for item in requests_}) == 1
    assert len({item.body for item in requests_}) == 1


def test_a_running_task_can_not_be_redelivered(ann: Caller, tmp_path: Path) -> None:
    """A redelivery before the task's end is a conflict. A second cancellation has the same response as the first."""
    parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go")}
    url = "http://127.0.0.1:9/nobody"
    job_id = ann.submit("/algorithms/slow/predict", parameters=parameters, callback_url=url)
    (delivery,) = ann.get(f"{TASKS}/{job_id}/deliveries")
    refused(ann("POST", f"{TASKS}/{job_id}/deliveries/{delivery['delivery_id']}/redeliver"), 409)
    assert ann("DELETE", f"{TASKS}/{job_id}").status_code == 202
    assert ann.ended(job_id)["status"] == "Canceled"
    assert ann("DELETE", f"{TASKS}/{job_id}").status_code == 202


def test_metrics_count_accepted_tasks(ann: Caller) -> None:
    """Prometheus' parser accepts the metrics, and an accepted task increments its counter."""

    def accepted() -> float:
        families = text_string_to_metric_families(ann("GET", "/metrics").text)
        samples = {item.name: item.value for family in families for item in family.samples}
        return samples["callback_sdk_tasks_accepted_total"]

    before = accepted()
    ann.ended(ann.submit())
    assert accepted() == before + 1


def test_the_number_of_tasks_of_a_user_is_limited(tmp_path: Path) -> None:
    """A further task, or a whole batch, is rejected with `Retry-After` until tasks are canceled or end."""
    with Topology(tmp_path, REGISTRY, processes=2, settings={"MAX_TASKS": "2"}) as topology:
        caller = Caller(topology, (topology.data / "token").read_text().strip())
        parameters = {"starts": str(tmp_path / "starts"), "go": str(tmp_path / "go")}
        slow = caller.submit("/algorithms/slow/predict", parameters=parameters, key="slow")
        refused(caller.batch([{}, {}], [TABLE, TABLE]), 429)
        caller.submit("/algorithms/slow/predict", parameters=parameters)
        answer = caller.send()
        assert "cancel some" in refused(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
        assert caller.submit("/algorithms/slow/predict", parameters=parameters, key="slow") == slow
        assert caller("DELETE", f"{TASKS}/{slow}").status_code == 202
        caller.ended(slow)
        caller.ended(caller.submit())


def test_an_outage_of_the_database_is_reported(tmp_path: Path) -> None:
    """The service isn't ready and accepts nothing while PostgreSQL is down, and recovers afterwards."""
    try:
        server = Postgres().__enter__()
    except CallbackSDKError as error:
        missing_server(str(error))
    with server, Topology(tmp_path, REGISTRY, database=server.create_database()) as topology:
        caller = Caller(topology, (topology.data / "token").read_text().strip())
        before = caller.submit()
        caller.ended(before)
        assert caller.get("/readyz")["status"] is True
        server.kill()
        for answer in (caller("GET", "/readyz"), caller.send(), caller("GET", TASKS), caller("GET", "/metrics")):
            reason = refused(answer, 503)
            assert "database" in reason
            assert server.url.partition("@")[0] not in reason
            assert int(answer.headers["retry-after"]) > 0
        assert caller.get("/healthz") == {"status": True}
        server.restart()
        wait_until(lambda: caller("GET", "/readyz").status_code == 200, what="readiness")
        assert caller.ended(caller.submit())["predictions"] == {"a": 3}
        assert [task["status"] for task in caller.get(TASKS)["tasks"]] == ["Finished", "Finished"]


def signed_targets() -> tuple[list[dict[str, Any]], list[str]]:
    """Return a PUT and a POST target at an unused port, and the strings that must not be shown."""
    client = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:9", aws_access_key_id="id", aws_secret_access_key="key", region_name="r"
    )
    signer = S3Signer("bucket", client=client)
    put, post = signer.presign_put("key"), signer.presign_post("key")
    return (
        [{"url": target.url, "param": target.callback_param} for target in (put, post)],
        [put.url.partition("X-Amz-Signature=")[2], post.fields["policy"], post.fields["x-amz-signature"]],
    )


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_is_in_a_log(tmp_path: Path, webhook: WebhookReceiver, style: str) -> None:
    """No password, token or signed URL is logged, even with errors; JSON lines have task and request ids."""
    signed, hidden = signed_targets()
    settings = {"LOG_FORMAT": style, "RETRY_DELAYS": "0.1s", "STORAGE_ENDPOINTS": "http://127.0.0.1:9"}
    with Topology(tmp_path, REGISTRY, settings=settings) as topology:
        topology.run("users", "add", "mary", "--password", stdin=f"{MARKER} {PASSWORD}\n")
        caller = Caller(topology, (topology.data / "token").read_text().strip())
        pair = log_in(caller, password=f"{MARKER} {PASSWORD}").json()
        mary = Caller(topology, pair["access"])
        refused(log_in(caller, password=f"{MARKER} not"), 401)
        refused(Caller(topology, f"cbk_{MARKER}")("GET", TASKS), 401)
        refused(mary("POST", "/token/", data=f'{{"password": "{MARKER}"'), 422)
        targets = [{"url": f"{webhook.url}?token={MARKER}"}, *signed]
        job_id = mary.submit(callbacks=targets, parameters={"b": MARKER})
        refused(mary.send(callback_url=f"ftp://user:{MARKER}@host/"), 422)
        refused(mary.send(callback_url=f"https://b.s3.amazonaws.com/k?{MARKER}", callback_param={"s3_fields": 1}), 422)
        mary.settled(job_id)
        assert mary("GET", f"{TASKS}?cursor={MARKER}").status_code == 422
    secrets = [MARKER, *hidden, pair["access"], pair["refresh"], (topology.data / "token").read_text().strip()]
    assert [secret for secret in secrets if secret in topology.log] == []
    assert job_id in topology.log
    if style == "json":
        lines = [json.loads(line) for line in topology.log.splitlines()]
        (accepted,) = [line for line in lines if line.get("action") == "accept"]
        assert (accepted["job_id"], bool(accepted["request_id"])) == (job_id, True)
        assert {line["job_id"] for line in lines if "delivery_id" in line} == {job_id}
