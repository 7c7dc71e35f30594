"""`callback-sdk deliveries` and `redeliver` for deliveries of many tasks, `audit` and `sign again`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from callback_sdk import cli
from callback_sdk.client import bulk_redelivery
from callback_sdk.commands import target_lines
from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import TOKEN

REDELIVER = "/deliveries/redeliver"
NOON = "2026-01-01T12:00:00+00:00"
OBJECT = "https://bucket.s3.eu-central-1.amazonaws.com/runs/42.json"
DEAD = {
    "delivery_id": "msg_1",
    "job_id": "42",
    "algorithm": "mean",
    "host": "a.example",
    "url": "https://a.example/hook",
    "output": None,
    "status": "dead",
    "attempt_count": 9,
    "error": "503\nUnavailable \x1b[2J",
    "owner": "anna",
    "next_attempt_at": None,
    "finished_at": NOON,
}
EXPIRED = {
    **DEAD,
    "delivery_id": "msg_2",
    "host": "bucket.s3.eu-central-1.amazonaws.com",
    "url": OBJECT,
    "object_url": OBJECT,
    "reason": "expired",
    "problem": f"The signature of {OBJECT} has expired. Presign a new one.",
}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line, and returns exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "\x1b" not in out + err
        assert TOKEN not in out + err
        return code, out, err

    return call


def step(due: int, *, total: int | None = None, cursor: str | None = None, skipped: tuple[Any, ...] = ()) -> Any:
    """Return the answer to a request of a bulk redelivery."""
    hosts = {"a.example": due} if due else {}
    return {"total": total, "due": due, "hosts": hosts, "skipped": list(skipped), "next_cursor": cursor}


def bodies(service: FakeService) -> list[Any]:
    return [json.loads(seen.body) for seen in service.requests if seen.method == "POST"]


def test_filters_are_sent_and_deliveries_listed(
    service: FakeService, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the name of the user and the whole ids, and control characters escaped."""
    seen = []

    def answer(request: Any) -> Any:
        seen.append(parse_qs(urlsplit(request.path).query))
        return service.Say(data={"deliveries": [DEAD], "next_cursor": None})

    monkeypatch.setattr(service, "answer", answer)
    options = ("--host", "a.example", "--algorithm", "mean", "--user", "anna", "--error", "503", "--since", "2h")
    code, out, _ = run("deliveries", "--dead", *options, "--until", "2030-01-01T00:00:00+00:00")
    assert code == 0
    assert all(word in out for word in ("msg_1", "42", "anna", "mean", "https://a.example/hook", "503 Unavailable"))
    (query,) = seen
    since = datetime.fromisoformat(query.pop("since")[0])
    assert abs(datetime.now(timezone.utc) - since - timedelta(hours=2)) < timedelta(minutes=5)
    assert query == {
        "status": ["dead"],
        "host": ["a.example"],
        "algorithm": ["mean"],
        "user": ["anna"],
        "error": ["503"],
        "until": ["2030-01-01T00:00:00+00:00"],
        "limit": ["50"],
    }


def test_all_pages_are_listed(service: FakeService, run: Run) -> None:
    """As JSON with every member."""
    service.on("GET", "/deliveries?limit=2", service.Say(data={"deliveries": [DEAD], "next_cursor": "c"}))
    second = {"deliveries": [DEAD, DEAD], "next_cursor": "d"}
    service.on("GET", "/deliveries?limit=2&cursor=c", service.Say(data=second))
    code, out, _ = run("deliveries", "--limit", 2, "--json")
    assert (code, json.loads(out)) == (0, [DEAD, DEAD])


@pytest.mark.parametrize(
    "arguments",
    [
        ("deliveries", "42", "--dead"),
        ("deliveries", "--dead", "--late"),
        ("deliveries", "--since", "yesterday"),
        ("redeliver",),
        ("redeliver", "--host", "a.example"),
        ("redeliver", "--targets", "x.jsonl", "--dead"),
        ("redeliver", "--dead", "--target", "x.json"),
        ("redeliver", "42", "--dead", "--since", "2h"),
        ("redeliver", "42", "--failing"),
        ("redeliver", "42", "--dead", "--dry-run"),
        ("redeliver", "--dead", "--rate", "0"),
    ],
)
def test_what_contradicts_itself_is_wrong_usage(service: FakeService, run: Run, arguments: tuple[str, ...]) -> None:
    """Nothing is sent: a redelivery without a status could be one of everything."""
    code, _, err = run(*arguments)
    assert code == 2
    assert err
    assert service.requests == []


def test_a_bulk_redelivery_goes_through_all_pages(service: FakeService, run: Run, tmp_path: Path) -> None:
    """It tells how many are due where, and what was skipped with what to do; these are in a file of JSON lines."""
    service.on(
        "POST",
        REDELIVER,
        service.Say(202, step(2, total=4, cursor="c", skipped=(EXPIRED,))),
        service.Say(202, step(1)),
    )
    file = tmp_path / "skipped.jsonl"
    code, out, err = run("redeliver", "--dead", "--host", "a.example", "--skipped", file)
    assert (code, out) == (3, "3 deliveries are due now: 3 at a.example.\n")
    assert err == "1 skipped at bucket.s3.eu-central-1.amazonaws.com, as the target is expired. Presign a new one.\n"
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == EXPIRED
    first, second = bodies(service)
    assert first == {"status": "dead", "host": "a.example", "limit": 500, "dry_run": False}
    assert second == {**first, "cursor": "c"}


def test_a_dry_run_says_what_would_happen(service: FakeService, run: Run) -> None:
    """The service changes nothing."""
    service.on("POST", REDELIVER, service.Say(202, step(1, total=1)))
    assert run("redeliver", "--undelivered", "--dry-run") == (
        0,
        "1 delivery would be redelivered: 1 at a.example.\n",
        "",
    )
    assert bodies(service)[0]["dry_run"] is True
    service.on("POST", REDELIVER, service.Say(202, step(0, total=0)))
    code, out, _ = run("redeliver", "--dead", "--dry-run", "--json")
    assert code == 0
    assert json.loads(out) == {"total": 0, "due": 0, "held": 0, "hosts": {}, "skipped": [], "dry_run": True}


def test_the_rate_is_kept_between_requests(service: FakeService, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request has at most the deliveries of one second."""
    moment, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        moment[0] += seconds

    monkeypatch.setattr(bulk_redelivery, "monotonic", lambda: moment[0])
    monkeypatch.setattr(bulk_redelivery, "sleep", sleep)
    service.on(
        "POST",
        REDELIVER,
        service.Say(202, step(20, total=50, cursor="c")),
        service.Say(202, step(20, cursor="d")),
        service.Say(202, step(10)),
    )
    assert run("redeliver", "--dead", "--rate", 20)[0] == 0
    assert [body["limit"] for body in bodies(service)] == [20, 20, 20]
    assert slept == [1.0, 1.0]


def test_an_interrupted_redelivery_says_how_far_it_came(
    service: FakeService, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that the same command continues."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bulk_redelivery, "sleep", interrupt)
    service.on("POST", REDELIVER, service.Say(202, step(5, total=50, cursor="c")))
    code, _, err = run("redeliver", "--dead", "--rate", 5)
    assert code == 130
    assert "5 of 50 deliveries are due now. The same command continues with the others." in err


def lines(tmp_path: Path, *items: Any) -> Path:
    path = tmp_path / "targets.jsonl"
    path.write_text("".join(item if isinstance(item, str) else f"{json.dumps(item)}\n" for item in items))
    return path


def test_many_targets_are_replaced(service: FakeService, run: Run, tmp_path: Path) -> None:
    """Those of delivered deliveries are left alone, and a line that is rejected doesn't stop the others."""
    target = {"url": "https://a.example/new?token=hidden", "param": {}}
    path = lines(
        tmp_path,
        {"job_id": "1", "delivery_id": "d-1", "target": target},
        "\n",
        {"job_id": "2", "delivery_id": "d-2", "target": target},
        {"job_id": "3", "delivery_id": "d-3", "target": target["url"]},
    )
    rows = {number: {**DEAD, "delivery_id": f"d-{number}", "attempts": [], "receipt": None} for number in (1, 2, 3)}
    rows[1]["status"] = "delivered"
    for number, row in rows.items():
        service.on("GET", f"/algorithms/tasks/{number}/deliveries", service.Say(data=[row]))
        service.on(
            "POST",
            f"/algorithms/tasks/{number}/deliveries/d-{number}/redeliver",
            service.Say(202, {**row, "status": "pending"}),
        )
    rejected = service.Say(422, {"status": False, "error": "The new target is another one's."})
    service.on("POST", "/algorithms/tasks/2/deliveries/d-2/redeliver", rejected)
    code, out, err = run("redeliver", "--targets", path)
    assert (code, out) == (1, "1 delivery has a new target. 1 were delivered already.\n")
    assert "Line 3: " in err
    assert "another one's" in err
    assert "hidden" not in err
    assert bodies(service)[-1] == {"target": target}


@pytest.mark.parametrize(
    "bad", ["x", "[]", "{}", '{"job_id": 1, "delivery_id": "d", "target": "u"}', '{"a": "' + "x" * 2000 + '"}']
)
def test_a_bad_line_is_found_before_anything_is_sent(
    service: FakeService, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """By its number; its content may be a credential."""
    monkeypatch.setattr(target_lines, "MAX_LINE", 1000)
    good = {"job_id": "1", "delivery_id": "d-1", "target": {"url": "https://a.example/hidden"}}
    code, _, err = run("redeliver", "--targets", lines(tmp_path, good, bad))
    assert code == 1
    assert "Line 2 " in err
    assert "hidden" not in err
    assert service.requests == []


def test_the_audit_log_is_shown(service: FakeService, run: Run) -> None:
    """With lists of ids shortened to their number, unless it is JSON."""
    entry = {
        "at": NOON,
        "action": "redelivered",
        "actor": "otto",
        "owner": "anna",
        "job_id": None,
        "via": "api",
        "address": "192.0.2.1",
        "facts": {"delivery_ids": ["a", "b"], "filter": {"status": "dead"}},
    }
    service.on("GET", "/audit?owner=anna&limit=50", service.Say(data={"entries": [entry], "next_cursor": None}))
    code, out, _ = run("audit", "--user", "anna")
    assert code == 0
    assert all(word in out for word in ("otto", "redelivered", "anna", "api 192.0.2.1", "delivery_ids: 2"))
    code, out, _ = run("audit", "--user", "anna", "--json")
    assert (code, json.loads(out)) == (0, [entry])
    service.on("GET", "/audit?limit=50", service.Say(403, {"status": False, "error": "Not an operator."}))
    code, _, err = run("audit")
    assert code == 1
    assert "Not an operator." in err


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give boto3 credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.mark.usefixtures("credentials")
def test_objects_are_signed_again_at_the_same_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output are the lines of `redeliver --targets`; other lines are reported."""
    other = {**EXPIRED, "delivery_id": "msg_3", "object_url": None}
    elsewhere = {**EXPIRED, "object_url": OBJECT.replace("eu-central-1", "eu-west-1")}
    foreign = {**EXPIRED, "object_url": "https://a.example/bucket/k.json"}
    text = "".join(f"{json.dumps(one)}\n" for one in (EXPIRED, other, elsewhere, foreign))
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, out, err = run("sign", "again", "-", "--expires", "12h")
    assert code == 3
    (line,) = map(json.loads, out.splitlines())
    assert (line["job_id"], line["delivery_id"]) == ("42", "msg_2")
    url = urlsplit(line["target"]["url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == OBJECT
    assert parse_qs(url.query)["X-Amz-Expires"] == ["43200"]
    assert [text.partition(":")[0] for text in err.splitlines()] == ["Line 2", "Line 3", "Line 4"]
    assert "--region" in err
    assert "--endpoint-url" in err


@pytest.mark.usefixtures("credentials")
def test_objects_of_other_stores_are_signed_with_their_endpoint(run: Run, tmp_path: Path) -> None:
    """With the bucket in the path, and keys as they were."""
    item = {**EXPIRED, "object_url": "http://127.0.0.1:9000/bucket/a%20b/%C3%A4.json"}
    code, out, err = run("sign", "again", lines(tmp_path, item), "--endpoint-url", "http://127.0.0.1:9000")
    assert (code, err) == (0, "")
    assert json.loads(out)["target"]["url"].startswith(item["object_url"] + "?")
