"""Who may do what: every route of the REST API and of the web UI, for each kind of caller."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
import uvicorn
from attrs import define, field
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from callback_sdk import webhooks
from callback_sdk.redaction import Secret
from callback_sdk.service import Registry
from callback_sdk.service.access.signing_secrets import create_secret
from callback_sdk.service.access.tokens import digest, new_api_token
from callback_sdk.service.api import create_app, cursors, event_streams
from callback_sdk.service.api.access import ServiceLimits
from callback_sdk.service.blobs.folder import DirectoryStorage
from callback_sdk.service.core import TaskService
from callback_sdk.service.dispatcher import Dispatcher
from callback_sdk.service.engines import EngineOptions, open_engine
from callback_sdk.service.files import Scratch
from callback_sdk.service.housekeeping import Housekeeper
from callback_sdk.service.metrics import exposition
from callback_sdk.service.pages import add_pages
from callback_sdk.service.runtime import DeliveryConfig, Runtime
from callback_sdk.service.store import RunOutcome, Store, Submission, TaskRow, open_database
from callback_sdk.service.store.audit import AuditFilter
from callback_sdk.service.store.cipher import CredentialCipher, new_key
from callback_sdk.service.store.models import OPERATOR, USER, NewFile
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.transport.guard import AddressGuard
from tests.topology import wait_until

RESULT = "MARKER4c1f"
"""A part of results, parameters of targets and output files, which only owners and readers may see."""

LOG = "MARKER9e07"
"""A part of the output of the run, which operators may see too."""

EVERYBODY, OWN, PRIVATE, LIST = "everybody", "own", "private", "list"
SEE, MANAGE, READ, OPERATE = "see", "manage", "read", "operate"
"""What routes do: serve everybody; the caller's own things; one thing that is for its owner alone; lists of tasks that
the caller may see; see, manage or read one task; or operate the service."""

ROUTES = {
    "GET /": EVERYBODY,
    "GET /healthz": EVERYBODY,
    "GET /readyz": EVERYBODY,
    "GET /metrics": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
    "GET /docs": EVERYBODY,
    "GET /docs/files": EVERYBODY,
    "POST /api/v2/token": EVERYBODY,
    "POST /api/v2/token/refresh": EVERYBODY,
    "POST /api/v2/token/verify": EVERYBODY,
    "GET /api/v2/signing-secrets": OWN,
    "POST /api/v2/signing-secrets": OWN,
    "DELETE /api/v2/signing-secrets/{secret_id}": PRIVATE,
    "GET /api/v2/algorithms": OWN,
    "GET /api/v2/algorithms/{algorithm_id}": OWN,
    "GET /api/v2/algorithms/{algorithm_id}/versions": OWN,
    "GET /api/v2/algorithms/{algorithm_id}/versions/{version}": OWN,
    "GET /api/v2/algorithms/{algorithm_id}/template": OWN,
    "GET /api/v2/algorithms/{algorithm_id}/graph": OWN,
    "POST /api/v2/algorithms/{algorithm_id}/predict": OWN,
    "POST /api/v2/algorithms/{algorithm_id}/fit": OWN,
    "POST /api/v2/algorithms/{algorithm_id}/predict/batch": OWN,
    "GET /api/v2/algorithms/tasks": LIST,
    "GET /api/v2/algorithms/tasks/events": OWN,
    "GET /api/v2/algorithms/tasks/{job_id}": SEE,
    "DELETE /api/v2/algorithms/tasks/{job_id}": MANAGE,
    "GET /api/v2/algorithms/tasks/{job_id}/deliveries": SEE,
    "POST /api/v2/algorithms/tasks/{job_id}/deliveries/{delivery_id}/redeliver": MANAGE,
    "GET /api/v2/algorithms/tasks/{job_id}/logs": SEE,
    "GET /api/v2/algorithms/tasks/{job_id}/logs/new": SEE,
    "GET /api/v2/algorithms/tasks/{job_id}/events": SEE,
    "GET /api/v2/algorithms/tasks/{job_id}/outputs": READ,
    "GET /api/v2/algorithms/tasks/{job_id}/outputs/{name:path}": READ,
    "HEAD /api/v2/algorithms/tasks/{job_id}/outputs/{name:path}": READ,
    "GET /api/v2/deliveries": LIST,
    "POST /api/v2/deliveries/redeliver": LIST,
    "GET /api/v2/audit": OPERATE,
    "GET /api/v2/hosts": OPERATE,
    "POST /api/v2/hosts/pause": OPERATE,
    "POST /api/v2/hosts/resume": OPERATE,
    "POST /api/v2/hosts/limit": OPERATE,
    "GET /api/v2/workers": OPERATE,
    "GET /api/v2/pauses": OWN,
    "PUT /api/v2/algorithms/{algorithm_id}/pause": OPERATE,
    "DELETE /api/v2/algorithms/{algorithm_id}/pause": OPERATE,
    "GET /ui": EVERYBODY,
    "GET /ui/static": EVERYBODY,
    "GET /ui/login": EVERYBODY,
    "POST /ui/login": EVERYBODY,
    "POST /ui/logout": OWN,
    "GET /ui/overview": OWN,
    "GET /ui/tasks": LIST,
    "POST /ui/tasks/cancel": OWN,
    "GET /ui/tasks/{job_id}": SEE,
    "GET /ui/tasks/{job_id}/events": SEE,
    "GET /ui/tasks/{job_id}/results": READ,
    "GET /ui/tasks/{job_id}/outputs/{name:path}": READ,
    "GET /ui/tasks/{job_id}/preview/{name:path}": READ,
    "GET /ui/tasks/{job_id}/image/{name:path}": READ,
    "GET /ui/tasks/{job_id}/cancel": SEE,
    "POST /ui/tasks/{job_id}/cancel": MANAGE,
    "POST /ui/tasks/{job_id}/deliveries/{delivery_id}/redeliver": MANAGE,
    "GET /ui/deliveries": LIST,
    "POST /ui/deliveries/redeliver": OWN,
    "GET /ui/audit": OPERATE,
    "POST /ui/algorithms/{name}/pause": OPERATE,
    "POST /ui/algorithms/{name}/resume": OPERATE,
    "GET /ui/hosts": OPERATE,
    "POST /ui/hosts/pause": OPERATE,
    "POST /ui/hosts/resume": OPERATE,
    "POST /ui/hosts/limit": OPERATE,
    "GET /ui/algorithms": OWN,
    "GET /ui/algorithms/{name}": OWN,
    "GET /ui/algorithms/{name}/graph": OWN,
    "GET /ui/algorithms/{name}/template": OWN,
    "GET /ui/health": OWN,
}
"""Each route, and what it does. A new route must be added here."""

CANCELS = ("DELETE /api/v2/algorithms/tasks/{job_id}", "POST /ui/tasks/{job_id}/cancel")
WITHOUT_PICTURE = ("/graph", "/image/")
CALLERS = {"owner": (USER, False), "stranger": (USER, False), "operator": (OPERATOR, False), "reader": (OPERATOR, True)}
FORBIDDEN = {
    (READ, "operator"): 403,
    (OPERATE, "owner"): 403,
    (OPERATE, "stranger"): 403,
    **{(right, "stranger"): 404 for right in (SEE, MANAGE, READ)},
    **{(PRIVATE, caller): 404 for caller in ("stranger", "operator", "reader")},
}


@define
class House:
    """A service in this process, with the things of its users."""

    store: Store
    app: FastAPI
    origin: str = ""
    tokens: dict[str, str] = field(factory=dict)
    browsers: dict[str, tuple[requests.Session, str]] = field(factory=dict)

    def add_user(self, name: str, role: str, *, may_read: bool) -> None:
        user, token = self.store.users.add(name, user_id=name, role=role, may_read=may_read), new_api_token()
        self.store.users.add_token(user.user_id, digest(token), label="test")
        self.tokens[name] = token.reveal()

    def add_task(self, owner: str, *, ended: bool, error: str = "410 Gone") -> tuple[str, str]:
        """Add a task, which has results, an output file and a dead delivery if it has ended; return the ids."""
        job_id, store = str(uuid.uuid4()), self.store
        task = TaskRow(job_id=job_id, owner=owner, algorithm="known", version="1", features_format="json")
        targets = parse_callbacks(["http://127.0.0.1:9/hook"], [{"name": RESULT}])
        store.tasks.submit([Submission(task=task, targets=targets, features=b"[]")])
        if ended:
            attempt = store.tasks.claim(job_id, "w").attempt
            store.output.write(job_id, attempt, 0, LOG.encode())
            data = RESULT.encode()
            file = NewFile(name="note.txt", size=len(data), sha256="0" * 64, media_type="text/plain", data=data)
            store.output_files.insert(job_id, attempt, [file])
            results = json.dumps(RESULT).encode()
            outcome = RunOutcome(
                success=True,
                results=results,
                result_offsets={"predictions": [0, len(results)]},
                output_attempt=attempt,
                size=len(results),
            )
            store.tasks.finish(job_id, attempt, outcome)
        (delivery,) = store.deliveries.of(job_id)
        if ended:
            store.deliveries.claim(delivery["delivery_id"], "w")
            store.deliveries.record_failure(delivery["delivery_id"], 1, error, None)
        return job_id, delivery["delivery_id"]

    def add_secret(self, owner: str) -> str:
        """Return the id of a signing secret, the only one of a user."""
        for old in self.store.signing_secrets.of(owner):
            self.store.signing_secrets.revoke(owner, old.secret_id)
        return create_secret(self.store, self.store.users.by_name(owner))[0].secret_id

    def send(self, route: str, caller: str | None, **values: str) -> requests.Response:
        """Send the request of a route, with what it needs to succeed."""
        method, _, path = route.partition(" ")
        if path.endswith("/pause"):
            # Not that of the tasks, which would wait then.
            values = {"algorithm_id": "idle", "name": "idle"}
        url = self.origin + re.sub(r"\{(\w+)(:path)?\}", lambda match: values[match[1]], path)
        if path.startswith("/ui"):
            session, csrf = self.browsers[caller] if caller else (requests.Session(), "")
            form = {"csrf": csrf, "host": "paused.example.org"} if method == "POST" else None
            return session.request(method, url, data=form, timeout=60, allow_redirects=False)
        headers = {"Authorization": f"Bearer {self.tokens[caller]}"} if caller else {}
        return requests.request(method, url, headers=headers, timeout=60, **body_of(path))

    def log_in(self, caller: str) -> None:
        session = requests.Session()
        session.post(f"{self.origin}/ui/login", data={"token": self.tokens[caller]}, timeout=60)
        page = session.get(f"{self.origin}/ui/tasks", timeout=60).text
        found = re.search(r'name="csrf" value="(\w+)"', page)
        assert found, page
        self.browsers[caller] = (session, found[1])


def body_of(path: str) -> dict[str, Any]:
    """Return what a route needs as its body."""
    if "/hosts/" in path:
        return {"json": {"host": "paused.example.org"}}
    if path.endswith("/pause"):
        return {"json": {}}
    if path.endswith("/predict/batch"):
        return {"files": [("tasks", ("tasks", '[{"features": null}]'))]}
    if path.endswith(("/predict", "/fit")):
        return {"files": [("features", ("features", '{"a": [1]}'))]}
    if path.endswith("/signing-secrets"):
        return {"json": {}}
    if path.endswith("/deliveries/redeliver"):
        return {"json": {"status": "dead", "dry_run": True}}
    return {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Serve an application whose tasks don't run."""
    folder = tmp_path_factory.mktemp("rights")
    cipher = CredentialCipher([new_key()])
    store = Store(open_database(Secret(f"sqlite:///{folder / 'store.sqlite3'}")), cipher)
    registry = Registry()
    registry.algorithm("known", version="1", templates={"input": {"a": [1]}})(
        lambda features, parameters, context: None
    )
    registry.algorithm("idle", version="1")(lambda features, parameters, context: None)
    registry.fit("known")(lambda features, parameters, context: None)
    runtime = Runtime(
        registry=registry,
        registry_name="x:y",
        cipher=cipher,
        store=store,
        blobs=DirectoryStorage(folder / "blobs"),
        scratch=Scratch(folder / "scratch"),
        temporary=Scratch(folder / "temporary"),
        delivery=DeliveryConfig(guard=AddressGuard(allow_networks=["127.0.0.0/8:*"])),
    )
    options = EngineOptions(instance="x", processes=1, shutdown_timeout=timedelta(0))
    with open_engine("embedded", runtime, options) as engine:
        task_service = TaskService(
            runtime,
            engine=engine,
            dispatcher=Dispatcher(store=store, engine=engine, wakeup=runtime.wakeup),
            housekeeper=Housekeeper(runtime, wakeup=runtime.wakeup.set),
        )
        house = House(store, add_pages(create_app(task_service, limits=ServiceLimits())))
        for name, (role, may_read) in CALLERS.items():
            house.add_user(name, role, may_read=may_read)
        server = uvicorn.Server(uvicorn.Config(house.app, port=0, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_until(lambda: server.started, what="the start")
        house.origin = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        for name in CALLERS:
            house.log_in(name)
        yield house
        server.should_exit = True
        thread.join()
    store.close()


def routes_of(routes: Any, prefix: str = "") -> Iterator[str]:
    """Yield method and path of each route."""
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            # Newer versions of FastAPI keep included routers as they are.
            yield from routes_of(router.routes, prefix)
        elif isinstance(route, Mount) and route.routes:
            yield from routes_of(route.routes, prefix + route.path)
        elif isinstance(route, Mount):
            yield f"GET {prefix}{route.path}"
        elif isinstance(route, Route):
            # Starlette adds HEAD to each GET, and FastAPI only where it is a route of its own.
            implied = () if isinstance(route, APIRoute) else ("HEAD",)
            yield from (f"{method} {prefix}{route.path}" for method in route.methods or () if method not in implied)


def test_every_route_is_classified(house: House) -> None:
    """A route that is missing in the table would have no test of its rights."""
    assert set(routes_of(house.app.routes)) == set(ROUTES)


@pytest.mark.parametrize("route", [route for route, right in ROUTES.items() if right != EVERYBODY])
def test_nobody_may_do_anything_without_a_login(house: House, route: str) -> None:
    """The API answers with 401, and the web UI redirects to the login page."""
    job_id, delivery_id = house.add_task("owner", ended=True)
    answer = house.send(route, None, **names(job_id, delivery_id), secret_id=house.add_secret("owner"))
    assert answer.status_code == (303 if " /ui" in route else 401)
    assert not {RESULT, LOG, job_id} & set(re.findall(r"MARKER\w{4}|[0-9a-f-]{36}", answer.text))


def names(job_id: str, delivery_id: str) -> dict[str, str]:
    common = {"algorithm_id": "known", "version": "1", "name": "note.txt"}
    return {**common, "job_id": job_id, "delivery_id": delivery_id}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", [route for route, right in ROUTES.items() if right not in (EVERYBODY, OWN, LIST)])
def test_each_right_is_that_of_its_callers(house: House, route: str, caller: str) -> None:
    """Owners have all rights to their tasks, operators all but to read, and what they do is in the audit log."""
    right, since = ROUTES[route], time.time()
    job_id, delivery_id = house.add_task("owner", ended=route not in CANCELS)
    answer = house.send(route, caller, **names(job_id, delivery_id), secret_id=house.add_secret("owner"))
    expected = FORBIDDEN.get((right, caller))
    if expected is None and any(part in route for part in WITHOUT_PICTURE):
        expected = 404
    if expected is not None:
        assert answer.status_code == expected, answer.text
    else:
        assert answer.status_code in (200, 202, 204, 303), answer.text
    if caller in ("stranger", "operator"):
        assert RESULT not in answer.text
    entries = house.store.audit.page(AuditFilter(job_id=job_id, since=since - 1), limit=9)
    acted = right in (SEE, MANAGE, READ) and caller in ("operator", "reader") and answer.status_code < 400
    assert bool(entries) == acted or expected == 404
    assert {(entry.actor, entry.owner) for entry in entries} <= {(caller, "owner")}
    if right == MANAGE and acted:
        assert {"task-canceled", "redelivered"} & {entry.action for entry in entries}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", [route for route, right in ROUTES.items() if right in (OWN, LIST)])
def test_lists_have_what_the_caller_may_see(
    house: House, route: str, caller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers don't see that a task exists, operators do, and no list has results."""
    if route == "POST /ui/logout":
        return
    # The stream of events would not end.
    monkeypatch.setattr(event_streams, "_LIFETIME", 0.0)
    monkeypatch.setattr(event_streams, "HEARTBEAT", 0.05)
    job_id, _ = house.add_task("owner", ended=True)
    algorithm = {"algorithm_id": "known", "name": "known", "version": "1"}
    answer = house.send(route, caller, **algorithm)
    assert answer.status_code in ((404,) if "/graph" in route else (200, 201, 202, 303, 409)), answer.text
    assert RESULT not in answer.text
    if ROUTES[route] == LIST and not route.startswith("POST"):
        assert (job_id in answer.text) == (caller != "stranger")
    else:
        assert job_id not in answer.text


def test_an_operator_may_renew_a_signature_but_not_send_a_result_elsewhere(house: House) -> None:
    """A new target at the same place is a redelivery; at any other place it discloses the result."""
    job_id, delivery_id = house.add_task("owner", ended=True)
    path = f"{house.origin}/api/v2/algorithms/tasks/{job_id}/deliveries/{delivery_id}/redeliver"
    same, other = "http://127.0.0.1:9/hook", "http://127.0.0.1:9/elsewhere"

    def replace(caller: str, url: str, **param: Any) -> int:
        headers = {"Authorization": f"Bearer {house.tokens[caller]}"}
        body = {"target": {"url": url, "param": param}}
        return requests.post(path, json=body, headers=headers, timeout=60).status_code

    assert replace("operator", same) == 202
    assert replace("operator", other) == 403
    assert replace("operator", same, refresh={"url": "http://127.0.0.1:9/issuer"}) == 403
    assert replace("operator", same, webhook={"headers": {"X-Destination": other}}) == 403
    assert replace("operator", same, webhook={"secret": webhooks.generate_secret()}) == 403
    assert replace("operator", same, http={"method": "PUT", "headers": {}}) == 403
    assert replace("reader", other) == 202
    assert house.store.deliveries.of(job_id)[0]["url"] == other
    actions = [entry.action for entry in house.store.audit.page(AuditFilter(job_id=job_id), limit=9)]
    assert actions.count("target-replaced") == 2


def test_a_role_counts_from_the_next_request_on(house: House) -> None:
    """An operator who becomes an ordinary user sees nothing of others, with the same token and session."""
    house.add_user("demoted", OPERATOR, may_read=True)
    house.log_in("demoted")
    job_id, delivery_id = house.add_task("owner", ended=True)
    route = "GET /api/v2/algorithms/tasks/{job_id}"
    page = "GET /ui/tasks/{job_id}"
    assert house.send(route, "demoted", **names(job_id, delivery_id)).status_code == 200
    house.store.users.set_role("demoted", USER)
    assert house.send(route, "demoted", **names(job_id, delivery_id)).status_code == 404
    assert house.send(page, "demoted", **names(job_id, delivery_id)).status_code == 404
    assert house.send("GET /api/v2/audit", "demoted").status_code == 403


@pytest.mark.parametrize("change", ["demote", "revoke"])
def test_a_caller_who_waits_may_lose_the_right_to_the_answer(house: House, change: str) -> None:
    """The token and the rights are those of the end of the wait."""
    name = f"waiting-{change}"
    house.add_user(name, OPERATOR, may_read=True)
    job_id, _ = house.add_task("owner", ended=False)
    answers: list[requests.Response] = []
    headers = {"Authorization": f"Bearer {house.tokens[name]}"}
    url = f"{house.origin}/api/v2/algorithms/tasks/{job_id}?wait=40"
    waiting = threading.Thread(target=lambda: answers.append(requests.get(url, headers=headers, timeout=60)))
    waiting.start()
    wait_until(lambda: b'callback_sdk_waiting_clients{kind="poll"} 1.0' in exposition(house.store))
    if change == "demote":
        house.store.users.set_role(name, USER)
    else:
        house.store.users.revoke_tokens(name)
    house.store.tasks.cancel(job_id)
    waiting.join()
    assert answers[0].status_code == (404 if change == "demote" else 401)
    assert RESULT not in answers[0].text


def redeliver(house: House, caller: str, **body: Any) -> requests.Response:
    """Send a request of a bulk redelivery."""
    headers = {"Authorization": f"Bearer {house.tokens[caller]}"}
    url = f"{house.origin}/api/v2/deliveries/redeliver"
    return requests.post(url, json={"status": "dead", **body}, headers=headers, timeout=60)


@pytest.mark.parametrize("end", [1e13, -1e13])
def test_a_forged_end_of_a_bulk_redelivery_is_not_a_fault(house: House, end: float) -> None:
    """No calendar has such a time. It is a time at which nothing, or all, has ended."""
    house.add_task("owner", ended=True)
    answer = redeliver(house, "owner", dry_run=True, cursor=cursors.encode(0.0, "x", end))
    assert (answer.status_code, answer.json()["due"] > 0) == (202, end > 0)


def test_a_bulk_redelivery_is_in_the_audit_log_for_each_owner(house: House) -> None:
    """With the ids and the filter; a dry run changes nothing, so it has no entry."""
    error = str(uuid.uuid4())
    mine, theirs = (house.add_task(owner, ended=True, error=error)[1] for owner in ("owner", "stranger"))
    since = house.store.clock()
    assert redeliver(house, "operator", error=error, dry_run=True).json()["due"] == 2
    found = house.store.audit.page(AuditFilter(action="redelivered", since=since), limit=9)
    assert found == []
    assert redeliver(house, "operator", error=error).json()["due"] == 2
    found = house.store.audit.page(AuditFilter(action="redelivered", since=since), limit=9)
    assert {(one.actor, one.owner, one.facts["delivery_ids"][0]) for one in found} == {
        ("operator", "owner", mine),
        ("operator", "stranger", theirs),
    }
    assert found[0].facts["filter"] == {"status": "dead", "error": error}


def test_users_redeliver_only_their_own_deliveries(house: House) -> None:
    """Other users' names are a 403, also those that don't exist."""
    error = str(uuid.uuid4())
    house.add_task("owner", ended=True, error=error)
    house.add_task("stranger", ended=True, error=error)
    assert redeliver(house, "stranger", error=error, user="owner").status_code == 403
    assert redeliver(house, "stranger", error=error, user="nobody").status_code == 403
    assert redeliver(house, "operator", error=error, user="nobody").status_code == 422
    answer = redeliver(house, "stranger", error=error).json()
    assert (answer["total"], answer["due"]) == (1, 1)


@pytest.mark.parametrize("wrong", [{"hosts": "a"}, {"status": "delivered"}, {"status": None}, {"limit": 501}])
def test_a_redelivery_with_a_misspelled_filter_is_rejected(house: House, wrong: dict[str, Any]) -> None:
    """Otherwise it would be one of everything."""
    assert redeliver(house, "operator", **wrong).status_code == 422


def test_what_ends_during_a_bulk_redelivery_is_left_out(house: House) -> None:
    """The number of deliveries is that of the first page, so it comes to its end."""
    error = str(uuid.uuid4())
    for _ in range(3):
        house.add_task("owner", ended=True, error=error)
    first = redeliver(house, "operator", error=error, limit=2).json()
    house.add_task("owner", ended=True, error=error)
    second = redeliver(house, "operator", error=error, limit=2, cursor=first["next_cursor"]).json()
    assert (first["total"], first["due"]) == (3, 2)
    assert (second["total"], second["due"], second["next_cursor"]) == (None, 1, None)


def test_a_repeated_request_redelivers_nothing_twice(house: House) -> None:
    """Its answer may have been lost."""
    error = str(uuid.uuid4())
    house.add_task("owner", ended=True, error=error)
    assert [redeliver(house, "operator", error=error).json()["due"] for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(("caller", "status"), [("stranger", "Pending"), ("operator", "Canceled")])
def test_pages_act_on_many_tasks_only_with_the_right_to_each(house: House, caller: str, status: str) -> None:
    """A task that the caller may not see is left alone, as if it didn't exist."""
    job_id, _ = house.add_task("owner", ended=False)
    session, csrf = house.browsers[caller]
    form = {"csrf": csrf, "selected": job_id, "confirm": "yes"}
    assert session.post(f"{house.origin}/ui/tasks/cancel", data=form, timeout=60).status_code == 200
    assert house.store.tasks.get(job_id)["status"] == status


@pytest.mark.parametrize(("caller", "status"), [("stranger", "dead"), ("operator", "pending")])
def test_pages_redeliver_many_results_only_with_the_right_to_each(house: House, caller: str, status: str) -> None:
    """Whether they are selected one by one, or by a filter."""
    error = str(uuid.uuid4())
    job_id, delivery_id = house.add_task("owner", ended=True, error=error)
    session, csrf = house.browsers[caller]
    selected = {"csrf": csrf, "selected": f"{job_id}/{delivery_id}", "confirm": "yes"}
    assert session.post(f"{house.origin}/ui/deliveries/redeliver", data=selected, timeout=60).status_code == 200
    assert house.store.deliveries.of(job_id)[0]["status"] == status
    other, _ = house.add_task("owner", ended=True, error=error)
    chosen = {"csrf": csrf, "choice": "all", "status": "dead", "error": error, "confirm": "yes"}
    assert session.post(f"{house.origin}/ui/deliveries/redeliver", data=chosen, timeout=60).status_code == 200
    assert house.store.deliveries.of(other)[0]["status"] == status
